"""JSON of requests: what parsers disagree about is refused, and nothing else than `Problem` comes of any body."""

from __future__ import annotations

import difflib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyjail import Limits, SpecError, languages
from pyjail.serve import model, strict
from pyjail.serve.config import Config
from pyjail.serve.job import Job
from pyjail.serve.problem import Problem

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
LIMITS = st.dictionaries(
    st.sampled_from([*Limits().to_dict(), "memroy", ""]),
    JSON | st.sampled_from(["1M", "64M", "500ms", "1e3", "-1", "0", "inf", "\u0661", 2**70, -1, 0, 1e-9, 1e308]), max_size=4,
)  # fmt: skip
NAMES = list(model.Run.model_fields)


@pytest.mark.parametrize(
    "body",
    [b"", b"nul", b'{"a":1,"a":1}', b'{"a":{"b":1,"b":2}}', b"NaN", b"[Infinity]", b"[-Infinity]", b"\xff", b'"\\ud800"',
     b'{"\\udfff":1}', b"[" * 33 + b"]" * 33, b"[" * 10**6, b'{"a":' * 10**5, b"1" * 10_000, b"\xef\xbb\xbf{}",
     b"{}x", b"'a'", b"{a:1}", b'{"a":01}', b'"\x01"'],
    ids=range(20),
)  # fmt: skip
def test_it_is_refused(body):
    with pytest.raises(Problem) as e:
        strict.read(body)
    assert e.value.status == 400


def test_brackets_in_texts_are_no_depth():
    deep = {"a": "[{" * 1000 + '"\\' + "[" * 1000}
    assert strict.read(json.dumps(deep).encode()) == deep
    assert strict.read(b"[" * 32 + b"]" * 32)
    assert strict.read(b'"\\ud83d\\ude00"') == "\U0001f600"


@given(JSON)
def test_all_json_is_read_as_it_was_written(value):
    assert strict.read(json.dumps(value).encode()) == value


@given(st.binary(max_size=200))
def test_any_bytes_are_json_or_a_problem(body):
    try:
        strict.read(body)
    except Problem as e:
        assert e.status == 400


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from([*NAMES, "argz"]), JSON, max_size=5), LIMITS, st.booleans())
def test_any_request_is_a_job_or_a_problem_that_names_a_field(asked, limits, good):
    if good:
        asked = {**asked, "args": ["true"], "limits": limits}
    config = Config()
    try:
        job = model.job_of(strict.model(model.Run, json.dumps(asked).encode()), config)
    except Problem as e:
        assert e.status in (400, 422) and (e.field or e.status == 400)
    else:
        assert isinstance(job, Job)
        for name in limits if good else ():
            most, got = getattr(config.maxima, name), getattr(job.limits, name)
            assert most is None or (got is not None and got <= most), name


def test_the_nearest_of_a_very_long_name_is_not_looked_for(monkeypatch):
    def near(name, *_):
        assert len(name) < 100  # what it takes goes with the length: a body may have 16 MB
        return []

    monkeypatch.setattr(strict, "get_close_matches", near)
    monkeypatch.setattr(difflib, "get_close_matches", near)
    long = "m" * 1000
    assert strict.unknown(long, ["memory"], f"limits.{long}").status == 422
    with pytest.raises(SpecError, match="no such language"):
        languages.find(long)


def test_an_unknown_name_is_told_with_the_nearest_one():
    for asked, field, near in (
        ({"argz": []}, "argz", "args"), ({"langauge": ""}, "langauge", "language"),
        ({"args": ["a"], "limits": {"cpu_tim": 1}}, "limits.cpu_tim", "cpu_time"),
    ):  # fmt: skip
        with pytest.raises(Problem) as e:
            model.job_of(strict.model(model.Run, json.dumps(asked).encode()), Config())
        assert e.value.field == field and repr(near) in e.value.hint


def test_a_limit_above_the_maximum_is_refused_and_never_made_smaller():
    config = Config(maxima=Limits(memory="64M", wall_time=10))
    assert model.limits({"memory": "64M"}, config.limits, config.maxima).memory == 64 << 20
    for asked in ({"memory": (64 << 20) + 1}, {"memory": None}, {"wall_time": 10.001}, {"wall_time": None}):
        with pytest.raises(Problem) as e:
            model.limits(asked, config.limits, config.maxima)
        assert e.value.kind == "limit" and "at most" in e.value.detail
