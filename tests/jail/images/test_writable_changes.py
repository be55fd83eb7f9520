"""`Session.root_changes`, `Box.root_changes`: what a program has made of its root, whatever it has closed or faked."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from pathlib import Path

import pytest

import pyjail
from pyjail import Jail, Mount, Session, SpecError, aio, images
from tests import images_writable as writable
from tests import place
from tests.images_writable import done, jail


@pytest.fixture
def base(home):
    yield writable.load(home / "base")
    pyjail.close()


def told(changes):
    return [(one.kind, one.path, one.type) for one in changes]


@pytest.mark.parametrize("uid", [1000, 0])
def test_each_kind_of_change_is_told_whatever_modes_close_it(base, uid):
    with Session(jail(uid=uid, gid=uid)) as s:
        assert s.root_changes() == []
        done(s, writable.CHANGES)
        changes = s.root_changes()
        by = {one.path: one for one in changes}
        assert told(changes) == writable.CHANGED
        assert (by["/etc/a"].size, by["/deep/er/l"].size, by["/etc"].size if "/etc" in by else 0) == (11, 11, 0)
        assert (by["/closed"].mode, by["/deep/er/s"].mode, by["/lib"].mode, by["/gone"].mode) == (0, 0, 0o700, 0o755)
        assert told(s.root_changes()) == writable.CHANGED, "to look at it changes nothing"
        assert "0 /closed" not in done(s, "stat -c '%a %n' /closed | grep -v '^0 ' || true")
    assert images.verify("base") == []


def test_programs_of_a_box_may_run_meanwhile(base):
    if not place.CGROUPS:
        pytest.skip(place.WITHOUT_CGROUPS)
    with pyjail.Box(jail()) as box:
        churn = """
            mkdir /a; while :; do mkdir -p /a/b/c; echo x >/a/b/c/d; rm -r /a/b; ln -s /etc /a/b; rm /a/b; mkfifo /a/b; rm /a/b
            cp /etc/passwd /p; mv /p /etc/a; cat /etc/a >>/etc/a2; rm -r /op /etc/a; mkdir /op; mkfifo /etc/a; rm /etc/a; ln -s /x /etc/a; done
        """
        with box.start(writable.sh(churn)) as running:
            for _ in range(100):
                for one in box.root_changes():
                    assert one.path.startswith(("/a", "/p", "/op", "/etc/a")), one
            running.kill()
        done(box, "rm -rf /a /p /etc/* /op; echo x >/kept")
        last = [
            ("removed", "/etc/a", "file"),
            ("removed", "/etc/passwd", "file"),
            ("added", "/kept", "file"),
            ("removed", "/op", "directory"),
        ]
        assert told(box.root_changes()) == last
        box.restore(box.snapshot())
        assert told(box.root_changes()) == last, "a snapshot is of the box's own places"


def test_their_awaitable_twins(base):
    async def main():
        async with aio.Session(jail()) as s:
            await s.run(writable.sh("echo x >/new"))
            found = [await s.root_changes()]
        if place.CGROUPS:
            async with aio.Box(jail()) as box:
                await box.run(writable.sh("echo x >/new"))
                found.append(await box.root_changes())
        return found

    assert [told(one) for one in asyncio.run(main())] == [[("added", "/new", "file")]] * (1 + place.CGROUPS)


def test_not_while_a_program_of_the_session_runs(base):
    with Session(jail()) as s:
        with s.start(["sleep", "60"]) as running:
            with pytest.raises(SpecError, match="runs already"):
                s.root_changes()
            running.kill()
        assert s.root_changes() == []


def test_a_root_that_is_read_only_has_none(base):
    with Session(Jail(image="base", strict=False)) as s, pytest.raises(SpecError, match="read-only") as e:
        s.root_changes()
    assert "writable_root" in str(e.value)


def test_mount_points_and_the_jails_own_places_are_no_changes(base, tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "theirs").write_text("x")
    (tmp_path / "one").write_text("y")
    mounts = (
        Mount.tmpfs("/mnt/a/b", "1M"), Mount.bind(str(tmp_path / "source"), "/srv/data"),
        Mount.bind(str(tmp_path / "one"), "/etc/one"),
    )  # fmt: skip
    with Session(jail(mounts=mounts)) as s:
        assert s.root_changes() == []
        done(s, "cat /srv/data/theirs /etc/one; echo x >/tmp/x; echo x >/box/x; echo x >/mnt/a/b/x; echo x >/etc/two")
        assert told(s.root_changes()) == [("added", "/etc/two", "file")]


PYTHON = """
import os, sys
for name in ("user.overlay.opaque", "user.overlay.whiteout", "user.overlay.redirect", "user.overlay.metacopy"):
    for path in ("/op", "/etc/a", "/made"):
        try:
            os.setxattr(path, name, b"y" if name.endswith("opaque") else b"/etc")
        except OSError as e:
            print(path, name, e.errno)
