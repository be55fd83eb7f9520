"""Plan -> bytes, bytes -> facts. The only place that knows offsets; the layout itself is csrc/plan.h, read by cffi."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pyjail._native import ffi, lib
from pyjail._plan import Command, RunLimits, Template, search
from pyjail.policy.ids import KEEPER

NONE = lib.PJ_NONE
U64 = 2**64 - 1
_KINDS = {"bind": lib.MOUNT_BIND, "fs": lib.MOUNT_FS, "dir": lib.MOUNT_DIR, "file": lib.MOUNT_FILE,
          "link": lib.MOUNT_LINK, "rebind": lib.MOUNT_REBIND}  # fmt: skip
_WHENS = {"set": lib.CGROUP_SET, "read": lib.CGROUP_READ, "watch": lib.CGROUP_WATCH, "clock": lib.CGROUP_CLOCK,
          "kill": lib.CGROUP_KILL}  # fmt: skip
STEPS: dict[int, str] = {
    number: name.removeprefix("STEP_").lower()
    for number, name in ffi.typeof("enum pj_step").elements.items()
    if name not in ("STEP_NONE", "STEP_COUNT")
}
STATE_EXEC = lib.STATE_EXEC
TRIPS = {n: name.removeprefix("TRIP_").lower() for n, name in ffi.typeof("enum pj_trip").elements.items()}
STDIO_NULL, STDIO_PIPE, STDIO_FD, STDIO_STDOUT = lib.STDIO_NULL, lib.STDIO_PIPE, lib.STDIO_FD, lib.STDIO_STDOUT


class Blob:
    """A header struct, then tables and strings; the last byte is NUL."""

    def __init__(self, kind: str, magic: int) -> None:
        self.head = ffi.new(f"struct {kind} *")
        self.head.magic, self.head.version = magic, lib.PJ_VERSION
        self.tail = bytearray()
        self.base = ffi.sizeof(f"struct {kind}")
        self.refs: dict[bytes, int] = {}

    def data(self, value: bytes) -> int:
        """The offset of ``value``, NUL added."""
        ref = self.refs.get(value)
        if ref is None:
            ref = self.refs[value] = self.base + len(self.tail)
            self.tail += value
            self.tail.append(0)
        return ref

    def text(self, value: str) -> int:
        return self.data(value.encode("utf-8", "surrogateescape"))

    def table(self, field: str, raw: bytes, count: int) -> None:
        """Put a packed table in and point the header's field at it."""
        self.tail += bytes(-(self.base + len(self.tail)) % 8)
        table = getattr(self.head, field)
        table.off, table.count = self.base + len(self.tail), count
        self.tail += raw

    def rows(self, field: str, kind: str, rows: Iterable[dict[str, int]]) -> None:
        table = ffi.new(f"struct {kind}[]", list(rows))
        self.table(field, bytes(ffi.buffer(table)), len(table))

    def pack(self) -> bytes:
        self.tail.append(0)
        self.head.size = self.base + len(self.tail)
        return bytes(ffi.buffer(self.head)) + bytes(self.tail)


