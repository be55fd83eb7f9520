"""What an entry becomes: each row of the rules, by archives made byte by byte."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from pyjail import HostError
from pyjail._images import apply
from pyjail._images.bounds import Bounds
from pyjail._images.errors import ImageError
from tests.images_made import MTIME, applied, archive, file, folder, hard, header, link, listed, long, pax, walked
from tests.jail.images.conftest import Outside

NS = MTIME * 10**9


def tree(root: Path) -> dict[str, object]:
    """Content or target by path; True for a directory."""
    return {name: True if row[0] == "dir" else row[-2 if row[0] == "link" else 3] for name, row in listed(root).items()}


def links(root: Path) -> dict[str, object]:
    return {name: row[1] for name, row in listed(root).items() if row[0] == "link"}


def sums(root: Path, summary: apply.Summary) -> dict[str, str | None]:
    """What is kept of each file."""
    files = (path for path in walked(root) if path.is_file() and not path.is_symlink())
    return {str(path.relative_to(root)): summary.sums.kept(path.stat().st_ino) for path in files}


def refused(root: Path, *layers: bytes, bounds: Bounds | None = None) -> str:
    with pytest.raises(ImageError) as e:
        applied(root, *layers, bounds=bounds)
    return str(e.value)


def test_names_lose_their_slashes_and_dots_and_parents_are_made(outside: Outside):
    applied(outside.root, archive(file(b"./a/b", b"1"), file(b"/c//./d/e", b"2"), hard(b"h/i/j", b"./a/b")))
    found = listed(outside.root)
    assert {n: r[0] for n, r in found.items()} == {
        ".": "dir", "a": "dir", "a/b": "file", "c": "dir", "c/d": "dir", "c/d/e": "file",
        "h": "dir", "h/i": "dir", "h/i/j": "file",
    }  # fmt: skip
    assert found["a"][1] == found["h/i"][1] == "0o755" and found["h/i/j"] == found["a/b"] and found["a/b"][4] == 2


@pytest.mark.parametrize("name", [b"..", b"../x", b"a/../b", b"/../x", b"./..", b"a/.."])
def test_two_dots_are_refused(outside: Outside, name: bytes):
    for entry in (file(name), folder(name), link(name, b"x"), hard(b"h", name), header(name, b"3")):
        assert "'..' is not taken" in refused(outside.root, archive(entry))


def test_the_root_is_a_directory_and_nothing_else(outside: Outside):
    applied(outside.root, archive(folder(b"./", mode=0o700, mtime=7)))
    assert listed(outside.root)["."] == ("dir", "0o755", 7 * 10**9)
    for name in (b".", b"./", b"/", b""):
        assert "the root would be a symlink" in refused(outside.root, archive(link(name, outside.name)))
        assert "the root would be a" in refused(outside.root, archive(hard(name, b"x")))
        assert "the root would be a" in refused(outside.root, archive(header(name, b"6")))
    assert "the root would be a file" in refused(outside.root, archive(file(b".", b"x")))


def test_modes_times_and_owners(outside: Outside):
    applied(
        outside.root,
        archive(
            folder(b"d", mode=0o0, mtime=9), file(b"d/suid", mode=0o4711, uid=1 << 40), file(b"d/w", mode=0o1666),
            file(b"d/none", mode=0), file(b"d/x", mode=0o2500), folder(b"d/e", mode=0o3777),
            pax((b"mtime", b"3.000000007")) + link(b"d/l", b"x"), pax((b"mtime", b"5.5")) + file(b"d/t"),
            pax((b"SCHILY.xattr.security.capability", b"\1\0\0\2")) + file(b"d/cap", mode=0o755),
            pax((b"SCHILY.xattr.user.overlay.opaque", b"y")) + folder(b"d/o"),
        ),
    )  # fmt: skip
    found = listed(outside.root)
    assert {n: r[1] for n, r in found.items() if r[0] != "link"} == {
        ".": found["."][1], "d": "0o755", "d/suid": "0o755", "d/w": "0o666", "d/none": "0o444", "d/x": "0o555",
        "d/e": "0o777", "d/t": "0o644", "d/cap": "0o755", "d/o": "0o755",
    }  # fmt: skip
    assert found["d"][2] == 9 * 10**9  # though things were made in it since
    assert found["d/l"] == ("link", "x", 3_000_000_007) and found["d/t"][2] == 5_500_000_000


def test_a_directory_keeps_its_time_through_later_layers_and_whiteouts(outside: Outside):
    many = [folder(b"d/%d" % n, mtime=n) + file(b"d/%d/f" % n) for n in range(150)]  # more than are open at once
    applied(
        outside.root,
        archive(folder(b"d", mtime=4), *many),
        archive(*(file(b"d/%d/g" % n) for n in range(0, 150, 3)), file(b"d/3/.wh.f"), file(b"d/6/.wh..wh..opq")),
    )
    found = listed(outside.root)
    assert found["d"][2] == 4 * 10**9 and "d/3/f" not in found and "d/6/f" not in found and "d/6/g" in found
    assert [found[f"d/{n}"][2] for n in range(150)] == [n * 10**9 for n in range(150)]


def test_devices_fifos_and_what_they_replace(outside: Outside):
    summary = applied(
        outside.root,
        archive(file(b"a", b"x"), folder(b"b"), file(b"b/c")),
        archive(header(b"a", b"3"), header(b"b", b"6"), header(b"dev/null", b"3"), header(b"c", b"4")),
    )
    assert summary.skipped == {"device": 3, "fifo": 1}
    assert tree(outside.root) == {".": True, "dev": True}


def test_an_existing_path_is_replaced_and_never_written_into(outside: Outside):
    applied(
        outside.root,
        archive(
            file(b"f", b"old"), hard(b"other", b"f"), folder(b"d", mode=0o700), file(b"d/x", b"x"), link(b"l", b"f")
        ),
        archive(file(b"f", b"new"), folder(b"d", mode=0o500, mtime=1), file(b"l", b"file")),
    )
    assert tree(outside.root) == {".": True, "f": b"new", "other": b"old", "d": True, "d/x": b"x", "l": b"file"}
    assert listed(outside.root)["d"] == ("dir", "0o755", 10**9)
    applied(outside.root, archive(file(b"d", b"file"), folder(b"f"), link(b"other", b"/x")))
    assert tree(outside.root) == {".": True, "f": True, "other": "/x", "d": b"file", "l": b"file"}


def test_of_two_entries_with_one_name_the_last_counts(outside: Outside):
    applied(outside.root, archive(file(b"a", b"1"), folder(b"b"), file(b"b/c"), file(b"a", b"22"), link(b"b", b"a")))
    assert tree(outside.root) == {".": True, "a": b"22", "b": "a"}
    assert "which the same layer made a file" in refused(outside.root, archive(file(b"a"), file(b"a/b")))


def test_a_symlink_of_a_lower_layer_gives_way_to_a_directory(outside: Outside):
    base = archive(folder(b"usr/lib"), file(b"usr/lib/old", b"o"), link(b"lib", b"usr/lib"), file(b"plain", b"p"))
    applied(outside.root, base, archive(file(b"lib/new", b"n"), file(b"plain/x", b"x"), file(b"none/.wh.y")))
    assert tree(outside.root) == {
        ".": True, "usr": True, "usr/lib": True, "usr/lib/old": b"o", "lib": True, "lib/new": b"n",
        "plain": True, "plain/x": b"x", "none": True,
    }  # fmt: skip


def test_a_symlink_of_the_same_layer_leads_on_inside_of_the_root(outside: Outside):
    applied(
        outside.root,
        archive(
            folder(b"usr/lib"), link(b"lib", b"usr/lib"), file(b"lib/a", b"1"),
            link(b"abs", b"/usr/lib"), file(b"abs/b", b"2"), link(b"usr/up", b"../../../usr/./lib/"), file(b"usr/up/c", b"3"),
            link(b"missing", b"made/here"), folder(b"missing/d"), link(b"two", b"lib"), file(b"two/e", b"5"),
        ),
    )  # fmt: skip
    found = tree(outside.root)
    assert {n: v for n, v in found.items() if n.startswith(("usr/lib", "made"))} == {
        "usr/lib": True, "usr/lib/a": b"1", "usr/lib/b": b"2", "usr/lib/c": b"3", "usr/lib/e": b"5",
        "made": True, "made/here": True, "made/here/d": True,
    }  # fmt: skip
    assert links(outside.root) == {
        "lib": "usr/lib", "abs": "/usr/lib", "usr/up": "../../../usr/./lib/", "missing": "made/here", "two": "lib"
    }  # fmt: skip


def test_a_symlink_of_this_layer_may_lead_over_one_of_a_lower_layer(outside: Outside):
    base = archive(folder(b"usr/lib"), link(b"lib", b"usr/lib"))
    applied(outside.root, base, archive(link(b"l", b"/lib/sub"), file(b"l/x", b"x")))
    assert tree(outside.root)["usr/lib/sub/x"] == b"x" and links(outside.root)["lib"] == "usr/lib"


@pytest.mark.parametrize(("steps", "fine"), [(40, True), (41, False)])
def test_symlinks_lead_on_for_forty_steps(outside: Outside, steps: int, fine: bool):
    chain = [link(b"l%d" % n, b"l%d" % (n + 1) if n + 1 < steps else b"end") for n in range(steps)]
    layer = archive(folder(b"end"), *chain, file(b"l0/x", b"x"))
    if fine:
        applied(outside.root, layer)
        assert tree(outside.root)["end/x"] == b"x"
    else:
        assert "more than 40 symlinks" in refused(outside.root, layer)


def test_a_circle_of_symlinks_is_refused(outside: Outside):
    assert "more than 40 symlinks" in refused(outside.root, archive(link(b"a", b"b"), link(b"b", b"a"), file(b"a/x")))


def test_whiteouts_remove_what_lower_layers_have_and_nothing_else(outside: Outside):
    base = archive(file(b"a"), folder(b"d"), file(b"d/x"), folder(b"e/f"), file(b"e/f/g"), link(b"l", b"d"), file(b"s"))
    upper = archive(
        file(b".wh.a"), file(b".wh.d"), file(b"d/new"), file(b"e/.wh.f"), file(b".wh.l"), file(b".wh.absent"),
        file(b"s", b"mine"), file(b".wh.s"), file(b".wh..wh.plnk/1"), file(b".wh..wh.aufs"),
    )  # fmt: skip
    applied(outside.root, base, upper)
    assert tree(outside.root) == {".": True, "d": True, "d/new": b"", "e": True, "s": b"mine"}


def test_a_whiteout_after_its_directory_leaves_what_this_layer_put_there(outside: Outside):
    base = archive(folder(b"d/sub"), file(b"d/sub/old"), file(b"d/old"))
    applied(outside.root, base, archive(file(b"d/sub/new", b"n"), file(b".wh.d")))
    assert tree(outside.root) == {".": True, "d": True, "d/sub": True, "d/sub/new": b"n"}


@pytest.mark.parametrize("first", [True, False])
def test_an_opaque_directory_hides_lower_children_wherever_its_mark_stands(outside: Outside, first: bool):
    base = archive(folder(b"d/sub"), file(b"d/sub/old"), file(b"d/old"), file(b"kept"))
    parts = [file(b"d/.wh..wh..opq"), folder(b"d"), file(b"d/new", b"n"), file(b"d/sub/x", b"x")]
    applied(outside.root, base, archive(*(parts if first else parts[::-1])))
    assert tree(outside.root) == {".": True, "d": True, "d/new": b"n", "d/sub": True, "d/sub/x": b"x", "kept": b""}


def test_an_opaque_root(outside: Outside):
    applied(outside.root, archive(file(b"a"), folder(b"b")), archive(file(b".wh..wh..opq"), file(b"c")))
    assert tree(outside.root) == {".": True, "c": b""}


@pytest.mark.parametrize("name", [b".wh.", b".wh..", b".wh...", b"a/.wh.", b".wh.x/y", b".wh..wh..opq/x"])
def test_a_whiteout_of_nothing_is_refused(outside: Outside, name: bytes):
    assert "whiteout" in refused(outside.root, archive(file(b"a/b")), archive(file(name)))


def test_hard_links_of_files_also_before_their_targets(outside: Outside):
    applied(
        outside.root,
        archive(file(b"low", b"low")),
        archive(hard(b"c", b"b"), hard(b"b", b"a"), file(b"a", b"x"), hard(b"low2", b"low"), hard(b"a", b"a"),
                link(b"l", b"d"), file(b"d/f", b"y"), hard(b"e", b"l/f")),
    )  # fmt: skip
    found = listed(outside.root)
    assert [found[n][3:] for n in ("a", "b", "c")] == [(b"x", 3)] * 3
    assert found["low"][3:] == found["low2"][3:] == (b"low", 2) and found["e"][3:] == (b"y", 2)


def test_a_hard_link_replaces_and_is_replaced_as_files_are(outside: Outside):
    applied(outside.root, archive(file(b"a", b"1"), file(b"b", b"2"), hard(b"b", b"a")))
    assert tree(outside.root) == {".": True, "a": b"1", "b": b"1"}
    applied(outside.root, archive(hard(b"c", b"later"), file(b"later", b"l"), file(b"c", b"own")))
    assert tree(outside.root)["c"] == b"own"


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ((folder(b"d"), hard(b"h", b"d")), "only a file"),
        ((link(b"l", b"d"), hard(b"h", b"l")), "only a file"),
        ((hard(b"h", b"nowhere"),), "which is not there"),
        ((hard(b"a", b"b"), hard(b"b", b"a")), "which is not there"),
        ((hard(b"h", b"./"),), "which is not there"),
        ((folder(b"d"), file(b"d/f"), hard(b"d", b"d/f")), "which is not there"),
    ],
)
def test_a_hard_link_to_anything_else_is_refused(outside: Outside, entries: tuple[bytes, ...], words: str):
    assert words in refused(outside.root, archive(*entries))


def test_a_hard_link_goes_over_no_symlink_of_a_lower_layer(outside: Outside):
    base = archive(file(b"d/f"), link(b"l", b"d"))
    assert "which is not there" in refused(outside.root, base, archive(hard(b"h", b"l/f")))


def test_uid_1000_gets_a_name(outside: Outside):
    passwd, group = b"root:x:0:0::/:/bin/sh", b"root:x:0:\n"
    base = archive(file(b"etc/passwd", passwd, mode=0o600), hard(b"copy", b"etc/passwd"), file(b"etc/group", group))
    summary = applied(outside.root, base)
    found = tree(outside.root)
    assert found["etc/passwd"] == passwd + b"\nbox:x:1000:1000:box:/box:/bin/sh\n" and found["copy"] == passwd
    assert found["etc/group"] == group + b"box:x:1000:\n"
    assert listed(outside.root)["etc/passwd"][1:3] == ("0o644", NS)
    assert sums(outside.root, summary) == {n: hashlib.sha256(c).hexdigest() for n, c in found.items() if c is not True}
    applied(outside.root, archive(file(b"else")))
    assert tree(outside.root)["etc/passwd"] == found["etc/passwd"]  # once


@pytest.mark.parametrize(
    "entries",
    [
        (file(b"etc/passwd", b"node:x:1000:1000::/:/bin/sh\n"), file(b"etc/group", b"node:x:1000:\n")),
        (file(b"etc/passwd", b"box:x:5:5::/:/bin/sh\n"), file(b"etc/group", b"box:x:5:\n")),
        (link(b"etc/passwd", b"/outside"), header(b"etc/group", b"6")),
        (folder(b"etc/passwd"), file(b"etc/group", b"#" * (1 << 20))),
        (link(b"etc", b"../../outside"),),
        (file(b"etc", b""),),
    ],
)
def test_accounts_that_are_none_of_ours_stay(outside: Outside, entries: tuple[bytes, ...]):
    applied(outside.root, archive(*entries))
    before = listed(outside.root)
    applied(outside.root, archive())
    assert listed(outside.root) == before and b"/box" not in b"".join(r[3] for r in before.values() if r[0] == "file")


def test_the_sums_of_what_was_written_first_are_kept(outside: Outside, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pyjail._images.sums.KEPT", 3)
    summary = applied(outside.root, archive(*(file(b"f%d" % n, b"%d" % n) for n in range(9)), hard(b"h", b"f2")))
    expected = {"f0": b"0", "f1": b"1", "f2": b"2", "h": b"2"}
    kept = {name: digest for name, digest in sums(outside.root, summary).items() if digest}
    assert kept == {name: hashlib.sha256(content).hexdigest() for name, content in expected.items()}
    assert summary.bytes == 9 and summary.entries == 10


def test_the_sum_of_a_file_that_is_gone_is_not_that_of_another(outside: Outside):
    layers = [archive(file(b"f", b"%d" % n), file(b".wh.g")) for n in range(20)]
    summary = applied(outside.root, *layers, archive(file(b"g", b"g")))
    assert sums(outside.root, summary) == {n: hashlib.sha256(c).hexdigest() for n, c in (("f", b"19"), ("g", b"g"))}


@pytest.mark.parametrize(
    ("layer", "bounds", "words"),
    [
        (archive(*(file(b"%d" % n) for n in range(6))), Bounds(entries=5), "bound entries=5"),
        (archive(file(b"a/b/c/d/e/f")), Bounds(entries=5), "bound entries=5"),
        (archive(file(b"a", b"x" * 600), file(b"b", b"x" * 600)), Bounds(unpacked=1000), "bound unpacked=1,000"),
        (archive(long(b"a/" * 2047 + b"bb") + file(b"x")), Bounds(), "bound path=4,095"),
        (archive(long(b"a/" * 200 + b"b") + file(b"x")), Bounds(), "bound depth=200"),
        (archive(long(b"n" * 256) + file(b"x")), Bounds(), "bound component=255"),
        (archive(long(b"n" * 5000, b"K") + link(b"x", b"n")), Bounds(), "bound path=4,095"),
        (archive(link(b"l", b"a/" * 49 + b"a"), *[link(b"a/" * 49 + b"a/l", b"../l/" * 3)], file(b"l/l/l/l/x")),
         Bounds(depth=50), "bound depth=50"),
    ],
)  # fmt: skip
def test_each_bound_is_named(outside: Outside, layer: bytes, bounds: Bounds, words: str):
    assert words in refused(outside.root, layer, bounds=bounds)


def test_bounds_are_of_all_layers_together(outside: Outside):
    layer = archive(file(b"a", b"x" * 600))
    assert "layer 2" in refused(outside.root, layer, layer, bounds=Bounds(unpacked=1000))
    assert "layer 3" in refused(outside.root, layer, layer, layer, bounds=Bounds(entries=2))


def test_a_full_disk_is_the_hosts_fault(outside: Outside, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(apply, "FREE", 1.1)
    monkeypatch.setattr(apply, "SPARE", 1 << 60)
    with pytest.raises(HostError, match="are free of the store's disk"):
        applied(outside.root, archive(file(b"a")))
    assert os.listdir(outside.root) == []


def test_an_error_names_layer_and_entry(outside: Outside):
    text = refused(outside.root, archive(file(b"a")), folder(b"b") + file(b"b/\x1b[2J", b"x" * 600)[:1024])
    assert text.startswith("layer 2, entry 2, 'b/\\x1b[2J': the archive ends")
