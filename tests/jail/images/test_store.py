"""The store: what is in it, whose it is, what it shares, what goes out of it."""

from __future__ import annotations

import gzip
import os
import pickle
import stat
import subprocess
import time
from pathlib import Path

import pytest

from pyjail import HostError, SpecError, images
from pyjail._images import place, store, used
from tests import images_archives as archives
from tests import images_made as made
from tests import place as tested
from tests.images_store import BASE, UPPER, layout, unfinished, whole


def entries(root: str) -> dict[str, tuple]:
    """The tree but what differs by who shares a file, and the root's own time, which no layer tells."""
    found = {name: row[:4] for name, row in made.listed(Path(root)).items()}
    return {name: row[:2] if name == "." else row for name, row in found.items()}


def test_an_image_is_a_tree_a_record_and_a_name(home, tmp_path):
    image = images.load(layout(tmp_path / "one", BASE), "team/one:1")
    assert images.get("team/one:1") == image == pickle.loads(pickle.dumps(image))
    assert images.get(image.digest) == images.Image(**{**vars(image), "name": image.digest})
    assert hash(image) == hash(images.get("team/one:1"))
    assert images.list() == [image]
    assert Path(image.root, "bin/again").read_bytes() == b"#!/bin/sh\n" * 5000
    assert "box:x:1000" in Path(image.root, "etc/passwd").read_text()
    assert (image.config["env"], len(image.layers), image.working_dir) == (["A=1"], 1, "")
    assert image.origin == {"source": f"oci:{tmp_path}/one"}
    assert whole() == ["team/one:1"]
    assert unfinished() == []


def test_what_is_shut_to_its_owner_is_verified_and_shared_like_all_else(home, tmp_path):
    shut = made.archive(
        made.file(b"shadow", b"root:*\n", mode=0), made.file(b"w", b"w", mode=0o222), made.folder(b"d", mode=0),
        made.file(b"d/x", b"x", mode=0o100),
    )  # fmt: skip
    images.load(layout(tmp_path / "one", shut), "one")
    images.load(layout(tmp_path / "two", shut, UPPER), "two")  # on the first one's tree
    assert whole() == ["one", "two"]
    root = Path(images.get("two").root)
    assert {name: oct((root / name).stat().st_mode & 0o7777) for name in ("shadow", "w", "d", "d/x")} == {
        "shadow": "0o444", "w": "0o666", "d": "0o755", "d/x": "0o555",
    }  # fmt: skip
    (root / "shadow").chmod(0o644)
    (root / "shadow").write_bytes(b"other\n")
    assert [line for line in images.verify("one") if "shadow" in line] == [
        "'shadow': another mode, time, size, content"
    ]


def test_the_name_of_an_archive_is_the_default(home, tmp_path):
    assert images.load(layout(tmp_path / "one", BASE, name="said")).name == "said"
    with pytest.raises(SpecError, match="a name for the image is needed"):
        images.load(layout(tmp_path / "two", BASE, name=None))
    with pytest.raises(SpecError, match="image="):
        images.load(f"oci:{tmp_path}/one", "no/../name\n")


@pytest.mark.parametrize("call", [images.get, images.remove, images.verify])
def test_what_is_not_there_is_told_with_the_command(home, call):
    for _ in range(2):
        with pytest.raises(HostError, match="pyjail image pull none"):
            call("none")
        place.Place().make()
    assert images.list() == [] == images.gc()


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../images", "x" * 300, "\udcff", "a\0b", "/etc/passwd", "sha256:" + "0" * 64]
)
def test_what_can_be_no_name_is_no_image(home, tmp_path, name):
    images.load(layout(tmp_path / "one", BASE), "one")
    assert used.stamp(name) is None or name in ("", ".", "..")
    for call in (images.get, images.remove, images.verify):
        with pytest.raises(HostError, match="there is no image"):
            call(name)
    assert whole() == ["one"]


def test_an_empty_directory_is_an_empty_store_and_a_damaged_file_is_named(home, tmp_path):
    (home / "images").mkdir(parents=True, mode=0o700)
    assert images.list() == []
    images.load(layout(tmp_path / "one", BASE), "one")
    (home / "images/names/one").write_bytes(b'{"name": "o')
    for call in (images.list, lambda: images.get("one"), images.gc):
        with pytest.raises(HostError, match=f"{home}/images/names/one is damaged"):
            call()


def test_no_file_is_privileged_and_what_is_no_file_is_not_made(home, tmp_path):
    devices = (made.header(b"null", b"3", mode=0o666), made.header(b"pipe", b"6"))
    image = images.load(layout(tmp_path / "one", BASE, made.archive(*devices)), "one")
    modes = [path.lstat() for path in made.walked(Path(image.root))]
    assert {stat.S_IFMT(st.st_mode) for st in modes} == {stat.S_IFDIR, stat.S_IFREG, stat.S_IFLNK}
    assert [st for st in modes if not stat.S_ISLNK(st.st_mode) and st.st_mode & 0o7000] == []
    assert {st.st_uid for st in modes} == {place.STORE_ID if os.geteuid() == 0 else os.geteuid()}
    assert image.skipped == {"device": 1, "fifo": 1}


