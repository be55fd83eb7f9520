"""What the keeper says, damaged: a KeeperError, and never another exception or a number that nobody wrote."""

from __future__ import annotations

import dataclasses
import struct
from types import SimpleNamespace

import pytest

import pyjail
from pyjail import Jail, KeeperError, SetupError
from pyjail._plan import explain, report, texts, wire
from pyjail._verdict import outcome
from tests.conftest import QUICK
from tests.examples import examples, given, st
from tests.inside import idle_keepers


@pytest.fixture(scope="module")
def real():
    """A report as it was read, with all that a `Result` is made of beside it; and what a keeper says when it is ready."""
    seen = {}
    with pytest.MonkeyPatch.context() as patch:
        result = outcome.result

        def note(made, request, run, facts, *rest):
            seen.update(made=made, request=request, run=run, raw=facts.raw)
            return result(made, request, run, facts, *rest)

        patch.setattr(outcome, "result", note)
        pyjail.run(["sh", "-c", "echo x; exit 3"], QUICK, jail=Jail(deterministic=True))
    live = idle_keepers()[-1]  # that had it
    return SimpleNamespace(live=live, ready=live.ready, **seen)


WORDS = st.sampled_from([0, 1, 7, 8, 9, 63, 255, 4095, 4096, 65535, 2**31 - 1, 2**31, 2**32 - 1]) | st.integers(
    0, 2**32 - 1
)


TEXTS = st.sampled_from([b"total=", b"\xb2\xb3", b"max", b"-1", b" ", b"\n", b"=x"])
BYTES = st.integers(0, 255).map(lambda n: bytes([n]))
# (where, what is there then) of each change; where it is cut; what comes after.
DAMAGE = st.tuples(
    st.lists(st.tuples(st.integers(0, 1 << 16), BYTES | TEXTS | WORDS.map(struct.Struct("<I").pack)), max_size=4),
    st.none() | st.integers(0, 1 << 16),
    st.sampled_from([b"", b"", b"x", bytes(64)]),
)


def damage(how, raw: bytes) -> bytes:
    changes, cut, more = how
    bad = bytearray(raw)
    for at, new in changes:
        at %= len(raw)
        at -= at % 4 if len(new) == 4 else 0  # a number
        bad[at : at + len(new)] = new
    return bytes(bad if cut is None else bad[: cut % len(bad)]) + more


def look_at(real, raw: bytes) -> None:
    """All that a caller can ask for."""
    wire.parse_reply(raw)
    facts = report.parse_report(raw)
    if facts.failure is not None:
        error = explain.error(facts.failure, real.live.template, real.run, program="sh", cwd="/box")
        assert str(error)
    result = outcome.result(real.made, real.request, real.run, facts, b"", b"", None, None)
    if isinstance(result, SetupError):
        return
    for field in dataclasses.fields(result):
        getattr(result, field.name)
    assert result.to_dict() and repr(result)
    assert result.receipt.not_enforced is not None


def test_a_whole_report_is_read(real):
    look_at(real, real.raw)


@examples(2000)
@given(how=DAMAGE)
def test_a_damaged_report_is_a_keeper_error_or_a_result(real, how):
    raw = damage(how, real.raw)
    try:
        look_at(real, raw)
    except KeeperError as e:
        assert "makes no sense" in str(e)


@examples(500)
@given(how=DAMAGE)
def test_damaged_words_of_a_new_keeper_are_a_keeper_error(real, how):
    raw, mountinfo = real.ready
    try:
        wire.parse_reply(bad := damage(how, raw))
        texts.parse_ready(bad, mountinfo)
    except KeeperError as e:
        assert "makes no sense" in str(e)


def test_every_truncation_of_a_report_is_refused(real):
    for length in range(len(real.raw)):
        with pytest.raises(KeeperError):
            report.parse_report(real.raw[:length])


@pytest.mark.parametrize("length", [1 << 20, 1 << 50, (1 << 63) - 1, (1 << 64) - 1])
def test_more_output_than_there_is_is_refused_before_room_is_made_for_it(real, length):
    with pytest.raises(KeeperError, match="makes no sense"):
        real.live.output(0, length)
