"""Files of the host: to be read, written, linked to, made."""

from __future__ import annotations

import contextlib
import os
import stat

from pyjail._selftest.attacks.toolkit import Scene, act, attack, identity, note, opens, peek, show


@attack("reads a file in the host's temporary directory that everybody may read", "files of other users and jobs")
def host_tmp(scene: Scene) -> None:
    peek(scene["canary"])
    for name in ("/tmp", "/box", "/dev/shm"):
        with contextlib.suppress(OSError):
            show(name, "\n".join(os.listdir(name)).encode())


@attack("reads a file in the caller's home directory", "SSH keys, tokens, the judge's answers", needs=("home",))
def host_home(scene: Scene) -> None:
    peek(scene["home"])


@attack(
    "reads what lies beside the embedder's interpreter, in its environment, its packages and its project",
    "a virtual environment inside a judge's project: reference outputs, .env",
    needs=("beside",),
)
def environment(scene: Scene) -> None:
    for path in scene["beside"]:
        directory, name = os.path.split(path)
        for way in (
            directory,
            f"/proc/self/root{directory}",
            f"{directory}/.",
            f"{directory}/../{os.path.basename(directory)}",
        ):
            peek(f"{way}/{name}")
            with contextlib.suppress(OSError):
                note(f"find it in {way}", 0 if name in os.listdir(way) else -1)
    for exe in ("/proc/self/exe", scene["program"]):
        up = os.path.dirname(os.path.realpath(exe))
        for path in scene["beside"]:
            peek(os.path.join(up, os.path.relpath(path, up)))


@attack("finds /etc/shadow, sudoers, host keys, service tokens", 'DMOJ#318: #include "/etc/shadow"')
def private_files(scene: Scene) -> None:
    for path in scene["private"]:
        peek(path)


@attack("leaves its root by .., /proc/*/root and /proc/*/cwd", "CVE-2024-21626: a working directory outside the root")
def climbing(scene: Scene) -> None:
    up = "../" * 40
    for base in ("/", ".", "/tmp/", "/proc/self/root/", "/proc/self/cwd/", "/proc/thread-self/root/"):
        peek(f"{base}/{up}{scene['canary']}")
    for pid in (1, 2, scene["pid"], scene["embedder"]):
        for door in ("root", "cwd"):
            peek(f"/proc/{pid}/{door}{scene['canary']}")
    show("/..", identity("/.."))
    note("working directory outside of the root", 0 if "unreachable" in os.getcwd() else -1)


@attack(
    "follows symbolic links of its own making to the host", "CVE-2024-28185, CVE-2024-28189: links out of a sandbox"
)
def symlinks(scene: Scene) -> None:
    for where in ("/box", "/tmp"):
        for i, target in enumerate((scene["canary"], "../" * 40 + scene["canary"], "/proc/1/root" + scene["canary"])):
            link = f"{where}/link{i}"
            with contextlib.suppress(OSError):
                os.symlink(target, link)
            peek(link)


@attack("makes hard links to files that are not its own", "a hard link that survives the sandbox")
def hard_links(scene: Scene) -> None:
    for target in (scene["canary"], scene["program"], "/etc/passwd", "/proc/self/exe"):
        for where in ("/box", "/tmp"):
            act(f"link {target}", os.link, target, f"{where}/hard")


@attack("leaves a symbolic link where the host will collect a file", "CVE-2024-28185: the service follows it",
        needs=("box",), collect=("leak", "sub/**", "loop/**"))  # fmt: skip
def collected_symlink(scene: Scene) -> None:
    os.symlink(scene["canary"], "/box/leak")
    os.mkdir("/box/sub")
    os.symlink(scene["canary"], "/box/sub/leak")
    os.symlink(os.path.dirname(scene["canary"]), "/box/sub/directory")
    os.symlink("/proc/self/root/" + os.path.dirname(scene["canary"]), "/box/loop")


@attack("writes to a file of the host that everybody may write", "firejail: configuration written from inside")
def write_canary(scene: Scene) -> None:
    for base in ("", "/proc/self/root", "/proc/1/root", "/" + "../" * 40):
        for path in (scene["canary"], scene["home"]):
            if path:
                fd = act(f"write {base}{path}", os.open, base + path, os.O_WRONLY | os.O_APPEND)
                if fd is not None:
                    os.write(fd, b"changed")
                    os.close(fd)
    act("create beside it", os.open, f"{os.path.dirname(scene['canary'])}/{scene['name']}", os.O_CREAT | os.O_WRONLY)


