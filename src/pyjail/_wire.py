"""Plan -> bytes, bytes -> facts. The only place that knows offsets; the layout itself is csrc/plan.h, read by cffi."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from operator import sub

from pyjail._elf import pack_head
from pyjail._native import ffi, lib
from pyjail._plan import Request, RunLimits, Template, search
from pyjail._records import NamedTuple, once
from pyjail._texts import BASE, damaged, parse_texts, records
from pyjail.policy.ids import KEEPER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NONE = lib.PJ_NONE
U64 = 2**64 - 1
_KINDS = {"bind": lib.MOUNT_BIND, "fs": lib.MOUNT_FS, "dir": lib.MOUNT_DIR, "file": lib.MOUNT_FILE,
          "link": lib.MOUNT_LINK, "pipe": lib.MOUNT_PIPE, "rebind": lib.MOUNT_REBIND}  # fmt: skip
_RDONLY, _NOSUID, _NODEV, _NOEXEC = 1, 2, 4, 8  # MOUNT_ATTR_*
ROOMY = 64 << 20  # execve takes at most 6 MiB of arguments
_WHENS = {"set": lib.CGROUP_SET, "read": lib.CGROUP_READ, "watch": lib.CGROUP_WATCH, "clock": lib.CGROUP_CLOCK}
STEPS: dict[int, str] = {
    number: name.removeprefix("STEP_").lower()
    for number, name in ffi.typeof("enum pj_step").elements.items()
    if name not in ("STEP_NONE", "STEP_COUNT")
}
TRIPS = {n: name.removeprefix("TRIP_").lower() for n, name in ffi.typeof("enum pj_trip").elements.items()}
_STDIO = {"null": lib.STDIO_NULL, "captured": lib.STDIO_PIPE, "fd": lib.STDIO_FD, "stdout": lib.STDIO_STDOUT}


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


def pack_template(t: Template) -> bytes:
    """The plan of one keeper."""
    blob = Blob("pj_plan", lib.PJ_PLAN_MAGIC)
    head = blob.head
    jail = t.jail
    head.flags = (
        (lib.PLAN_KEYRING if t.keys else 0)
        | (lib.PLAN_SPLICE if t.filter.splice else 0)
        | (lib.PLAN_IPC_TOLD if t.filter.ipc_told else 0)
        | (lib.PLAN_IPC_KEPT if t.filter.ipc_kept else 0)
        | (lib.PLAN_SAME if jail.deterministic else 0)
        | (lib.PLAN_CLOCKS if t.clocks else 0)
    )
    head.unshare_first, head.unshare_second, head.run_unshare = t.unshare_first, t.unshare_second, t.run_unshare
    head.uid, head.gid = jail.uid, jail.gid
    head.keeper_uid = KEEPER if t.own_ids else jail.uid
    head.keeper_gid = KEEPER if t.own_ids else jail.gid
    head.hostname = blob.text(jail.hostname)
    head.cgroups = len(t.cgroups.used)
    head.into = NONE if t.cgroups.into is None else t.cgroups.into
    from pyjail._plan import PROC_OPTIONS

    head.proc = _filesystem(
        blob, "proc", "proc" if jail.proc else "", PROC_OPTIONS, _RDONLY | _NOSUID | _NODEV | _NOEXEC
    )
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


def _filesystem(
    blob: Blob, kind: str, target: str, options: Iterable[tuple[str, str]], attr: int, flags: int = 0
) -> dict[str, int]:
    """A MOUNT_FS row; ``target`` is below the root, without a leading slash."""
    raw = b"".join(part.encode() + b"\0" for pair in options for part in pair)
    refs = {"source": blob.text(kind), "target": blob.text(target), "data": blob.data(raw)}
    return {"kind": lib.MOUNT_FS, "flags": flags, "attr": attr, **refs, "data_len": len(raw)}


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
            "most": U64 if row.most is None else row.most,
            "renew": NONE if row.renew is None else blob.text(row.renew),
            "base": row.counts_up,
        }
        for row in r.cgroup
    ]
    memory = r.limits.memory
    blob.head.flags = lib.LIMITS_ROOMY if memory is None or int(memory) >= ROOMY else 0
    blob.head.read_only = NONE if r.read_only is None else blob.text(r.read_only.lstrip("/"))
    tmpfs = [
        _filesystem(
            blob, "tmpfs", t.target.lstrip("/"), t.options, _NOSUID | _NODEV, lib.MOUNT_IS_BOX if t.is_box else 0
        )
        for t in r.tmpfs
    ]
    rlimits = [{"resource": row.resource, "pad": 0, "soft": row.soft, "hard": row.hard} for row in r.rlimits]
    blob.rows("cgroup", "pj_cgroup_row", cgroup)
    blob.rows("tmpfs", "pj_mount", tmpfs)
    blob.rows("rlimits", "pj_rlimit", rlimits)
    raw = blob.pack()
    return raw + bytes(-len(raw) % 8)


def _layout(kind: str, since: str = "", until: str = "") -> struct.Struct:
    """The struct module's format of a C struct of u32, i32, u64 and tables, or of a part of it: for the path of every
    run, where cffi's attribute access would be most of the cost. Padding is explicit in plan.h."""
    codes = {"uint32_t": "I", "int32_t": "i", "uint64_t": "Q", "struct pj_table": "II"}

    def code(ctype: Any) -> str:
        if ctype.kind == "array":
            return code(ctype.item) * int(ctype.length)
        if ctype.kind == "struct" and ctype.cname not in codes:
            return "".join(code(field.type) for _, field in ctype.fields)
        return codes[ctype.cname]

    name = f"struct {kind}"
    fields = ffi.typeof(name).fields
    names = [field for field, _ in fields]
    first, last = names.index(since) if since else 0, names.index(until) if until else len(names)
    found = struct.Struct("<" + "".join(code(field.type) for _, field in fields[first:last]))
    size = (ffi.offsetof(name, until) if until else ffi.sizeof(name)) - (ffi.offsetof(name, since) if since else 0)
    assert found.size == size, f"{name} has hidden padding"
    return found


