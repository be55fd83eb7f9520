"""The recipe of an image: each field is checked, each step has a key that says all that it depends on."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyjail import SpecError
from pyjail._images import recipe
from pyjail._images.recipe import Copy, Recipe, parse

WHOLE = """
from = "debian:12"
copy = [{ src = "app/main.py", dst = "/opt/app/main.py" }, { src = "./data", dst = "/srv//data/" }]
env = { LANG = "C.UTF-8", EMPTY = "" }
run = ["apt-get update && apt-get install -y jq", ["pip", "install", ""]]
workdir = "/opt/app"
user = "daemon:daemon"
entrypoint = []
cmd = ["python3", "main.py"]
egress = ["deb.debian.org:80"]
writable_root = "2G"
limits = { memory = "4G" }
"""


def test_every_field_is_read():
    assert parse(tomllib.loads(WHOLE)) == Recipe(
        base="debian:12",
        copy=(Copy("app/main.py", "/opt/app/main.py"), Copy("data", "/srv/data")),
        env={"LANG": "C.UTF-8", "EMPTY": ""},
        run=(("sh", "-c", "apt-get update && apt-get install -y jq"), ("pip", "install", "")),
        workdir="/opt/app",
        user="daemon:daemon",
        entrypoint=(),
        cmd=("python3", "main.py"),
        egress=("deb.debian.org:80",),
        writable_root=2 << 30,
        limits={"memory": "4G"},
    )


def test_what_is_not_said_is_as_the_base_has_it():
    assert parse({"from": "debian"}) == Recipe("debian")
    assert Recipe("debian").steps() == []


@pytest.mark.parametrize(
    ("tables", "field", "why"),
    [
        ([], "recipe", "a table"),
        ({}, "from", "is missing"),
        ({"form": "x"}, "recipe", "did you mean 'from'"),
        ({"from": "x", "copies": []}, "recipe", "did you mean 'copy'"),
        ({"from": "x", "volumes": []}, "recipe", "known are from, copy"),
        ({"from": ""}, "from", "text is needed"),
        ({"from": 3}, "from", "text is needed"),
        ({"from": "a b"}, "from", "a letter or digit first"),
        ({"from": "sha256:abc"}, "from", "a digest is no name"),
        ({"from": "x", "copy": "a"}, "copy", "a list"),
        ({"from": "x", "copy": ["a"]}, "copy[0]", "a table is needed"),
        (
            {"from": "x", "copy": [{"src": "a", "dst": "/a"}, {"src": "a", "dest": "/a"}]},
            "copy[1]",
            "did you mean 'dst'",
        ),
        ({"from": "x", "copy": [{"src": "a"}]}, "copy[0].dst", "is missing"),
        ({"from": "x", "copy": [{"src": "/etc/passwd", "dst": "/a"}]}, "copy[0].src", "below the recipe's directory"),
        ({"from": "x", "copy": [{"src": "a/../../b", "dst": "/a"}]}, "copy[0].src", "without .."),
        ({"from": "x", "copy": [{"src": "a", "dst": "a"}]}, "copy[0].dst", "an absolute path"),
        ({"from": "x", "copy": [{"src": "a", "dst": "/a/../b"}]}, "copy[0].dst", "without .."),
        ({"from": "x", "copy": [{"src": "a", "dst": "/"}]}, "copy[0].dst", "the root itself"),
        ({"from": "x", "copy": [{"src": "a", "dst": "//"}]}, "copy[0].dst", "the root itself"),
        ({"from": "x", "copy": [{"src": "a", "dst": "/box/a"}]}, "copy[0].dst", "the jail's own"),
        ({"from": "x", "copy": [{"src": "a", "dst": "//proc/a"}]}, "copy[0].dst", "the jail's own"),
        ({"from": "x", "copy": [{"src": "a\0", "dst": "/a"}]}, "copy[0].src", "zero byte"),
        ({"from": "x", "env": ["A=1"]}, "env", "a table"),
        ({"from": "x", "env": {"A=B": "1"}}, "env", "without ="),
        ({"from": "x", "env": {"": "1"}}, "env", "without ="),
        ({"from": "x", "env": {"A": 1}}, "env.A", "text is needed"),
        ({"from": "x", "env": {"A": "\0"}}, "env.A", "zero byte"),
        ({"from": "x", "env": {f"A{n}": "" for n in range(1001)}}, "env", "1,000 at most"),
        ({"from": "x", "run": "apt-get update"}, "run", "a list"),
        ({"from": "x", "run": ["true", []]}, "run[1]", "a command is needed"),
        ({"from": "x", "run": ["true", ["", "x"]]}, "run[1]", "not empty"),
        ({"from": "x", "run": [["echo", 1]]}, "run[0]", "a list of texts"),
        ({"from": "x", "run": ["true"] * 1001}, "run", "1,000 at most"),
        ({"from": "x", "workdir": "opt"}, "workdir", "an absolute path"),
        ({"from": "x", "user": 65533}, "user", "0 to 65532"),
        ({"from": "x", "user": 10**30}, "user", "0 to 65532"),
        ({"from": "x", "user": True}, "user", "text is needed"),
        ({"from": "x", "user": "a b"}, "user", "a name or a number"),
        ({"from": "x", "user": "a:b:c"}, "user", "a name or a number"),
        ({"from": "x", "user": "-1"}, "user", "a name or a number"),
        ({"from": "x", "cmd": []}, "cmd", "a command is needed"),
        ({"from": "x", "cmd": 3}, "cmd", "a list"),
        ({"from": "x", "entrypoint": "sh"}, "entrypoint", "a list"),
        ({"from": "x", "entrypoint": [1]}, "entrypoint", "a list of texts"),
        ({"from": "x", "limits": []}, "limits", "a .limits. table"),
        ({"from": "x", "egress": "a"}, "egress", "a list"),
        ({"from": "x", "egress": [""]}, "egress[0]", "text is needed"),
        ({"from": "x", "writable_root": "much"}, "writable_root", "256M"),
        ({"from": "x", "writable_root": "none"}, "writable_root", "takes memory"),
        ({"from": "x", "writable_root": 100}, "writable_root", "65536"),
    ],
)
def test_what_makes_no_sense_is_said_of_its_field(tables, field, why):
    with pytest.raises(SpecError, match=why) as e:
        parse(tables)
    assert e.value.field == field


def test_a_place_of_the_jail_may_be_where_commands_start():
    assert parse({"from": "x", "workdir": "/tmp/"}).workdir == "/tmp"
    assert parse({"from": "x", "user": 0}).user == "0"
    assert parse({"from": "x", "cmd": "echo $HOME"}).cmd == ("sh", "-c", "echo $HOME")


def keys(made: Recipe, first: str = "base", content: str = "c") -> list[str]:
    found = []
    for step in made.steps():
        first = step.key(first, content if step.kind == "copy" else "")
        found.append(first)
    return found


def test_files_are_copied_before_commands_run():
    assert [step.kind for step in parse(tomllib.loads(WHOLE)).steps()] == ["copy", "copy", "run", "run"]


def test_a_key_is_the_same_for_the_same_and_another_after_any_change_before_it():
    made = parse(tomllib.loads(WHOLE))
    first = keys(made)
    assert keys(parse(tomllib.loads(WHOLE))) == first and len(set(first)) == 4
    assert all(len(key) == 64 and set(key) <= set("0123456789abcdef") for key in first)
    assert not set(keys(made, "other")) & set(first)
    assert not set(keys(made, content="d")) & set(first)
    assert keys(made._replace(run=(*made.run[:1], ("other",))))[:3] == first[:3]
    assert keys(made._replace(run=(*made.run[:1], ("other",))))[3] != first[3]
    assert keys(made._replace(copy=made.copy[::-1]))[0] != first[0]


@pytest.mark.parametrize(
    "change",
    [{"env": {"A": "2"}}, {"workdir": "/"}, {"egress": ()}],
    ids=lambda change: next(iter(change)),
)
def test_what_is_around_a_command_counts_for_it_and_not_for_copies(change):
    made = parse(tomllib.loads(WHOLE))
    first, other = keys(made), keys(made._replace(**change))
    assert other[:2] == first[:2] and not set(other[2:]) & set(first[2:])


@pytest.mark.parametrize(
    "change",
    [{"cmd": ("x",)}, {"entrypoint": ()}, {"user": "1"}, {"writable_root": 1 << 20}, {"limits": {"memory": "1G"}}],
    ids=lambda change: next(iter(change)),
)
def test_what_changes_no_tree_changes_no_key(change):
    made = parse(tomllib.loads(WHOLE))
    assert keys(made._replace(**change)) == keys(made)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["src", "dst", "A"]) | st.text(), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(recipe.KEYS), JSON, max_size=9))
def test_whatever_a_file_says_is_a_recipe_or_an_error_of_a_field(tables):
    try:
        made = parse(tables)
    except SpecError as e:
        assert e.field.partition("[")[0].partition(".")[0] in recipe.KEYS
    else:
        keys(made)
