"""Long answers: the same bytes as short ones are made in, and everybody else has his turn meanwhile."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyjail.serve import answers, model
from pyjail.serve.job import Outcome
from tests.unit.serve.face_desk import result

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
)
TEXTS = st.binary(max_size=40) | st.text(max_size=40).map(lambda text: text.encode("utf-8", "replace"))


@given(JSON, st.booleans(), st.integers(1, 5))
def test_pieces_are_the_whole(value, ascii_only, piece):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(answers, "PIECE", piece)
        made = answers.text(value, ascii_only)
    whole = json.dumps(value, ensure_ascii=ascii_only, separators=(",", ":"))
    assert made == whole.encode("utf-8", "replace")


@given(TEXTS, TEXTS, st.dictionaries(st.text("abc/", min_size=1, max_size=4), TEXTS, max_size=3), st.booleans())
def test_a_long_outcome_is_told_as_a_short_one(stdout, stderr, files, compiled):
    ran = result(stdout=stdout, stderr=stderr, files=files)
    outcome = Outcome(ran, ran if compiled else None, queued=0.5)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(answers, "PIECE", 3)
        patched.setattr(answers, "LONG", -1)
        told = asyncio.run(answers.told(outcome, False))
    assert told == model.told(outcome, False)


def test_what_has_no_output_is_told_as_that():
    ran = replace(result(), stdout=None, stderr=None, files={"a": bytes(2 << 20)})
    assert asyncio.run(answers.told(Outcome(ran), False)) == model.told(Outcome(ran), False)


@pytest.mark.parametrize("piece", [b"x", "é".encode(), b"\xff"])
def test_others_have_their_turn_while_an_answer_of_60_mb_is_made(piece):
    outcome = Outcome(result(files={"big": piece * (60_000_000 // len(piece))}))
    turns = 0

    async def others():
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async def main():
        task = asyncio.create_task(others())
        await asyncio.sleep(0)
        told = await answers.told(outcome, False)
        half = turns
        response = await answers.response(told)
        task.cancel()
        return told, response, half, turns - half

    told, response, *turns = asyncio.run(main())
    assert min(turns) > 10, turns  # in one piece it is none or one
    assert response.headers["content-type"] == "application/json"
    assert json.loads(bytes(response.body)) == told == model.told(outcome, False)