for make in (
    lambda: os.mknod("/etc/w", 0o020000, 0), lambda: os.mknod("/etc/w", 0o020600, os.makedev(1, 3)),
    lambda: os.mknod("/made/w", 0o020000, 0), lambda: os.mknod("/etc/b", 0o060000, 0),
):
    try:
        make()
        print("made")
    except OSError as e:
        print(e.errno)
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
print("whiteout", libc.renameat2(-100, b"/made/old", -100, b"/made/new", 4), ctypes.get_errno())  # RENAME_WHITEOUT
"""


@pytest.mark.parametrize("more", [{}, {"seccomp": "none", "landlock": False}], ids=["fenced", "overlay alone"])
def test_a_program_can_fake_no_removal(base, more, host_python):
    """Neither the attributes of overlayfs nor whiteouts are a program's to make through the overlay."""
    with Session(jail(host_python.image, mounts=host_python.mounts, **more)) as s:
        said = done(s, f"mkdir /made; echo x >/made/old; /usr/bin/python3 -I -S -c '{PYTHON}'")
        assert "made\n" not in said and "whiteout 0" not in said, said
        assert done(s, "cat /op/one /etc/a; ls /made") == "1hello\nold\n"
        assert {(one.kind, one.path) for one in s.root_changes()} - {
            ("added", "/made"),
            ("added", "/made/old"),
        } == set()


def test_what_is_too_much_is_refused_in_words(base):
    with Session(jail(size="64M")) as s:
        deep = "cd /lib; i=0; while [ $i -lt 25 ]; do d=$(printf '%0200d' $i); mkdir $d; cd $d; i=$((i+1)); done"
        done(s, deep)
        with pytest.raises(OSError) as e:
            s.root_changes()
        assert e.value.errno == errno.ENAMETOOLONG
        assert done(s, "echo it goes on") == "it goes on\n"


def test_names_are_bytes_and_paths_come_as_they_are(base):
    with Session(jail()) as s:
        done(s, r"""echo x >"$(printf '/etc/\377 a')"; echo x >"$(printf '/etc/new\nline')" """)
        assert {os.fsencode(one.path) for one in s.root_changes()} == {b"/etc/\xff a", b"/etc/new\nline"}


def test_the_tree_of_a_rootfs_is_compared_too(base, tmp_path):
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "bin").mkdir()
    (root / "bin" / "busybox").write_bytes(Path("/bin/busybox").read_bytes())
    (root / "bin" / "busybox").chmod(0o755)
    (root / "bin" / "sh").symlink_to("busybox")
    (root / "etc" / "a").write_text("a")
    before = {p: (p.lstat().st_mtime_ns, p.lstat().st_ino, p.lstat().st_mode) for p in sorted(root.rglob("*"))}
    (tmp_path / "link").symlink_to(root)
    with Session(Jail(rootfs=str(tmp_path / "link"), writable_root="1M", strict=False)) as s:
        assert s.root_changes() == []
        done(s, "echo b >/etc/b; busybox rm /etc/a; echo >>/bin/busybox.d")
        assert told(s.root_changes()) == [
            ("added", "/bin/busybox.d", "file"), ("removed", "/etc/a", "file"), ("added", "/etc/b", "file")
        ]  # fmt: skip
    assert {p: (p.lstat().st_mtime_ns, p.lstat().st_ino, p.lstat().st_mode) for p in sorted(root.rglob("*"))} == before
    assert stat.S_ISREG((root / "etc" / "a").lstat().st_mode)


def test_a_build_is_cached_as_long_as_the_root_is_the_images(base, tmp_path):
    """What was written of it is not in the key."""
    cache = pyjail.ArtefactCache(tmp_path / "cache")
    command = writable.sh("cat /etc/a >out")

    def built(before: str) -> tuple[bool, bytes]:
        with Session(jail()) as s:
            done(s, before)
            return s.build(command, ("out",), cache=cache).cached, s.read("out")

    assert built("true") == (False, b"hello\n")
    assert built("true >>/etc/a") == (True, b"hello\n")
    assert built("echo other >/etc/a") == (False, b"other\n")
    assert built("true") == (True, b"hello\n")
