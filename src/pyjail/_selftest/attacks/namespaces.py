"""Namespaces of its own or of others: the surface that most local privilege escalations needed."""

from __future__ import annotations

import ctypes
import os
import signal

from pyjail._selftest.attacks.toolkit import REFUSED, Scene, attack, call, note, quietly

FLAGS = {
    "user": 0x10000000, "mnt": 0x20000, "pid": 0x20000000, "net": 0x40000000, "ipc": 0x8000000, "uts": 0x4000000,
    "cgroup": 0x2000000, "time": 0x80,
}  # fmt: skip


def _declare(namespace: str, flag: int) -> None:
    @attack(
        f"makes a {namespace} namespace by unshare, clone and clone3",
        "CVE-2022-0185, CVE-2023-32233, CVE-2024-1086",
        errnos=REFUSED,
        name=f"new_{namespace}",
    )
    def attempt(scene: Scene) -> None:
        del scene
        if flag != FLAGS["time"]:  # for clone this bit is part of the signal
            child = quietly("clone", flag | signal.SIGCHLD, 0, 0, 0, 0)
            if child == 0:
                quietly("exit", 0)
            note("clone", child, -child)
        for more in (0, FLAGS["user"]):
            args = (ctypes.c_uint64 * 11)(flag | more, 0, 0, 0, signal.SIGCHLD)
            child = quietly("clone3", args, 88)
            if child == 0:
                quietly("exit", 0)
            note("clone3", child, -child)
        call("unshare", flag)
        call("unshare", flag | 0xF << 32, label="unshare with high bits")
        call("unshare", flag | FLAGS["user"], label="unshare with a user namespace")


for _namespace, _flag in FLAGS.items():
    _declare(_namespace, _flag)


@attack("becomes root in a user namespace of its own and mounts", "CVE-2021-3493, CVE-2023-0386", errnos=REFUSED)
def root_in_a_user_namespace(scene: Scene) -> None:
    del scene
    uid = os.getuid()
    if call("unshare", FLAGS["user"] | FLAGS["mnt"]) >= 0:
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1")):
            try:
                with open(f"/proc/self/{name}", "w") as f:
                    f.write(text)
            except OSError:
                continue
        call("mount", b"none\0", b"/tmp\0", b"tmpfs\0", 0, None)


@attack("enters namespaces of init, of the host and its own", "CVE-2016-9962, CVE-2022-31214: joining", errnos=REFUSED)
def join(scene: Scene) -> None:
    for pid in ("self", 1, scene["pid"], scene["embedder"]):
        for name in ("user", "mnt", "pid", "net"):
            try:
                fd = os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY)
            except OSError:
                continue
            call("setns", fd, 0, label=f"setns({pid}/{name})")
    call("setns", -1, 0, label="setns(no descriptor)")
    call("setns", quietly("pidfd_open", 1, 0), FLAGS["mnt"] | FLAGS["user"], label="setns(pidfd of init)")


@attack("starts a process in a cgroup of its choice", "clone3(CLONE_INTO_CGROUP)", errnos=REFUSED)
def into_cgroup(scene: Scene) -> None:
    del scene
    args = (ctypes.c_uint64 * 11)(1 << 33, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, 0)
    child = quietly("clone3", args, 88)
    if child == 0:
        quietly("exit", 0)
    note("clone3(CLONE_INTO_CGROUP)", child, -child)
