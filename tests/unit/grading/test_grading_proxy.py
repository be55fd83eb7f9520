"""The checker's side of a call, and how it compares what came back."""

from __future__ import annotations

import math
import os
import struct
import threading
from decimal import Decimal
from fractions import Fraction

import pytest

from pyjail.grading.inside import frames, proxy
from pyjail.grading.inside.candidate import answer, describe
from pyjail.grading.inside.cases import same
from pyjail.grading.inside.encoding import decode, encode
from tests.examples import given, st
from tests.unit.grading.plain_data import PLAIN, alike


def test_an_iterated_is_an_iterator_and_equals_itself_alone():
    it = proxy.Iterated([1, 2, 3], None)
    assert it != [1, 2, 3] and it != proxy.Iterated([1, 2, 3], None) and it == it and it in {it}
    assert next(it) == 1 and 2 in it and list(it) == [3] and list(it) == []
    broken = proxy.Iterated([1], ValueError("x"))
    assert next(broken) == 1
    for use in (lambda: next(broken), lambda: 5 in broken, lambda: list(proxy.Iterated([], ValueError("x")))):
        with pytest.raises(ValueError, match="x"):
            use()


class Pipes:
    """A channel to a candidate that the test plays."""

    def __init__(self, *answers: bytes | tuple):
        self.ended: list[tuple[str, str]] = []
        requests, answering = os.pipe(), os.pipe()
        self.channel = proxy.Channel(answering[0], requests[1], self.finish)

        def play():
            for reply in answers:
                nonce, _ = frames.receive(requests[0])
                if isinstance(reply, bytes):
                    os.write(answering[1], reply)
                else:
                    frames.send(answering[1], nonce, encode(reply, describe))
            os.close(answering[1])

        self.thread = threading.Thread(target=play)
        self.thread.start()
        self.fds = (answering[0], *requests)

    def finish(self, status, detail):
        self.ended.append((status, detail))
        raise SystemExit

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.thread.join()
        for fd in self.fds:
            os.close(fd)


NAMES = ["E", "KeyError", "LookupError", "Exception", "BaseException", "object"]


def test_a_call_brings_the_value_and_what_became_of_the_arguments():
    inner = [2]
    rows, mapping = [1, inner], {"x": {3}}
    with Pipes(("value", 5, (([1, [2, 9], 4],), {"m": {"x": {4}, "y": 0}}))) as pipes:
        assert pipes.channel.call("m", "f", (rows,), {"m": mapping}) == 5
    assert rows == [1, [2, 9], 4] and rows[1] is inner and mapping == {"x": {4}, "y": 0}


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (NAMES, KeyError),
        (["UnicodeDecodeError", "Exception"], UnicodeDecodeError),
        (["UnicodeEncodeError", "Exception"], UnicodeEncodeError),
        (["UnicodeTranslateError", "Exception"], UnicodeTranslateError),
        (["ExceptionGroup", "Exception"], ExceptionGroup),
        (["Foo", "Exception"], proxy.CandidateError),
        (["StopIteration", "Exception"], proxy.CandidateError),
        (["Mine", "StopAsyncIteration", "Exception"], proxy.CandidateError),
        (["SkipTest", "Exception"], proxy.CandidateError),
        (["IOError", "OSError", "Exception"], OSError),
    ],
)
def test_an_exception_is_one_of_ours_and_never_one_that_ends_a_loop(names, kind):
    with Pipes(("raised", names, "text", None)) as pipes, pytest.raises(kind, match="text") as e:
        pipes.channel.call("m", "f", (), {})
    assert type(e.value) is kind and proxy.names_of(e.value) == names
    assert not issubclass(proxy.CandidateError, tuple(k for k in proxy._ORDINARY.values() if k is not Exception))


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        ((), "forged"),
        (("what",), "forged"),
        (("value",), "forged"),
        (("value", 1, ((), {"a": 1}, 3)), "forged"),
        (("value", 1, (([],), {})), "forged"),
        (("value", 1, ((2,), {})), "forged"),
        (("raised", [], "", None), "forged"),
        (("raised", "Exception", "", None), "forged"),
        (("raised", [3], "", None), "forged"),
        (("raised", ["SystemExit", "BaseException"], "", None), "crashed"),
        (("refused", "a lambda"), "refused"),
        (("refused", 3), "forged"),
        (("refused",), "forged"),
        (b"passed" * 10, "forged"),
        (struct.pack(">I", 1) + bytes(16) + b"N", "forged"),
        (b"", "gone"),
        (b"\0\0", "gone"),
    ],
)
def test_all_that_is_no_answer_ends_the_check(reply, status):
    with Pipes(reply) as pipes, pytest.raises(SystemExit):
        pipes.channel.call("m", "f", (1,), {})
    assert [s for s, _ in pipes.ended] == [status]


