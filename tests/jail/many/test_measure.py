"""`measure`: several runs of one program, noisy ones again."""

from __future__ import annotations

import json

import pytest

import pyjail
from pyjail import (
    Limits,
    Repeat,
    SpecError,
    Usage,
    Verdict,
)
from pyjail._many import measure
from tests.conftest import SLOW

LIMITS = Limits(wall_time=30 * SLOW)


def test_medians_and_spreads():
    m = pyjail.measure(["sh", "-c", "cat"], LIMITS, input=b"x", repeat=Repeat(times=3, quiet=False))
    assert m.verdict is Verdict.OK
    assert [r.stdout for r in m.counted] == [b"x"] * 3
    wall = m["wall_time"]
    assert wall.least <= wall.median == m.median["wall_time"] <= wall.most
    assert m.spread["wall_time"] == wall.relative >= 0
    assert pyjail.Measurement.from_dict(json.loads(json.dumps(m.to_dict()))) == m and f"{m!r}".startswith(
        "<Measurement ok, 3 of 3"
    )
    with pytest.raises(KeyError):
        m["pressure"]


def test_a_run_that_fails_is_the_last_one():
    m = pyjail.measure(["sh", "-c", "exit 3"], LIMITS)
    assert (m.verdict, len(m.runs), m.counted, m.quiet, m.median) == (Verdict.RUNTIME_ERROR, 1, (), False, {})


@pytest.fixture
def told(monkeypatch):
    """Runs whose usage is given."""

    def tell(*quiet):
        usages = [
            Usage(wall_time=n + 1.0, quiet=q, noise=() if q else ("cpu pressure: x",)) for n, q in enumerate(quiet)
        ]
        left = iter(usages)
        monkeypatch.setattr(
            measure.run, "run", lambda args, limits, **kw: pyjail.Result(args, 0, Verdict.OK, usage=next(left))
        )

    return tell


def test_noisy_runs_are_run_again(told):
    told(True, False, True, False, True)
    m = pyjail.measure(["x"], repeat=Repeat(times=3))
    assert [r.usage.wall_time for r in m.counted] == [1, 3, 5]
    assert (m.quiet, m.noisy, m.noise, m.median["wall_time"]) == (True, 2, {"cpu pressure": 2}, 3)


def test_but_not_for_ever(told):
    told(True, False, False, False)
    m = pyjail.measure(["x"], repeat=Repeat(times=2, most=4))
    assert (m.quiet, m.noisy, len(m.counted), m["wall_time"]) == (False, 3, 4, (2.5, 1, 4))


def test_where_the_kernel_tells_nothing_all_runs_count(told):
    told(None, None)
    m = pyjail.measure(["x"], repeat=Repeat(times=2))
    assert (m.quiet, len(m.counted)) == (None, 2)


@pytest.mark.parametrize("bad", [{"times": 0}, {"times": 16}, {"most": 10**6}, {"times": True}, {"quiet": 1}])
def test_policies_that_make_no_sense(bad):
    with pytest.raises(SpecError):
        Repeat(**bad)
    with pytest.raises(SpecError):
        pyjail.measure(["true"], repeat=5)


def test_a_throttled_run_is_told():
    r = pyjail.run(
        ["sh", "-c", "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done"], Limits(cpus=0.1, wall_time=60 * SLOW)
    )
    if r.usage.throttled_time is None:
        pytest.skip("proved in another place: no cgroup here throttles")
    assert r.ok
    assert r.usage.quiet is False
    assert any(why.startswith("throttled: ") for why in r.usage.noise)
    assert pyjail.Result.from_dict(json.loads(json.dumps(r.to_dict()))).usage == r.usage
