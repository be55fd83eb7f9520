"""A layer that is read in advance is what it is, errors of its reading included."""

from __future__ import annotations

import io
import threading

import pytest

from pyjail._images import ahead, listing, place
from pyjail._images.ahead import Ahead
from tests.examples import given, st


@pytest.mark.parametrize("threads", [True, False])
def test_layers_come_one_after_the_other_and_their_end_comes_as_often_as_asked(monkeypatch, threads):
    if not threads:
        monkeypatch.setattr(threading.Thread, "start", lambda self: (_ for _ in ()).throw(RuntimeError("no thread")))
    one = Ahead()
    for size in (0, 1, ahead.PIECE, ahead.PIECE * 2 * ahead.PIECES + 7):
        data = bytes(range(256)) * (size // 256 + 1)
        read = one.of(io.BytesIO(data[:size]).read)
        found = b""
        while piece := read(100_000):
            assert len(piece) <= 100_000
            found += piece
        assert found == data[:size]
        assert read(1) == read(512) == b""


def test_an_error_comes_where_it_happened():
    pieces = [b"a" * 10, b"b" * 10]

    def content(n: int) -> bytes:
        if not pieces:
            raise ValueError("damaged")
        return pieces.pop(0)

    read = Ahead().of(content)
    assert [read(20), read(5), read(20)] == [b"a" * 10, b"b" * 5, b"b" * 5]
    with pytest.raises(ValueError, match="damaged"):
        read(1)


NAMES = st.binary(min_size=1, max_size=30).filter(lambda name: b"\0" not in name)


@given(
    st.lists(
        st.builds(
            listing.Line, st.just("l"), st.integers(0, 0o7777), st.integers(0, 2**63), st.just(0), st.just("-"), NAMES, NAMES
        )
        | st.builds(
            listing.Line, st.sampled_from("df"), st.integers(0, 0o7777), st.integers(0, 2**63), st.integers(0, 2**63),
            st.text("0123456789abcdef", min_size=64, max_size=64), NAMES, st.just(b""))
    )
)  # fmt: skip
def test_the_list_of_a_trees_files_is_read_as_it_was_written(lines):
    assert [*listing.read(b"".join(line.written() for line in lines))] == lines


@given(st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF), min_size=1, max_size=40))
def test_a_name_is_a_file_as_urls_have_it(name):
    from urllib.parse import quote

    assert place.file_name(name) == quote(name, safe="")


def test_the_place_of_a_store_is_the_environments_choice(monkeypatch):
    monkeypatch.setenv("PYJAIL_HOME", "/somewhere/")
    assert place.default() == "/somewhere/images"
    monkeypatch.delenv("PYJAIL_HOME")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert place.default() == "/var/lib/pyjail/images"
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert place.default() == "/data/pyjail/images"
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/me")
    assert place.default() == "/home/me/.local/share/pyjail/images"


@pytest.mark.parametrize("text", ["", "0", "-1", "x", "4294967295", "1.5"])
def test_the_stores_id_is_a_number_of_nobody_else(monkeypatch, text):
    from pyjail import SpecError

    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setenv("PYJAIL_STORE_ID", text)
    with pytest.raises(SpecError, match="PYJAIL_STORE_ID"):
        place.identity()
    monkeypatch.setenv("PYJAIL_STORE_ID", "70000")
    assert place.identity() == 70000
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert place.identity() is None
