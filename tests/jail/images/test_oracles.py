"""Trees that GNU tar and Python's tarfile write are those that come out; two layers make what an overlay would show."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.images_made import applied, archive, file, folder, link, listed

FEW = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
NAME = st.one_of(
    st.sampled_from(["a", "b", "ab", "lib", "n" * 120, "ü" * 60, "with space", "new\nline", "-x", "a,b"]),
    st.text("ab.", min_size=1, max_size=3).filter(lambda name: name not in (".", "..")),
)
PATH = st.lists(NAME, min_size=1, max_size=4).map("/".join)
ITEM = st.one_of(
    st.tuples(st.just("dir"), st.just(b"")),
    st.tuples(st.just("file"), st.binary(max_size=2000)),
    st.tuples(st.just("link"), PATH.map(os.fsencode)),
    st.tuples(st.just("hard"), st.just(b"")),
)
TREE = st.dictionaries(PATH, st.tuples(ITEM, st.integers(0, 0o777), st.integers(0, 2**33 * 10**9 - 1)), max_size=12)


def built(root: Path, tree: dict[str, Any]) -> None:
    """The tree on disk, as far as its parts do not contradict each other."""
    root.mkdir()
    files = []
    for name, ((kind, content), mode, mtime) in tree.items():
        path = root / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if kind == "dir":
                path.mkdir()
                os.chmod(path, mode | 0o700)
            elif kind == "file":
                path.write_bytes(content)
                os.chmod(path, mode | 0o400)
                files.append(path)
            elif kind == "link":
                path.symlink_to(os.fsdecode(content))
            elif files:
                path.hardlink_to(files[0])
                continue
            else:
                continue
        except OSError:  # its parent is a file, or it is there
            continue
        os.utime(path, ns=(mtime, mtime), follow_symlinks=False)


def by_rule(root: Path, seconds: bool) -> dict[str, tuple[Any, ...]]:
    """What has to come out for the tree ``root``; mtimes in whole seconds where the format has no more."""
    found = {}
    for name, (kind, *row) in listed(root).items():
        if kind != "link":
            mode = int(row[0], 8) | (0o700 if kind == "dir" else 0)
            row[0] = oct(mode & 0o777 | (mode & 0o500) >> 3 | (mode & 0o500) >> 6)
        if seconds:
            row[1] -= row[1] % 10**9
        found[name] = (kind, *row)
    return found


@pytest.mark.parametrize("form", ["gnu", "posix"])
def test_trees_that_gnu_tar_writes_come_out(form: str):
    @FEW
    @given(TREE)
    def holds(tree: dict[str, Any]) -> None:
        with tempfile.TemporaryDirectory() as place:
            base = Path(place)
            built(base / "tree", tree)
            command = ["tar", "-c", f"--format={form}", "--sort=name", "-C", str(base / "tree"), "."]
            written = subprocess.run(command, capture_output=True, check=True).stdout
            expected = by_rule(base / "tree", form == "gnu")
            applied(base / "root", written)
            assert listed(base / "root") == expected

    holds()


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_trees_that_tarfile_writes_come_out(form: int):
    @FEW
    @given(TREE)
    def holds(tree: dict[str, Any]) -> None:
        with tempfile.TemporaryDirectory() as place:
            base = Path(place)
            built(base / "tree", tree)
            written = io.BytesIO()
            with tarfile.open(fileobj=written, mode="w", format=form) as out:
                out.add(base / "tree", arcname="")
            applied(base / "root", written.getvalue())
            ours, theirs = listed(base / "root"), by_rule(base / "tree", True)
            times = [{n: r[2] for n, r in found.items()} for found in (ours, theirs)]  # as exact as a float
            assert all(abs(times[0][n] - times[1][n]) < 2 * 10**9 for n in theirs)
            assert {n: (*r[:2], *r[3:]) for n, r in ours.items()} == {n: (*r[:2], *r[3:]) for n, r in theirs.items()}

    holds()


def overlaid(tree: dict[str, Any], name: str, item: object) -> None:
    """``item`` at ``name`` in a model of the result: a dict of paths, with all parents."""
    parts = name.split("/")
    for n in range(1, len(parts)):
        above = "/".join(parts[:n])
        if tree.get(above) != "dir":
            removed(tree, above)
            tree[above] = "dir"
    if not (item == "dir" and tree.get(name) == "dir"):
        removed(tree, name)
    tree[name] = item


def removed(tree: dict[str, Any], name: str) -> None:
    for other in [n for n in tree if n == name or n.startswith(name + "/")]:
        del tree[other]


SMALL = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3).map("/".join)
UPPER = st.lists(st.tuples(st.sampled_from(["dir", "file", "link", "gone", "opaque"]), SMALL), max_size=8)


def test_layers_make_what_a_model_of_an_overlay_shows():
    """Whiteouts count for lower layers only, wherever they stand."""

    @settings(FEW, max_examples=150)
    @given(UPPER, UPPER)
    def holds(lower: list[tuple[str, str]], upper: list[tuple[str, str]]) -> None:
        tree: dict[str, Any] = {}
        layers = []
        for number, wished in enumerate((lower, upper)):
            own: dict[str, Any] = {}  # of this layer; a name below one that it made something else is left out
            parts = []
            for kind, name in wished:
                above, _, base = name.rpartition("/")
                below = above if kind == "gone" else name
                leads = [n for n in own if own[n] != "dir" and (below + "/").startswith(n + "/") and n != name]
                if leads or (kind in ("gone", "opaque") and own.get(below, "dir") != "dir"):
                    continue
                if kind == "gone":
                    parts.append(file(f"{above}/.wh.{base}".encode()))
                    overlaid(own, f"{above}/x".strip("/"), "file")
                    removed(own, f"{above}/x".strip("/"))
                elif kind == "opaque":
                    parts.append(file(f"{name}/.wh..wh..opq".encode()))
                    overlaid(own, name, "dir")
                else:
                    make = {"dir": folder(name.encode()), "file": file(name.encode(), b"%d" % number),
                            "link": link(name.encode(), b"%d" % number)}  # fmt: skip
                    parts.append(make[kind])
                    overlaid(own, name, "dir" if kind == "dir" else (kind, number))
            layers.append(archive(*parts))
            for kind, name in wished:  # what the layer hides goes first, then it is laid over
                mark = (
                    f"{name.rpartition('/')[0]}/.wh.{name.rpartition('/')[2]}"
                    if kind == "gone"
                    else f"{name}/.wh..wh..opq"
                )
                if kind in ("gone", "opaque") and file(mark.encode()) in parts:
                    for other in [n for n in tree if n.startswith(name + "/") or (kind == "gone" and n == name)]:
                        del tree[other]
            for name in sorted(own):
                overlaid(tree, name, own[name])
        with tempfile.TemporaryDirectory() as place:
            root = Path(place) / "root"
            applied(root, *layers)
            found = {n: r for n, r in listed(root).items() if n != "."}
            assert {
                n: "dir" if r[0] == "dir" else (r[0], int(r[1] if r[0] == "link" else r[3])) for n, r in found.items()
            } == tree

    holds()
