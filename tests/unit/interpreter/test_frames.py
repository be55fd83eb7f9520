"""What comes over an interpreter's channel is checked: what is no message of the cell that runs is forged."""

from __future__ import annotations

import base64
import contextlib
import json
import random

import pytest

from pyjail.interpreter._frames import Begun, Done, Forged, Here, Reader, display, message
from pyjail.interpreter._records import Display
from pyjail.interpreter.inside.channel import written

NONCE = b"n" * 16
DONE = {"type": "done", "error": None, "dropped": [0, 0], "signalled": False}


def frame(value, nonce=NONCE):
    payload = value if isinstance(value, bytes) else json.dumps(value).encode()
    return len(payload).to_bytes(4, "big") + nonce + payload


def read(*frames, most=1000, together=10_000):
    reader, found = Reader(most, together), []
    for one in frames:
        reader.feed(one)
        while (value := reader.next(NONCE)) is not None:
            found.append(value)
    return found


def result(**data):
    return {"type": "result", "main": True, "data": {"text/plain": "x", **data}, "cut": {}}


def test_messages_come_in_pieces_of_any_size():
    whole = frame({"type": "begun"}) + frame(result()) + frame({"type": "here"}) + frame(DONE)
    for size in (1, 7, len(whole)):
        begun, shown, here, done = read(*[whole[i : i + size] for i in range(0, len(whole), size)])
        assert (shown.text, shown.is_main_result) == ("x", True)
        assert isinstance(begun, Begun) and isinstance(here, Here) and done == Done(None, (0, 0), False)


def test_what_the_inside_writes_is_what_json_reads():
    values = {"a": 'x"\n\udcff', "b": [1, None, True, False, {}], "c": {"é": ""}}
    assert json.loads(written(values)) == values


@pytest.mark.parametrize(
    "value",
    [b"", b"{", b"\xff", b"[" * 3000, b"1" * 5000, [], {}, {"type": "more"}, {**DONE, "dropped": [0]}, {**DONE, "dropped": [0, -1]},
     {**DONE, "dropped": [0, True]}, {**DONE, "dropped": [0, 1 << 70]}, {**DONE, "error": {}}, {**DONE, "error": "x"},
     {**DONE, "error": {"name": "a", "value": "b", "traceback": 1}}, {"type": "result", "main": True, "data": {}},
     {"type": "result", "data": {"text/plain": 1}, "cut": {}}, result(**{"a:b": ""}), result(**{"x" * 300: ""}),
     result(**{"image/png": "no base64"}), result(**{"image/png": "aGk=\n"}), result(**{"image/png": "\udcff"})],
    ids=lambda v: repr(v)[:40],
)  # fmt: skip
def test_whatever_else_comes_is_forged(value):
    with pytest.raises(Forged):
        read(frame(value))


def test_another_nonce_and_a_length_beyond_all_results_are_forged_before_the_message_is_whole():
    with pytest.raises(Forged, match="no cell"):
        read(frame(DONE, b"x" * 16))
    with pytest.raises(Forged, match="bytes"):
        read(b"\xff" * 20)


def test_more_than_the_bounds_is_forged_as_the_inside_sends_no_more():
    big = result(**{"text/html": "y" * 900})
    assert len(read(*[frame(big)] * 5, together=10_000)) == 5
    with pytest.raises(Forged, match="more results"):
        read(*[frame(big)] * 100, together=5_000)
    with pytest.raises(Forged, match="more results"):
        read(*[frame({"type": "result", "data": {}, "cut": {}})] * 1000, together=5_000)
    with pytest.raises(Forged, match="more results"):
        read(frame(result(**{"text/html": "é" * 40_000})))


def test_json_of_too_many_values_and_results_of_too_many_forms_are_not_read():
    many = "[" + "[]," * 400_000 + "0]"
    first, second = read(
        *[frame(result(**{"application/json": text})) for text in ("[1]", many)], most=1 << 21, together=1 << 22
    )
    assert first.json == [1] and second.json is None and "values" in second.cut["json"]
    with pytest.raises(Forged, match="no type"):
        read(frame(result(**{f"a/{i}": "" for i in range(64)})))


def test_base64_and_json_are_read_and_what_is_no_json_says_so():
    shown = display(
        {"image/png": base64.b64encode(b"\x89P").decode(), "application/json": '{"a": [1, null]}', "a/b": "c"},
        {},
        False,
    )
    assert (shown.raw("png"), shown.json, shown.extra, shown.formats()) == (
        b"\x89P",
        {"a": [1, None]},
        {"a/b": "c"},
        ("png", "json"),
    )
    for text in ("{", "[" * 70 + "]" * 70, "[" * 5000, "1" * 5000):
        shown = display({"application/json": text}, {}, True)
        assert shown.json is None and "cannot be read" in shown.cut["json"]
    assert display({}, {"image/png": "why"}, True).cut == {"png": "why"}


def test_garbage_is_forged_or_waited_for_and_nothing_else():
    dice = random.Random(1)
    good = frame(result()) + frame(DONE)
    for _ in range(2000):
        data = bytearray(good)
        for _ in range(dice.randrange(1, 5)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        with contextlib.suppress(Forged):
            assert all(isinstance(value, (Display, Done, Begun, Here)) for value in read(bytes(data)))


def test_a_message_to_the_inside_has_its_length():
    assert message(b"x", NONCE, b"abc") == b"x" + NONCE + b"\0\0\0\3abc"