_REQUEST, _REPLY = _layout("pj_request"), _layout("pj_reply")
_FACTS, _MORE = _layout("pj_facts", until="used"), _layout("pj_facts", since="used", until="space")
_SPACE = struct.Struct("<15Q")  # struct statfs
_SPACE_AT = _FACTS.size + _MORE.size
_FACTS_SIZE = ffi.sizeof("struct pj_facts")


def pack_request(r: RunLimits, c: Request) -> bytes:
    """The second part of a request: what to run. The tables come first, then the strings that they refer to."""
    limits = r.limits
    env = c.env.packed
    argv = c.args
    path = search(argv[0], c.env)
    strings = [c.cwd.encode("utf-8", "surrogateescape"), *argv, *env, *path]
    counts = (len(argv), len(env), len(path))
    at = _REQUEST.size + 8 * (sum(counts) + 3)  # a 0 ends each
    refs = []
    for s in strings:
        refs.append(at)
        at += len(s) + 1
    table, tables, packed = _REQUEST.size, [], []
    first = 1
    for count in counts:
        tables += [table, count]
        packed += refs[first : first + count]
        packed.append(0)
        table, first = table + 8 * count + 8, first + count
    head = _REQUEST.pack(
        lib.PJ_REQUEST_MAGIC,
        lib.PJ_VERSION,
        at,
        (lib.REQUEST_REARM if c.rearm else 0)
        | (lib.REQUEST_HOLD if c.hold else 0)
        | (lib.REQUEST_CTTY if c.terminal else 0),
        0 if limits.cpu_time is None else max(1, int(limits.cpu_time * 1e9)),
        0 if limits.wall_time is None else max(1, int(limits.wall_time * 1e9)),
        U64 if c.output is None else c.output,
        r.busy,
        refs[0],
        *[_STDIO[stream] for stream in c.stdio],
        0,
        *tables,
    )
    return head + struct.pack(f"<{len(packed)}Q", *packed) + b"\0".join(strings) + b"\0"


def pack_message(op: int, flags: int = 0, mode: int = 0, length: int = 0, number: int = 0) -> bytes:
    """One `struct pj_message`."""
    return pack_head(op, number, flags, mode, length)


class Failure(NamedTuple):
    """A step that failed: names from the one enum, the row's index or None."""

    step: str
    index: int | None  # type: ignore[assignment]  # a tuple's method of that name is not missed
    errno: int


def parse_reply(raw: bytes) -> tuple[int, Failure | None]:
    """(kind, failure or None) of any message from the keeper."""
    if len(raw) < _REPLY.size:
        raise damaged(f"{len(raw)} bytes")
    kind, _, step, index, err = _REPLY.unpack_from(raw)
    return kind, _failure(step, index, err) if step else None


def _failure(step: int, index: int, err: int) -> Failure:
    if step not in STEPS:
        raise damaged(f"step {step}")
    return Failure(STEPS[step], None if index == NONE else index, err)


def number_of(raw: bytes) -> int:
    """Of the message that this one answers."""
    return int.from_bytes(raw[4:8], "little")


def unanswered(number: int, err: int) -> bytes:
    """What stands for an answer whose fd has found no room here."""
    return _REPLY.pack(lib.REPLY_OK, number, lib.STEP_OPEN, NONE, err)


class Prepared(NamedTuple):
    """What a keeper read back of its template when it was ready."""

    user_namespaces: int  # 0, or the errno of forbidding more of them
    namespaces: tuple[str, ...]  # that it shares with its runs
    capabilities: dict[str, str]  # the keeper's, as in /proc/self/status; a run's bounding and ambient sets are these
    mountinfo: bytes  # of its mount namespace; empty where there is no /proc


