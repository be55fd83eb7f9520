"""No control sequence leaves, printable text is unchanged, and how a stream comes in pieces changes nothing."""

from __future__ import annotations

import re
import tracemalloc

import pytest

from pyjail import SpecError, sanitize
from tests.examples import examples, given, st

# Bytes that mean something come often, whole sequences and halves of them.
BITS = st.one_of(
    st.sampled_from([
        b"\x1b", b"[", b"]", b"P", b"X", b"^", b"_", b"\\", b"\x07", b"\x9b", b"\x9d", b"\x90", b"\x9c", b"\x98", b"\x9e", b"\x9f",
        b"\xc2\x9b", b"\xc2\x9d", b"\xc2\x9c", b"\xc2", b"\xe2", b"\x80", b"\xae", b"\xe2\x80\xae", b"\xd8\x9c", b"\x1b[31m",
        b"\x1b[0m", b"\x1b[2J", b"\x1b]0;t\x07", b"\x1b]52;c;x\x1b\\", b"\x1bP1$q\x1b\\", b"\x1bc", b"\x1b(B", b"\x1b#8", b"31", b"m",
        b";", b"\r", b"\b", b"\n", b"\t", b"\x18", b"\x1a", b"\x7f", b"\0", b"\x0e", "é\u30a2\U0001f600".encode(), b"text ", b"\xf0\x9f",
    ]),
    st.binary(max_size=3),
)  # fmt: skip
BYTES = st.lists(BITS, max_size=24).map(b"".join)
OPTIONS = st.fixed_dictionaries(
    {
        "mode": st.sampled_from(sanitize.MODES),
        "carriage": st.booleans(),
        "backspace": st.booleans(),
        "bidi": st.booleans(),
    }
)
SGR = re.compile(rb"\x1b\[[0-9;:]{0,64}m")
CHAR = re.compile(
    rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}"
)  # as a careless reader has it, longer than needed or surrogates and all


def in_pieces(data, cuts, **options):
    machine, out, at = sanitize.Sanitizer(**options), [], 0
    for cut in sorted({min(c, len(data)) for c in cuts}):
        out.append(machine.feed(data[at:cut]))
        at = cut
    return b"".join([*out, machine.feed(data[at:]), machine.end()])


@examples(400)
@given(data=BYTES, cuts=st.lists(st.integers(0, 80), max_size=12), options=OPTIONS)
def test_pieces_change_nothing(data, cuts, options):
    assert in_pieces(data, cuts, **options) == sanitize.clean(data, **options)
    assert in_pieces(data, range(len(data)), **options) == sanitize.clean(data, **options)


@examples(400)
@given(data=BYTES, options=OPTIONS)
def test_no_control_leaves(data, options):
    out = sanitize.clean(data, **options)
    rest = SGR.sub(b"", out) if options["mode"] == "keep-colour" else out
    allowed = {9, 10} | ({13} if options["carriage"] else set()) | ({8} if options["backspace"] else set())
    assert {b for b in rest if b < 32 or b == 127} <= allowed
    bare = CHAR.sub(lambda found: b"" if not b"\xc2\x80" <= found[0] < b"\xc2\xa0" else b"\x9b", rest)
    assert not re.search(rb"[\x80-\x9f]", bare)
    text = rest.decode("utf-8", "replace")
    assert not re.search("[\x80-\x9f]", text)
    if not options["bidi"]:
        assert not re.search("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]", text)


@examples(400)
@given(data=BYTES, options=OPTIONS)
def test_what_is_clean_stays_and_nothing_grows_beyond_its_bound(data, options):
    out = sanitize.clean(data, **options)
    assert sanitize.clean(out, **options) == out
    assert len(out) <= {"strip": 1, "keep-colour": 2, "escape": 4}[options["mode"]] * len(data) + len(b"\x1b[0m")
    if options["mode"] == "strip":
        assert len(out) <= len(data)


@examples(200)
@given(text=st.text(st.characters(exclude_categories=("Cc", "Cs", "Cf"))), options=OPTIONS)
def test_printable_text_is_unchanged(text, options):
    assert sanitize.clean(text.encode(), **options) == text.encode()


