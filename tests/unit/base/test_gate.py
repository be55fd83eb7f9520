"""The gate's order, under any sequence of comings and goings."""

from __future__ import annotations

import gc

import pytest

from pyjail import PoolClosedError
from pyjail._base.gate import Gate, Place, thread_waker
from tests.examples import given, st


class Guest:
    """One who notes that it was woken."""

    def __init__(self, gate: Gate, there: bool = True) -> None:
        self.woken = 0
        self.there = there
        self.place = Place(gate, self.wake)

    def wake(self) -> bool:
        self.woken += 1
        return self.there


@given(
    st.integers(1, 4), st.lists(st.tuples(st.sampled_from(["come", "leave", "give up", "resize"]), st.integers(0, 9)))
)
def test_first_come_first_served_and_never_too_many(size, steps):
    gate = Gate(size)
    inside: list[Guest] = []
    queue: list[Guest] = []

    def admit() -> None:
        while queue and len(inside) < gate.size:
            guest = queue.pop(0)
            assert guest.woken == 1
            inside.append(guest)

    for what, n in steps:
        if what == "come":
            guest = Guest(gate)
            admitted = gate.enter(guest.place)
            assert admitted == (not queue and len(inside) < gate.size)
            (inside if admitted else queue).append(guest)
        elif what == "leave" and inside:
            inside.pop(n % len(inside)).place.leave()
        elif what == "give up" and queue:
            queue.pop(n % len(queue)).place.leave()
        elif what == "resize":
            gate.resize(n % 4 + 1)
        admit()
        numbers = [guest.place.number for guest in inside]
        assert None not in numbers and len(set(numbers)) == len(numbers)
        assert set(numbers) == gate.inside
        assert [guest.place for guest in queue] == list(gate.queue)
        assert all(guest.woken == 0 for guest in queue)


def test_numbers_stay_below_the_size():
    gate = Gate(3)
    for _ in range(5):
        guests = [Guest(gate) for _ in range(3)]
        for guest in guests:
            assert gate.enter(guest.place)
        assert gate.inside == {0, 1, 2}
        for guest in guests:
            guest.place.leave()
            guest.place.leave()
    assert gate.inside == set()


def test_one_who_is_gone_is_passed_over():
    gate = Gate(1)
    first, dead, alive = Guest(gate), Guest(gate, there=False), Guest(gate)
    for guest in (first, dead, alive):
        gate.enter(guest.place)
    first.place.leave()
    assert (dead.place.number, alive.place.number) == (None, 0)


def test_a_place_that_is_forgotten_is_free_again():
    gate = Gate(1)
    first, second = Guest(gate), Guest(gate)
    gate.enter(first.place)
    gate.enter(second.place)
    del first
    gc.collect()
    assert second.place.number == 0


def test_closing_lets_the_queue_in_or_refuses_it():
    for refuse in (False, True):
        gate = Gate(1)
        first, second, late = Guest(gate), Guest(gate), Guest(gate)
        gate.enter(first.place)
        gate.enter(second.place)
        empty: list[int] = []
        gate.close("why", refuse=refuse)
        gate.when_empty(lambda empty=empty: empty.append(1) or True)
        with pytest.raises(PoolClosedError, match="why"):
            gate.enter(late.place)
        assert (second.woken, second.place.refused) == ((1, "why") if refuse else (0, ""))
        first.place.leave()
        assert second.place.number == (None if refuse else 0)
        second.place.leave()
        assert empty == [1]


def test_in_a_forked_child_nobody_is_there():
    gate = Gate(1)
    old, waits = Guest(gate), Guest(gate)
    gate.enter(old.place)
    gate.enter(waits.place)
    gate.forget()
    new = Guest(gate)
    assert gate.enter(new.place)
    old.place.leave()
    waits.place.leave()
    assert gate.inside == {new.place.number}


def test_a_thread_is_woken_before_or_while_it_waits():
    wake, wait = thread_waker()
    assert not wait(0.001)
    wake()
    assert wait(None)
    wake, wait = thread_waker()
    assert not wait(-1)
    wake()
    assert wait(1e300)
