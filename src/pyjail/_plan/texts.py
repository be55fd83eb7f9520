"""What only a receipt needs of the keeper's messages: loaded when somebody looks at one."""

from __future__ import annotations

import os
import struct

from pyjail._core.native import lib

from pyjail._base.records import NamedTuple
from pyjail._plan.report import records
from pyjail._plan.wire import REPLY, damaged

_TWO = struct.Struct("<QQ")


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


class Prepared(NamedTuple):
    """What a keeper read back of its template when it was ready."""

    user_namespaces: int  # 0, or the errno of forbidding more of them
    namespaces: tuple[str, ...]  # that it shares with its runs
    capabilities: dict[str, str]  # the keeper's, as in /proc/self/status; a run's bounding and ambient sets are these
    mountinfo: bytes  # of its mount namespace; empty where there is no /proc


def parse_ready(raw: bytes, mountinfo: bytes) -> Prepared:
    """REPLY_READY without a failure has the errno of the one step that may be refused."""
    texts = parse_texts(raw[REPLY.size :])
    return Prepared(REPLY.unpack_from(raw)[4], texts.namespaces, texts.capabilities, mountinfo)


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


_SET, _RLIMIT, _NS, _STATUS = lib.TEXT_SET, lib.TEXT_RLIMIT, lib.TEXT_NS, lib.TEXT_STATUS
_SAME, _CLOCKS, _CAPS = lib.TEXT_SAME, lib.TEXT_CLOCKS, lib.TEXT_CAPS
