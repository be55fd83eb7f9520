"""Directories in ``files=``, and how many files come back."""

from __future__ import annotations

import os
import stat

import pytest

import pyjail
from pyjail import Limits, Session, SpecError
from tests.inside import check_inputs, few_entries, open_source

LIST = "find . -mindepth 1 \\( -type l -printf '%p -> %l\\n' -o -type d -printf '%p/ %m\\n' -o -printf '%p %m\\n' \\) | sort"


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "tree"
    (root / "sub/deep").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "a.txt").write_text("a")
    (root / "sub/run.sh").write_text("#!/bin/sh\necho ran")
    (root / "sub/run.sh").chmod(0o755)
    (root / "sub/deep/b").write_bytes(b"\0" * 70_000)
    (root / "sub/link").symlink_to("../a.txt")
    (root / os.fsdecode(b"\xff")).write_text("odd")
    return root


WANTED = b"./a.txt 644\n./empty/ 755\n./sub/ 755\n./sub/deep/ 755\n./sub/deep/b 644\n./sub/link -> ../a.txt\n./sub/run.sh 755\n./\xff 644\n"


def test_a_directory_is_copied_with_all_that_is_in_it(tree, sh):
    assert sh(f"cd t; {LIST}; ./sub/run.sh; cat sub/link", files={"t": tree}).stdout == WANTED + b"ran\na"
    assert sh(f"{LIST}; wc -c < sub/deep/b", files={".": tree}).stdout == WANTED + b"70000\n"
    assert sh("cat x/y/a.txt more", files={"x/y": tree, "more": "m"}).stdout == b"am"
    with Session() as s:
        s.write("t", tree)
        s.write("t", tree)  # again, over what is there
        assert s.run(["sh", "-c", f"cd t; {LIST}"]).stdout == WANTED


def test_no_link_is_followed_out(tree, tmp_path):
    (tmp_path / "secret").write_text("secret")
    for target in ("../secret", "/etc/passwd", "sub/../../secret", str(tmp_path)):
        (tree / "out").unlink(missing_ok=True)
        (tree / "out").symlink_to(target)
        with pytest.raises(SpecError, match="leads out of the directory"):
            pyjail.run(["true"], files={"t": tree})


@pytest.mark.parametrize("what", ["a.txt", "sub", "sub/deep"])
def test_what_becomes_a_link_after_it_was_looked_at_is_not_followed(tree, tmp_path, what):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/b").write_text("secret")
    items = check_inputs({"t": tree})
    (tree / what).rename(tmp_path / "was")
    (tree / what).symlink_to(tmp_path / "elsewhere" if what != "a.txt" else tmp_path / "elsewhere/b")
    below = [item for item in items if item.source and item.source.startswith(what)]
    assert below
    for item in below:
        with pytest.raises(OSError, match=r"symbolic links|Not a directory"):
            open_source(item)


def test_what_is_no_file_and_too_much_is_refused(tree):
    os.mkfifo(tree / "pipe")
    with pytest.raises(SpecError, match=r"pipe.*is neither a file"):
        pyjail.run(["true"], files={"t": tree})
    (tree / "pipe").unlink()
    with few_entries(5), pytest.raises(SpecError, match="more than 5 entries"):
        pyjail.run(["true"], files={"t": tree})
    deep = tree
    for _ in range(70):
        deep = deep / "d"
    deep.mkdir(parents=True)
    with pytest.raises(SpecError, match="deeper than 64"):
        pyjail.run(["true"], files={"t": tree})
    for files in ({"t": tree, "t/a.txt": "x"}, {"t/a.txt": "x", "t": tree}, {"t": "x", "t/u": tree}):
        with pytest.raises(SpecError, match="files"):
            pyjail.run(["true"], files=files)


def test_a_tree_counts_as_what_the_program_writes(tree):
    with pytest.raises(pyjail.SetupError, match="ENOSPC"):
        pyjail.run(["true"], Limits(disk="32K"), files={"t": tree})
    with pytest.raises(pyjail.SetupError, match="ENOSPC"):
        pyjail.run(["true"], Limits(inodes=4), files={"t": tree})


@pytest.mark.parametrize(
    ("most", "count", "why"), [(3, 3, "stopped: more than 3 files"), (None, 1200, None), (1200, 1200, None)]
)
def test_as_many_files_come_back_as_are_asked_for(sh, most, count, why):
    r = sh("mkdir d; cd d; seq 1200 | xargs touch", Limits(collect_files=most, inodes=None), collect=["d/*"])
    assert len(r.files) == count
    assert (r.uncollected.get("d/*") or "").startswith(why or "") and bool(r.uncollected) == bool(why)
    with pytest.raises(SpecError, match="collect_files"):
        Limits(collect_files=0)


def test_files_of_a_tree_keep_what_may_be_done_with_them(tree, sh):
    (tree / "a.txt").chmod(0o4755)
    r = sh("stat -c %a t/a.txt", files={"t": tree})
    assert r.stdout == b"755\n" and stat.S_IMODE((tree / "a.txt").stat().st_mode) == 0o4755
