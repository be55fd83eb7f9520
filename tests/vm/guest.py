"""Run a command in a throw-away Linux guest whose only cgroup hierarchy is v2: ``python -m tests.vm.guest COMMAND...``

The guest sees this machine's files (interpreter, compilers, the checkout) read-only, what it writes is lost, it starts
in the current directory with the environment given, and its output and exit status come back. qemu emulates every
instruction (no KVM needed), so CPU work takes 20 to 40 times as long: give tests PYJAIL_TEST_SLOWNESS.

Debian's own cloud kernel has virtiofs, virtio and the console built in, so it needs neither an initramfs nor a disk.
It is downloaded once into ~/.cache/pyjail (PYJAIL_VM_KERNEL=DIR with vmlinuz, overlay.ko, virtio_blk.ko instead).
There are two empty disks for what only a disk has: an ext4 on /mnt/disk (limits of its rate), and active swap.
"""

from __future__ import annotations

import argparse
import contextlib
import lzma
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

KERNEL = "linux-image-6.12-cloud-amd64"
PACKAGES = ("qemu-system-x86", "busybox-static")
VIRTIOFSD = ("/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd")  # Debian 12's is written in C, later ones in Rust
MODULES = ("overlay", "virtio_blk")
DISKS = {"disk": 128, "swap": 64}  # MiB, sparse
PREFIX = "pyjail-guest-"
DIED = 125
TIMEOUT = 124


class GuestError(Exception):
    """The guest could not be started, or died."""


def _apt(*args: str, **kw: object) -> None:
    for _ in range(12):  # another apt-get may be at it: its lock on the lists is not waited for
        done = subprocess.run(
            ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120", "-o", "APT::Sandbox::User=root", *args],
            check=False,
            stdout=sys.stderr,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            **kw,  # type: ignore[call-overload]
        )
        if done.returncode == 0:
            return
        time.sleep(10)
    raise GuestError(f"apt-get {' '.join(args)} failed: see its words above")


def _virtiofsd() -> str | None:
    return next((p for p in VIRTIOFSD if os.access(p, os.X_OK)), None)


def install() -> None:
    """qemu, its file server and busybox, when they are missing."""
    if shutil.which("qemu-system-x86_64") and os.access("/bin/busybox", os.X_OK) and _virtiofsd():
        return
    _apt("update")
    _apt("install", "-y", "--no-install-recommends", *PACKAGES)
    if not _virtiofsd():
        _apt("install", "-y", "--no-install-recommends", "virtiofsd")


def kernel() -> Path:
    """The directory with vmlinuz and the modules; downloads Debian's package when it is not there yet."""
    if given := os.environ.get("PYJAIL_VM_KERNEL"):
        return Path(given)
    cache = Path.home() / ".cache/pyjail"
    found = cache / KERNEL
    if all((found / name).exists() for name in ("vmlinuz", *(f"{m}.ko" for m in MODULES))):
        return found
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as made:
        work = Path(made)
        depends = subprocess.run(["apt-cache", "depends", KERNEL], capture_output=True, text=True, check=True).stdout
        names = [line.split()[1] for line in depends.splitlines() if "Depends: linux-image-6" in line]
        if not names:
            raise GuestError(f"no package {KERNEL} here: set PYJAIL_VM_KERNEL to a directory with vmlinuz and modules")
        _apt("download", names[0], cwd=work)
        subprocess.run(["dpkg", "-x", *map(str, work.glob("*.deb")), str(work / "x")], check=True)
        kept = work / "kept"
        kept.mkdir()
        shutil.copy(next((work / "x/boot").glob("vmlinuz-*")), kept / "vmlinuz")
        for name in MODULES:
            module = next((work / "x").rglob(f"{name}.ko*"))
            data = module.read_bytes()
            (kept / f"{name}.ko").write_bytes(lzma.decompress(data) if module.suffix == ".xz" else data)
        shutil.rmtree(found, ignore_errors=True)  # one with fewer modules
        with contextlib.suppress(OSError):  # another one was quicker
            kept.rename(found)
    return found


