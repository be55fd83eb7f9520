"""The text area of the keeper's messages: what the kernel's files said, and what only a receipt needs of it."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator

from pyjail._core.native import lib

from pyjail._base.records import NamedTuple
from pyjail._plan.wire import damaged

_TEXT, _TWO = struct.Struct("<IIiI"), struct.Struct("<QQ")


class Status(NamedTuple):
    """What the kernel said of the program's process when all was set."""

    uids: tuple[int, ...]  # real, effective, saved
    gids: tuple[int, ...]
    inheritable: int
    permitted: int
    effective: int
    groups: int  # how many supplementary ones
    no_new_privs: int
    seccomp: int  # mode
    pid: int


_STATUS_LAYOUT = struct.Struct("<12I4i")  # struct pj_status


def _numbers(layout: struct.Struct, data: bytes) -> tuple[int, ...]:
    if len(data) != layout.size:
        raise damaged(f"{len(data)} bytes of {layout.size}")
    return layout.unpack(data)


def _status(data: bytes) -> Status:
    n = _numbers(_STATUS_LAYOUT, data)
    effective, permitted, inheritable = (n[6 + i] | n[9 + i] << 32 for i in range(3))
    return Status(n[:3], n[3:6], inheritable, permitted, effective, *n[12:])


class Texts:
    """What only a receipt needs of a report's records."""

    def __init__(self) -> None:
        self.set_values: dict[int, str] = {}
        self.status: Status | None = None
        self.capabilities: dict[str, str] = {}
        self.rlimits: dict[int, tuple[int, int]] = {}
        self.namespaces: tuple[str, ...] = ()
        self.personality = -1
        self.hostname = ""
        self.clocks = ""  # offsets of the program's time namespace


def records(texts: bytes, at: int = 0) -> Iterator[tuple[int, int, int, bytes]]:
    """(kind, row, errno, data) of each record from offset ``at`` on."""
    end = len(texts)
    unpack, head = _TEXT.unpack_from, _TEXT.size
    while at < end:
        if at + head > end:
            raise damaged("half a record")
        kind, row, failed, length = unpack(texts, at)
        at += head
        if length > end - at:
            raise damaged(f"a record of {length} bytes in {end - at}")
        yield kind, row, failed, texts[at : at + length]
        at += -(-length // 8) * 8


def parse_texts(texts: bytes) -> Texts:
    """The records of a report that are not `Facts.reads`."""
    found = Texts()
    for kind, row, failed, data in records(texts):
        if kind == _SET:
            found.set_values[row] = f"unreadable: {os.strerror(failed)}" if failed else data.decode("latin-1").strip()
        elif kind == _RLIMIT:
            soft, hard = _numbers(_TWO, data)
            found.rlimits[row] = soft, hard
        elif kind == _NS:
            found.namespaces += (data.decode("latin-1"),)
        elif kind == _SAME:
            found.personality, found.hostname = row, data.decode("utf-8", "surrogateescape")
        elif kind == _CLOCKS:
            found.clocks = data.decode("latin-1")
        elif kind == _STATUS:
            found.status = _status(data)
        elif kind == _CAPS:
            lines = data.decode("latin-1").splitlines()
            found.capabilities = {k: v.strip() for k, _, v in (line.partition(":") for line in lines) if k[:3] == "Cap"}
    return found


BASE = lib.TEXT_BASE
_SET, _RLIMIT, _NS, _STATUS = lib.TEXT_SET, lib.TEXT_RLIMIT, lib.TEXT_NS, lib.TEXT_STATUS
_SAME, _CLOCKS, _CAPS = lib.TEXT_SAME, lib.TEXT_CLOCKS, lib.TEXT_CAPS