def test_a_loading_error_a_wrong_name_and_a_false_kind_are_told():
    for reply, status in (
        (("raised", NAMES, "x", None), "failed"),
        (("function", 1), "forged"),
        (("exception",), "forged"),
    ):
        with Pipes(reply) as pipes, pytest.raises(SystemExit):
            pipes.channel.find("m", "f")
        assert [s for s, _ in pipes.ended] == [status]
    with Pipes() as pipes:
        channel = pipes.channel
        made = channel.exception_class(NAMES)
        assert made.__name__ == "E" and issubclass(made, KeyError) and channel.exception_class(NAMES) is made
        assert type(channel.exception(NAMES, "x")) is made
        assert issubclass(channel.exception_class(["Own", "Exception"]), Exception)
        assert type(channel.exception(["Own", "Exception"], "x")).__name__ == "Own"
        for names in (["a b", "Exception"], [], "Exception", [1]):
            with pytest.raises(SystemExit):
                channel.exception_class(names)


@given(st.lists(PLAIN, max_size=4), st.lists(PLAIN, max_size=4))
def test_merged_arguments_equal_what_came_back(mine, theirs):
    before = mine
    if proxy.merge(mine, theirs):
        assert mine is before and alike(mine, theirs)


def test_same_is_equality_but_for_nan_and_tolerance():
    nan = math.nan
    assert same([nan, (1, {"a": nan})], [nan, (1, {"a": nan})], 0.0)
    assert same({"a": 1.0000001}, {"a": 1.0}, 1e-6) and not same(1.1, 1.0, 1e-6)
    assert not same(proxy.Iterated([1, 2], None), [1, 2], 0.0)
    half, tenth = Fraction(1, 2), Decimal("0.1")
    assert same(half, 0.5, 0.0) and same(0.5, half, 0.0) and same(tenth, Decimal("0.10"), 0.0)
    assert not same(tenth, 0.1, 0.0) and same(tenth, 0.1, 1e-9) and same(0.1, tenth, 1e-9) and same(1.0000001, 1, 1e-6)
    assert not same(Decimal("sNaN"), 1, 0.0) and not same("0.1", 0.1, 1.0) and not same(2, 1, 5.0)
    assert same(math.inf, math.inf, 0.0) and not same(-math.inf, math.inf, 1.0)
    assert same(1, 1.0, 0.0) and same(True, 1, 0.0)
    for got, wanted in (
        ([1], (1,)),
        ((1,), [1]),
        (nan, 1.0),
        (1.0, nan),
        ("nan", nan),
        (0, nan),
        ({}, {1: 2}),
        (10**400, 1.0),
    ):
        assert not same(got, wanted, 0.5)


def test_the_driver_answers_with_what_it_found():
    assert decode(answer(("call", "math", "sqrt", (4.0,), {}))) == ("value", 2.0, None)
    assert decode(answer(("call", "bisect", "insort", ([1, 3], 2), {}))) == ("value", None, (([1, 2, 3], 2), {}))
    assert decode(answer(("call", "math", "sqrt", (-1.0,), {})))[:2][1][0] == "ValueError"
    assert decode(answer(("find", "math", "sqrt"))) == ("function",)
    assert decode(answer(("find", "math", "pi"))) == ("value", math.pi, None)
    assert decode(answer(("find", "math", "nope"))) == ("missing",)
    assert decode(answer(("find", "no_such_module", "x")))[0] == "raised"
    assert decode(answer(("find", "json", "JSONDecodeError")))[:1] == ("exception",)
    assert decode(answer(("find", "sys", "stdin")))[0] == "refused"
