"""Archives that were made to get out, or to cost more than they weigh; the incidents by the names that they have."""

from __future__ import annotations

import contextlib
import ctypes
import io
import itertools
import mmap
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pyjail import JailError
from pyjail._images import tar
from pyjail._images.bounds import Bounds
from pyjail._images.errors import ImageError
from tests.conftest import SLOW
from tests.images_made import (
    applied,
    archive,
    bomb,
    file,
    folder,
    hard,
    header,
    link,
    listed,
    long,
    padded,
    pax,
    reader,
)
from tests.jail.images.conftest import Outside

Layers = Callable[[bytes], tuple[bytes, ...]]
UP = b"../" * 12


def realpath_overflow(out: bytes) -> tuple[bytes, ...]:
    """CVE-2025-4517 (cpython#135034): a path that os.path.realpath gives up on."""
    parts, path = [], b""
    for letter in b"abcdefghijklmnop":
        step = bytes([letter])
        below = path + b"d" * 247
        parts += [long(below + b"/") + folder(b"x/"), long(path + step) + link(b"x", b"d" * 247)]
        path = below + b"/"
    short = b"/".join(bytes([letter]) for letter in b"abcdefghijklmnop") + b"/" + b"l" * 254
    return (
        archive(
            *parts,
            long(short) + long(b"../" * 16, b"K") + link(b"x", b"y"),
            long(short + b"/" + UP + out[1:], b"K") + link(b"escape", b"y"),
            long(b"escape/secret", b"K") + hard(b"flag", b"y"),
            file(b"flag", b"overwritten"),
            file(b"escape/made", b"x"),
        ),
    )


def linked(out: bytes) -> dict[str, tuple[bytes, ...]]:
    """Symlinks on the way out, and what is done through them."""
    ways = {
        "absolute": link(b"l", out),
        "relative": link(b"l", UP + out[1:]),
        "chained": link(b"k", out) + link(b"j", b"k") + link(b"l", b"j"),
        "chained in the root": folder(b"d") + link(b"d/up", b"../..") + link(b"l", b"d/up/../../outside"),
        "forty-one": b"".join(link(b"l" if n == 0 else b"l%d" % n, b"l%d" % (n + 1)) for n in range(41))
        + link(b"l41", out),
        "slashes": link(b"l/", out) + link(b"./l", b"//" + out + b"//"),
        "long": long(b"./" * 500 + out, b"K") + link(b"l", b"x"),
        "hard": link(b"s", out) + hard(b"l", b"s"),
        "proc": link(b"l", b"/proc/self/root" + out),
        "own fd": link(b"l", b"/proc/self/fd/3/../outside"),
    }
    acts = {
        "file": file(b"l/secret", b"overwritten"),
        "new file": file(b"l/sub/made", b"x"),
        "itself": file(b"l", b"x"),
        "directory": folder(b"l/", mode=0o777, mtime=1),
        "mode": folder(b"l/sub", mode=0o777, mtime=1),
        "hard link of": hard(b"h", b"l/secret"),
        "hard link to": file(b"f", b"x") + hard(b"l/secret", b"f"),
        "hard link then file": hard(b"h", b"l/secret") + file(b"h", b"x"),
        "symlink": link(b"l/secret", b"x"),
        "device": header(b"l/secret", b"3"),
        "whiteout": file(b"l/.wh.secret"),
        "whiteout of it": file(b".wh.l"),
        "opaque": file(b"l/.wh..wh..opq"),
        "opaque below": file(b"l/sub/.wh..wh..opq"),
        "tail": folder(b"l") + file(b"l/secret", b"x") + file(b".wh.l") + link(b"l", out) + file(b"l/x"),
    }
    found = {}
    for (way, first), (act, second) in itertools.product(ways.items(), acts.items()):
        found[f"{way}, {act}, one layer"] = (archive(first, second),)
        found[f"{way}, {act}, two layers"] = (archive(first), archive(second))
    return found


NAMES = sorted(linked(b"/outside"))


@pytest.mark.parametrize("part", range(10))
def test_nothing_gets_out_through_a_symlink(outside: Outside, part: int):
    """CVE-2026-46703, CVE-2025-11395, CVE-2020-10696, CVE-2025-45582, CVE-2021-32760, cpython#157190 and the like."""
    attacks = linked(outside.name)
    for name in NAMES[part::10]:
        root = outside.root / name.replace(" ", "")
        try:
            applied(root, *attacks[name])
        except JailError as e:
            assert isinstance(e, ImageError), name
        assert outside.seen() == outside.before, name
        below = [p for p in root.rglob("*") if p.is_file() and not p.is_symlink()]
        assert not any(b"canary" in p.read_bytes() for p in below), name


