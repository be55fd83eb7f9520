"""An exact sliding window."""

from __future__ import annotations

import pytest

from pyjail.serve import rates
from pyjail.serve.problem import Problem
from pyjail.serve.rates import Rates


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_no_window_of_that_length_ever_has_more():
    clock = Clock()
    r = Rates(clock)
    taken = []
    for _ in range(300):
        clock.now += 0.7
        try:
            r.hit("10/minute", "a")
            taken.append(clock.now)
        except Problem as e:
            assert e.status == 429
            assert all(one > clock.now - 60 for one in taken[-10:])  # it was full indeed
    assert all(later - earlier >= 60 for earlier, later in zip(taken, taken[10:], strict=False))
    assert len(taken) > 30


def test_what_is_told_is_when_it_works_again():
    clock = Clock()
    r = Rates(clock)
    standing = r.hit("2/minute", "a")
    assert standing.headers() == [(b"ratelimit-policy", b'"default";q=2;w=60'), (b"ratelimit", b'"default";r=1;t=60')]
    clock.now += 20
    assert r.hit("2/minute", "a").reset == 40
    with pytest.raises(Problem) as e:
        r.hit("2/minute", "a")
    assert e.value.headers == {
        "Retry-After": "40", "ratelimit-policy": '"default";q=2;w=60', "ratelimit": '"default";r=0;t=40'
    }  # fmt: skip
    clock.now += 39.9
    with pytest.raises(Problem):
        r.hit("2/minute", "a")
    clock.now += 0.2
    assert r.hit("2/minute", "a").left == 0


def test_each_client_and_each_rate_has_its_own():
    r = Rates(Clock())
    r.hit("1/minute", "a")
    r.hit("1/minute", "b")
    r.hit("1/hour", "a")
    with pytest.raises(Problem):
        r.hit("1/minute", "a")


def test_who_was_silent_is_forgotten_and_nobody_is_known_by_name():
    clock = Clock()
    r = Rates(clock)
    for n in range(1000):
        r.hit("5/minute", f"client-{n}")
    assert len(r) == 1000
    assert b"client-7" not in repr(vars(r)).encode()
    clock.now += 61
    r.hit("5/minute", "another")
    assert len(r) == 1


def test_there_is_a_most_of_clients(monkeypatch):
    monkeypatch.setattr(rates, "_MOST", 100)
    r = Rates(Clock())
    for n in range(1000):
        r.hit("5/minute", f"client-{n}")
    assert len(r) <= 101


@pytest.mark.parametrize("rate", ["", "often", "-1/minute", "1/fortnight", "0/minute"])
def test_what_is_no_rate_is_refused(rate):
    with pytest.raises(ValueError, match=r"couldn't parse|no granularity"):
        Rates().know(rate)