def test_a_second_image_on_the_same_base_costs_its_own_files_alone_and_is_as_if_it_were_alone(
    home, tmp_path, monkeypatch
):
    base = images.load(layout(tmp_path / "base", BASE), "base")
    both = images.load(layout(tmp_path / "both", BASE, UPPER), "both")
    inode = {name: os.stat(f"{image.root}/usr/bin/tool").st_ino for name, image in (("a", base), ("b", both))}
    assert inode["a"] == inode["b"]
    assert os.stat(f"{base.root}/etc/passwd").st_ino == os.stat(f"{both.root}/etc/passwd").st_ino
    assert whole() == ["base", "both"]
    monkeypatch.setenv("PYJAIL_HOME", str(tmp_path / "other"))
    alone = images.load(f"oci:{tmp_path}/both", "both")
    assert (alone.id, alone.digest, alone.skipped) == (both.id, both.digest, both.skipped)
    assert entries(alone.root) == entries(both.root)
    assert not Path(both.root, "usr/gone").exists() and Path(base.root, "usr/gone").exists()


def test_what_a_layer_changes_in_a_shared_file_the_other_image_does_not_see(home, tmp_path):
    base = images.load(layout(tmp_path / "base", BASE), "base")
    upper = made.archive(made.file(b"usr/bin/tool", b"other"), made.file(b"etc/passwd", b"app:x:1:1::/:\n", mode=0o600))
    both = images.load(layout(tmp_path / "both", BASE, upper), "both")
    assert Path(both.root, "bin/tool").read_text() == "other"
    assert (
        Path(both.root, "bin/again").read_bytes() == Path(base.root, "bin/tool").read_bytes() == b"#!/bin/sh\n" * 5000
    )
    assert Path(base.root, "etc/passwd").read_text().startswith("root:")
    assert whole() == ["base", "both"]


def test_the_same_image_again_is_not_unpacked_again_and_another_name_shares_it(home, tmp_path):
    one = images.load(layout(tmp_path / "one", BASE), "one")
    made_at = os.stat(one.root).st_ctime_ns
    again, two = images.load(f"oci:{tmp_path}/one", "one"), images.load(f"oci:{tmp_path}/one", "two")
    assert again == one
    assert (two.digest, two.root) == (one.digest, one.root)
    assert os.stat(one.root).st_ctime_ns == made_at
    images.remove("one")
    assert whole() == ["two"]
    images.remove(two.digest)
    assert images.list() == []
    assert not os.path.exists(one.root)


def test_who_names_the_layers_of_another_image_has_to_have_them(home, tmp_path):
    images.load(layout(tmp_path / "mine", BASE), "mine")
    for number, layers in enumerate(((BASE,), (BASE, UPPER))):
        members = archives.oci(*layers, compress=True, config={"Env": ["B=2"]})
        lacking = {n: d for n, d in members.items() if d != gzip.compress(BASE, mtime=0)}
        with pytest.raises(images.ImageError, match="it is missing"):
            images.load(f"oci:{archives.directory(tmp_path / f'lacking{number}', lacking)}", "theirs")
        short = archives.oci(*layers, compress=True, stored=(made.archive(),) * len(layers))
        with pytest.raises(images.ImageError, match="layer 1"):
            images.load(f"oci:{archives.directory(tmp_path / f'short{number}', short)}", "theirs")
        assert whole() == ["mine", "theirs0"][: number + 1] and unfinished() == []
        images.load(f"oci:{archives.directory(tmp_path / f'whole{number}', members)}", f"theirs{number}")
    assert whole() == ["mine", "theirs0", "theirs1"]
    assert images.get("theirs0").root == images.get("mine").root
    inodes = {os.stat(f"{images.get(name).root}/usr/bin/tool").st_ino for name in ("mine", "theirs1")}
    assert len(inodes) == 1


def test_a_name_that_gets_another_image_leaves_the_old_one_to_gc(home, tmp_path):
    old = images.load(layout(tmp_path / "old", BASE), "app")
    stamp = used.stamp("app")
    new = images.load(layout(tmp_path / "new", UPPER), "app")
    assert images.get("app") == new != old
    assert used.stamp("app") not in (stamp, None) and used.stamp("none") is None
    assert images.get(old.digest).root == old.root
    assert set(images.gc()) == {old.digest, old.id}
    with pytest.raises(HostError, match="there is no image"):
        images.get(old.digest)
    assert whole() == ["app"]


def test_what_is_used_is_not_removed(home, tmp_path):
    image = images.load(layout(tmp_path / "one", BASE), "one")
    shelf = store.Store()
    with shelf.lock(image.id) as lock:
        shelf.lease(image.id, lock)
        assert images.gc(max_size=1, older=0) == []
        images.remove("one")
        assert os.path.exists(f"{image.root}/usr/bin/tool")
        copy = os.dup(lock.fileno())
    assert images.gc() == []
    os.close(copy)
    assert set(images.gc()) == {image.digest, image.id}
    with pytest.raises(HostError, match="no longer in the store"), shelf.lock(image.id) as lock:
        shelf.lease(image.id, lock)


