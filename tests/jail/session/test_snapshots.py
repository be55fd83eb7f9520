"""Copies of a /box: what they hold, and of trees that are deep, large or full of holes."""

from __future__ import annotations

import pickle
import textwrap

import pytest

from pyjail import File, Session, Snapshot, SpecError
from tests.host_side import rss
from tests.jail.session.programs import LIMITS, PYTHON


def test_snapshots(s):
    s.write("bin/tool", File(b"#!/bin/sh\necho tool", 0o755))
    s.run(["sh", "-c", "ln -s bin/tool link; mkfifo fifo; mkdir -m 700 empty; echo $'\\xff' > raw"])
    snap = s.snapshot()
    assert snap.files["bin/tool"] == (0o755, b"#!/bin/sh\necho tool")
    assert snap.links == {"link": "bin/tool"}
    assert set(snap.skipped) == {"fifo"}
    assert pickle.loads(pickle.dumps(snap)) == snap
    for wreck in (
        "rm -r bin; echo other > raw",
        "chmod 000 bin . ; true",
        "i=0; while [ $i -lt 400 ]; do echo > f$i; i=$((i+1)); done",
        'python3 -c \'import os\nfor i in range(450): os.mkdir("d"); os.chdir("d")\'',
    ):
        s.run(["sh", "-c", wreck])
        s.restore(snap)
        again = s.snapshot()
        assert (again.files, again.directories, again.links) == (snap.files, snap.directories, snap.links)
        assert again.digest != snap.digest or not snap.skipped or again.skipped == {}
        assert s.run(["./link"]).stdout == b"tool\n"
    with Session(limits=LIMITS) as other:
        other.restore(snap)
        assert other.run(["bin/tool"]).ok
    s.clear()
    assert s.list() == []
    with pytest.raises(SpecError):
        s.restore("snapshot")


def test_a_snapshot_holds_what_the_disk_does_whatever_the_files_seem_to_be(s):
    make = """
    import os
    for i in range(100): open(f"hole{i}", "wb").truncate(64 << 20)
    f = open("islands", "wb")
    for at in (0, 8 << 20, 40 << 20): f.seek(at); f.write(b"x" * 5000)
    f.truncate(50 << 20)
    open("whole", "wb").write(os.urandom(4 << 20))
    for i in range(300): os.link("whole", f"link{i}")
    """
    look = "sha256sum islands whole; stat -c '%n %s %b' hole7 islands"
    assert s.run([*PYTHON, textwrap.dedent(make)]).ok
    seen = s.run(["sh", "-c", look]).stdout
    before = rss()
    snap = s.snapshot()
    assert len(pickle.dumps(snap)) < 6 << 20
    assert snap.size == (4 << 20) + sum(len(data) for _, data in snap.files.stored["islands"][1].pieces)
    assert len({snap, pickle.loads(pickle.dumps(snap))}) == 1
    assert len(repr(snap)) < 300
    assert rss() - before < 64 << 20
    assert snap.files["islands"][1] == b"".join(b"x" * 5000 + bytes(n - 5000) for n in (8 << 20, 32 << 20, 10 << 20))
    only = Snapshot({path: snap.files[path] for path in ("whole", "islands")}, {}, {})
    assert only.files == {path: snap.files[path] for path in ("islands", "whole")} != snap.files
    s.remove("whole")
    for i in range(300):
        s.remove(f"link{i}")
    small = s.snapshot()
    s.clear()
    s.restore(small)
    assert s.run(["sh", "-c", look.replace("whole", "")]).stdout == b"".join(
        line + b"\n" for line in seen.splitlines() if b"whole" not in line
    )
    assert s.snapshot() == small
    with pytest.raises(OSError, match="raise Session"):  # a link comes back as a file
        s.restore(snap)


DEEP = "import os\nfor i in range({}): os.mkdir({!r}); os.chdir({!r})\nopen('f', 'w').write('x')"


@pytest.mark.parametrize("depth", [300, 1500])
def test_deep_trees_are_listed_kept_and_removed(depth):
    with Session(limits=LIMITS) as s:
        assert s.run([*PYTHON, DEEP.format(depth, "d", "d")]).ok
        deepest = "d/" * depth + "f"
        assert s.list()[-1] == deepest
        assert s.read(deepest) == b"x"
        snap = s.snapshot()
        s.clear()
        s.restore(snap)
        assert s.read(deepest) == b"x"
        s.remove("d", recursive=True)
        assert s.list() == []


def test_what_is_too_deep_for_a_name_is_told_and_can_be_removed(s):
    name = "n" * 250
    assert s.run([*PYTHON, DEEP.format(300, name, name)]).ok
    s.write("beside", "x")
    assert [len(p) for p in s.list() if p != "beside"] == [251 * n - 1 for n in range(1, len(s.list()))]
    snap = s.snapshot()
    (path,) = snap.skipped
    assert "too deep" in snap.skipped[path]
    assert s.build(["true"]).result.ok
    s.remove(name, recursive=True)
    assert s.list() == ["beside"]


def test_more_entries_than_are_held_at_once_are_an_error_and_can_be_removed():
    with Session(limits=LIMITS, inodes=None) as s:
        assert s.run(
            [*PYTHON, "import os; os.mkdir('d'); open('f', 'w')\nfor i in range(100_010): os.link('f', f'd/{i}')"]
        ).ok
        before = rss()
        for look in (s.list, s.snapshot, lambda: s.build(["true"])):
            with pytest.raises(OSError, match="more than 100000 entries"):
                look()
        s.remove("d", recursive=True)
        assert rss() - before < 100 << 20
        assert s.list() == ["f"]
