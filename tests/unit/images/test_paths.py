"""Names of an archive, sets of many of them, and hard links that wait."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyjail._images.bounds import Bounds
from pyjail._images.errors import ImageError
from pyjail._images.links import WAITING, Later
from pyjail._images.paths import Paths, joined, parts


@given(st.binary(max_size=60))
def test_parts_are_names_that_lead_nowhere_else(name: bytes):
    try:
        found = parts(name, Bounds())
    except ImageError:
        assert b"\0" in name or b".." in name.split(b"/")
    else:
        assert all(part and part not in (b".", b"..") and not {0, 47} & set(part) for part in found)
        assert [part for part in name.split(b"/") if part not in (b"", b".")] == found


def test_the_root_is_no_part():
    assert parts(b"/./", Bounds()) == parts(b"", Bounds()) == []
    assert joined(b"", b"a") == b"a" and joined(b"a", b"b") == b"a/b"


@given(st.lists(st.binary(max_size=8)), st.lists(st.binary(max_size=8)))
def test_a_set_of_paths_is_a_set(put: list[bytes], asked: list[bytes]):
    paths = Paths()
    for path in put:
        paths.add(path)
    assert len(paths) == len(set(put))
    assert [path in paths for path in put + asked] == [path in set(put) for path in put + asked]


def test_a_set_of_many_paths_is_small():
    tracemalloc.start()
    paths = Paths()
    for n in range(100_000):
        paths.add(b"usr/share/a/long/name/of/some/length/%d" % n)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(paths) == 100_000 and b"usr/share/a/long/name/of/some/length/99999" in paths and b"x" not in paths
    assert most < 5 << 20


def test_hard_links_are_made_as_soon_as_their_targets_are_there_in_linear_time():
    later = Later()
    for n in range(20_000):  # each waits for the next one
        later.add(b"%d" % n, b"%d" % (n + 1))
    there = {b"20000"}
    calls = []

    def link(path: bytes, target: bytes) -> bool:
        calls.append(path)
        if target not in there:
            return False
        there.add(path)
        return True

    later.settle(link)
    assert len(there) == 20_001 and len(calls) < 40_001


def test_hard_links_that_wait_are_bounded():
    later = Later()
    with pytest.raises(ImageError, match="take more than 8 MiB"):
        for _ in range(WAITING // 4000):
            later.add(b"n" * 4000, b"t")
