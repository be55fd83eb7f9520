"""JSON that means one thing, and not too much of it."""

from __future__ import annotations

import json
import time

import pytest

from pyjail.serve import strict
from pyjail.serve.problem import Problem

MANY = strict.PARTS + 10


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": 1, "a": 2}',
        b'{"x": {"a": 1, "\\u0061": 2}}',
        b"NaN",
        b'{"a": -Infinity}',
        b"[" * 33 + b"]" * 33,
        b"[" * 5_000_000,
        b'{"a":' * 5_000_000,
        b'"\\ud800"',
        b"\xff",
        b"\xef\xbb\xbf{}",
        b"{} {}",
        b"",
        b"[" + b"[]," * MANY + b"[]]",
        b"[" + b"1," * MANY + b"1]",
        b"{" + b",".join(b'"%d":1' % n for n in range(MANY)) + b"}",
        b'{"a": ' + b"9" * 100_000 + b"}",
        b'["' + b'\\"' * 2_000_000,
        b'["' + b"\\" * 4_000_001,
        b"," * MANY + b'"' + b'\\"' * 2_000_000,
    ],
    ids=lambda body: body[:12].decode("latin-1"),
)
def test_what_is_not_taken(body):
    began = time.process_time()
    with pytest.raises(Problem) as e:
        strict.read(body)
    assert e.value.status == 400 and len(e.value.detail) < 300
    assert time.process_time() - began < 10


def test_strings_may_have_what_looks_like_parts():
    data = {"files": {"table.csv": "1,2,{[\n" * MANY, "quotes": '",' * MANY, "slashes": "\\," * MANY}}
    assert strict.read(json.dumps(data).encode()) == data


def test_what_is_usual_is_taken():
    data = {"args": ["a"] * 1000, "deep": [[[[[{}]]]]], "text": "\u00e9\U0001f600", "number": -1.5e10, "none": None}
    assert strict.read(json.dumps(data).encode()) == data
