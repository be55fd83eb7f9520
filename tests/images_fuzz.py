"""Mutated archives against what must hold of every one: ``python -m tests.images_fuzz [SECONDS] [SEED]``.

Each archive is made of the corpus (tests/images_corpus, and the hostile ones that tests make) by changing bytes, fields and
entries, with the checksums put right. It is applied as two layers. What must hold: no error but ImageError, nothing
outside of the tree is changed, nothing in it is special, and entries are those of GNU tar where that accepts the
archive, too. What does not hold is kept in the corpus, and a test applies all of the corpus.
"""

from __future__ import annotations

import hashlib
import io
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pyjail._images import tar
from pyjail._images.bounds import Bounds
from pyjail._images.errors import ImageError
from tests.images_made import applied, archive, file, folder, hard, header, link, long, pax, walked

LONGEST = int(60 * float(os.environ.get("PYJAIL_TEST_SLOWNESS", "1")))  # seconds for one archive
CORPUS = Path(__file__).parent / "images_corpus"
BOUNDS = Bounds(unpacked=1 << 20, entries=2000, header=1 << 16)
NAMES = [
    b"", b".", b"./", b"/", b"..", b"a", b"a/", b"a/b", b"a/b/c", b"b", b"l", b"l/a", b"l/l", b"/etc/passwd", b"etc",
    b".wh.a", b".wh.b", b"a/.wh.b", b"a/.wh..wh..opq", b".wh..wh..opq", b".wh.", b".wh..", b".wh..wh.x", b"l/.wh.a",
    b"../outside", b"../outside/secret", b"l/secret", b"\xff\x80", b"a\nb", b"n" * 99, b"a/../../outside/secret",
]  # fmt: skip
TARGETS = [*NAMES, b"../../outside", b"/", b"../..", b"l", b"a/l", b"/proc/self/root", b"/proc/self/cwd/../outside"]
KINDS = [b"0", b"\0", b"1", b"2", b"3", b"5", b"6", b"7", b"L", b"K", b"x", b"g", b"S"]
Made = list[bytes]


def seeds() -> list[Made]:
    """Archives as lists of entries."""
    found = [
        [
            folder(b"a"),
            file(b"a/b", b"x" * 700),
            link(b"l", b"../../outside"),
            file(b"l/secret", b"y"),
            hard(b"h", b"a/b"),
        ],
        [link(b"l", b"a"), folder(b"a"), file(b"l/b"), hard(b"c", b"l/b"), file(b"l/.wh.b"), file(b"a/.wh..wh..opq")],
        [
            pax((b"path", b"a/b"), (b"mtime", b"1.5")) + file(b"x", b"1"),
            long(b"n" * 120) + file(b"n"),
            hard(b"z", b"a/b"),
        ],
        [
            long(b"../../outside", b"K") + link(b"l", b"x"),
            pax((b"size", b"3")) + header(b"s") + b"abc".ljust(512, b"\0"),
        ],
        [
            hard(b"a", b"b"),
            hard(b"b", b"c"),
            file(b"c", b"z"),
            header(b"d", b"3"),
            file(b"etc/passwd", b"root:x:0:0\n"),
        ],
    ]
    found += [split(path.read_bytes()) for path in sorted(CORPUS.glob("*.tar"))]
    return found


def split(data: bytes) -> Made:
    """Its blocks, each by itself, without the zeros at the end."""
    data = data.rstrip(b"\0")
    return [data[at : at + 512].ljust(512, b"\0") for at in range(0, len(data), 512)]


def entry(r: random.Random) -> bytes:
    """Any entry."""
    name, target = r.choice(NAMES), r.choice(TARGETS)
    kind = r.choice(KINDS)
    if kind in b"LK":
        return long(r.choice([name, target, b"d/" * r.randrange(300)]), kind)
    if kind in b"xg":
        keys = [
            (b"path", name),
            (b"linkpath", target),
            (b"size", b"%d" % r.randrange(-1, 2000)),
            (b"mtime", b"1"),
            (b"comment", b"c"),
        ]
        return pax(*r.sample(keys, r.randrange(1, 4)), kind=kind)
    data = r.randbytes(r.choice([0, 1, 511, 512, 513, 3000])) if r.random() < 0.5 else b""
    if kind in b"0\x007":
        return file(name, data, kind=kind, mode=r.randrange(0o10000), mtime=r.choice([0, -1, 1 << 31, 1 << 40]))
    return header(name, kind, target=target, mode=r.randrange(0o10000), size=r.choice([0] * 9 + [512]))


