"""The encoding between the two jails of a check, the proxy's side of it, and what a pair of jails comes to."""

from __future__ import annotations

import contextlib
import math
import os
import struct
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pyjail
from pyjail import Limits, Result, SpecError, Verdict
from pyjail.grading import Case, _function, _judge, _pair
from pyjail.grading.inside import encoding, frames, proxy
from pyjail.grading.inside.candidate import answer, describe
from pyjail.grading.inside.cases import same
from pyjail.grading.inside.encoding import Malformed, Unsupported, decode, encode

HASHABLE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters())
    | st.binary()
    | st.complex_numbers(allow_nan=False),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=4),
    max_leaves=6,
)
PLAIN = st.recursive(
    HASHABLE | st.binary().map(bytearray) | st.builds(range, st.integers(), st.integers(), st.integers(1, 9)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(HASHABLE, inner, max_size=4) | st.sets(HASHABLE),
    max_leaves=20,
)


def alike(a, b):
    """Equal, of the same types all the way down, floats by their bits."""
    if type(a) is not type(b):
        return False
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(alike, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(map(alike, a.values(), b.values()))
    if isinstance(a, float):
        return struct.pack("d", a) == struct.pack("d", b)
    return a == b


@given(PLAIN)
def test_plain_data_comes_back_as_it_was(value):
    assert alike(decode(encode(value)), value)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_malformed(data):
    try:
        value = decode(data)
    except Malformed:
        return
    assert alike(decode(encode(value)), value)


@given(PLAIN, st.data())
def test_damaged_bytes_are_a_value_or_malformed(value, data):
    raw = bytearray(encode(value))
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(Malformed):
        decode(bytes(raw[: data.draw(st.integers(0, len(raw)))]))


@pytest.mark.parametrize("bits", [0x7FF8000000000000, 0xFFF8000000000001, 0x8000000000000000, 0x7FF0000000000000, 1])
def test_floats_keep_every_bit(bits):
    raw = struct.pack(">Q", bits)
    (value,) = struct.unpack(">d", raw)
    assert struct.pack(">d", decode(encode([value]))[0]) == raw


def test_what_is_no_plain_data_is_refused():
    loop: list = []
    loop.append(loop)
    deep: list = []
    for _ in range(encoding.MOST_DEPTH + 1):
        deep = [deep]
    for value in (
        object(),
        len,
        lambda: 0,
        int,
        os,
        iter([]),
        {}.keys(),
        loop,
        deep,
        [None] * 600_000,
        "x" * (9 << 20),
    ):
        with pytest.raises(Unsupported):
            encode(value)


def test_subclasses_are_what_their_base_class_holds_whatever_they_say():
    class L(list):
        def __iter__(self):
            return iter([7])

        def __len__(self):
            return 9

        def __eq__(self, other):
            return True

    class I(int):  # noqa: E742
        def __add__(self, other):
            return 9

        def __index__(self):
            return 8

    class F(float):
        def __float__(self):
            return 9.0

    class S(str):
        def encode(self, *a):
            return b"lie"

    class D(dict):
        def items(self):
            return [(1, 2)]

    class Liar:
        __class__ = list

    assert alike(decode(encode([L([1]), I(3), F(0.5), S("x"), D(a=1)])), [[1], 3, 0.5, "x", {"a": 1}])
    with pytest.raises(Unsupported):
        encode(Liar())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"?",
        b"NN",
        b"L\xff\xff\xff\xff",
        b"L\0\0\0\1",
        b"S\0\0\0\1\xff",
        b"E\0\0\0\1L\0\0\0\0",  # a set of a list
        b"E\0\0\0\2TT",
        b"M\0\0\0\2TNI\0\0\0\1\1N",  # True and 1 are one key
        b"G\0\0\0\0N",
        b"RNNN",
        b"R" + b"I\0\0\0\1\0" * 3,  # a step of 0
        b"L\0\0\0\1" * 70 + b"N",
    ],
)
def test_no_bytes_do_harm(data):
    with pytest.raises(Malformed):
        decode(data)