@pytest.mark.parametrize(
    ("data", "stripped"),
    [
        (b"a\x1b[31;1mb\x1b[0mc", b"abc"),
        (b"a\x1b[?1049hb\x1b[>c\x1b[ qc", b"abc"),
        (b"a\x9b31mb", b"ab"),
        (b"a\xc2\x9b31mb", b"ab"),
        (b"a\x1b]0;title\x07b\x1b]8;;http://x\x1b\\c", b"abc"),
        (b"a\x1b]52;c;cm0=\xc2\x9cb\x9d0;x\x9cc", b"abc"),
        (b"a\x1b]0;\xc3\x9c\xe2\x98\x9c\x07b", b"ab"),  # 9C in a letter of the title is no end of it
        (b"a\x1bP$q\x07m\x1b\\b", b"ab"),  # only OSC ends at a bell
        (b"a\x1b_apc\x1b\\b\x1b^pm\x1b\\c\x1bXsos\x1b\\d", b"abcd"),
        (b"a\x1b]0;x\x18b\x1bP1\x1ac", b"abc"),
        (b"a\x1bcb\x1b(Bc\x1b#8d\x1b7e\x1b=f", b"abcdef"),
        (b"a\x1b\x1b\x1b[1mb\x1b", b"ab"),
        (b"a\x1b[3\n1mb", b"a\nb"),  # a terminal does what the newline says, and goes on
        ("a\x1b[3é1m".encode(), "aé1m".encode()),
        (b"a\x1b]0;x\x1b[31mb", b"ab"),
        (b"a\x84\x85\x8d\xc2\x85b", b"ab"),
        (b"a\0\x07\x0b\x0c\x0e\x0f\x7fb", b"ab"),
        (b"10%\r20%\r\n", b"10%\r20%\r\n"),
        (b"a\bb", b"ab"),
        ("a\u202eb\u2066c\u200fd\u061ce".encode(), b"abcde"),
        (b"caf\xe9 \xa0 \xff\xc2", b"caf\xe9 \xa0 \xff\xc2"),  # Latin-1: no UTF-8, and no control
        (b"\xe2\x1b[m\x80\xae\xc2\x1b[m\x9b1mx", b"\xe2\xae\xc2x"),  # what was between is gone: nothing is joined to a control
        (b"\xc0\x9b1m\xe0\x82\x9b1m\xed\xa0\x80", b"\xc0\xe0\xed\xa0"),
    ],
)  # fmt: skip
def test_strip(data, stripped):
    assert sanitize.clean(data) == stripped


def test_colours_stay_when_they_are_to_and_are_reset():
    def kept(data):
        return sanitize.clean(data, "keep-colour")

    assert kept(b"\x1b[31mr\x1b[2J\x1b[0m") == b"\x1b[31mr\x1b[0m"
    assert kept(b"\x9b38;2;1;2;3mr") == b"\x1b[38;2;1;2;3mr\x1b[0m"
    assert kept(b"\x1b[4:3mr\x1b[m") == b"\x1b[4:3mr\x1b[m"
    assert kept(b"\x1b[?25m\x1b[>4;2m\x1b[1 m") == b""  # no colours, whatever they end with
    assert kept(b"\x1b[" + b"1;" * 40 + b"mr") == b"r"


def test_escape_shows_what_there_is():
    shown = sanitize.clean("\x1b[31m\x07\x7f\x9b\u202e\r\n".encode() + b"\x9b\b", "escape", carriage=False)
    assert shown == b"^[[31m^G^?\\x9b\\u202e^M\n\\x9b^H"


def test_options_let_through():
    data = "a\rb\bc\u202ed".encode()
    assert sanitize.clean(data, carriage=False) == b"abcd"
    assert sanitize.clean(data, backspace=True, bidi=True) == data


def test_an_unknown_mode_is_refused():
    with pytest.raises(SpecError, match="strip, keep-colour, escape"):
        sanitize.Sanitizer("html")


@pytest.mark.parametrize("begin", [b"\x1b]0;", b"\x1bP", b"\x1b[", b"\x9b1", b"\x1b_"])
@pytest.mark.parametrize("mode", ["strip", "keep-colour"])
def test_what_has_no_end_costs_no_memory(begin, mode):
    machine, piece = sanitize.Sanitizer(mode), b"1" * (1 << 20)
    machine.feed(begin)
    tracemalloc.start()
    try:
        for _ in range(100):
            machine.feed(piece)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("bits", [b"a\xc3\xa9", b"\x1b", b"\x1b[m", b"\x9b", b"\xe2\x80\xae", b"\xc2", b"\x1b]\x07"])
def test_a_stream_of_them_is_one_of_bounded_work(bits, monkeypatch):
    whole = bits * (1 << 18)
    steps = 0

    def counted(step):
        def one(machine, piece, at):
            nonlocal steps
            steps += 1
            return step(machine, piece, at)

        return one

    for name in ("_ground", "_escape", "_intermediate", "_control", "_string"):
        monkeypatch.setattr(sanitize.Sanitizer, name, counted(getattr(sanitize.Sanitizer, name)))
    sanitize.Sanitizer("keep-colour").feed(whole)
    assert steps <= len(whole)


def test_cut():
    text = "häß\U0001f600x".encode()
    for most in range(len(text) + 2):
        kept = sanitize.cut(text, most)
        assert len(kept) <= most and text.startswith(kept) and len(kept) > most - 4
        kept.decode()
    assert sanitize.cut(b"123456", 3, sanitize.SUFFIX) == b"123\n... [output truncated]"
    assert sanitize.cut(b"123", 3, sanitize.SUFFIX) == b"123"
    assert sanitize.cut(b"\xff\x80\x80\x80", 2) == b"\xff\x80"


def test_no_colour_is_cut_in_two_and_none_is_left_on():
    text = b"\x1b[31mred\x1b[0m"
    cut = [sanitize.cut(text, n) for n in range(len(text) + 1)]
    assert cut[:5] == [b""] * 5
    assert cut[5:9] == [b"\x1b[31m" + b"red"[:n] + b"\x1b[0m" for n in range(4)]
    assert cut[9:12] == [b"\x1b[31mred\x1b[0m"] * 3 and cut[12] == text


@examples(200)
@given(data=BYTES, most=st.integers(0, 60), options=OPTIONS)
def test_what_is_cut_is_clean_too(data, most, options):
    out = sanitize.clean(data, **options, most=most)
    assert sanitize.clean(out, **options) == out
    assert len(out) <= most + len(b"\x1b[0m")
