"""The published attacks as images, loaded as users load them: nothing outside of the store changes, nothing half is in it."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest

from pyjail import images
from tests import images_archives as archives
from tests.conftest import SLOW
from tests.images_made import archive, file, folder, header, link, long
from tests.images_store import layout, unfinished, whole
from tests.jail.images.conftest import Outside
from tests.jail.images.test_hostile import OTHERS, linked
from tests.scripts import script

SOME = [
    n
    for n in sorted(linked(b"/outside"))
    if (n.startswith(("absolute", "relative")) and ", f" in n) or "hard link" in n
]


def attacked(base: Path, outside: Outside, layers: tuple[bytes, ...]) -> None:
    """Loaded, or refused; whatever it is, the host and the store are as they have to be."""
    try:
        image = images.load(layout(base, *layers), "hostile")
    except images.ImageError as e:
        assert str(e) and images.list() == []
    else:
        for _, folders, names, fd in os.fwalk(image.root):  # by fds: a path may be longer than the kernel takes
            for name in [*folders, *names]:
                s = os.stat(name, dir_fd=fd, follow_symlinks=False)
                assert stat.S_IFMT(s.st_mode) in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK)
                assert stat.S_ISLNK(s.st_mode) or not s.st_mode & 0o7000
                if stat.S_ISREG(s.st_mode) and os.access(name, os.R_OK, dir_fd=fd):
                    with open(os.open(name, os.O_RDONLY, dir_fd=fd), "rb") as found:
                        assert b"canary" not in found.read()
        assert whole() == ["hostile"]
        images.remove("hostile")
    assert unfinished() == []
    assert {k: v for k, v in outside.seen().items() if k.startswith(str(outside.path))} == {
        k: v for k, v in outside.before.items() if k.startswith(str(outside.path))
    }


@pytest.fixture
def beside(tmp_path: Path) -> Outside:
    return Outside(tmp_path)


@pytest.mark.parametrize("name", OTHERS)
def test_published_attacks(home, beside: Outside, name: str):
    attacked(beside.base / "image", beside, OTHERS[name](beside.name))


@pytest.mark.parametrize("part", range(4))
def test_symlinks_on_the_way_out(home, tmp_path: Path, beside: Outside, part: int):
    attacks = linked(beside.name)
    for name in SOME[part::8]:
        attacked(tmp_path / name.replace(" ", ""), beside, attacks[name])


def test_own_places_that_are_symlinks_lead_nowhere(home, beside: Outside):
    """CVE-2026-41579, CVE-2025-31133, CVE-2025-52565: of the image nothing of the host is made or changed."""
    names = (b"dev", b"proc", b"tmp", b"box", b"etc", b"sys", b"dev/null", b"etc/passwd")
    for n, make in enumerate((lambda x: link(x, beside.name), lambda x: file(x, b"f"), lambda x: header(x, b"6"))):
        flat = archive(*(make(x) for x in names if b"/" not in x))
        deep = archive(folder(b"dev"), folder(b"etc"), *(make(x) for x in names if b"/" in x))
        for layers in ((flat,), (deep,), (flat, deep), (deep, flat)):
            attacked(beside.base / f"image{n}{hash(layers)}", beside, layers)


BOMB = """
    import resource, sys
    from pyjail import images
    bounds = images.Bounds(unpacked=sys.argv[2])
    try:
        images.load(sys.argv[1], "bomb", bounds=bounds)
    except images.ImageError as e:
        print(e)
    most = int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) >> 10
    theirs = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10
    assert 0 < most < 64 and 0 < theirs < 64, (most, theirs)
    """


@pytest.mark.parametrize("form", ["gzip", "zstd"])
def test_ten_gigabytes_in_ten_megabytes_take_little_memory_and_time(home, tmp_path: Path, form: str):
    """CVE-2017-14992, CVE-2023-25153: neither of who loads it nor of the process that unpacks."""
    begins = header(b"zeros", raw={124: b"\x80" + bytes(6) + (10 << 30).to_bytes(5, "big")})
    again = archives.stored_as(form, bytes(16 << 20))
    stored = archives.stored_as(form, begins) + again * 640  # as members, or frames
    spec = layout(tmp_path / "bomb", begins, compress=form, stored=(stored,))
    start = time.monotonic()
    said = script(BOMB, arguments=(spec, "32M"))
    assert said.returncode == 0, said.stderr
    assert "more than the bound unpacked=33,554,432 allows" in said.stdout
    assert time.monotonic() - start < 60 * SLOW
    assert images.list() == [] == unfinished()


def test_a_bomb_ends_at_its_bound_and_leaves_nothing(home, beside: Outside):
    size = 17 << 30
    zeros = header(b"zeros", raw={124: b"\x80" + bytes(6) + size.to_bytes(5, "big")})
    start = time.monotonic()
    attacked(beside.base / "image", beside, (zeros + bytes(1 << 20),))
    attacked(beside.base / "names", beside, (archive(*(long(b"%d/" % n * 190) + file(b"x") for n in range(8))),))
    assert time.monotonic() - start < 60 * SLOW
