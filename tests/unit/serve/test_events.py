"""Events: whoever reads from wherever gets each byte once, however it was written, and lag holds nobody up."""

from __future__ import annotations

import asyncio
import base64
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from pyjail.serve import events
from pyjail.serve.events import Place
from pyjail.serve.live import WINDOW, Live, Lives, Window

PIECES = st.lists(st.binary(max_size=9) | st.text(max_size=9).map(str.encode), max_size=8)


def parsed(raw: bytes):
    lines = raw.decode().removesuffix("\n\n").split("\n")
    found = dict(line.split(": ", 1) for line in lines)
    return found.get("event"), json.loads(found["data"]), found.get("id")


def content(data) -> bytes:
    return data["t"].encode() if "t" in data else base64.b64decode(data["b64"])


async def all_of(live: Live, at: Place):
    return [parsed(raw) async for raw in events.of(live, at) if not raw.startswith(b":")]


@settings(deadline=None)
@given(PIECES, PIECES, st.data())
def test_every_byte_comes_once_from_any_place_that_was_told(out, err, data):
    async def main():
        live = Live("1", "a")
        seen = []

        async def read():
            seen.extend([parsed(raw) async for raw in events.of(live, Place()) if not raw.startswith(b":")])

        reading = asyncio.create_task(read())
        for i in range(max(len(out), len(err))):
            for name, pieces in (("stdout", out), ("stderr", err)):
                if i < len(pieces):
                    live.wrote(name, pieces[i])
            await asyncio.sleep(0)
        live.end("done", {"result": None})
        await reading
        for name, pieces in (("stdout", out), ("stderr", err)):
            mine = [said for event, said, _ in seen if event == name]
            assert b"".join(map(content, mine)) == b"".join(pieces)
            offsets = [said["o"] for said in mine]
            assert offsets == sorted(offsets)
        cut = data.draw(st.sampled_from(range(len(seen))))
        rest = await all_of(live, Place.of(next((id for _, _, id in reversed(seen[:cut]) if id), "")))
        for name in ("stdout", "stderr"):
            before = b"".join(content(said) for event, said, _ in seen[:cut] if event == name)
            after = b"".join(content(said) for event, said, _ in rest if event == name)
            assert before + after == b"".join(out if name == "stdout" else err)
        assert rest[-1][0] == "result"

    asyncio.run(main())


@given(st.text(min_size=1, max_size=30), st.data())
def test_a_character_is_never_cut(text, data):
    raw = text.encode()
    live = Live("1", "a")
    cut = data.draw(st.integers(0, len(raw)))
    live.wrote("stdout", raw[:cut])
    live.wrote("stdout", raw[cut:])
    live.end("done", {})
    seen = asyncio.run(all_of(live, Place()))
    assert "".join(said["t"] for event, said, _ in seen if event == "stdout") == text


def test_the_result_has_what_is_asked_for_and_compilers_keep_their_words():
    result = {"verdict": "ok", "stdout": {"bytes": "a"}, "stderr": {"bytes": ""}, "stdout_bytes": 1, "receipt": []}
    live = Live("1", "a")
    live.wrote("stdout", b"a")
    live.end("done", {"compile": result, "result": result})

    async def last(receipt, output):
        told = [parsed(raw) async for raw in events.of(live, Place(), receipt, output)]
        assert [said["t"] for event, said, _ in told if event == "stdout"] == ["a"]
        return told[-1][1]

    without = {"verdict": "ok", "stdout_bytes": 1}
    for receipt, more in ((True, {"receipt": []}), (False, {})):
        compiled = {**without, "stdout": {"bytes": "a"}, "stderr": {"bytes": ""}, **more}
        for output in (True, False):
            said = asyncio.run(last(receipt, output))
            assert (said["compile"], said["result"]) == (compiled, compiled if output else {**without, **more})


def test_who_lags_is_told_and_goes_on_with_what_is_kept():
    live = Live("1", "a")
    for _ in range(100):
        live.wrote("stdout", b"x" * 10_000)
    live.end("done", {})
    seen = asyncio.run(all_of(live, Place()))
    lag = next(said for event, said, _ in seen if event == "lagging")
    told = sum(len(content(said)) for event, said, _ in seen if event == "stdout")
    assert lag["from"] == 0 and lag["to"] + told == 1_000_000
    assert told <= WINDOW


@given(st.lists(st.binary(max_size=50), max_size=30), st.integers(1, 40))
def test_a_window_keeps_the_last_bytes_and_counts_all(pieces, most):
    window = Window(most)
    whole = b""
    for piece in pieces:
        window.add(piece)
        whole += piece
        assert window.total == len(whole)
        assert window.read(window.start, 10_000) == whole[window.start :]
        assert min(most, len(whole)) <= len(whole) - window.start <= most + most // 4


def test_a_place_is_told_as_text_and_nonsense_is_the_beginning():
    for place in (Place(), Place(1, 2), Place(3, 4, True)):
        assert Place.of(str(place)) == place
    for text in ("", "1", "a.b", "1.2.3", "-1.0", "1.2.END", "9" * 20 + ".0", "1.2\n"):
        assert Place.of(text) == Place()


def test_no_text_makes_an_event_of_its_own():
    raw = events.event("stdout", {"t": "\n\nevent: result\rdata: {}\u2028\u0085"}, Place())
    assert raw.count(b"\n\n") == 1 and b"\r" not in raw and raw.isascii()


def test_who_waits_is_woken_by_the_end_and_not_before():
    async def main():
        live = Live("1", "a")
        waiting = [asyncio.create_task(live.until_ended(1000)) for _ in range(3)]
        await asyncio.sleep(0)
        live.began("run")
        await asyncio.sleep(0)
        assert not any(task.done() for task in waiting)
        assert not await live.until_ended(0)
        live.end("cancelled")
        live.end("done", {"x": 1})  # it has ended already
        assert await asyncio.gather(*waiting) == [True] * 3
        assert (live.state, live.result) == ("cancelled", None)

    asyncio.run(main())


def test_what_ended_is_forgotten_when_there_is_more_and_what_runs_is_not():
    lives = Lives(keep=1000, most=3)
    running = lives.make("r", "a")
    for i in range(10):
        lives.make(str(i), "a").end("done")
    lives.make("x", "a")
    assert lives.get("r", "a") is running and lives.get("r", "b") is None
    assert [i for i in range(10) if lives.get(str(i), "a")] == [7, 8, 9]


def test_results_that_can_be_seen_have_a_size_in_all():
    lives = Lives(keep=1000, size=1000)
    for n in range(4):
        live = lives.make(str(n), "a")
        live.end("done", {"result": {"stdout": {"bytes": "x" * 300}, "steps": [{"stderr": "x" * 50}]}})
        live.end("done", {})
        assert live.result is not None
    assert [n for n in range(4) if lives.get(str(n), "a")] == [2, 3]
    lives.make("long", "a").end("done", {"text": "x" * 2000})
    assert lives.count("done") == 0


def test_nothing_changes_what_has_ended():
    live = Live("1", "a")
    live.wrote("stdout", b"x")
    live.end("cancelled")
    version = live.version
    live.began("run")
    live.wrote("stdout", b"y")
    live.used({"cpu": 1})
    live.row({})
    live.waits()
    live.end("done", {})
    assert (live.state, live.step, live.usage, live.rows, live.result) == ("cancelled", "", None, [], None)
    assert (live.streams["stdout"].read(0, 9), live.version) == (b"x", version)
