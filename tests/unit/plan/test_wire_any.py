"""Any jail, limits and command on any host: what is packed passes the keeper's check, and reads back as what was meant."""

from __future__ import annotations

from pyjail._core.native import ffi, lib

from pyjail import (
    HostError,
    Jail,
    Limits,
    Mount,
    SpecError,
)
from pyjail._host import machine
from pyjail._host.machine import Hierarchy
from pyjail._plan import compile, requests, wire
from pyjail._plan.compile import Request
from pyjail._policy import cgroup
from pyjail._spec.jail import Env
from tests.examples import examples, given, st

HOST = machine.host()
LEAF = {
    1: "memory.limit_in_bytes memory.memsw.limit_in_bytes memory.memsw.max_usage_in_bytes memory.oom_control memory.max_usage_in_bytes "
    "memory.usage_in_bytes memory.kmem.tcp.limit_in_bytes pids.max pids.peak pids.events cpu.cfs_quota_us cpu.stat "
    "cpuset.cpus cpuacct.usage",
    2: "memory.oom.group memory.max memory.swap.max memory.peak memory.events memory.current memory.stat pids.max "
    "pids.peak pids.events cpu.max cpuset.cpus cgroup.max.descendants cgroup.max.depth cpu.stat cpu.pressure "
    "memory.pressure io.pressure io.stat io.max",
}
PART = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=12)
PLACE = st.sampled_from(
    ["/box", "/box/in", "/tmp/t", "/dev/shm", "/dev/shm/x", "/usr/share", "/usr/new", "/etc/x", "/a", "/a/b"]
) | (st.lists(PART, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts)))
SOURCE = st.sampled_from(["/usr/bin", "/etc", "/usr/bin/env", "/dev/null", "/usr/share"])
SIZE = st.none() | st.integers(4096, 2**63 - 1) | st.sampled_from([4096, 1 << 20, 256 << 20, 2**62, 2**63 - 1])
SECONDS = st.none() | st.floats(1e-9, 9e9)
ARGUMENT = st.binary(max_size=40).filter(lambda b: b"\0" not in b)


@st.composite
def jails(draw) -> Jail:
    binds = st.builds(Mount.bind, SOURCE, PLACE, st.booleans())
    mounts = draw(st.lists(binds | st.builds(Mount.tmpfs, PLACE, SIZE.filter(bool)), max_size=7))
    return Jail(
        mounts=tuple({m.dst: m for m in mounts}.values()),
        hostname=draw(st.from_regex(r"[a-zA-Z0-9._-]{1,64}", fullmatch=True)),
        uid=draw(st.integers(0, 65532)),
        gid=draw(st.integers(0, 65532)),
        network=draw(st.sampled_from(["none", "loopback"])),
        seccomp=draw(st.sampled_from(["default", "strict", "none"])),
        landlock=draw(st.booleans()),
        proc=draw(st.sampled_from([True, False, "full"])),
        deterministic=draw(st.booleans()),
        strict=draw(st.booleans()),
    )


@st.composite
def limits(draw) -> Limits:
    cpus = st.none() | st.floats(0.01, 64) | st.sets(st.integers(0, 70), min_size=1)
    sizes = {
        n: draw(SIZE) for n in ("memory", "output", "disk", "file_size", "stack", "address_space", "io_rate", "core")
    }
    most = {"processes": 1 << 22, "inodes": 1 << 50, "open_files": 1 << 30}
    counts = {n: draw(st.none() | st.integers(4, top)) for n, top in most.items()}
    times = {n: draw(SECONDS) for n in ("cpu_time", "wall_time")}
    return Limits(**sizes, **counts, **times, cpus=draw(cpus))


