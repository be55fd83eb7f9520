"""Patterns of collect=: what pathlib matches, at a price that no name can raise."""

from __future__ import annotations

import fnmatch
import sys
import time
from pathlib import PurePosixPath

import pytest

from pyjail._base.glob import Glob
from tests.examples import given, st

PART = st.text("ab-!]*?[", min_size=1, max_size=5)
PATTERN = st.lists(st.sampled_from(["**", "a", "*", "a*"]) | PART, min_size=1, max_size=5)
PATH = st.lists(st.text("ab-!][", min_size=1, max_size=4), min_size=1, max_size=5)


def walked(pattern: str, path: list[str]) -> bool:
    """As the collector does it: directory by directory."""
    glob = Glob(pattern)
    at = glob.start
    for directory in path[:-1]:
        at = glob.below(at, directory)
    return glob.hit(at, path[-1])


def fits(pattern: list[str], path: list[str]) -> bool:
    """What the documentation says, tried in every way."""
    if not pattern or not path:
        return pattern == path
    if pattern[0] == "**":
        return (fits(pattern[1:], path) if pattern[1:] else True) or fits(pattern, path[1:])
    return fnmatch.fnmatchcase(path[0], pattern[0]) and fits(pattern[1:], path[1:])


@given(PATTERN, PATH)
def test_a_walk_matches_what_the_whole_path_does(pattern, path):
    assert walked("/".join(pattern), path) == fits(pattern, path)


if sys.version_info >= (3, 13):  # before, pathlib has no such thing to compare with

    @given(PATTERN, PATH)
    def test_it_is_what_pathlib_matches(pattern, path):
        assert walked("/".join(pattern), path) == PurePosixPath(*path).full_match("/".join(pattern))


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("*_*_*_*_*.txt", "_" * 255),
        ("*a*a*a*a*b", "a" * 255),
        ("*" + "?*" * 100 + "b", "a" * 255),
        ("*[!b]" * 50 + "b", "a" * 255),
        ("*" * 255 + "b", "a" * 255),
        (("a" * 20 + "*") * 10 + "b", "a" * 255),
    ],
)
def test_one_name_costs_no_more_than_the_pattern_is_long(pattern, name):
    glob = Glob(pattern)
    start = time.monotonic()
    for _ in range(20):
        assert not glob.hit(glob.start, name)
    assert time.monotonic() - start < 20


def test_a_directory_costs_no_more_than_the_pattern_has_parts():
    glob = Glob("**/a/" * 100 + "b")
    at = glob.start
    for _ in range(64):
        at = glob.below(at, "a")
    assert len(at) <= 201
    assert len(Glob("**/" * 200 + "x").start) == 2