def test_iterators_are_bounded_and_keep_their_end():
    def numbers():
        yield 1
        yield 2
        raise KeyError("three")

    def forever():
        while True:
            yield None

    made = []
    decode(encode(numbers(), describe), lambda items, end: made.append((items, end)))
    assert made == [([1, 2], (["KeyError", "LookupError", "Exception", "BaseException", "object"], "'three'"))]
    decode(encode([forever(), {1: 2}.items()], describe), lambda items, end: made.append((len(items), end)))
    assert made[1:] == [(encoding.MOST_ITEMS, True), (1, None)]


def test_an_iterated_is_an_iterator_and_equals_its_list():
    it = proxy.Iterated([1, 2, 3], None)
    assert it == [1, 2, 3] and it != [1, 2] and it == proxy.Iterated([1, 2, 3], None) and it != (1, 2, 3)
    assert next(it) == 1 and it == [2, 3] and 3 in it and 1 not in it and list(it) == [2, 3] and list(it) == []
    broken = proxy.Iterated([1], ValueError("x"))
    assert next(broken) == 1
    for use in (lambda: next(broken), lambda: broken == [1], lambda: list(proxy.Iterated([], ValueError("x")))):
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
        (["ExceptionGroup", "Exception"], proxy.CandidateError),
        (["StopIteration", "Exception"], proxy.CandidateError),
        (["Mine", "StopAsyncIteration", "Exception"], proxy.CandidateError),
        (["SkipTest", "Exception"], proxy.CandidateError),
        (["IOError", "OSError", "Exception"], OSError),
    ],
)
def test_an_exception_is_one_of_ours_and_never_one_that_ends_a_loop(names, kind):
    with Pipes(("raised", names, "text", None)) as pipes, pytest.raises(kind, match="text") as e:
        pipes.channel.call("m", "f", (), {})
    assert type(e.value) is kind


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
    assert same(proxy.Iterated([1, 2], None), [1, 2], 0.0)
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


def result(verdict=Verdict.OK, **more):
    return Result(["x"], 0, verdict, **more)


@pytest.mark.parametrize(
    ("reports", "candidate", "checker", "expected"),
    [
        ([("end", "passed", "", "")], result(), result(), "passed"),
        ([("end", "passed", "", "")], result(Verdict.MEMORY), result(), "crashed: out of memory, after its last answer"),
        ([("end", "passed", "", "")], result(Verdict.WALL_TIME), result(), "timed out"),
        ([("end", "passed", "", "")], result(), result(Verdict.MEMORY), "broken: the checker passed it, and then: out of memory"),
        ([("end", "failed", "x", "")], result(Verdict.MEMORY), result(), "failed: x"),
        ([("end", "gone", "", "")], result(Verdict.CPU_TIME), result(), "timed out"),
        ([("end", "gone", "", "")], result(exit_code=0), result(), "crashed: it exited with 0, before it had answered"),
        ([("end", "gone", "", "")], result(Verdict.SECURITY, syscall="bpf"), result(), "crashed: the filter ended it for bpf, before it had answered"),
        ([("end", "gone", "", "")], result(Verdict.JAIL_ERROR, error="x"), result(), "crashed: its jail failed: x, before it had answered"),
        ([("end", "won", "", "")], result(), result(exit_code=0), "broken: the checker ended without a report: it exited with 0"),
        ([("case", "passed", "", 1)], result(), result(Verdict.MEMORY), "broken: the checker ended without a report: out of memory"),
        ([], result(Verdict.WALL_TIME), result(Verdict.WALL_TIME), "timed out"),
        ([], result(), result(Verdict.CPU_TIME), "timed out: the tests themselves took too long"),
        ([], result(), result(Verdict.SIGNALED, signal=9), "broken: the checker ended without a report: killed by signal 9"),
    ],
)  # fmt: skip
def test_a_check_passes_only_when_all_of_it_says_so(reports, candidate, checker, expected):
    status, detail, _ = _judge.end(_pair.Pair(candidate, checker, tuple(reports)))
    assert _judge.line(status, detail) == expected


