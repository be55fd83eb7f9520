"""A jail and limits from TOML: every field, units, and the nearest right name for a wrong one."""

from __future__ import annotations

import tomllib
from dataclasses import fields

import pytest

from pyjail import Egress, Jail, Limits, SpecError, from_toml, languages
from pyjail._session.steps import check

NAMES = [("jail", f.name) for f in fields(Jail)] + [("limits", f.name) for f in fields(Limits)]


@pytest.fixture
def toml(tmp_path):
    def write(text):
        path = tmp_path / "c.toml"
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize(("table", "name"), NAMES, ids=lambda v: v)
def test_a_wrong_key_is_told_the_nearest_right_one(toml, table, name):
    wrong = name[:-1] + "xx"[: 1 + (len(name) > 4)]
    with pytest.raises(SpecError, match=rf"{table}\.{wrong}.*did you mean '{name}'") as e:
        (Jail if table == "jail" else Limits).from_toml(toml(f"[{table}]\n{wrong} = 1\n"))
    assert e.value.field.endswith(f"c.toml: {table}.{wrong}")


def test_tables_too(toml):
    with pytest.raises(SpecError, match="did you mean 'limits'"):
        Limits.from_toml(toml("[limit]\nmemory = 5\n"))
    with pytest.raises(SpecError, match="did you mean 'jail'"):
        Jail.from_toml(toml("[jial]\n"))


def test_every_field_of_a_jail(toml):
    text = """
    [jail]
    rootfs = "/srv/root"
    hostname = "judge"
    uid = 7
    gid = 8
    network = "loopback"
    seccomp = "strict"
    landlock = false
    proc = false
    fresh = true
    deterministic = true
    strict = false
    [jail.env]
    A = "b"
    [[jail.mounts]]
    dst = "/scratch"
    size = "4M"
    """
    jail = Jail.from_toml(toml(text))
    assert jail.deterministic is True
    assert all(
        getattr(jail, f.name) != getattr(Jail(), f.name)
        for f in fields(Jail)
        if f.name not in ("python", "image", "writable_root")
    )
    assert (
        Jail.from_toml(toml('[jail]\npython = "/usr/bin/python3"\n')).python == "/usr/bin/python3"
    )  # rootfs excludes it, and an image
    assert Jail.from_toml(toml('[jail]\nimage = "debian"\n')).image == "debian"
    assert Jail.from_toml(toml('[jail]\nimage = "debian"\nwritable_root = "1M"\n')).writable_root == 1 << 20
    made = Jail.from_toml(toml('[jail.network]\nrules = ["pypi.org"]\nidle = "5s"\n'))
    assert made.network == Egress(["pypi.org"], idle=5)
    with pytest.raises(SpecError, match="rule"):
        Jail.from_toml(toml('[jail.network]\nrule = ["pypi.org"]\n'))
    with pytest.raises(SpecError, match="deterministic"):
        Jail.from_toml(toml('[jail]\ndeterministic = "yes"\n'))


def test_units_of_limits(toml):
    text = """
    [limits]
    cpu_time = "500ms"
    wall_time = "1m"
    memory = "64M"
    processes = 3
    output = 10
    disk = "none"
    inodes = 10
    file_size = "1K"
    open_files = 20
    stack = "1M"
    core = 0
    collect = "1G"
    cpus = [0, 1]
    address_space = "4G"
    io_rate = "10M"
    """
    found = Limits.from_toml(toml(text))
    assert (found.cpu_time, found.wall_time, found.memory, found.disk) == (0.5, 60.0, 64 << 20, None)
    assert found.cpus == {0, 1}
    assert Limits.from_toml(toml("[limits]\ncpus = 1.5\nwall_time = 2\n")) == Limits(cpus=1.5, wall_time=2)
    for bad in ('cpu_time = "2x"', 'memory = "2X"', 'cpus = "two"', "processes = 1.5", "wall_time = 0"):
        with pytest.raises(SpecError, match=bad.partition(" ")[0]):
            Limits.from_toml(toml(f"[limits]\n{bad}\n"))


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ({"comand": "x"}, "did you mean 'command'"), ({"command": 5}, "list of arguments"), ({"command": b"x"}, "list"),
        ({"command": "x", "timeout": -1}, "timeout"), ({"command": "x", "stdin": 5}, "stdin"),
        ({"command": "x", "cwd": "relative"}, "cwd"), ({"command": "x", "env": {"A": 1}}, "env=1: the value of 'A'"),
        ({"command": "x", "read_only": "false"}, "read_only"), ({"command": ["x", 1]}, "command"),
    ],
)  # fmt: skip
def test_a_step_that_makes_no_sense(step, words):
    with pytest.raises(SpecError, match=words) as e:
        check(step, "steps[0].")
    assert str(e.value).startswith("steps[0].")


def test_the_words_for_no_limit_are_those_of_the_file(toml):
    with pytest.raises(SpecError, match='or "none" for no limit'):
        Limits.from_toml(toml("[limits]\nmemory = 1.5\n"))
    with pytest.raises(SpecError, match='"none" means no limit'):
        Limits.from_toml(toml("[limits]\ncpu_time = 0\n"))
    assert Limits.from_toml(toml('[limits]\nmemory = "none"\n')).memory is None


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("[limits]\nmemory = '2X'", "limits.memory='2X'"), ("[jail]\nhostname = 'a b'", "jail.hostname='a b'"),
        ("[[jail.mounts]]\nsrc = '/a'\n[[jail.mounts]]\nsrc = 'b'", "jail.mounts[2].src='b'"),
        ("[[jail.mounts]]\nsrk = '/a'", "jail.mounts[1].srk='/a': there is no such key; did you mean 'src'?"),
        ("[[jail.seccomp.rule]]\nname = 'x'\naction = 'y'", "jail.seccomp.rule[1].action='y'"),
        ("[[jail.seccomp.rule]]\nname = 'x'", "jail.seccomp.rule[1].action"), ("[jail.seccomp]\nbase = 'x'", "jail.seccomp.base='x'"),
        ("[limit]", "limit={}: there is no such key; did you mean 'limits'?"), ("jail = 5", "jail=5"),
        ("[limits]\ncpus = 'two'", "limits.cpus='two'"), ("[languages.x]\nrum = []", "languages.x.rum"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_file_table_and_number(toml, text, where):
    path = toml(text + "\n")
    with pytest.raises(SpecError) as e:
        languages.load(path)
    assert str(e.value).startswith(f"{path}: {where}"), e.value


def test_the_tables_of_a_file_say_what_the_file_says(toml):
    text = '[jail]\nhostname = "j"\nmounts = [{ dst = "/data", size = "1M" }]\n[limits]\nmemory = "64M"\n'
    assert from_toml(tomllib.loads(text)) == from_toml(toml(text))
    with pytest.raises(SpecError, match=r"^limits\.memroy=1: .*did you mean 'memory'"):
        from_toml({"limits": {"memroy": 1}})
    with pytest.raises(SpecError, match="did you mean 'limits'"):
        from_toml({"limit": {}})