@st.composite
def hosts(draw) -> machine.Host:
    trees = []
    if draw(st.booleans()):
        some = draw(st.sets(st.sampled_from(["memory", "pids", "cpu", "io", "cpuset"])))
        trees.append(
            Hierarchy(2, frozenset(some), "/sys/fs/cgroup/unified", draw(st.booleans()), False, "/sys/fs/cgroup")
        )
    for name in draw(st.sets(st.sampled_from(["memory", "pids", "cpu,cpuacct", "cpuset", "blkio"]))):
        where = f"/sys/fs/cgroup/{name}"
        trees.append(Hierarchy(1, frozenset(name.split(",")), where, draw(st.booleans()), False, where))
    every = frozenset(range(draw(st.sampled_from([1, 2, 64, 128]))))
    return HOST._replace(
        hierarchies=tuple(trees),
        landlock_abi=draw(st.integers(0, 8)),
        psi=draw(st.booleans()),
        cpus=frozenset(list(every)[: draw(st.integers(1, len(every)))]),
        online=len(every),
        euid=draw(st.sampled_from([0, 1000])),
        capabilities=draw(st.sampled_from([0, 2**41 - 1, 1 << 7 | 1 << 6])),
        swap=draw(st.booleans()),
    )


class Packed:
    """A blob as the keeper has it."""

    def __init__(self, blob: bytes, kind: str) -> None:
        self.size = len(blob)
        self.buffer = ffi.new("uint64_t[]", -(-len(blob) // 8) + 1)
        ffi.memmove(self.buffer, blob, len(blob))
        self.base = ffi.cast("char *", self.buffer)
        self.head = ffi.cast(f"struct {kind} *", self.buffer)

    def checked(self, check, *more) -> int:
        return check(self.buffer, self.size, *more, ffi.new("uint32_t *"))

    def text(self, ref: int) -> bytes:
        return ffi.string(self.base + ref)

    def data(self, ref: int, length: int) -> bytes:
        return bytes(ffi.buffer(self.base + ref, length))

    def rows(self, table, kind: str) -> list:
        rows = ffi.cast(f"{kind} *", self.base + table.off)
        return [rows[i] for i in range(table.count)]


def packed_options(options) -> bytes:
    return b"".join(part.encode() + b"\0" for pair in options for part in pair)


def reads_back_as_template(t: compile.Template) -> None:
    p = Packed(wire.pack_template(t), "pj_plan")
    assert p.checked(lib.pj_check_plan) == 0
    for rows, table in ((t.mounts, p.head.mounts), (t.run_mounts, p.head.run_mounts)):
        found = [
            (p.text(r.target), p.text(r.source), p.data(r.data, r.data_len), r.attr)
            for r in p.rows(table, "struct pj_mount")
        ]
        assert found == [
            (r.target.encode("utf-8", "surrogateescape"), r.source.encode("utf-8", "surrogateescape"), r.data, r.attr)
            for r in rows
        ]
    assert p.data(p.head.seccomp.off, 8 * p.head.seccomp.count) == t.filter.program
    rules = [(p.text(r.path), r.access) for r in p.rows(p.head.landlock, "struct pj_landlock_rule")]
    assert rules == [(r.path.encode("utf-8", "surrogateescape"), r.access) for r in t.landlock.rules]
    assert (p.head.uid, p.head.gid, p.head.cgroups) == (t.jail.uid, t.jail.gid, len(t.cgroups.used))
    assert p.text(p.head.hostname).decode() == t.jail.hostname


def reads_back_as_limits(run: compile.RunLimits, cgroups: int) -> None:
    p = Packed(requests.pack_limits(run), "pj_limits")
    assert p.checked(lib.pj_check_limits, cgroups) == 0
    mask = int.from_bytes(p.data(p.head.affinity, p.head.affinity_len), "little")
    assert {i for i in range(mask.bit_length()) if mask >> i & 1} == set(run.affinity or ())
    found = [
        (r.hierarchy, p.text(r.file).decode(), None if r.value == lib.PJ_NONE else p.text(r.value).decode())
        for r in p.rows(p.head.cgroup, "struct pj_cgroup_row")
    ]
    assert found == [(r.hierarchy, r.file, r.value) for r in run.cgroup]
    rlimits = [(r.resource, r.soft, r.hard) for r in p.rows(p.head.rlimits, "struct pj_rlimit")]
    assert rlimits == [(r.resource, r.soft, r.hard) for r in run.rlimits]
    tmpfs = [(p.text(r.target), p.data(r.data, r.data_len)) for r in p.rows(p.head.tmpfs, "struct pj_mount")]
    assert tmpfs == [
        (r.target.lstrip("/").encode("utf-8", "surrogateescape"), packed_options(r.options)) for r in run.tmpfs
    ]


def reads_back_as_request(run: compile.RunLimits, command: Request) -> None:
    p = Packed(requests.pack_request(run, command), "pj_request")
    assert p.checked(lib.pj_check_request) == 0

    def strings(table) -> tuple[bytes, ...]:
        return tuple(p.text(ref) for ref in p.rows(table, "uint64_t"))

    assert strings(p.head.argv) == command.args
    assert strings(p.head.env) == tuple(command.env.packed)
    assert strings(p.head.path) == tuple(requests.search(command.args[0], command.env))
    for field, asked in (("cpu_ns", run.limits.cpu_time), ("wall_ns", run.limits.wall_time)):
        assert getattr(p.head, field) == (0 if asked is None else max(1, int(asked * 1e9)))
    assert p.head.output == (2**64 - 1 if command.output is None else command.output)
    assert p.head.cpus == run.busy >= 1


@examples(150)
@given(jails(), limits(), hosts(), st.data())
def test_what_is_packed_is_accepted_and_is_what_was_meant(jail, asked, host, data):
    cpuset = isinstance(asked.cpus, frozenset)
    try:
        t = compile.template(jail, host, cpuset)
        lacks = data.draw(st.sets(st.sampled_from((LEAF[1] + " " + LEAF[2]).split()), max_size=6))
        files = tuple(frozenset(LEAF[h.version].split()) - lacks for h in t.cgroups.used)
        run = compile.run_limits(jail, asked, host, t.cgroups, files)
    except (SpecError, HostError) as e:
        assert str(e)  # told before anything is started
        return
    reads_back_as_template(t)
    reads_back_as_limits(run, len(t.cgroups.used))
    clock = any(row.when == "clock" for row in run.cgroup)
    told = {m.control for m in run.missing}
    assert clock or asked.cpu_time is None or "cpu_time" in told  # nothing is accepted and silently not enforced
    enforced = {row.limit for row in run.cgroup if row.when == "set"}
    for field in ("memory", "processes", "io_rate"):
        assert getattr(asked, field) is None or field in enforced | told
    args = tuple(data.draw(st.lists(ARGUMENT, min_size=1, max_size=6).filter(lambda a: a[0])))
    env = Env(data.draw(st.dictionaries(st.from_regex(r"[A-Z]{1,8}", fullmatch=True), PART, max_size=5)))
    kinds = ["null", "fd", "captured", "stdout"]
    stdio = tuple(data.draw(st.sampled_from(kinds[:most])) for most in (2, 3, 4))
    output: int | None = asked.output  # type: ignore[assignment]
    reads_back_as_request(
        run, Request(args, env, "/box", stdio, output, data.draw(st.booleans()), data.draw(st.booleans()))
    )


def test_the_files_of_a_leaf_here_are_all_that_any_host_has():
    """Else the property above would miss rows."""
    for version, names in (
        (1, ("memory", "pids", "cpu", "cpuset", "cpuacct")),
        (2, ("v2", "memory", "pids", "cpu", "io", "cpuset")),
    ):
        tree = Hierarchy(version, frozenset(), "/x", True)
        found = cgroup.Cgroups((tree,), 0 if version == 2 else None, tuple((name, 0) for name in names))
        for cpus in (1.0, frozenset({0})):
            rows = cgroup.rows(found, Limits(cpus=cpus, io_rate=1), True, True, ("8:0",))
            assert {row.file for row in rows} <= set(LEAF[version].split())