def test_no_line_of_a_log_is_of_the_candidate_s_making():
    assert _judge.line("failed", "a\n{'passed': True}\r\x1b[2J\ud800 ä") == (
        "failed: a\\n{'passed': True}\\r\\x1b[2J\\ud800 ä"
    )
    ended = ("end", "failed", "", "\ud800\n")
    assert _judge.end(_pair.Pair(result(), result(), (ended,)))[2] == "\\ud800\n"


def test_cases_beyond_one_job_are_divided():
    cases = [Case(("x" * (1 << 20),), n) for n in range(20)]
    blob, batch = _function._fitting({"kind": "cases"}, cases)
    assert len(blob) <= encoding.MOST_BYTES and batch == cases[:5]


def test_reports_that_are_cut_off_are_left_out():
    one = encode(("case", 1))
    raw = struct.pack(">I", len(one)) + bytes(16) + one
    assert _pair.parse(raw * 2) == (("case", 1),) * 2
    assert _pair.parse(raw + raw[:-1]) == (("case", 1),)
    assert _pair.parse(b"Traceback (most recent call last):\n") == ()
    assert _pair.parse(b"") == ()


PROBLEM = {"task_id": 1, "prompt": "", "entry_point": "f", "test": "assert f() == 1"}


@pytest.mark.parametrize(
    ("field", "call"),
    [
        ("problem", lambda: pyjail.grading.check_correctness([], "")),
        ("problem", lambda: pyjail.grading.check_correctness({"prompt": ""}, "")),
        ("entry_point", lambda: pyjail.grading.check_correctness({**PROBLEM, "entry_point": "f()"}, "")),
        ("completion", lambda: pyjail.grading.check_correctness(PROBLEM, None)),
        ("completion", lambda: pyjail.grading.check_correctness(PROBLEM, "#" * (5 << 20))),
        ("wall_time", lambda: pyjail.grading.check_correctness(PROBLEM, "", 0)),
        ("timeout", lambda: pyjail.grading.check_correctness(PROBLEM, "", None)),
        ("limits", lambda: pyjail.grading.check_correctness(PROBLEM, "", limits={})),
        ("jail", lambda: pyjail.grading.check_correctness(PROBLEM, "", jail="x")),
        ("checker_jail", lambda: pyjail.grading.check_correctness(PROBLEM, "", checker_jail="x")),
        ("python", lambda: pyjail.grading.check_correctness(PROBLEM, "", python=3)),
        ("cases", lambda: pyjail.grading.check_function("", "f", [1])),
        ("cases", lambda: pyjail.grading.check_function("", "f", [((object(),), 1)])),
        ("cases", lambda: pyjail.grading.check_function("", "f", [Case(5)])),
        ("cases", lambda: pyjail.grading.check_function("", "f", [Case((), kwargs=[1])])),
        ("packages", lambda: pyjail.grading.check_function("", "f", [], packages=1)),
        ("tolerance", lambda: pyjail.grading.check_function("", "f", [], tolerance=math.nan)),
        ("source", lambda: pyjail.grading.check_function(None, "f", [])),
        ("modules", lambda: pyjail.grading.run_tests({}, {"t.py": ""}, "solution")),
        ("modules", lambda: pyjail.grading.run_tests({}, {"t.py": ""}, ["a-b"])),
        ("tests", lambda: pyjail.grading.run_tests({}, {"../t.py": ""}, ["a"])),
        ("tests", lambda: pyjail.grading.run_tests({}, {}, ["a"])),
        ("files", lambda: pyjail.grading.run_tests({"pyjail_grading/checker.py": ""}, {"t.py": ""}, ["a"])),
        ("framework", lambda: pyjail.grading.run_tests({}, {"t.py": ""}, ["a"], framework="nose")),
    ],
)
def test_what_makes_no_sense_is_told_before_anything_starts(field, call):
    with pytest.raises(SpecError) as e:
        call()
    assert e.value.field == field


def test_the_candidate_has_the_given_limits_and_no_more_time():
    where = _pair.setting(2, Limits(cpu_time=None, wall_time=1, memory="64M", cpus={0}), None, None, None, None, False)
    got = where.of_candidate()
    assert (got.cpu_time, got.wall_time, got.memory, got.cpus) == (2, 1, 64 << 20, frozenset({0}))
    assert where.of_checker().wall_time == 2 + _pair.CHECKER_MORE
