"""Bytes: what Python packs, check.c accepts; what it does not, is refused and never misread."""

from __future__ import annotations

import random
import re

import pytest
from pyjail._core.native import ffi, lib

from pyjail import (
    Jail,
    Limits,
    Mount,
    SpecError,
)
from pyjail._host import machine
from pyjail._plan import compile, report, requests, wire
from pyjail._plan.compile import Request
from pyjail._policy import mounts
from pyjail._spec.jail import Env
from tests.examples import given, st

HOST = machine.host()
TEMPLATE = compile.template(Jail(strict=False), HOST, False)
FILES = tuple(frozenset({"memory.limit_in_bytes", "memory.max", "pids.max", "cpu.stat"}) for _ in TEMPLATE.cgroups.used)
RUN = compile.run_limits(Jail(strict=False), Limits(), HOST, TEMPLATE.cgroups, FILES)
PLAN = wire.pack_template(TEMPLATE)
LIMITS = requests.pack_limits(RUN)


def command(args=(b"/bin/true",), env=None, cwd="/box"):
    return Request(tuple(args), Env(env or {}), cwd, ("null", "captured", "captured"), 1 << 20, True, False)


def check(kind, blob):
    buf = ffi.new("uint64_t[]", len(blob) // 8 + 2)
    ffi.memmove(buf, blob, len(blob))
    row = ffi.new("uint32_t *")
    if kind == "plan":
        return lib.pj_check_plan(buf, len(blob), row)
    if kind == "limits":
        return lib.pj_check_limits(buf, len(blob), len(TEMPLATE.cgroups.used), row)
    return lib.pj_check_request(buf, len(blob), row)


REQUEST = requests.pack_request(RUN, command())
GOOD = {"plan": PLAN, "limits": LIMITS, "request": REQUEST}


@pytest.mark.parametrize("kind", GOOD)
def test_what_we_pack_is_accepted(kind):
    assert check(kind, GOOD[kind]) == 0


@pytest.mark.parametrize("kind", GOOD)
def test_every_truncation_is_refused(kind):
    blob = GOOD[kind]
    for n in [*range(0, min(len(blob), 400)), *range(400, len(blob) - 8, 97)]:
        assert check(kind, blob[:n]) != 0, n


@pytest.mark.parametrize("kind", GOOD)
def test_other_versions_and_magics_are_refused(kind):
    blob = bytearray(GOOD[kind])
    blob[4] += 1
    assert check(kind, bytes(blob)) == -71  # EPROTO
    blob[4] -= 1
    blob[0] ^= 1
    assert check(kind, bytes(blob)) == -71


@pytest.mark.parametrize("kind", GOOD)
def test_random_damage_never_crashes_the_checker(kind):
    rng = random.Random(1)
    for _ in range(3000):
        blob = bytearray(GOOD[kind])
        for _ in range(rng.randint(1, 6)):
            blob[rng.randrange(8, len(blob))] = rng.choice((0, 1, 255, rng.randrange(256)))
        check(kind, bytes(blob))


@pytest.mark.parametrize("field", ["argv", "env", "path"])
def test_tables_that_point_outside_are_refused(field):
    for off, count in ((0, 1), (len(REQUEST), 1), (len(REQUEST) - 4, 2), (2**32 - 8, 1), (160, 2**32 - 1), (161, 1)):
        buf = ffi.new("uint64_t[]", len(REQUEST) // 8 + 2)
        ffi.memmove(buf, REQUEST, len(REQUEST))
        table = getattr(ffi.cast("struct pj_request *", buf), field)
        table.off, table.count = off, count
        assert lib.pj_check_request(buf, len(REQUEST), ffi.new("uint32_t *")) != 0


@given(
    st.lists(st.binary(max_size=40).filter(lambda b: b"\0" not in b), min_size=1, max_size=20).filter(lambda a: a[0]),
    st.dictionaries(
        st.from_regex(r"[A-Z]{1,8}", fullmatch=True),
        st.text(st.characters(min_codepoint=1, exclude_categories=["Cs"]), max_size=20),
        max_size=8,
    ),
)
def test_arguments_and_environment_survive(args, env):
    blob = requests.pack_request(RUN, command(args, env))
    assert check("request", blob) == 0
    buf = ffi.new("uint64_t[]", len(blob) // 8 + 2)
    ffi.memmove(buf, blob, len(blob))
    head = ffi.cast("struct pj_request *", buf)

    def strings(table):
        refs = ffi.cast("uint64_t *", ffi.cast("char *", buf) + table.off)
        return [ffi.string(ffi.cast("char *", buf) + refs[i]) for i in range(table.count)]

    assert strings(head.argv) == args
    assert strings(head.env) == [f"{k}={v}".encode() for k, v in env.items()]
    assert ffi.string(ffi.cast("char *", buf) + head.cwd) == b"/box"


def test_step_names_are_the_enums():
    assert wire.STEPS[lib.STEP_EXEC] == "exec"
    assert len(wire.STEPS) == lib.STEP_COUNT - 1


def test_plans_are_pure_data():
    assert hash(TEMPLATE) == hash(compile.template(Jail(strict=False), HOST, False))
    assert wire.pack_template(TEMPLATE) == PLAN
    assert "MountRow" in repr(TEMPLATE)


def test_values_that_would_stop_the_keeper_are_refused():
    buf = ffi.new("uint64_t[]", len(REQUEST) // 8 + 2)
    ffi.memmove(buf, REQUEST, len(REQUEST))
    ffi.cast("struct pj_request *", buf).cpus = 0  # it divides by it
    assert lib.pj_check_request(buf, len(REQUEST), ffi.new("uint32_t *")) == -22
    buf = ffi.new("uint64_t[]", len(LIMITS) // 8 + 2)
    ffi.memmove(buf, LIMITS, len(LIMITS))
    table = ffi.cast("struct pj_limits *", buf).cgroup
    rows = ffi.cast("struct pj_cgroup_row *", ffi.cast("char *", buf) + table.off)
    settings = [i for i in range(table.count) if rows[i].when == lib.CGROUP_SET]
    if settings:  # a host without cgroups has no such row
        rows[settings[0]].value = lib.PJ_NONE
        assert lib.pj_check_limits(buf, len(LIMITS), len(TEMPLATE.cgroups.used), ffi.new("uint32_t *")) == -22


def changed(blob, kind, change):
    """What the check says to a blob that was changed."""
    buf = ffi.new("uint64_t[]", len(blob) // 8 + 2)
    ffi.memmove(buf, blob, len(blob))
    change(ffi.cast(f"struct pj_{kind} *", buf), ffi.cast("char *", buf))
    return check(kind, ffi.buffer(buf, len(blob))[:])


def test_where_only_a_new_file_system_can_be_no_other_mount_is_accepted():
    def first(table):
        def kind(head, base):
            ffi.cast("struct pj_mount *", base + getattr(head, table).off).kind = lib.MOUNT_BIND

        return kind

    assert changed(PLAN, "plan", lambda head, base: None) == changed(LIMITS, "limits", lambda head, base: None) == 0
    assert changed(PLAN, "plan", lambda head, base: setattr(head.proc, "kind", lib.MOUNT_BIND)) == -22
    assert changed(PLAN, "plan", lambda head, base: setattr(head.proc, "kind", lib.MOUNT_KINDS)) == -22
    assert changed(LIMITS, "limits", first("tmpfs")) == -22
    assert changed(PLAN, "plan", first("mounts")) == 0


def fields_of(kind, since=0, until=None):
    """The struct module's codes of a C struct of u32, i32, u64, arrays, tables and structs, or of some of its fields."""
    codes = {"uint32_t": "I", "int32_t": "i", "uint64_t": "Q"}

    def code(ctype):
        if ctype.kind == "array":
            return code(ctype.item) * ctype.length
        return codes[ctype.cname] if ctype.kind == "primitive" else "".join(code(f.type) for _, f in ctype.fields)

    return "".join(code(field.type) for _, field in ffi.typeof(f"struct {kind}").fields[since:until])


@pytest.mark.parametrize(
    ("kind", "layout"),
    [("pj_reply", wire.REPLY), ("pj_mount", wire.MOUNT), ("pj_landlock_rule", wire.LANDLOCK_RULE),
     ("pj_request", requests.REQUEST), ("pj_cgroup_row", requests.CGROUP_ROW), ("pj_rlimit", requests.RLIMIT)],
)  # fmt: skip
def test_layouts_are_those_of_the_c_structs(kind, layout):
    written = re.sub(r"(\d+)(\w)", lambda m: int(m[1]) * m[2], layout.format)
    assert written == "<" + fields_of(kind)
    assert layout.size == ffi.sizeof(f"struct {kind}")


def test_the_layouts_of_a_report_are_those_of_its_struct():
    names = [name for name, _ in ffi.typeof("struct pj_facts").fields]
    used, space = names.index("used"), names.index("space")
    for layout, since, until in ((report.FACTS, 0, used), (report.MORE, used, space)):
        written = re.sub(r"(\d+)(\w)", lambda m: int(m[1]) * m[2], layout.format)
        assert written == "<" + fields_of("pj_facts", since, until)
    assert report.FACTS.size == ffi.offsetof("struct pj_facts", "used")
    assert report.FACTS.size + report.MORE.size == ffi.offsetof("struct pj_facts", "space")
    assert ffi.sizeof("struct pj_facts") == report.SIZE


def test_more_tmpfs_than_the_keeper_has_room_for_are_refused():
    row = ffi.new("struct pj_mount *", {"kind": lib.MOUNT_FS})
    for count, answer in ((lib.PJ_MAX_TMPFS, 0), (lib.PJ_MAX_TMPFS + 1, -22)):
        blob = wire.Blob("pj_limits", lib.PJ_LIMITS_MAGIC)
        row.source = row.target = row.data = blob.data(b"")
        blob.head.read_only = lib.PJ_NONE
        blob.table("tmpfs", bytes(ffi.buffer(row)) * count, count)
        assert check("limits", blob.pack()) == answer


def test_more_tmpfs_than_a_run_can_have_are_refused_by_name():
    assert mounts.MOST_TMPFS == lib.PJ_MAX_TMPFS
    five, six = (Jail(mounts=tuple(Mount.tmpfs(f"/m{n}", "1M") for n in range(count))) for count in (5, 6))
    assert len(mounts.tmpfs(five, Limits())) == lib.PJ_MAX_TMPFS
    with pytest.raises(SpecError, match=r"at most 5 Mount\.tmpfs"):
        mounts.tmpfs(six, Limits())
