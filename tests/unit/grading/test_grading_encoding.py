"""The encoding between the two jails of a check."""

from __future__ import annotations

import contextlib
import decimal
import fractions
import os
import struct

import pytest

from pyjail.grading.inside import encoding
from pyjail.grading.inside.candidate import describe
from pyjail.grading.inside.encoding import Malformed, Unsupported, decode, encode
from tests.examples import given, st
from tests.unit.grading.plain_data import PLAIN, alike


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
        b"P\0\0\0\3abc",
        b"P\0\0\0\1\xff",
        b"P\0\0\x27\x11" + b"1" * 10_001,
        b"QNN",
        b"Q" + b"I\0\0\0\1\1" + b"I\0\0\0\1\0",  # by nought
        b"Q" + b"I\0\0\0\1\1" + b"I\0\0\0\1\xff",
        b"Q" + b"I\0\0\x20\0" + b"\1" * 8192 + b"I\0\0\0\1\3",
        b"K\0\0\0\2TT",
        b"J\0\0\0\1L\0\0\0\0N",
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
    decode(encode([forever()], describe), lambda items, end: made.append((len(items), end)))
    assert made[1:] == [(encoding.MOST_ITEMS, True)]


def test_views_of_a_dict_are_views_of_a_dict():
    mapping = {"a": [1], 2: {"b": 3}}
    keys, values, items = decode(encode([mapping.keys(), mapping.values(), mapping.items()]))
    assert keys == {"a", 2} and type(keys) is type(mapping.keys()) and list(keys) == ["a", 2]
    assert list(values) == [[1], {"b": 3}] and type(values) is type(mapping.values())
    assert items == mapping.items() and type(items) is type(mapping.items())


@given(st.decimals() | st.fractions() | st.integers().map(decimal.Decimal))
def test_exact_numbers_stay_exact(number):
    got = decode(encode([number]))[0]
    assert type(got) is type(number) and str(got) == str(number)


def test_numbers_of_numpy_are_python_s():
    numpy = pytest.importorskip("numpy")
    values = [
        numpy.int64(-3),
        numpy.uint8(200),
        numpy.bool_(True),
        numpy.float32(0.5),
        numpy.float64(0.1),
        numpy.complex64(1j),
    ]
    assert alike(decode(encode(values)), [-3, 200, True, 0.5, 0.1, 1j])
    for value in (numpy.array([1]), numpy.datetime64("2020"), numpy.longdouble(1)):
        with pytest.raises(Unsupported):
            encode(value)


def test_what_only_calls_itself_a_number_is_refused_or_its_own_word():
    class Decimal:
        __str__ = None

    class Fraction:
        numerator = denominator = 5

    for kind, module in ((Decimal, "decimal"), (Fraction, "fractions")):
        kind.__module__ = module
        with pytest.raises(Unsupported):
            encode(kind())
    with pytest.raises(Unsupported, match="digits"):
        encode(decimal.Decimal("1" * 10_001))
    with pytest.raises(Unsupported, match="bits"):
        encode(fractions.Fraction(1 << 10_001, 3))
