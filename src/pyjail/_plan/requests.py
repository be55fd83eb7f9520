"""What is to be run, and under which limits, as the keeper reads it: packed while a new one is busy."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from pyjail._core.native import lib

from pyjail._plan.compile import Request, RunLimits
from pyjail._plan.wire import (
    MOUNT,
    NONE,
    U64,
    Blob,
    filesystem,
)

ROOMY = 64 << 20  # execve takes at most 6 MiB of arguments
_WHENS = {"set": lib.CGROUP_SET, "read": lib.CGROUP_READ, "watch": lib.CGROUP_WATCH, "clock": lib.CGROUP_CLOCK,
          "stop": lib.CGROUP_STOP, "count": lib.CGROUP_COUNT}  # fmt: skip
_STDIO = {"null": lib.STDIO_NULL, "captured": lib.STDIO_PIPE, "fd": lib.STDIO_FD, "stdout": lib.STDIO_STDOUT}
# struct pj_request, pj_cgroup_row, pj_rlimit
REQUEST, CGROUP_ROW, RLIMIT = struct.Struct("<4I3Q12I"), struct.Struct("<4IQ2I"), struct.Struct("<2I2Q")


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
        (
            row.hierarchy,
            blob.text(row.file),
            NONE if row.value is None else blob.text(row.value),
            _WHENS[row.when],
            U64 if row.most is None else row.most,
            NONE if row.renew is None else blob.text(row.renew),
            row.counts_up,
        )
        for row in r.cgroup
    ]
    memory = r.limits.memory
    blob.head.flags = lib.LIMITS_ROOMY if memory is None or int(memory) >= ROOMY else 0
    blob.head.read_only = NONE if r.read_only is None else blob.text(r.read_only.lstrip("/"))
    tmpfs = [
        filesystem(blob, "tmpfs", t.target.lstrip("/"), t.options, t.attr, lib.MOUNT_IS_BOX if t.is_box else 0)
        for t in r.tmpfs
    ]
    rlimits = [(row.resource, 0, row.soft, row.hard) for row in r.rlimits]
    blob.rows("cgroup", CGROUP_ROW, cgroup)
    blob.rows("tmpfs", MOUNT, tmpfs)
    blob.rows("rlimits", RLIMIT, rlimits)
    raw = blob.pack()
    return raw + bytes(-len(raw) % 8)


def search(program: bytes, env: Mapping[str, str]) -> list[bytes]:
    """What execve is tried with: the name itself when it has a slash, else each directory of the jail's PATH."""
    if b"/" in program:
        return [program]
    path = env.get("PATH", "/usr/local/bin:/usr/bin:/bin").encode("utf-8", "surrogateescape")
    return [(d or b".") + b"/" + program for d in path.split(b":")]


def pack_request(r: RunLimits, c: Request) -> bytes:
    """The second part of a request: what to run. The tables come first, then the strings that they refer to."""
    limits = r.limits
    env = c.env.packed
    argv = c.args
    path = search(argv[0], c.env)
    strings = [c.cwd.encode("utf-8", "surrogateescape"), *argv, *env, *path]
    counts = (len(argv), len(env), len(path))
    at = REQUEST.size + 8 * (sum(counts) + 3)  # a 0 ends each
    refs = []
    for s in strings:
        refs.append(at)
        at += len(s) + 1
    table, tables, packed = REQUEST.size, [], []
    first = 1
    for count in counts:
        tables += [table, count]
        packed += refs[first : first + count]
        packed.append(0)
        table, first = table + 8 * count + 8, first + count
    head = REQUEST.pack(
        lib.PJ_REQUEST_MAGIC,
        lib.PJ_VERSION,
        at,
        (lib.REQUEST_REARM if c.rearm else 0)
        | (lib.REQUEST_HOLD if c.hold else 0)
        | (lib.REQUEST_CTTY if c.terminal else 0)
        | (lib.REQUEST_KEEP if c.keep else 0),
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