def parse_ready(raw: bytes, mountinfo: bytes) -> Prepared:
    """REPLY_READY without a failure has the errno of the one step that may be refused."""
    texts = parse_texts(raw[_REPLY.size :])
    return Prepared(_REPLY.unpack_from(raw)[4], texts.namespaces, texts.capabilities, mountinfo)


class Facts:
    """Raw kernel numbers of a finished run; without a report, of one that had no program. Texts are what the kernel's
    files said, by row."""

    failure: Failure | None = None
    status: int | None = None
    executed = False
    trip = "none"
    was_armed = False
    plain = False  # all of the leaf's files could be read, and none that counts what went wrong has a count
    left = False  # a process could not be killed
    syscall = 0
    arch = 0
    reads_at = 0  # where the first of `reads` is
    requested = started = ended = reported = 0
    exec_cpu = 0
    cpu: int | None = None  # ns on the leaf's clock
    out_total: tuple[int, int] = (0, 0)
    out_kept: tuple[int, int] = (0, 0)
    tmpfs_count = 0
    raw = b""

    @once
    def _more(self) -> tuple[int, ...]:
        return _MORE.unpack_from(self.raw, _FACTS.size) if self.raw else (0,) * 37

    @property
    def rusage(self) -> tuple[int, ...]:
        """user µs, system µs, page faults minor, major, switches voluntary, involuntary."""
        now, before = self._more[:18], self._more[18:36]
        user, more, system, rest, *_, minor, major, _, _, _, _, _, _, voluntary, involuntary = map(sub, now, before)
        return user * 1_000_000 + more, system * 1_000_000 + rest, minor, major, voluntary, involuntary

    @property
    def image(self) -> int:
        """bytes of the program's segments."""
        return self._more[36]

    @property
    def tmpfs(self) -> tuple[tuple[int, int, int, int], ...]:
        """(bytes, bytes free, inodes, inodes free) of each."""
        spaces = [_SPACE.unpack_from(self.raw, _SPACE_AT + i * _SPACE.size) for i in range(self.tmpfs_count)]
        return tuple([(s[2] * s[1], s[4] * s[1], s[5], s[6]) for s in spaces])

    @property
    def texts(self) -> bytes:
        """All records, for `parse_texts`."""
        return self.raw[_FACTS_SIZE:]

    @once
    def reads(self) -> dict[int, str]:
        """CGROUP_READ, watch and clock rows, by index."""
        found = records(self.texts, self.reads_at)
        return {row: data.decode("latin-1") for _, row, failed, data in found if not failed}

    @once
    def before(self) -> dict[int, str]:
        """Those that only count up: what they said before this run."""
        found = {}
        for kind, row, _, data in records(self.texts):
            if kind != BASE:
                break
            found[row] = data.decode("latin-1")
        return found


def not_started(failure: Failure) -> Facts:
    """The facts of a run that failed before there was a program."""
    facts = Facts()
    facts.failure = failure
    return facts


def parse_report(raw: bytes) -> Facts:
    """A REPLY_REPORT message. What no verdict rests on is unpacked when somebody looks at it."""
    facts = Facts()
    facts.raw = raw
    if len(raw) < _FACTS_SIZE:
        raise damaged(f"a report of {len(raw)} bytes")
    (
        _, _, step, index, err, status, executing, trip, armed, text_len, facts.tmpfs_count, left, facts.syscall,
        facts.arch, facts.reads_at, plain, facts.requested, facts.started, facts.ended, facts.reported,
        facts.exec_cpu, cpu, out, more, kept, more_kept,
    ) = _FACTS.unpack_from(raw)  # fmt: skip
    if len(raw) != _FACTS_SIZE + text_len:
        raise damaged(f"a report of {len(raw)} bytes where {_FACTS_SIZE + text_len} were due")
    # The one check: whatever is looked at later is there. (`records` checks each record as it comes to it.)
    if trip not in TRIPS or facts.tmpfs_count > lib.PJ_MAX_TMPFS or facts.reads_at > text_len:
        raise damaged(f"trip {trip}, {facts.tmpfs_count} tmpfs, texts at {facts.reads_at} of {text_len}")
    if kept > out or more_kept > more:
        raise damaged(f"{kept} and {more_kept} bytes kept of {out} and {more}")
    if step:
        facts.failure = _failure(step, index, err)
    if facts.ended:
        facts.status = status
    facts.executed = executing != 0
    facts.trip = TRIPS[trip]
    facts.was_armed = armed != 0
    facts.plain = plain != 0
    facts.left = left != 0
    if cpu != U64:
        facts.cpu = cpu
    facts.out_total, facts.out_kept = (out, more), (kept, more_kept)
    return facts
