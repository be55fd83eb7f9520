"""Long answers: the same bytes as short ones are made in, and everybody else has his turn meanwhile."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import JSONResponse

from pyjail.serve import answers, model
from pyjail.serve.job import Outcome
from pyjail.serve.leaving import CLIENT, Client
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
        said = await sent(await answers.response(told))
        task.cancel()
        return told, said, half, turns - half

    told, (start, body), *turns = asyncio.run(main())
    assert min(turns) > 10, turns  # in one piece it is none or one
    assert dict(start["headers"])[b"content-type"] == b"application/json"
    assert json.loads(body) == told == model.told(outcome, False)


async def sent(response, *, tenant="a", version="1.1", leaves=False):
    """(how it starts, its body); ``leaves``: the client is gone after the first part."""
    messages, client = [], Client(lambda: None)

    async def receive():
        return {"type": "http.disconnect"}

    async def send(message):
        messages.append(message)
        if leaves and message.get("body"):
            client.go()
            await asyncio.Event().wait()

    scope = {"type": "http", "tenant": tenant, "http_version": version, CLIENT: client}
    await response(scope, receive, send)
    return messages[0], b"".join(message.get("body", b"") for message in messages[1:])


LONG = {"a": "x" * (2 << 20)}


def test_who_knows_no_chunks_is_told_the_length():
    start, body = asyncio.run(sent(answers.Long(LONG), version="1.0"))
    assert dict(start["headers"])[b"content-length"] == str(len(body)).encode() and json.loads(body) == LONG
    start, body = asyncio.run(sent(answers.Long(LONG)))
    assert b"content-length" not in dict(start["headers"]) and json.loads(body) == LONG


def test_what_waits_to_be_read_is_bounded_for_all_and_for_one(monkeypatch):
    size = answers.weight(LONG)
    monkeypatch.setattr(answers, "MOST", 4 * size)

    async def main():
        async def status(tenant):
            return (await sent(answers.Long(LONG), tenant=tenant))[0]["status"]

        with answers.held("a", size):
            assert await status("a") == 200
            with answers.held("a", size):
                assert await status("a") == 503 and await status("b") == 200
                with answers.held("b", 2 * size):
                    assert await status("b") == 503 and await status("c") == 503
                assert await status("b") == 200
        with answers.held("d", 100 * size):  # one may always
            pass
        assert await status("a") == 200

    asyncio.run(main())
    assert not answers._held


def test_a_face_tells_it_in_its_own_words(monkeypatch):
    monkeypatch.setattr(answers, "MOST", 1)

    async def main():
        with answers.held("a", 1):
            return await sent(answers.Long(LONG, tell=lambda problem: JSONResponse([problem.kind], 500)))

    start, body = asyncio.run(main())
    assert (start["status"], json.loads(body)) == (500, ["answers"])


def test_nothing_is_held_for_who_is_gone():
    asyncio.run(sent(answers.Long(LONG), leaves=True))
    assert not answers._held
