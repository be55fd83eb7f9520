"""Bad input is refused with the field's name before anything starts."""

from __future__ import annotations

import contextlib
import dataclasses
import decimal
import fractions
import math
import os
import pathlib
import pickle
from dataclasses import fields

import pytest

import pyjail
from pyjail import (
    File,
    Jail,
    Limits,
    Link,
    Mount,
    SpecError,
)
from pyjail._base import records
from pyjail._base.units import show_size, size
from pyjail._session.steps import check
from pyjail.cli.options import limits, parser
from tests.examples import given, st

SIZES = ("memory", "output", "disk", "file_size", "stack", "collect", "address_space")
NUMBERS = ("processes", "inodes", "open_files")
TIMES = ("cpu_time", "wall_time")
NONSENSE = [
    0,
    -1,
    math.nan,
    10**400,
    -(10**400),
    math.inf,
    -math.inf,
    True,
    False,
    2**63,
    2**70,
    1e300,
    "x",
    "1X",
    "-1M",
    "",
    b"1",
    [],
    {},
    object(),
]


@pytest.mark.parametrize("field", [*SIZES, *NUMBERS, *TIMES, "cpus"])
@pytest.mark.parametrize("value", NONSENSE, ids=repr)
def test_limits_refuse_nonsense(field, value):
    with pytest.raises(SpecError) as e:
        Limits(**{field: value})
    assert e.value.field == field
    assert isinstance(e.value, ValueError)
    assert field in str(e.value)
    assert str(pickle.loads(pickle.dumps(SpecError(field, 0, "why")))) == str(SpecError(field, 0, "why"))


def test_every_limit_may_be_none_but_core_may_be_zero():
    for f in fields(Limits):
        assert getattr(Limits(**{f.name: None}), f.name) is None
    assert Limits(core=0).core == 0
    with pytest.raises(SpecError):
        Limits(core=-1)


def test_floats_are_no_counts():
    for field in (*NUMBERS, *SIZES):
        with pytest.raises(SpecError):
            Limits(**{field: 1.5})


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("64", 64), ("64b", 64), ("64K", 64 << 10), ("64k", 64 << 10), ("64kB", 64 << 10), ("64KiB", 64 << 10),
        ("64 MB", 64 << 20), ("64m", 64 << 20), ("1.5G", 3 << 29), ("0.5T", 1 << 39), ("2p", 2 << 50), ("none", None),
    ],
)  # fmt: skip
def test_sizes_have_one_grammar(tmp_path, text, number):
    assert Limits(output=text).output == number
    assert pyjail.Mount.tmpfs("/t", text).size == number if number else True
    path = tmp_path / "c.toml"
    path.write_text(f'[limits]\noutput = "{text}"\n')
    assert Limits.from_toml(path).output == number
    options = parser().parse_args(["run", "--output", text, "--", "true"])
    assert limits(options, Limits()).output == number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("2", 2), ("2s", 2), ("2 s", 2), ("500ms", 0.5), ("250us", 0.00025), ("1m", 60), ("1.5min", 90), ("1h", 3600),
        (".5s", 0.5), ("none", None),
    ],
)  # fmt: skip
def test_times_have_one_grammar(tmp_path, text, number):
    assert Limits(cpu_time=text).cpu_time == pytest.approx(number)
    path = tmp_path / "c.toml"
    path.write_text(f'[limits]\ncpu_time = "{text}"\n')
    assert Limits.from_toml(path).cpu_time == pytest.approx(number)
    options = parser().parse_args(["run", "--cpu-time", text, "--", "true"])
    assert limits(options, Limits()).cpu_time == pytest.approx(number)
    assert check({"command": "x", "timeout": text}, "")["timeout"] == pytest.approx(number)


@pytest.mark.parametrize("text", ["2x", "1M", "2ss", "-1s", "1e3", "1 0", "s", ".", "\u0661s", "2s\n", "9" * 30, "inf"])
def test_a_text_that_is_no_time_is_refused(text):
    with pytest.raises(SpecError, match="cpu_time"):
        Limits(cpu_time=text)


@pytest.mark.parametrize(
    "text", ["64X", "1.5", "1.", ".5M", "64iB", "6 4M", "\u0661M", "64M\n", "9" * 30, "9" * 19 + "P"]
)
def test_a_text_that_is_no_size_is_refused(text):
    with pytest.raises(SpecError, match="output"):
        Limits(output=text)


