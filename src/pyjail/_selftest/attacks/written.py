"""A root that may be written to: what it is made of stays as it is and out of reach, and what was written goes.

The runs of this group have the user's jail with ``writable_root``, on his rootfs or image; where he has neither, on a
directory made for them, with ``scene["written"]`` in it: files that everybody may write to.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import stat

from pyjail._selftest.attacks.toolkit import REFUSED, Scene, act, attack, call, note, peek, quietly, show

MARK = "/left-by-another-run"
MOST = 500  # files that are changed
BAD = 1  # no address: see mounts.py


def _own(scene: Scene) -> tuple[list[str], list[str]]:
    """Files and directories of the root itself. What is mounted somewhere may be the user's own, for programs to write
    to: it is left alone, and so is everything where that cannot be told."""
    try:
        with open("/proc/self/mountinfo") as f:
            mounted = {line.split()[4].encode().decode("unicode_escape") for line in f} - {"/"}
    except OSError:
        return [scene["written"]], []
    files: list[str] = []
    directories: list[str] = []
    for top, names, here in os.walk("/"):
        names[:] = [n for n in names if os.path.join(top, n) not in mounted and (top, n) != ("/", "dev")]
        directories += [os.path.join(top, name) for name in names]
        files += [path for name in here if (path := os.path.join(top, name)) not in mounted]
        if len(files) > MOST:
            break
    return files, directories


@attack(
    "changes, replaces and removes all that is in the root", "CVE-2023-0386: overlayfs, what is below it", written=True
)
def change(scene: Scene) -> None:
    files, directories = _own(scene)
    for path in files:
        with contextlib.suppress(OSError):
            os.chmod(path, 0o666)
            os.setxattr(path, b"user.pyjail", b"x")
        with contextlib.suppress(OSError), open(path, "ab") as f:
            f.write(b"changed")
        with contextlib.suppress(OSError):
            os.link(path, path + ".link")
            os.rename(path, path + ".old")
            os.unlink(path + ".old")
    for path in reversed(directories):
        with contextlib.suppress(OSError):
            os.rmdir(path)
    with contextlib.suppress(OSError), open(MARK, "w") as f:
        f.write(scene["name"])


@attack("finds what another run has written to the root", "a root that one run leaves to the next", written=True)
def left_over(scene: Scene) -> None:
    del scene
    note(f"find {MARK}", 0 if os.path.lexists(MARK) else -1)
    for name in os.listdir("/"):
        note(f"find a changed name, {name}", 0 if name.endswith((".old", ".link")) else -1)


@attack(
    "writes through links, maps and descriptors of files of the image",
    "CVE-2016-5195, hard links across layers",
    written=True,
)
def by_descriptor(scene: Scene) -> None:
    for i, path in enumerate(_own(scene)[0][:50]):
        with contextlib.suppress(OSError):
            before = os.open(path, os.O_RDONLY)  # of the file below
            os.link(path, f"/hard{i}")
            with open(f"/hard{i}", "ab") as f:
                f.write(b"changed")
            act("write by a descriptor that was opened before", os.write, before, b"changed")
            act("cut it", os.ftruncate, before, 0)
            os.close(before)


@attack("makes files of the overlay's own kind", "CVE-2021-3493: attributes and devices of overlayfs", written=True)
def forge(scene: Scene) -> None:
    os.mkdir("/forged")
    for mode, device in ((stat.S_IFCHR, 0), (stat.S_IFCHR, os.makedev(1, 1)), (stat.S_IFBLK, scene["disk"])):
        act("mknod", os.mknod, "/forged/node", mode | 0o666, device)
    for name in ("trusted.overlay.opaque", "trusted.overlay.redirect", "security.capability"):
        act(f"setxattr {name}", os.setxattr, "/forged", name.encode(), b"y")
    with open("/forged/a", "w"):
        pass
    call("renameat2", -100, b"/forged/a\0", -100, b"/forged/b\0", 4, label="renameat2(RENAME_WHITEOUT)")
    for name, value in (("opaque", b"y"), ("redirect", b"/../../etc"), ("metacopy", b""), ("origin", b"\0" * 30)):
        with contextlib.suppress(OSError):
            os.setxattr("/forged", f"user.overlay.{name}", value)
    show("what is in it", "\n".join(os.listdir("/forged")).encode())


@attack(
    "leaves pipes, sockets and locks for whoever has the same root", "channels between jails of one image", written=True
)
def channels(scene: Scene) -> None:
    for directory in ("/", os.path.dirname(scene["written"]) or "/"):
        with contextlib.suppress(OSError):
            os.mkfifo(f"{directory}/{scene['name']}")
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as server:
            server.bind(f"{directory}/{scene['name']}.s")


@attack(
    "takes the overlay off, mounts it anew, makes another", "CVE-2014-5206, CVE-2023-0386", errnos=REFUSED, written=True
)
def remount(scene: Scene) -> None:
    call("umount2", b"/\0", 2, label="umount2(/, MNT_DETACH)")
    call("mount", None, b"/\0", None, 32 | 4096, None, label="mount(MS_REMOUNT)")
    call("mount", b"overlay\0", b"/tmp\0", b"overlay\0", 0, b"lowerdir=/,upperdir=/box,workdir=/tmp,userxattr\0")
    clear = (ctypes.c_uint64 * 4)(0, 6, 0, 0)  # MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV
    call("mount_setattr", -100, b"/\0", 0, clear, 32)
    call("open_tree", -100, b"/\0", 1, label="open_tree(OPEN_TREE_CLONE)")
    call("fsopen", b"overlay\0", 0)
    peek(scene["canary"])


@attack(
    "finds what is below the overlay",
    "pivot_root leaves what was mounted before; open_by_handle_at",
    errnos=REFUSED,
    written=True,
)
def below(scene: Scene) -> None:
    with contextlib.suppress(OSError), open("/proc/self/mountinfo", "rb") as f:
        rows = f.read()
        show("mountinfo", rows)
        note("read where it lies on the host", 0 if os.path.dirname(scene["canary"]).encode() in rows else -1, 1)
        note("find a second root", 0 if sum(row.split()[4:5] == [b"/"] for row in rows.splitlines()) > 1 else -1, 1)
    for door in ("/proc/self/root", "/proc/1/root", "/proc/self/cwd", "/.."):
        for inner in ("upper", "work", "tmp/upper", "tmp/work", "box/etc", "lower"):
            note(f"find {door}/{inner}", 0 if os.path.isdir(f"{door}/{inner}") else -1, 1)
    handle, number = ctypes.create_string_buffer((128).to_bytes(4, "little"), 256), ctypes.c_int()
    if quietly("name_to_handle_at", -100, b"/\0", handle, ctypes.byref(number), 0) >= 0:
        for place in ("/", "/box", "/tmp"):
            fd = os.open(place, os.O_RDONLY)
            call("open_by_handle_at", fd, handle, os.O_RDONLY, label=f"open_by_handle_at(in {place})")
    call("open_by_handle_at", -100, BAD, 0, label="open_by_handle_at(no address)")