def pack_template(t: Template, own_ids: bool) -> bytes:
    """The plan of one keeper."""
    blob = Blob("pj_plan", lib.PJ_PLAN_MAGIC)
    head = blob.head
    jail = t.jail
    head.flags = (
        (lib.PLAN_DROP_GROUPS | lib.PLAN_SET_IDS if own_ids else 0)
        | (lib.PLAN_NET_LO if jail.network == "loopback" else 0)
        | (lib.PLAN_PROC if jail.proc else 0)
        | (lib.PLAN_NOTIFY if t.filter.notify else 0)
    )
    head.unshare_first, head.unshare_second, head.run_clone = t.unshare_first, t.unshare_second, t.run_clone
    head.uid, head.gid = jail.uid, jail.gid
    head.keeper_uid = KEEPER if own_ids else jail.uid
    head.keeper_gid = KEEPER if own_ids else jail.gid
    head.hostname = blob.text(jail.hostname)
    head.cgroups = len(t.cgroups.used)
    head.into = NONE if t.cgroups.into is None else t.cgroups.into
    from pyjail._plan import PROC_OPTIONS

    head.proc_options, head.proc_options_len = _options(blob, PROC_OPTIONS)
    head.landlock_fs, head.landlock_net, head.landlock_scoped = t.landlock.fs, t.landlock.net, t.landlock.scoped
    for field, rows in (("mounts", t.mounts), ("run_mounts", t.run_mounts)):
        packed = [
            {
                "kind": _KINDS[row.kind],
                "flags": (lib.MOUNT_IS_DIR if row.is_dir else 0) | (lib.MOUNT_IS_BOX if row.is_box else 0),
                "attr": row.attr,
                "source": blob.text(row.source),
                "target": blob.text(row.target),
                "data": blob.data(row.data),
                "data_len": len(row.data),
            }
            for row in rows
        ]
        blob.rows(field, "pj_mount", packed)
    rules = [{"path": blob.text(r.path), "pad": 0, "access": r.access} for r in t.landlock.rules]
    blob.rows("landlock", "pj_landlock_rule", rules)
    blob.table("seccomp", t.filter.program, len(t.filter.program) // 8)
    return blob.pack()


def _options(blob: Blob, options: Iterable[tuple[str, str]]) -> tuple[int, int]:
    raw = b"".join(part.encode() + b"\0" for pair in options for part in pair)
    return blob.data(raw), len(raw)


def pack_limits(r: RunLimits) -> bytes:
    """The first part of a request, padded to 8 bytes."""
    blob = Blob("pj_limits", lib.PJ_LIMITS_MAGIC)
    if r.affinity:
        mask = sum(1 << cpu for cpu in r.affinity)
        raw = mask.to_bytes(-(-(max(r.affinity) + 1) // 64) * 8, "little")
        blob.tail += bytes(-(blob.base + len(blob.tail)) % 8)
        blob.head.affinity, blob.head.affinity_len = blob.data(raw), len(raw)
    else:
        blob.head.affinity = blob.data(b"")
    cgroup = [
        {
            "hierarchy": row.hierarchy,
            "file": blob.text(row.file),
            "value": NONE if row.value is None else blob.text(row.value),
            "when": _WHENS[row.when],
        }
        for row in r.cgroup
    ]
    tmpfs = []
    for t in r.tmpfs:
        data, data_len = _options(blob, t.options)
        flags = lib.MOUNT_IS_BOX if t.is_box else 0
        # paths below the root that init holds: no leading slash
        target = blob.text(t.target.lstrip("/"))
        tmpfs.append({"target": target, "flags": flags, "attr": 2 | 4, "data": data, "data_len": data_len})
    rlimits = [{"resource": row.resource, "pad": 0, "soft": row.soft, "hard": row.hard} for row in r.rlimits]
    blob.rows("cgroup", "pj_cgroup_row", cgroup)
    blob.rows("tmpfs", "pj_tmpfs", tmpfs)
    blob.rows("rlimits", "pj_rlimit", rlimits)
    raw = blob.pack()
    return raw + bytes(-len(raw) % 8)


def pack_request(r: RunLimits, c: Command) -> bytes:
    """The second part of a request: what to run."""
    blob = Blob("pj_request", lib.PJ_REQUEST_MAGIC)
    head = blob.head
    limits = r.limits
    head.flags = (lib.REQUEST_REARM if c.rearm else 0) | (lib.REQUEST_HOLD if c.hold else 0)
    head.cpu_ns = 0 if limits.cpu_time is None else max(1, int(limits.cpu_time * 1e9))
    head.wall_ns = 0 if limits.wall_time is None else max(1, int(limits.wall_time * 1e9))
    head.output = U64 if c.output is None else c.output
    head.cpus = r.busy
    head.cwd = blob.text(c.cwd)
    head.stdio = list(c.stdio)
    data = blob.data
    lists = (
        ("argv", [data(a) for a in c.args]),
        ("env", [blob.text(f"{k}={v}") for k, v in c.env.items()]),
        ("path", [data(p) for p in search(c.args[0], c.env)]),
    )
    for field, refs in lists:
        blob.table(field, struct.pack(f"<{len(refs)}I", *refs), len(refs))
    return blob.pack()


def pack_message(op: int, flags: int = 0, mode: int = 0, length: int = 0) -> bytes:
    """One `struct pj_message`."""
    return struct.pack("<4I", op, flags, mode, length)


@dataclass(frozen=True)
class Failure:
    """A step that failed: names from the one enum, the row's index or None."""

    step: str
    index: int | None
    errno: int


def parse_reply(raw: bytes) -> tuple[int, Failure | None]:
    """(kind, failure or None) of any message from the keeper."""
    kind, step, index, err = struct.unpack_from("<3Ii", raw)
    if not step:
        return kind, None
    return kind, Failure(STEPS.get(step, f"step {step}"), None if index == NONE else index, err)


@dataclass(frozen=True)
class Facts:
    """Raw kernel numbers of a finished run. Texts are what the kernel's files said, by row."""

    failure: Failure | None
    status: int | None
    executed: bool
    trip: str
    was_armed: bool
    syscall: int
    arch: int
    requested: int
    started: int
    ended: int
    reported: int
    exec_cpu: int
    out_total: tuple[int, int]
    out_kept: tuple[int, int]
    rusage: tuple[int, int, int, int, int, int]  # user µs, system µs, minor, major, voluntary, involuntary
    image: int
    tmpfs: tuple[tuple[int, int, int, int], ...]  # bytes, bytes free, inodes, inodes free
    set_values: dict[int, str]
    reads: dict[int, str]
    proc_status: str
    rlimits: dict[int, tuple[int, int]]
    namespaces: tuple[str, ...]


_TEXT = struct.Struct("<IIiI")


def parse_report(raw: bytes) -> Facts:
    """A REPLY_REPORT message."""
    f: Any = ffi.from_buffer("struct pj_facts *", raw)
    at = ffi.sizeof("struct pj_facts")
    end = at + f.text_len
    set_values: dict[int, str] = {}
    reads: dict[int, str] = {}
    rlimits: dict[int, tuple[int, int]] = {}
    namespaces: list[str] = []
    status = ""
    while at < end:
        kind, index, err, length = _TEXT.unpack_from(raw, at)
        at += _TEXT.size
        data = raw[at : at + length]
        at += -(-length // 8) * 8
        if kind == lib.TEXT_READ:
            if not err:
                reads[index] = data.decode("ascii", "replace")
        elif kind == lib.TEXT_SET:
            set_values[index] = (
                data.decode("ascii", "replace").strip() if not err else f"unreadable: {os.strerror(err)}"
            )
        elif kind == lib.TEXT_STATUS:
            status = data.decode("ascii", "replace")
        elif kind == lib.TEXT_RLIMIT:
            rlimits[index] = struct.unpack("<QQ", data)
        elif kind == lib.TEXT_NS:
            namespaces.append(data.decode("ascii", "replace"))
    return Facts(
        failure=parse_reply(raw)[1],
        status=None if f.init_lost else f.status,
        executed=f.state == lib.STATE_EXEC,
        trip=TRIPS[f.trip],
        was_armed=bool(f.was_armed),
        syscall=f.syscall,
        arch=f.arch,
        requested=f.requested,
        started=f.started,
        ended=f.ended,
        reported=f.reported,
        exec_cpu=f.exec_cpu,
        out_total=(f.out_total[0], f.out_total[1]),
        out_kept=(f.out_kept[0], f.out_kept[1]),
        rusage=(f.user_us, f.system_us, f.page_faults, f.major_faults, f.voluntary, f.involuntary),
        image=f.image,
        tmpfs=tuple(
            (f.tmpfs_size[i], f.tmpfs_free[i], f.tmpfs_inodes[i], f.tmpfs_inodes_free[i]) for i in range(f.tmpfs_count)
        ),
        set_values=set_values,
        reads=reads,
        proc_status=status,
        rlimits=rlimits,
        namespaces=tuple(namespaces),
    )