@pytest.mark.parametrize("field", ["memory", "stack", "address_space"])
def test_what_nothing_can_start_with_is_refused_with_what_was_meant(tmp_path, field):
    for value in (64, "64"):
        with pytest.raises(SpecError, match=f'{field}=.*did you mean "64M"'):
            Limits(**{field: value})
    with pytest.raises(SpecError, match="is the least"):
        Limits(**{field: "1K"})
    path = tmp_path / "c.toml"
    path.write_text(f"[limits]\n{field} = 256\n")
    with pytest.raises(SpecError, match='did you mean "256M"'):
        Limits.from_toml(path)
    assert Limits(output=64, disk=64, file_size=64, collect=64, io_rate=64, core=64)


def test_a_wall_time_that_is_not_given_follows_the_cpu_time():
    assert Limits().wall_time == 30
    assert Limits(cpu_time=1).wall_time == 3
    assert Limits(cpu_time=0.1).wall_time == pytest.approx(2.1)
    assert Limits(cpu_time=60).wall_time == 180
    assert Limits(cpu_time=10, cpus=0.1).wall_time == 300
    assert Limits(cpu_time=10, cpus={0}).wall_time == Limits(cpu_time=10, cpus=4.0).wall_time == 30
    assert Limits(cpu_time=None).wall_time == 30
    assert Limits(cpu_time=1, wall_time=None).wall_time is None
    assert Limits(cpu_time=1, wall_time=30).wall_time == 30


@pytest.mark.parametrize("copied", [dataclasses.replace, records.replace, lambda x, **k: x.__replace__(**k)])
def test_it_follows_in_a_copy_and_what_was_given_stays(copied):
    assert copied(Limits(), cpu_time=1) == Limits(cpu_time=1)
    assert copied(copied(Limits(), cpu_time=1), cpu_time=60).wall_time == 180
    assert copied(pickle.loads(pickle.dumps(Limits())), cpu_time=1).wall_time == 3
    assert copied(Limits(wall_time=30), cpu_time=1).wall_time == 30
    assert copied(Limits(), cpu_time=1, wall_time=9).wall_time == 9
    assert type(Limits().to_dict()["wall_time"]) is float
    assert Limits(**Limits(cpu_time=1).to_dict()) == Limits(cpu_time=1)


def test_the_wall_time_of_other_limits_can_be_given():
    base = Limits()
    assert Limits(cpu_time=1, wall_time=base.wall_time).wall_time == Limits(1, base.wall_time).wall_time == 30
    assert copied_twice(Limits(cpu_time=1, wall_time=base.wall_time)).wall_time == 30


def copied_twice(made):
    return pickle.loads(pickle.dumps(dataclasses.replace(dataclasses.replace(made, cpu_time=2), memory="1G")))


@pytest.mark.parametrize("field", [f.name for f in fields(Limits)])
def test_arrays_and_numbers_of_others_are_taken_or_refused_in_words(field):
    numpy = pytest.importorskip("numpy")
    for value in (
        numpy.array([1, 2]),
        numpy.array([]),
        numpy.float32(4096),
        numpy.int64(4096),
        decimal.Decimal(5),
        fractions.Fraction(5),
    ):
        with contextlib.suppress(SpecError):
            assert Limits(**{field: value}).to_dict()


def test_it_follows_in_a_file_and_on_the_command_line(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text("[limits]\ncpu_time = 1\n")
    base = Limits.from_toml(path)
    assert base.wall_time == 3
    assert limits(parser().parse_args(["run", "--cpu-time", "2s", "--", "true"]), base).wall_time == 6
    assert (
        limits(parser().parse_args(["run", "--cpu-time", "2s", "--wall-time", "1s", "--", "true"]), base).wall_time == 1
    )


@given(st.integers(1, 2**63 - 1))
def test_sizes_round_trip(n):
    assert size("x", n) == n
    assert size("x", show_size(n)) == n


@given(st.integers(1, 2**20), st.sampled_from("KMGT"))
def test_suffixes_are_powers_of_1024(n, suffix):
    assert Limits(output=f"{n}{suffix}").output == n * 1024 ** ("KMGT".index(suffix) + 1)


@given(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(),
        st.binary(),
        st.lists(st.integers(), max_size=3),
    )
)
def test_limits_never_raise_anything_but_spec_error(value):
    for f in fields(Limits):
        try:
            made = Limits(**{f.name: value})
        except SpecError as e:
            assert e.field == f.name
        else:
            assert hash(made) == hash(Limits(**{f.name: value}))
            assert Limits(**made.to_dict()) == made


