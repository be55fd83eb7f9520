"""The mount API, old and new, chroot and pivot_root, and files by number."""

from __future__ import annotations

import ctypes
import os

from pyjail._selftest.attacks.toolkit import REFUSED, Scene, attack, call, peek, quietly, show

BAD = 1  # no address: a call that gets as far as reading it says EFAULT, so the kernel's own code was reached


@attack("mounts file systems", "CVE-2021-3493 and others began with a mount", errnos=REFUSED)
def mount(scene: Scene) -> None:
    for kind in (b"tmpfs\0", b"proc\0", b"sysfs\0", b"cgroup2\0", b"overlay\0", b"bpf\0", b"devpts\0"):
        call("mount", b"none\0", b"/tmp\0", kind, 0, None, label=f"mount({kind[:-1].decode()})")
    call("mount", b"/proc/1/root\0", b"/tmp\0", None, 4096, None, label="mount(MS_BIND of /proc/1/root)")
    call("mount", BAD, BAD, BAD, 0, None, label="mount(no address)")
    peek("/tmp" + scene["canary"])


@attack("makes the root and the system directories writable", "MS_REMOUNT, mount_setattr", errnos=REFUSED)
def remount(scene: Scene) -> None:
    for target in ("/", "/usr", "/etc", "/dev", os.path.dirname(scene["program"])):
        call("mount", None, target, None, 32 | 4096, None, label=f"remount {target}")
        clear = (ctypes.c_uint64 * 4)(0, 1, 0, 0)
        call("mount_setattr", -100, target, 0, clear, 32, label=f"mount_setattr {target}")
    call("mount_setattr", -1, BAD, 0, BAD, 32, label="mount_setattr(no address)")


@attack("takes mounts away, to see what is below them", "MNT_LOCKED: what a mount hides", errnos=REFUSED)
def unmount(scene: Scene) -> None:
    for target in ("/proc", "/box", "/tmp", "/dev/null", "/"):
        call("umount2", target, 2, label=f"umount2({target}, MNT_DETACH)")
    call("umount2", BAD, 2, label="umount2(no address)")
    peek(scene["canary"])


@attack("changes its root", "chroot(2): fchdir to a descriptor that was kept, then ..", errnos=REFUSED)
def new_root(scene: Scene) -> None:
    kept = os.open("/", os.O_RDONLY)
    call("pivot_root", b".\0", b".\0")
    call("pivot_root", BAD, BAD, label="pivot_root(no address)")
    call("chroot", BAD, label="chroot(no address)")
    if call("chroot", b"/tmp\0") >= 0:
        os.fchdir(kept)
        for _ in range(40):
            os.chdir("..")
        quietly("chroot", b".\0")
        peek(scene["canary"])


@attack("configures file systems by descriptors", "CVE-2022-0185: an overflow in fsconfig(2)", errnos=REFUSED)
def new_api(scene: Scene) -> None:
    del scene
    call("fsopen", b"tmpfs\0", 0)
    call("fsopen", BAD, 0, label="fsopen(no address)")
    call("fsconfig", -1, 0, None, None, 0)
    call("fsmount", -1, 0, 0)
    call("fspick", -100, b"/\0", 0)
    call("open_tree", -100, b"/\0", 1, label="open_tree(OPEN_TREE_CLONE)")
    call("open_tree", -100, b"/\0", 0)
    call("move_mount", -1, b"/\0", -1, b"/\0", 0)


@attack("lists the mounts of the host", "statmount(2), listmount(2)", errnos=REFUSED)
def list_mounts(scene: Scene) -> None:
    del scene
    buffer = ctypes.create_string_buffer(4096)
    request = (ctypes.c_uint64 * 4)(24, 0xFFFFFFFFFFFFFFFF, 0, 0)  # LSMT_ROOT
    call("listmount", request, buffer, 64, 0)
    call("statmount", request, buffer, 4096, 0)


@attack(
    "opens a file of the host by its number",
    "the shocker escape, CVE-2014-3519: open_by_handle_at",
    errnos=REFUSED,
    needs=("handle",),
)
def handle(scene: Scene) -> None:
    wanted = ctypes.create_string_buffer(bytes.fromhex(scene["handle"]), 256)
    for place in ("/usr", "/", "/box", "/tmp", "/etc", os.path.dirname(scene["program"])):
        try:
            fd = os.open(place, os.O_RDONLY)
        except OSError:
            continue
        found = call("open_by_handle_at", fd, wanted, os.O_RDONLY, label=f"open_by_handle_at(in {place})")
        if found >= 0:
            show("handle", os.read(found, 4096))
    own, number = ctypes.create_string_buffer(256), ctypes.c_int()
    own.raw = (128).to_bytes(4, "little") + bytes(252)
    call("name_to_handle_at", -100, b"/usr\0", own, ctypes.byref(number), 0)
