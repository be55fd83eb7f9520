"""The program of keepers and janitors, in a sealed memfd: nothing on disk to replace, nothing of ours to write
(CVE-2019-5736). And the head of what is sent to one."""

from __future__ import annotations

import os
import struct

from pyjail._base.fds import SEALS, Fd, memfd

pack_head = struct.Struct("<5I").pack  # struct pj_message: op, number, flags, mode, length
loaded = Fd()


def program() -> Fd:
    """Executable. Who closes fds that are not his has others at our number: what is there now is executed only if it
    is still ours."""
    global loaded
    elf = loaded
    if not elf.ours:
        elf = loaded = _load()
    return elf


def _load() -> Fd:
    path = os.path.join(os.path.dirname(__file__), "keeper")
    try:
        with open(path, "rb") as f:
            elf = memfd("pyjail-keeper", f.read(), seal=True, execute=True)
        elf.remember(SEALS)
    except PermissionError:  # vm.memfd_noexec=2: then the file itself, which no program can reach to write
        elf = Fd(os.open, path, os.O_RDONLY | os.O_CLOEXEC)
        elf.remember()
    return elf
