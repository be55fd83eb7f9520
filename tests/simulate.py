"""The kernel's side of a filter: what a program of classic BPF says of a call."""

from __future__ import annotations

import struct

from pyjail._policy.bpf import (
    AND,
    JA,
    JEQ,
    JGE,
    JSET,
    LD,
    LDM,
    LDX,
    OR,
    RETA,
    STX,
    TAX,
    XOR,
)


def simulate(program: bytes, arch: int, nr: int, args: tuple[int, ...] = ()) -> tuple[int, int]:
    """Run a filter without a kernel: (action, instructions executed)."""
    data = struct.pack("<iIQ6Q", nr if nr < 1 << 31 else nr - (1 << 32), arch, 0, *(*args, *(0,) * (6 - len(args))))
    code = list(struct.iter_unpack("<HBBI", program))
    acc = x = pc = cost = memory = 0
    while True:
        op, jt, jf, k = code[pc]
        pc, cost = pc + 1, cost + 1
        if op == LD:
            acc = int.from_bytes(data[k : k + 4], "little")
        elif op == AND:
            acc &= k
        elif op == JEQ:
            pc += jt if acc == k else jf
        elif op == JGE:
            pc += jt if acc >= k else jf
        elif op == JSET:
            pc += jt if acc & k else jf
        elif op == JA:
            pc += k
        elif op == LDX:
            x = k
        elif op == STX:
            memory = x
        elif op == LDM:
            acc = memory
        elif op == TAX:
            x = acc
        elif op == OR:
            acc |= x
        elif op == XOR:
            acc ^= k
        else:
            return acc if op == RETA else k, cost