def test_what_was_used_longest_ago_goes_first(home, tmp_path):
    names = ["a", "b", "c"]
    for number, name in enumerate(names):
        content = made.archive(made.file(b"data", bytes([number + 1]) * 200_000))
        image = images.load(layout(tmp_path / name, content), name)
        os.utime(f"{home}/images/locks/{image.id}", (time.time() - 100 * (3 - number),) * 2)
    with store.Store().lock(images.get("a").id) as lock:
        store.Store().lease(images.get("a").id, lock)  # used just now
    gone = images.gc(max_size="500K")
    assert [name for name in gone if name in names] == ["b"]
    assert [name for name in images.gc(older=50) if name in names] == ["c"]
    assert whole() == ["a"]
    for wrong in (-1, True, float("nan"), "1d"):
        with pytest.raises(SpecError, match="older"):
            images.gc(older=wrong)


CHANGES = {
    "content": lambda root: _write(root / "usr/bin/tool", b"#!/bin/sh\n" * 4999 + b"#!/bin/sX\n"),
    "size": lambda root: _write(root / "etc/group", b""),
    "mode": lambda root: os.chmod(root / "etc/group", 0o600),
    "time": lambda root: os.utime(root / "etc/group", (5, 5)),
    "missing": lambda root: os.unlink(root / "etc/group"),
    "not of the image": lambda root: (root / "etc/new").touch(),
    "target": lambda root: (os.unlink(root / "bin"), os.symlink("/tmp", root / "bin")),
    "kind": lambda root: (os.unlink(root / "etc/group"), os.symlink("passwd", root / "etc/group")),
}


def _write(path: Path, data: bytes) -> None:
    times = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize("what", CHANGES)
def test_verify_tells_what_is_no_longer_as_it_was(home, tmp_path, what):
    image = images.load(layout(tmp_path / "one", BASE), "one")
    assert images.verify(image.digest) == []
    CHANGES[what](Path(image.root))
    said = images.verify("one")
    assert any(what in line for line in said), said
    assert len([line for line in said if not line.startswith(("'etc'", "'.'"))]) <= 2


def test_verify_looks_at_the_documents_and_at_its_own_list(home, tmp_path):
    image = images.load(layout(tmp_path / "one", BASE), "one")
    Path(home, "images/blobs/sha256", image.digest[7:]).write_bytes(b"{}")
    assert images.verify("one") == ["manifest: another content"]
    Path(home, "images/roots", f"{image.id}.sums").write_bytes(b"")
    assert len(images.verify("one")) == 2


def test_what_is_not_as_its_digest_says_leaves_nothing(home, tmp_path):
    spec = layout(tmp_path / "one", BASE, compress=False)
    images.load(layout(tmp_path / "ok", UPPER), "ok")
    before = sorted(path.name for path in home.rglob("*"))
    for blob in (tmp_path / "one/blobs/sha256").iterdir():
        if blob.stat().st_size == len(BASE):
            blob.write_bytes(BASE.replace(b"root:x:0:0", b"root:x:1:0"))
    with pytest.raises(images.ImageError, match="layer 1: its digest is sha256:"):
        images.load(spec, "one")
    assert sorted(path.name for path in home.rglob("*")) == before


def test_a_store_of_somebody_else_or_open_to_others_is_refused(home, tmp_path):
    images.load(layout(tmp_path / "one", BASE), "one")
    os.chmod(home / "images", 0o750)
    with pytest.raises(HostError, match=f"chmod 700 {home}/images"):
        images.list()
    os.chmod(home / "images", 0o700)
    if os.geteuid() == 0:
        os.chown(home / "images", 1000, 1000)
        with pytest.raises(HostError, match="belongs to uid 1000"):
            images.get("one")


def test_another_user_cannot_list_it(home, tmp_path):
    """CVE-2021-41091, CVE-2021-41103. A user of his own asks by his first subordinate id, which is another one's."""
    if os.geteuid() == 0:
        other = ["setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups"]
    elif tested.single_mapping():
        pytest.skip(tested.WITHOUT_HELPER)
    else:
        other = ["unshare", "--user", "--map-auto", "--setuid", "1", "--setgid", "1"]
    image = images.load(layout(tmp_path / "one", BASE), "one")
    (tmp_path / "open").mkdir()
    for path in (home, tmp_path / "open", *home.parents):
        if path.stat().st_uid == os.geteuid():
            path.chmod(path.stat().st_mode | 0o055)
    assert subprocess.run([*other, "ls", f"{tmp_path}/open"], capture_output=True, check=False).returncode == 0
    for path in (home / "images", image.root, f"{home}/images/names/one"):
        done = subprocess.run([*other, "ls", "-d", f"{path}/."], capture_output=True, text=True, check=False)
        assert "Permission denied" in done.stderr, path
