"""What a policy's filter says to a call, without a kernel; some calls and arguments to ask it about."""

from __future__ import annotations

from pyjail._policy import bpf, seccomp
from tests.examples import st
from tests.simulate import simulate

MACHINE = "x86_64"
ARCH = bpf.AUDIT_ARCH[MACHINE]


def act(policy, name, *args, inet=True):
    f = seccomp.compile_policy(policy, MACHINE, inet)
    found = seccomp.describe(simulate(f.program, ARCH, seccomp.number(MACHINE, name), args)[0])
    return "allow" if found == "kill" and f.ipc_told and name in seccomp.IPC_MAKERS else found


NAMES = ("socket", "ioctl", "ptrace", "clone", "personality", "mmap", "recvmsg", "openat", "fork", "read", "mq_open")
NUMBERS = st.sampled_from([0, 1, 2, 3, 5, 0x22, 0x5412, 0x40000, 0x10000000, (1 << 32) - 1, 1 << 40, (1 << 64) - 1])