def mutated(made: Made, r: random.Random) -> bytes:
    """One archive more."""
    made = list(made)
    for _ in range(r.randrange(1, 6)):
        at = r.randrange(len(made) + 1)
        act = r.randrange(6)
        if act == 0 or not made:
            made.insert(at, entry(r))
        elif act == 1:
            made.insert(at, r.choice(made))
        elif act == 2:
            del made[r.randrange(len(made))]
        elif act == 3:
            r.shuffle(made)
        else:
            made[at % len(made)] = changed(made[at % len(made)], r)
    data = archive(*made)
    if r.random() < 0.05:
        data = data[: r.randrange(len(data))]
    return data


def changed(block: bytes, r: random.Random) -> bytes:
    """Some bytes of a header are others; mostly its checksum is right."""
    new = bytearray(block)
    fields = [(0, 100), (100, 8), (124, 12), (136, 12), (148, 8), (156, 1), (157, 100), (257, 8), (345, 155)]
    start, size = r.choice(fields)
    for _ in range(r.randrange(1, 4)):
        new[start + r.randrange(size)] = r.choice(
            [0, 0x20, 0x2E, 0x2F, 0x30, 0x31, 0x35, 0x37, 0x80, 0xFF, r.randrange(256)]
        )
    if len(new) >= 512 and r.random() < 0.9:
        new[148:156] = b" " * 8
        new[148:156] = b"%06o\0 " % sum(new[:512])
    return bytes(new)


def seen(outside: Path) -> list[object]:
    """All that an attack could change."""
    found: list[object] = []
    for path in walked(outside):
        s = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        found.append((path, s.st_ino, s.st_mode, s.st_uid, s.st_nlink, s.st_mtime_ns, s.st_ctime_ns, content))
    return found


def _late(*_: object) -> None:
    raise TimeoutError(f"more than {LONGEST} s")


def tried(base: Path, data: bytes, under: bytes) -> str:
    """What does not hold of ``data`` as a layer over ``under``; "" when all does."""
    root, outside = base / "staging" / "root", base / "outside"
    if not outside.exists():
        outside.mkdir(parents=True)
        (outside / "secret").write_text("canary")
        (outside / "sub").mkdir()
    before = seen(outside)
    fds = len(os.listdir("/proc/self/fd"))
    wrong = ""
    before_alarm = signal.signal(signal.SIGALRM, _late)
    signal.alarm(LONGEST)
    try:
        applied(root, under, data, bounds=BOUNDS)
    except ImageError:
        pass
    except Exception as e:
        wrong = f"{type(e).__name__}: {e}"
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before_alarm)
    if seen(outside) != before:
        wrong = "something outside has changed"
    elif {p.name for p in base.iterdir()} != {"staging", "outside"} or [p.name for p in root.parent.iterdir()] != [
        "root"
    ]:
        wrong = "something beside the tree"
    elif len(os.listdir("/proc/self/fd")) != fds:
        wrong = "an fd is still open"
    for path in walked(root):
        if path.lstat().st_mode & 0o7000 or not (path.is_symlink() or path.is_file() or path.is_dir()):
            wrong = f"{path.relative_to(root)} is special"
    shutil.rmtree(root.parent)
    return wrong


def disagreed(data: bytes) -> str:
    """How GNU tar's list of entries differs, where it and we accept the archive; "" when it does not."""
    try:
        ours = [e.name for e in tar.entries(io.BytesIO(data).read, BOUNDS)]
    except ImageError:
        return ""
    command = ["tar", "-tf", "-", "--quoting-style=literal", "--null"]
    done = subprocess.run(command, input=data, capture_output=True, check=False)
    if done.returncode:
        return ""
    theirs = done.stdout.splitlines() if b"\n" not in b"".join(ours) else ours
    if [n.rstrip(b"/") for n in ours] == [n.rstrip(b"/") for n in theirs]:
        return ""
    return f"GNU tar lists {theirs}, we {ours}"


def main(seconds: float, seed: int) -> int:
    """How many archives did not hold."""
    r = random.Random(seed)
    pool = seeds()
    count = wrong = 0
    end = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as place:
        while time.monotonic() < end:
            data, under = mutated(r.choice(pool), r), archive(*r.choice(pool))
            count += 1
            said = tried(Path(place), data, under) or (disagreed(data) if not count % 10 else "")
            if said:
                wrong += 1
                name = hashlib.sha256(data).hexdigest()[:12]
                CORPUS.mkdir(exist_ok=True)
                (CORPUS / f"{name}.tar").write_bytes(data)
                print(f"{name}: {said}", flush=True)
    print(f"{count} archives, {wrong} that did not hold, seed {seed}")
    return wrong


if __name__ == "__main__":
    asked = [*sys.argv[1:], "60", "1"] if len(sys.argv) < 3 else sys.argv[1:]
    sys.exit(main(float(asked[0]), int(asked[-1])) > 0)
