"""Limits that a request asks for: never more than there are, and the same object for the same question."""

from __future__ import annotations

import pytest

from pyjail import Limits
from pyjail.serve.model import limits
from pyjail.serve.problem import Problem
from tests.examples import given, st

USUAL, MOST = Limits(memory="64M"), Limits(memory="1G", processes=100, cpu_time=60)


def test_who_asks_for_nothing_has_the_usual_ones():
    assert limits({}, USUAL, MOST) is USUAL


def test_the_same_question_has_the_same_object():
    """By which what a command compiles to is known again."""
    first = limits({"memory": "128M", "processes": 7}, USUAL, MOST)
    assert (first.memory, first.processes, first.cpu_time) == (128 << 20, 7, USUAL.cpu_time)
    assert limits({"processes": 7, "memory": "128M"}, USUAL, MOST) is first
    assert limits({"processes": 7, "memory": "128M"}, Limits(memory="64M", open_files=9), MOST) is not first


@pytest.mark.parametrize(
    "asked", [{"processes": True}, {"processes": [1]}, {"processes": {}}, {"memory": 2 << 30}, {"nope": 1}]
)
def test_what_is_refused_is_refused_again_whatever_was_asked_before(asked):
    assert limits({"processes": 1}, USUAL, MOST).processes == 1
    for _ in range(2):
        with pytest.raises(Problem) as caught:
            limits(asked, USUAL, MOST)
        assert caught.value.status == 422 and caught.value.field.startswith("limits.")


@given(st.integers(-5, 200))
def test_none_is_above_the_most(count):
    try:
        assert limits({"processes": count}, USUAL, MOST).processes == count <= 100
    except Problem:
        assert not 1 <= count <= 100