@attack("creates files and directories in the root and the system directories", "snekbox#55: writable /dev and /sys")
def write_root(scene: Scene) -> None:
    for directory in scene["read_only"]:
        path = f"{directory.rstrip('/')}/{scene['name']}"
        act(f"create {path}", os.open, path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        act(f"mkdir {path}.d", os.mkdir, path + ".d")
        act(f"symlink {path}.l", os.symlink, "/", path + ".l")


@attack(
    "opens system files for writing, changes their modes, times and owners",
    "CVE-2019-5736: an overwritten runtime",
    needs=("read_only",),
)
def write_system_files(scene: Scene) -> None:
    for path in scene["shared"]:
        opens([path], os.O_WRONLY, "write")
        opens([path], os.O_RDWR, "read and write")
        try:
            st = os.stat(path)
        except OSError:
            continue
        act(f"chmod {path}", os.chmod, path, stat.S_IMODE(st.st_mode))
        act(f"utime {path}", lambda p=path, s=st: os.utime(p, ns=(s.st_atime_ns, s.st_mtime_ns)))
        act(f"chown {path}", os.chown, path, -1, -1)
        act(f"setxattr {path}", os.setxattr, path, b"user.pyjail", b"x")
        with contextlib.suppress(OSError):
            os.removexattr(path, b"user.pyjail")
        fd = os.open(path, os.O_RDONLY)
        opens([f"/proc/self/fd/{fd}", f"/dev/fd/{fd}"], os.O_RDWR, "open again for writing")
        os.close(fd)


@attack("makes device nodes and opens them", "mknod of the disk: the oldest way out of a chroot")
def device_nodes(scene: Scene) -> None:
    disk = scene["disk"]
    wanted = {"memory": (stat.S_IFCHR, os.makedev(1, 1)), "kmsg": (stat.S_IFCHR, os.makedev(1, 11))}
    wanted["disk"] = (stat.S_IFBLK, disk)
    wanted["tty"] = (stat.S_IFCHR, os.makedev(5, 0))
    for name, (kind, device) in wanted.items():
        for where in ("/box", "/tmp", "/dev/shm", "/dev"):
            path = f"{where}/{name}"
            act(f"mknod {path}", os.mknod, path, kind | 0o666, device)
            opens([path])


DISTANT = (
    "mem", "kmem", "port", "kmsg", "kvm", "fuse", "net/tun", "vhost-net", "vhost-vsock", "uinput", "loop0",
    "loop-control", "mapper/control", "sda", "vda", "nvme0",
)  # fmt: skip
HARMLESS = {(1, 3), (1, 5), (1, 7), (1, 8), (1, 9)}  # null zero full random urandom


@attack("looks for devices that can do harm", "snekbox#55: devices of the host inside")
def devices(scene: Scene) -> None:
    for top, _, names in os.walk("/dev"):
        for name in names:
            path = os.path.join(top, name)
            with contextlib.suppress(OSError):
                st = os.lstat(path)
                if stat.S_ISCHR(st.st_mode) or stat.S_ISBLK(st.st_mode):
                    harmless = (os.major(st.st_rdev), os.minor(st.st_rdev)) in HARMLESS and stat.S_ISCHR(st.st_mode)
                    note(f"device {path}", -1 if harmless else 0)
    opens("/dev/" + name for name in DISTANT)


@attack("opens a terminal", "CVE-2017-5226: input typed into the caller's terminal", errnos=None)
def terminals(scene: Scene) -> None:
    opens(("/dev/tty", "/dev/console", "/dev/ptmx", "/dev/pts/ptmx", "/dev/pts/0", "/dev/tty0", "/dev/vcs"), os.O_RDWR)


@attack("changes the modes of shared devices", "a /dev/null that nobody else can write any more")
def device_modes(scene: Scene) -> None:
    for name in ("null", "zero", "full", "random", "urandom"):
        path = "/dev/" + name
        with contextlib.suppress(FileNotFoundError):
            mode = stat.S_IMODE(os.stat(path).st_mode)
            act(f"chmod {path}", os.chmod, path, mode)
            act(f"chown {path}", os.chown, path, -1, -1)
            act(f"utime {path}", os.utime, path)
