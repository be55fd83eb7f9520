"""A directory becomes one layer: all of it, nothing beside it, the same bytes each time, and other readers agree."""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyjail import HostError
from pyjail._images import pack, sources, tar
from pyjail._images.bounds import Bounds
from pyjail._images.errors import ImageError
from tests.images_archives import contents, written

pytestmark = pytest.mark.usefixtures("nothing_stays_open")
T = 1_600_000_000 * 10**9


def packed(root, **bounds):
    out = io.BytesIO()
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        pack.layer(fd, out.write, Bounds(**bounds))
    finally:
        os.close(fd)
    return out.getvalue()


def listed(data):
    """{name: (kind, mode, mtime, target, content)}, as the reader of layers sees it."""
    found = {}
    for e in tar.entries(io.BytesIO(data).read, Bounds()):
        content = b"".join(iter(lambda e=e: e.data(1 << 20), b""))
        assert e.name not in found
        found[e.name] = (e.kind, e.mode, e.mtime_ns, e.target, content)
    return found


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "tree"
    (root / "etc").mkdir(parents=True)
    (root / "etc/a").write_bytes(b"a" * 1000)
    os.link(root / "etc/a", root / "z")
    (root / "link").symlink_to("/etc/passwd")
    (root / "long").symlink_to("../" * 60 + "x" * 50)
    (root / ("n" * 200)).write_bytes(b"long")
    (root / os.fsdecode(b"\xff\xfe\n = 5")).write_bytes(b"odd")
    deep = root / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    (deep / "f").write_bytes(b"deep")
    (root / "etc/a").chmod(0o4755)
    os.utime(root / "etc/a", ns=(0, T + 123456789))
    os.utime(root / "etc", ns=(0, T))
    os.utime(root / "link", ns=(0, T + 5), follow_symlinks=False)
    return root


def test_all_of_a_tree_is_in_its_layer(tree):
    found = listed(packed(tree))
    assert found[b"etc/"] == ("dir", 0o755, T, b"", b"")
    assert found[b"etc/a"] == ("file", 0o4755, T + 123456789, b"", b"a" * 1000)
    assert found[b"z"] == ("hardlink", 0o4755, T + 123456789, b"etc/a", b"")
    assert found[b"link"] == ("symlink", 0o777, T + 5, b"/etc/passwd", b"")
    assert found[b"long"][3] == b"../" * 60 + b"x" * 50
    assert found[b"n" * 200][4] == b"long"
    assert found[b"\xff\xfe\n = 5"][4] == b"odd"
    assert found[b"d" * 60 + b"/" + b"e" * 60 + b"/f"][4] == b"deep"
    assert len(found) == 10
    assert [*found] == sorted(found, key=lambda name: name.rstrip(b"/").split(b"/"))


def test_the_same_tree_is_the_same_bytes(tree, tmp_path):
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-a", tree, copy], check=True)
    assert packed(tree) == packed(copy)


@pytest.mark.skipif(not shutil.which("tar"), reason="GNU tar is not installed")
def test_gnu_tar_unpacks_the_same_tree(tree, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run(["tar", "-xpf", written(tmp_path / "a.tar", packed(tree)), "-C", out], check=True)
    assert packed(out) == packed(tree)


def test_a_directory_is_an_image_of_one_layer(tree, staging):
    for spec in (f"dir:{tree}", str(tree)):
        assert contents(spec, staging) == [packed(tree)]


def test_links_out_of_the_directory_are_kept_as_links_and_not_followed(tmp_path, staging):
    (tmp_path / "secret").write_bytes(b"secret")
    root = tmp_path / "tree"
    root.mkdir()
    for name, target in (("a", "../secret"), ("b", str(tmp_path)), ("c", "/"), ("d", "d")):
        (root / name).symlink_to(target)
    found = listed(packed(root))
    assert {name: row[0] for name, row in found.items()} == dict.fromkeys((b"a", b"b", b"c", b"d"), "symlink")
    assert b"secret\0" not in packed(root).replace(b"../secret", b"")


@pytest.mark.timeout(30)
def test_pipes_are_named_and_sockets_left_out(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(tmp_path / "s"))
    assert {name: row[0] for name, row in listed(packed(tmp_path)).items()} == {b"pipe": "fifo"}


@pytest.mark.parametrize("name", [".wh.x", ".wh..wh..opq", ".wh."])
def test_a_name_that_would_remove_something_is_refused(tmp_path, name):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / name).touch()
    with pytest.raises(ImageError, match="rename it"):
        packed(tmp_path)


