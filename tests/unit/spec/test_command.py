"""A call that came before is answered from memory: nothing of what it means may differ."""

from __future__ import annotations

import subprocess
import sys
from pathlib import PurePosixPath

import pytest

import pyjail
from pyjail import Jail, Limits, SpecError
from pyjail._spec import commands
from tests.examples import given, st


def make(args, limits=None, jail=None, input=None, *, text=None, encoding=None):
    return commands.make(args, limits, jail, input=input, text=text, encoding=encoding)


@pytest.fixture(autouse=True)
def _forget():
    commands._made.clear()


def test_the_same_call_gives_the_same_request_with_the_arguments_as_given():
    limits, jail = Limits(memory="1G"), Jail(hostname="h")
    first, second = ["a", "b"], ["a", "b"]
    one, two = make(first, limits, jail), make(second, limits, jail)
    assert one == two and one.args is first and two.args is second
    assert two.limits is limits and two.jail is jail and len(commands._made) == 1


def test_a_list_that_has_changed_since_is_another_call():
    args = ["a"]
    assert make(args).argv == (b"a",)
    args.append("b")
    assert make(args).argv == (b"a", b"b")


def test_what_makes_no_sense_is_refused_after_calls_that_look_like_it():
    make(("l", "s"))
    make(["x"], input=b"")
    for args in ("ls", b"ls", ["x", "y\0"], [["x"]], [{}], [1], [None], []):
        with pytest.raises(SpecError) as e:
            make(args)
        assert e.value.field == "args"
    for field, value in (("limits", 1), ("jail", "x"), ("input", 3)):
        for _ in range(2):
            with pytest.raises(SpecError) as e:
                make(["x"], **{field: value})
            assert e.value.field == field


def test_input_is_looked_at_each_time():
    assert make(["x"], input=b"1").input == b"1"
    assert make(["x"], input=b"2").input == b"2"
    assert make(["x"]).input is None
    with pytest.raises(SpecError, match="text=True"):
        make(["x"], input="3")
    assert make(["x"], input="ä", text=True).input == "ä".encode()
    assert make(["x"], input="ä", encoding="latin-1").input == b"\xe4"
    with pytest.raises(SpecError, match="str is needed"):
        make(["x"], input=b"4", text=True)


def test_paths_bytes_and_long_arguments_are_not_kept():
    assert make([PurePosixPath("a")]).argv == make([b"a"]).argv == (b"a",)
    assert make(["a" * 5000]).argv == (b"a" * 5000,)
    assert not commands._made


def test_memory_is_bounded():
    for i in range(1000):
        make([str(i)])
    assert len(commands._made) <= commands.MOST_MADE


LIMITS = [None, Limits(), Limits(), Limits(cpu_time=1)]
JAILS = [None, Jail(), Jail(hostname="h")]


@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from(["a", "b", "", "ä", b"a", "\udc80"]), min_size=1, max_size=3),
            st.sampled_from(LIMITS),
            st.sampled_from(JAILS),
            st.sampled_from([None, b"x", "x"]),
            st.sampled_from([None, True, False]),
        ),
        max_size=8,
    )
)
def test_every_call_means_what_it_means_alone(calls):
    def outcome(args, limits, jail, data, text):
        try:
            return make(args, limits, jail, data, text=text)
        except SpecError as e:
            return e.field, e.reason

    together = [outcome(*call) for call in calls]
    for call, found in zip(calls, together, strict=True):
        commands._made.clear()
        alone = outcome(*call)
        assert alone == found
        if isinstance(alone, commands.Command):
            assert found.args is call[0] and (found.limits, found.jail) == (alone.limits, alone.jail)


def test_bytes_are_compared_with_no_str():
    """python -bb makes an error of that."""
    code = "from pyjail._spec import commands as r; print([r.make(a).argv for a in (['true'], [b'true'], ['true'])])"
    done = subprocess.run([sys.executable, "-bb", "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == f"{[(b'true',)] * 3}\n", done.stderr


def test_the_names_of_streams_are_those_of_subprocess():
    """They are written down, so that it need not be imported."""
    names = ("PIPE", "STDOUT", "DEVNULL")
    assert [getattr(pyjail, n) for n in names] == [getattr(subprocess, n) for n in names]