# Both processes die with us, even by SIGKILL: pdeathsig is set in the child before it becomes what it is.
_WITH_US = ["setpriv", "--pdeathsig", "KILL"]

# The file server sees a read-only bind of "/" in a mount namespace of its own: nothing is mounted on the host. Other
# file systems (/proc, /sys, a tmpfs on /tmp) are not part of a plain bind; those of the paths that we need are added.
_SERVE = """
set -e
root=$1; shift; count=$1; shift
mount --bind / "$root"
while [ "$count" -gt 0 ]; do
    if [ "$(stat -c %d "$1")" != "$(stat -c %d "$root$1" 2>/dev/null)" ]; then
        mkdir -p "$root$1" 2>/dev/null || true
        mount --bind "$1" "$root$1" && mount -o remount,bind,ro "$root$1"
    fi
    shift; count=$((count - 1))
done
mount -o remount,bind,ro "$root"
exec setpriv --pdeathsig KILL "$@"
"""


@contextlib.contextmanager
def _file_server(run: Path, paths: list[str]) -> Iterator[Path]:
    root, socket = run / "root", run / "fs.sock"
    root.mkdir()
    binary = _virtiofsd()
    assert binary is not None
    if "libexec" in binary:
        serve = [binary, f"--socket-path={socket}", f"--shared-dir={root}", "--cache=always", "--sandbox=chroot"]
    else:
        serve = [
            binary,
            f"--socket-path={socket}",
            "-o",
            f"source={root}",
            "-o",
            "cache=always",
            "-o",
            "sandbox=chroot",
        ]
        serve += ["-o", "log_level=warn", "--thread-pool-size=0"]
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _SERVE, "sh", str(root), str(len(paths))]
    with open(run / "fs.log", "wb") as log:
        server = subprocess.Popen(
            [*_WITH_US, *command, *paths, *serve], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        for _ in range(500):
            if socket.exists() or server.poll() is not None:
                break
            time.sleep(0.02)
        if not socket.exists():
            raise GuestError("the file server did not start: " + (run / "fs.log").read_text())
        yield socket
    finally:
        server.kill()
        server.wait()


def _disks(run: Path) -> list[str]:
    """Images for the guest, and the arguments that attach them as /dev/vda and so on."""
    arguments = []
    for name, size in DISKS.items():
        image = run / name
        image.touch()
        os.truncate(image, size << 20)
        arguments += ["-drive", f"if=none,id={name},file={image},format=raw,cache=unsafe"]
        arguments += ["-device", f"virtio-blk-pci,drive={name}"]
    subprocess.run(["/sbin/mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", str(run / "disk")], check=True)
    return arguments


def _qemu(run: Path, socket: Path, image: Path, cpus: int, memory: int) -> list[str]:
    line = [
        "console=ttyS0 quiet loglevel=4 panic=-1 root=rootfs rootfstype=virtiofs ro", f"init={run}/init", f"vmrun={run}",
        "mitigations=off nokaslr audit=0 lsm=landlock,yama random.trust_cpu=1 8250.nr_uarts=1",
        "no_timer_check",  # ten ticks in time are asked for, and the kernel panics where the host is busy
    ]  # fmt: skip
    # thread=single: with one thread per CPU, qemu executes an instruction that another CPU is just patching (jump
    # labels, static calls), and the guest's kernel dies of it now and then.
    return [
        "qemu-system-x86_64", "-M", "q35,memory-backend=memory", "-accel", "tcg,thread=single", "-cpu", "max",
        "-smp", str(cpus), "-m", str(memory),
        "-object", f"memory-backend-memfd,id=memory,size={memory}M,share=on",
        "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
        "-chardev", f"socket,id=fs,path={socket}", "-device", "vhost-user-fs-pci,chardev=fs,tag=rootfs,queue-size=1024",
        "-device", "virtio-serial-pci",
        "-chardev", f"file,id=output,path={run}/output", "-device", "virtserialport,nr=1,chardev=output",
        "-chardev", f"file,id=status,path={run}/status", "-device", "virtserialport,nr=2,chardev=status",
        "-serial", f"file:{run}/console", "-kernel", str(image / "vmlinuz"), "-append", " ".join(line),
        *_disks(run),
    ]  # fmt: skip


def _last_words(run: Path) -> str:
    texts = [(run / name).read_text(errors="replace")[-2000:] for name in ("console", "qemu.log", "fs.log")]
    return "\n".join(filter(None, texts))


def _command(command: list[str], env: Mapping[str, str]) -> str:
    exports = "".join(f"export {k}={shlex.quote(v)}\n" for k, v in env.items() if k.isidentifier())
    return f"{exports}cd {shlex.quote(os.getcwd())} || exit 125\nexec {shlex.join(command)}\n"


def _remove_dead() -> None:
    """Directories of runs that were killed."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        pid = path.name.removeprefix(PREFIX).partition("-")[0]
        if not os.path.exists(f"/proc/{pid}"):
            shutil.rmtree(path, ignore_errors=True)


def run(
    command: list[str], *, env: Mapping[str, str], timeout: float = 600, cpus: int = 2, memory: int = 3072
) -> Iterator[bytes]:
    """Run ``command`` in a guest; yields its output as it comes, last of all ``b"status N"`` by StopIteration value."""
    if os.geteuid() != 0:
        raise GuestError("root is needed, to serve this machine's files to the guest")
    install()
    image = kernel()
    _remove_dead()
    with tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-") as made:
        where = Path(made)
        where.chmod(0o755)
        for module in image.glob("*.ko"):
            shutil.copy(module, where)
        (where / "command").touch(mode=0o600)  # the environment may hold secrets
        (where / "command").write_text(_command(command, env))
        (where / "cwd").write_text(os.getcwd())
        shutil.copy(Path(__file__).with_name("init.sh"), where / "init")
        (where / "init").chmod(0o755)
        for name in ("output", "status", "console"):
            (where / name).touch()
        with _file_server(where, [os.getcwd(), made, str(Path.home())]) as socket:
            with open(where / "qemu.log", "wb") as log:
                qemu = subprocess.Popen(
                    [*_WITH_US, *_qemu(where, socket, image, cpus, memory)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            try:
                with open(where / "output", "rb") as output:
                    end = time.monotonic() + timeout
                    while qemu.poll() is None and time.monotonic() < end:
                        time.sleep(0.05)
                        if data := output.read():
                            yield data
                    late = qemu.poll() is None
                    if data := output.read():
                        yield data
            finally:
                qemu.kill()
                qemu.wait()
        status = (where / "status").read_text().strip()
        if status.isdigit():
            return int(status)
        sys.stderr.write(f"{_last_words(where)}\n")
        sys.stderr.write(f"guest: timeout after {timeout:.0f} s\n" if late else "guest: it died\n")
        return TIMEOUT if late else DIED


def main() -> int:
    """The command line: stdout and stderr of the command on our stdout, its exit status ours."""
    parser = argparse.ArgumentParser(prog="python -m tests.vm.guest", description=__doc__.partition("\n")[0])
    parser.add_argument("--timeout", type=float, default=600, help="seconds, with the start of the guest")
    parser.add_argument("--cpus", type=int, default=2)
    parser.add_argument("--memory", type=int, default=3072, help="MiB")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    if not args.command:
        parser.error("a command is needed")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what is above is cleaned up
    guest = run(args.command, env=os.environ, timeout=args.timeout, cpus=args.cpus, memory=args.memory)
    while True:
        try:
            os.write(1, next(guest))
        except StopIteration as end:
            return int(end.value)
        except GuestError as e:
            sys.stderr.write(f"guest: {e}\n")
            return DIED


if __name__ == "__main__":
    sys.exit(main())