def test_bounds_hold(tree, tmp_path, staging):
    with pytest.raises(ImageError, match="bound entries"):
        packed(tree, entries=9)
    with pytest.raises(ImageError, match="bound unpacked"):
        packed(tree, unpacked=1000)
    with pytest.raises(ImageError, match="bound path"):
        packed(tree, path=199)
    with pytest.raises(ImageError, match="bound depth"):
        packed(tree, depth=2)
    with pytest.raises(ImageError, match="bound compressed"):
        sources.opened(f"dir:{tree}", staging, Bounds(compressed=2000))
    huge = tmp_path / "huge"
    huge.mkdir()
    (huge / "sparse").touch()
    os.truncate(huge / "sparse", 1 << 40)
    with pytest.raises(ImageError, match="bound unpacked"):
        sources.opened(f"dir:{huge}", staging)


def test_what_may_not_be_read_is_named(tree, monkeypatch):
    def forbidden(*_):
        raise PermissionError(13, "no")

    monkeypatch.setattr(pack._Packer, "_same", forbidden)  # root may read everything
    with pytest.raises(HostError, match="may not be read"):
        packed(tree)


def test_a_tree_that_changes_meanwhile_gives_nothing_from_outside(tmp_path):
    """Another process swaps a directory and a file for links to what is outside (CVE-2018-15664)."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "f").write_bytes(b"SECRET")
    root = tmp_path / "tree"
    (root / "d").mkdir(parents=True)
    (root / "d/f").write_bytes(b"inside")
    (root / "f").write_bytes(b"inside")
    (root / "link").symlink_to(outside)
    (root / "flink").symlink_to(outside / "f")
    stop = threading.Event()

    def swap():
        while not stop.is_set():
            for one, other in (("d", "link"), ("f", "flink")):
                os.rename(root / one, root / "t")
                os.rename(root / other, root / one)
                os.rename(root / "t", root / other)

    thread = threading.Thread(target=swap)
    thread.start()
    packs = 0
    try:
        for _ in range(400):
            try:
                data = packed(root)
            except ImageError as e:
                assert "changed" in str(e)
                continue
            packs += 1
            assert b"SECRET" not in data
    finally:
        stop.set()
        thread.join()
    assert packs


@given(
    st.binary(min_size=1, max_size=300).map(lambda b: b.replace(b"\0", b"x").strip(b"/") or b"x"),
    st.integers(-5, 1 << 34),
    st.integers(0, 10**9 - 1),
    st.integers(0, 1 << 40),
    st.binary(min_size=1, max_size=300).map(lambda b: b.replace(b"\0", b"x")),
)
def test_every_header_is_read_as_it_was_meant(name, seconds, ns, size, target):
    mtime = seconds * 10**9 + ns
    for letter, kind, content, to in ((b"0", "file", size, b""), (b"2", "symlink", 0, target)):
        data = pack.header(name, letter, 0o751, mtime, content, to)
        (entry,) = list_first(data)
        assert (entry.name, entry.kind, entry.mode, entry.size, entry.target) == (name, kind, 0o751, content, to)
        assert entry.mtime_ns == min(max(mtime, 0), (1 << 33) * 10**9 - 1)


def list_first(data):
    for entry in tar.entries(io.BytesIO(data).read, Bounds()):
        return [entry]
    return []


def test_an_image_of_a_directory_is_unpacked_to_the_same_tree(tree, tmp_path):
    from pyjail._images.apply import Tree

    out = tmp_path / "out"
    out.mkdir()
    fd = os.open(out, os.O_RDONLY | os.O_DIRECTORY)
    try:
        whole = Tree(fd, Bounds())
        whole.layer(io.BytesIO(packed(tree)).read)
        whole.finish()
    finally:
        os.close(fd)
    assert (out / "etc/a").stat().st_ino == (out / "z").stat().st_ino
    assert (out / "etc/a").stat().st_mtime_ns == T + 123456789
    assert {p.relative_to(out) for p in Path(out).rglob("*")} >= {p.relative_to(tree) for p in Path(tree).rglob("*")}
    assert not (out / "etc/a").stat().st_mode & 0o7000