@pytest.mark.parametrize("cpus", [set(), {-1}, {True}, {"0"}, {8192}, 0.001, 8193])
def test_cpus_refused(cpus):
    with pytest.raises(SpecError):
        Limits(cpus=cpus)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rootfs", "relative"), ("rootfs", 5), ("rootfs", "/a\0b"), ("mounts", "x"), ("mounts", [1]), ("hostname", ""),
        ("hostname", "x" * 65), ("hostname", "a\0"), ("hostname", "a b"), ("hostname", "a\n"), ("hostname", "\u00e4"), ("hostname", 5), ("uid", -1), ("uid", 65533), ("uid", None), ("uid", True),
        ("gid", 1 << 40), ("network", "host"), ("network", True), ("seccomp", "off"), ("seccomp", None), ("landlock", 1),
        ("proc", None), ("fresh", "yes"), ("strict", 0), ("env", ["A=1"]), ("env", {"A=B": "1"}), ("env", {"": "1"}),
        ("env", {"A": "x\0"}), ("env", {"A": 5}),
    ],
)  # fmt: skip
def test_jail_refuses_nonsense(field, value):
    with pytest.raises(SpecError) as e:
        Jail(**{field: value})
    assert e.value.field == field


@pytest.mark.parametrize(
    "make",
    [
        lambda: Mount.bind("relative"), lambda: Mount.bind("/a", "b"), lambda: Mount.bind("/a", "/x/../y"),
        lambda: Mount.bind("/a\0"), lambda: Mount.bind("/a", ro="yes"), lambda: Mount.tmpfs("/t", 0),
        lambda: Mount.tmpfs("t", 5), lambda: Mount.tmpfs("/t", 5, ro=1), lambda: Mount.tmpfs("/t", None), lambda: Mount("other", "/x"),
        lambda: Mount.link("/box", "/w"), lambda: Mount.link("/box/w", "/box"), lambda: Mount.link("/tmp/w", "/box"), lambda: Mount.link("/dev/w", "/box"),
        lambda: Mount.link("/proc", "/box"), lambda: Mount.link("w", "/box"), lambda: Mount.link("/w", "box"), lambda: Mount.link("/w", "/w"),
        lambda: Mount.link("/w", "/../box"), lambda: Mount.link("/w", 5), lambda: Mount("link", "/w"), lambda: Mount("tmpfs", "/w", size=1, target="/box"),
        lambda: Jail(mounts=(Mount.link("/", "/box"),)), lambda: Jail(mounts=(Mount.link("/w", "/box"), Mount.tmpfs("/w", 5))),
        lambda: Jail(mounts=(Mount.bind("/usr", "/a"), Mount.tmpfs("/a", 5))), lambda: Jail(mounts=(Mount.bind("/usr", "/"),)),
        lambda: Jail(mounts=(Mount.bind("/dev"),)), lambda: Jail(mounts=(Mount.bind("/usr/bin/env", "/dev/null"),)),
        lambda: Jail(mounts=(Mount.bind("/usr", "/proc/x"),)), lambda: File(5), lambda: File(b"", 0o4755), lambda: File(b"", True), lambda: Link(""), lambda: Link("a\0"), lambda: Link("x" * 4096), lambda: Link(5),
        lambda: pyjail.SeccompPolicy(base="off"), lambda: pyjail.SeccompPolicy(allow="open"),
        lambda: pyjail.SeccompPolicy(allow=("open",), kill=("open",)),
    ],
)  # fmt: skip
def test_mounts_and_files_refuse_nonsense(make):
    with pytest.raises(SpecError):
        make()


def test_jail_is_hashable_picklable_and_equal_by_value():
    jail = Jail(mounts=(Mount.bind("/usr", "/u"),), env={"B": "2", "A": "1"})
    assert pickle.loads(pickle.dumps(jail)) == jail
    assert hash(Jail(env={"A": "1", "B": "2"})) == hash(Jail(env={"B": "2", "A": "1"}))
    assert jail.env["A"] == "1"
    assert Jail() != jail
    with pytest.raises(AttributeError):
        jail.uid = 5


CALLS = {
    "args": [[], "ls -l", b"ls", None, 5, [5], ["a\0b"], [""], {"a": 1}, ["\ud800"]],
    "limits": [{}, 5], "jail": ["x"], "input": ["text", 5], "cwd": ["relative", "/a/../b", "/x\0", 5, "/" + "x" * 5000],
    "env": [5, {"A": 1}, {"=": "x"}], "timeout": [0, -1, math.nan, "x"], "stdin": [-5, "x", 1.5, 99999],
    "stdout": [-7, "x"], "files": [5, {"/abs": b""}, {"../x": b""}, {"a/../../x": b""}, {"": b""}, {".": b""}, {"a\0": b""},
    {"x" * 300: b""}, {"a": 5}, {"a": b"", "a/b": b""}, {"a": b"", "./a": b""}], "collect": ["*", 5, ["/abs"], ["../x"], [""]],
    "encoding": ["no-such-codec", 5],
}  # fmt: skip