OTHERS: dict[str, Layers] = {
    "CVE-2025-4517": realpath_overflow,
    "CVE-2025-4138": lambda out: (
        archive(folder(b"d"), link(b"d/e", b"."), link(b"up", b"d/e/e/../.."), link(b"out", b"up/.." + out)),
        archive(file(b"out/secret", b"x"), folder(b"up/outside", mode=0o777), hard(b"h", b"out/secret")),
    ),
    "CVE-2024-12718": lambda out: (
        archive(link(b"x", out), header(b"x", b"5", mode=0o777, mtime=0), folder(b"x/../x")),
    ),
    "CVE-2025-4330": lambda out: (
        archive(link(b"a/b", b"../" + UP + out[1:]), link(b"c", b"a/b/secret"), file(b"c", b"x")),
    ),
    "CVE-2025-4435": lambda out: (archive(header(b"../outside/secret", b"3"), file(b"../outside/secret", b"x")),),
    "cpython#151558": lambda out: (
        archive(
            link(b"a/s", b"../" + UP + out[1:] + b"/secret"),
            hard(b"s", b"a/s"),
            hard(b"t", b"missing"),
            file(b"s", b"x"),
        ),
    ),
    "cpython#157190": lambda out: (archive(link(b"s", out + b"/secret"), hard(b"h", b"s", mode=0o777, mtime=1)),),
    "cpython#149486": lambda out: (archive(link(b"", b"."), link(b"", out), file(b"secret", b"x")),),
    "cpython#155999": lambda out: (archive(folder(b"../made"), folder(b"../outside/made/../../staging/root/x")),),
    "CVE-2021-29136": lambda out: (archive(link(b".", out)), archive(file(b"secret", b"x"))),
    "GHSA-9m95-8hx6-7p9v": lambda out: (
        archive(link(b"./", out), folder(b"./", mode=0o777)),
        archive(file(b"./secret")),
    ),
    "absolute name": lambda out: (archive(file(out + b"/secret", b"x"), folder(out, mode=0o777)),),
    "absolute hard link": lambda out: (archive(hard(b"h", out + b"/secret"), file(b"h", b"x")),),
    "hard link up": lambda out: (archive(hard(b"h", UP + out[1:] + b"/secret")),),
    "pax name": lambda out: (archive(pax((b"path", UP + out[1:] + b"/secret")) + file(b"x", b"x")),),
    "pax target": lambda out: (archive(pax((b"linkpath", out)) + link(b"l", b"x"), file(b"l/secret", b"x")),),
    "gnu name": lambda out: (archive(long(UP + out[1:] + b"/secret") + file(b"x", b"x")),),
    "prefix": lambda out: (archive(file(b"outside/secret", b"x", prefix=b"..")),),
    "zero byte": lambda out: (archive(pax((b"path", b"a\0/../../outside/secret")) + file(b"x", b"x")),),
    "whiteout up": lambda out: (archive(file(b"a")), archive(file(b"../../outside/.wh.secret"))),
    "whiteout of up": lambda out: (archive(file(b"a/b")), archive(file(b"a/.wh..")), archive(file(b"a/.wh..."))),
    "whiteout with a slash": lambda out: (archive(file(b"a")), archive(pax((b"path", b".wh." + out)) + file(b"x"))),
    "removal of a tree with symlinks": lambda out: (
        archive(link(b"d/a", out), link(b"d/e/b", UP + out[1:]), hard(b"d/x", b"f"), file(b"f", b"x")),
        archive(file(b".wh.d")),
        archive(link(b"d/a", out), folder(b"d/e")),
        archive(file(b"d/.wh..wh..opq"), file(b"d", b"x")),
    ),
    "accounts": lambda out: (archive(link(b"etc", out), link(b"passwd", out), file(b"etc/passwd", b"x")),),
    "accounts by a link": lambda out: (
        archive(link(b"etc/passwd", out + b"/secret"), link(b"etc/group", b"/etc/group")),
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_published_attacks_change_nothing_outside(outside: Outside, name: str):
    try:
        applied(outside.root, *OTHERS[name](outside.name))
    except JailError as e:
        assert isinstance(e, ImageError)
    found = listed(outside.root).values()
    assert not any(b"canary" in row[3] for row in found if row[0] == "file")


def theirs(data: bytes) -> list[str]:
    """What GNU tar lists."""
    shown = subprocess.run(["tar", "-tf", "-"], input=data, capture_output=True, check=False)
    return shown.stdout.decode().splitlines()


INNER = archive(file(b"hidden", b"payload"))
DESYNC = {
    "CVE-2025-62518": archive(pax((b"size", b"%d" % len(INNER))) + header(b"a") + padded(INNER), file(b"b", b"x")),
    "size in a header before a long name": archive(pax((b"size", b"3")), long(b"n" * 120), header(b"n") + padded(b"abc"), file(b"b")),
    "a smaller pax size": archive(pax((b"size", b"0")) + header(b"a", size=1024), file(b"b")),
    "base 256": archive(header(b"a", size=len(INNER), raw={124: b"\x80" + bytes(7) + len(INNER).to_bytes(4, "big")}) + padded(INNER)),
    "spaces": archive(header(b"a", raw={124: b"       2000 "}) + padded(b"x" * 1024), file(b"b")),
    "an archive after the end": archive(file(b"a")) + archive(file(b"hidden")),
    "a long name that ends early": archive(long(b"a\0b") + file(b"x"), file(b"b")),
}  # fmt: skip


@pytest.mark.parametrize("name", DESYNC)
def test_entries_are_those_that_gnu_tar_lists(name: str):
    """CVE-2025-62518, CVE-2026-33055, GHSA-3pv8-6f4r-ffg2: one archive, two lists of entries."""
    ours = [entry.name.decode() for entry in tar.entries(reader(DESYNC[name]), Bounds())]
    assert ours == theirs(DESYNC[name]) and ours


@pytest.mark.parametrize(
    "data",
    [
        header(b"a", b"2", target=b"b", size=len(INNER)) + padded(INNER),
        header(b"a", b"5", size=len(INNER)) + padded(INNER),
        header(b"a", b"1", target=b"b", size=len(INNER)) + padded(INNER),
        pax((b"size", b"%d" % len(INNER))) + header(b"a", b"5") + padded(INNER),
        pax((b"path", b"x")) + pax((b"size", b"3")) + header(b"a") + padded(b"abc"),
        file(b"a") + bytes(512) + file(b"hidden"),
    ],
)
def test_what_readers_disagree_about_is_refused(outside: Outside, data: bytes):
    with pytest.raises(ImageError, match="disagree"):
        applied(outside.root, archive(data))


def measured(outside: Outside, code: str, *data: bytes) -> tuple[int, str]:
    """Most memory (MiB) of a process of its own that unpacks, and what it printed."""
    paths = []
    for n, piece in enumerate(data):
        path = outside.root / f"layer{n}"
        path.write_bytes(piece)
        paths.append(str(path))
    made = outside.root / "made"
    made.mkdir()
    program = """
        import os, sys
        from pyjail._images.apply import Tree
        from pyjail._images.bounds import Bounds
        from pyjail._images.errors import ImageError
        from pyjail._images.stream import opened
        def unpack(bounds=Bounds()):
            fd = os.open(sys.argv[1], os.O_RDONLY)
            tree = Tree(fd, bounds)
            for path in sys.argv[2:]:
                with open(path, "rb", buffering=0) as file:
                    layer = opened(file, "", bounds)
                    tree.layer(layer)
            return tree.finish()
    """
    program = textwrap.dedent(program) + textwrap.dedent(code)
    program += "\nprint(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])\n"
    done = subprocess.run(
        [sys.executable, "-c", program, str(made), *paths],
        capture_output=True,
        text=True,
        check=False,
        timeout=100 * SLOW,
    )
    assert done.returncode == 0, done.stderr
    *said, most = done.stdout.splitlines()
    return int(most) // 1024, "\n".join(said)


REFUSED = """
    try:
        unpack(Bounds(%s))
    except ImageError as e:
        print(e)
"""


def test_a_bomb_takes_little_memory_and_ends_at_its_bound(outside: Outside):
    """CVE-2017-14992, CVE-2023-25153: thousands of times as much as it weighs; what is not written is not unpacked either."""
    data = bomb(256 << 20, before=header(b"zeros", raw={124: b"\x80" + bytes(6) + (256 << 20).to_bytes(5, "big")}))
    assert len(data) < 1 << 20
    most, said = measured(outside, REFUSED % "unpacked=20 << 20", data)
    assert "more than the bound unpacked=20,971,520" in said and most < 64
    assert not any(p.stat().st_size for p in (outside.root / "made").rglob("*"))


def test_a_bomb_behind_the_archive_ends_at_its_bound(outside: Outside):
    most, said = measured(outside, REFUSED % "unpacked=20 << 20", bomb(256 << 20, before=archive(file(b"a"))))
    assert "more than the bound unpacked=20,971,520" in said and most < 64


def test_a_million_segments_of_a_sparse_file_are_refused_at_once(outside: Outside):
    """CVE-2025-58183."""
    sparse = pax((b"GNU.sparse.map", b"0,1," * 200_000)) + file(b"a")
    old = header(b"a", b"S", raw={482: b"\1"}) + padded(b"\0" * 512 * 1000)
    for data in (sparse, old):
        with pytest.raises(ImageError, match="sparse"):
            applied(outside.root, archive(data))


def test_many_entries_take_little_memory(outside: Outside):
    parts = b"".join(file(b"%d" % n) for n in range(10_000))
    most, said = measured(outside, "print(unpack().entries)", archive(parts), archive(parts))
    assert said == "20000" and most < 64


def test_whiteouts_and_nested_opaque_directories_cost_what_they_weigh(outside: Outside):
    """GHSA-rp3h-jf77-q9p4: twice as many take about twice as long, not four times."""

    def took(n: int) -> float:
        root = outside.root / str(n)
        marks = [long(b"a/" * k + b".wh..wh..opq") + file(b"x") for k in range(1, 190)]
        base = archive(*(file(b"%b/%d/x" % (d, k)) for d in (b"w", b"v") for k in range(n)))
        wide = [folder(b"w/%d" % k) + file(b"w/%d/.wh..wh..opq" % k) + file(b"w/.wh.%d" % k) for k in range(n)]
        gone = [file(b"v/.wh.%d" % k) for k in range(n)]
        again = archive(*(marks + marks[::-1]) * (n // 500))
        start = time.process_time()
        applied(root, base, archive(*wide, *gone), archive(long(b"a/" * 190) + folder(b"x")), again)
        took = time.process_time() - start
        assert sum(1 for _ in (root / "w").iterdir()) == n and not list((root / "v").iterdir())
        return took

    first, second = took(300), took(1200)
    assert second < 12 * first


class Swapper:
    """Another process of the same user that puts symlinks in place of directories, and back."""

    def __init__(self, root: Path, target: Path) -> None:
        self.shared = mmap.mmap(-1, 16)  # turns, stop
        (root / "trap").symlink_to(target)
        self.pid = os.fork()
        if not self.pid:
            try:
                self.swap(root)
            finally:
                os._exit(0)

    def swap(self, root: Path) -> None:
        exchange = ctypes.CDLL(None).renameat2
        names = [(os.fsencode(root / "trap"), os.fsencode(root / f"d{n}")) for n in range(8)]
        while not self.shared[8]:
            for trap, name in names * 2:
                exchange(-100, trap, -100, name, 2)  # AT_FDCWD, RENAME_EXCHANGE
            self.shared[:8] = (self.turns + 16).to_bytes(8, "little")

    @property
    def turns(self) -> int:
        return int.from_bytes(self.shared[:8], "little")

    def end(self) -> None:
        self.shared[8] = 1
        os.waitpid(self.pid, 0)


def test_a_directory_that_becomes_a_symlink_meanwhile_is_not_followed(outside: Outside):
    """CVE-2025-47290, CVE-2018-15664."""
    for n in range(8):
        (outside.root / f"d{n}").mkdir()
    swapper = Swapper(outside.root, outside.path)
    layer = archive(*(
        part for n in range(8) for part in (
            folder(b"d%d/sub" % n, mode=0o777), file(b"d%d/secret" % n, b"overwritten"), file(b"d%d/sub/secret" % n, b"x"),
            file(b"d%d/.wh.link" % n), file(b"d%d/.wh.empty" % n), file(b"d%d/sub/.wh..wh..opq" % n),
        )
    ))  # fmt: skip
    try:
        end = time.monotonic() + 60
        while swapper.turns < 100_000 and time.monotonic() < end:
            with contextlib.suppress(JailError):
                applied(outside.root, layer)
            assert outside.seen() == outside.before
    finally:
        swapper.end()
    assert swapper.turns > 1000


def test_input_that_ends_or_breaks_leaves_nothing_open(outside: Outside):
    data = archive(folder(b"a"), file(b"a/b", b"x" * 3000), hard(b"c", b"a/b"))
    for at in range(0, len(data) - 1024, 100):
        if at % 512:
            with pytest.raises(ImageError):
                applied(outside.root / str(at), data[:at])
    broken = io.BytesIO(data)

    def read(n: int) -> bytes:
        if broken.tell() > 2000:
            raise OSError(5, "broken")
        return broken.read(n)

    from pyjail import HostError
    from pyjail._images.apply import Tree

    fd = os.open(outside.root, os.O_RDONLY)
    try:
        with pytest.raises(HostError, match="Input/output error"):
            Tree(fd, Bounds()).layer(read)
    finally:
        os.close(fd)