@pytest.mark.parametrize(("field", "value"), [(f, v) for f, values in CALLS.items() for v in values], ids=repr)
def test_run_refuses_nonsense_before_anything_starts(field, value):
    before = len(os.listdir("/proc/self/fd"))
    args = value if field == "args" else ["/bin/true"]
    more = {} if field == "args" else {field: value}
    with pytest.raises(SpecError) as e:
        pyjail.run(args, **more)
    assert e.value.field == field
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_directory_as_stdin_would_be_a_door(tmp_path):
    for flags in (os.O_RDONLY, os.O_PATH):
        fd = os.open(tmp_path, flags)
        try:
            with pytest.raises(SpecError, match="root"):
                pyjail.run(["/bin/true"], stdin=fd)
        finally:
            os.close(fd)


def test_sources_that_are_not_there():
    with pytest.raises(SpecError) as e:
        pyjail.run(["/bin/true"], jail=Jail(mounts=(Mount.bind("/no/such/source", "/x"),)))
    assert e.value.field == "src"
    with pytest.raises(SpecError) as e:
        pyjail.run(["/bin/true"], jail=Jail(rootfs="/no/such/dir"))
    assert e.value.field == "rootfs"
    with pytest.raises(SpecError) as e:
        pyjail.run(["/bin/true"], files={"x": __import__("pathlib").Path("/no/such/file")})
    assert e.value.field == "files"


def test_a_source_that_is_not_there_is_told_with_its_place_and_the_nearest_name(tmp_path):
    (tmp_path / "solution.py").write_text("")
    with pytest.raises(SpecError) as e:
        pyjail.run(["true"], files={"a.py": tmp_path / "solutoin.py"})
    wanted = f"files='{tmp_path}/solutoin.py': the source of 'a.py' cannot be read: No such file or directory; "
    assert str(e.value) == f"{wanted}did you mean '{tmp_path}/solution.py'?"
    for value, told in (
        (tmp_path / "no" / "x", "No such file"),
        (5, "'a.py' is to hold"),
        (pathlib.Path("/dev/null"), "'a.py'"),
    ):
        with pytest.raises(SpecError, match=told) as e:
            pyjail.run(["true"], files={"a.py": value})
        assert "Path(" not in str(e.value)


@given(st.text(max_size=30))
def test_relative_paths_never_leave_the_box(name):
    from pyjail._spec.inputs import relative

    try:
        path = relative("files", name)
    except SpecError:
        return
    assert os.path.normpath("/box/" + path).startswith("/box/")
    assert "\0" not in path


def test_toml(tmp_path):
    f = tmp_path / "c.toml"
    f.write_text(
        '[jail]\nhostname = "h"\n[jail.env]\nA = "1"\n[[jail.mounts]]\nsrc = "/usr"\ndst = "/u"\n[limits]\nmemory = "64M"\ncpus = [0]\noutput = "none"\n'
    )
    jail = Jail.from_toml(f)
    assert (jail.hostname, dict(jail.env), jail.mounts) == ("h", {"A": "1"}, (Mount.bind("/usr", "/u"),))
    from pyjail._spec.config_file import load

    assert load(f).limits == Limits(memory="64M", cpus={0}, output=None)
    for text, field, near in (
        ("[jail]\nhostnme='x'", "jail.hostnme", "hostname"),
        ("[limts]\n", "limts", "limits"),
        ("x", "config", "TOML"),
    ):
        f.write_text(text)
        with pytest.raises(SpecError, match=near) as e:
            load(f)
        assert e.value.field.removeprefix(f"{f}: ") == field


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"image": ""}, "an image's name"), ({"image": 5}, "an image's name"), ({"image": "a\0b"}, "an image's name"),
        ({"image": "a", "rootfs": "/r"}, "give one of them"), ({"image": "a", "python": "/p"}, "an image has its own"),
    ],
)  # fmt: skip
def test_an_image_is_a_name_and_the_only_root(given, why):
    with pytest.raises(SpecError, match=why):
        Jail(**given)
    assert Jail(image="a") == pickle.loads(pickle.dumps(Jail(image="a"))) != Jail()
