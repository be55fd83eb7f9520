"""``python benchmarks/images.py [PART]...``: what an image costs, beside the host's root, tar, umoci and skopeo.

make: a Debian with Python of three layers, once, in --place (umoci, mmdebstrap; some minutes). warm, first: a run from it,
beside one in the host's root. lookup: until a second process knows it. unpack: `pyjail image load` beside `tar -xzf` of the
same layers and `umoci unpack`, each into a new place, what the kernel has cached the same for all. bombs: peak memory of
hostile ones. pull: from a registry on loopback, beside `skopeo copy` into a directory; open, with a password, with tokens.
share: bytes of the store, and of a second image on the same base. alive: a thousand jails of one image.
(A root that can be written to: benchmarks/writable.py.)
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "src"), str(Path(__file__).resolve().parents[1])]

import pyjail  # noqa: E402
from pyjail import Jail, Limits, images  # noqa: E402

TRUE = ["/usr/bin/true"]
PYTHON = ["/usr/bin/python3", "-S", "-c", "pass"]
NAME = "bench"
PLACE = Path(tempfile.gettempdir()) / "pyjail-bench-images"
MIB = 1 << 20


def sh(*args: object, **kwargs: object) -> None:
    subprocess.run([str(a) for a in args], check=True, stdout=subprocess.DEVNULL, **kwargs)  # type: ignore[call-overload]


# ---- the image ----


def make(place: Path) -> None:
    """An OCI layout with the tags base, py and app: Debian, Python on top, a layer that removes and links."""
    layout = place / "img"
    if (place / "made").exists():
        return
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    sources = sorted(Path("/etc/apt/sources.list.d").glob("*.sources"))
    sources += [p for p in (Path("/etc/apt/sources.list"),) if p.exists() and p.stat().st_size]
    release = next(
        line.split("=")[1].strip()
        for line in Path("/etc/os-release").read_text().splitlines()
        if line.startswith("VERSION_CODENAME")
    )
    sh("mmdebstrap", "--quiet", "--variant=apt", release, place / "base.tar", *sources)
    sh("umoci", "init", "--layout", layout)
    sh("umoci", "new", "--image", f"{layout}:base")
    sh("umoci", "raw", "add-layer", "--image", f"{layout}:base", place / "base.tar")
    (place / "base.tar").unlink()
    sh("umoci", "config", "--image", f"{layout}:base", "--tag", "base", "--os", "linux", "--config.cmd", "sh",
       "--config.env", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")  # fmt: skip
    root = place / "b1" / "rootfs"
    sh("umoci", "unpack", "--image", f"{layout}:base", root.parent)
    for file in ("/etc/resolv.conf", *map(str, Path("/etc/apt/apt.conf.d").glob("*"))):
        with contextlib.suppress(OSError):
            shutil.copy(file, f"{root}{file}")
    install = "apt-get install -y -qq --no-install-recommends python3 python3-pip"
    steps = f"apt-get update -qq && {install} >/dev/null && apt-get clean && rm -rf /var/lib/apt/lists/*"
    sh("chroot", root, "sh", "-c", steps, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
    sh("umoci", "repack", "--image", f"{layout}:py", root.parent)
    shutil.rmtree(root.parent)
    root = place / "b2" / "rootfs"
    sh("umoci", "unpack", "--image", f"{layout}:py", root.parent)
    for gone in ("usr/share/doc", "opt"):
        shutil.rmtree(root / gone, ignore_errors=True)
    (root / "opt").mkdir()
    (root / "opt" / "app").write_text("hi\n")
    os.link(root / "opt" / "app", root / "opt" / "app2")
    sh("umoci", "repack", "--image", f"{layout}:app", root.parent)
    shutil.rmtree(root.parent)
    (place / "made").touch()


def layers(layout: Path, tag: str) -> list[Path]:
    """The blobs of an image's layers, in order."""

    def blob(digest: str) -> Path:
        return layout / "blobs" / digest.replace(":", "/")

    index = json.loads((layout / "index.json").read_text())
    named = {m["annotations"]["org.opencontainers.image.ref.name"]: m["digest"] for m in index["manifests"]}
    return [blob(layer["digest"]) for layer in json.loads(blob(named[tag]).read_text())["layers"]]


@contextlib.contextmanager
def home(place: Path, keep: bool = False) -> Iterator[Path]:
    """A store of its own."""
    where = place / "home" if keep else Path(tempfile.mkdtemp(dir=place))
    before = os.environ.get("PYJAIL_HOME")
    os.environ["PYJAIL_HOME"] = str(where)
    try:
        yield where
    finally:
        pyjail.close()
        os.environ.pop("PYJAIL_HOME")
        if before is not None:
            os.environ["PYJAIL_HOME"] = before
        if not keep:
            shutil.rmtree(where, ignore_errors=True)


def loaded(place: Path) -> None:
    """Have it in the store."""
    try:
        images.get(NAME)
    except pyjail.JailError:
        images.load(f"oci:{place / 'img'}:app", NAME)


# ---- parts ----


def pairs(one: Callable[[], object], other: Callable[[], object], count: int) -> tuple[float, float, float]:
    """Medians in ms of two calls, in random order inside each pair, and of the pairs' ratios."""
    found: tuple[list[float], list[float]] = ([], [])
    for _ in range(20):
        one(), other()
    for _ in range(count):
        order = [(0, one), (1, other)]
        random.shuffle(order)
        for i, call in order:
            begin = time.perf_counter()
            call()
            found[i].append((time.perf_counter() - begin) * 1e3)
    ratio = statistics.median(a / b for a, b in zip(*found, strict=True))
    return statistics.median(found[0]), statistics.median(found[1]), ratio


def warm(place: Path, count: int) -> None:
    with home(place, keep=True):
        loaded(place)
        jail = Jail(image=NAME)
        for args in (TRUE, PYTHON):
            a, b, r = pairs(lambda a=args: pyjail.run(a, jail=jail), lambda a=args: pyjail.run(a), count)
            print(f"warm {args[0]}: image {a:.3f} ms, host {b:.3f} ms: {b and a / b:.3f} x of medians, pairs {r:.3f} x")


FIRST = """import sys, time, pyjail
jail = pyjail.Jail(image=sys.argv[1]) if sys.argv[1] else pyjail.Jail()
begin = time.perf_counter()
result = pyjail.run(["/usr/bin/true"], jail=jail)
assert result.ok, result
print(time.perf_counter() - begin)"""


def child(code: str, *args: str) -> float:
    command = [sys.executable, "-c", code, *args]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def first(place: Path, count: int) -> None:
    # An installed package has its bytecode: else what was changed last is compiled by each process, and measured.
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(Path(pyjail.__file__).parent)], check=True)
    with home(place, keep=True):
        loaded(place)
        found: dict[str, list[float]] = {NAME: [], "": []}
        for _ in range(max(20, count // 10)):
            for which in random.sample(list(found), 2):
                found[which].append(child(FIRST, which) * 1e3)
        a, b = statistics.median(found[NAME]), statistics.median(found[""])
        print(f"first run of a process: image {a:.1f} ms, host {b:.1f} ms: {a / b:.3f} x")


LOOKUP = """import sys, time
from pyjail import images
begin = time.perf_counter()
images.get(sys.argv[1])
print(time.perf_counter() - begin)"""


def lookup(place: Path, count: int) -> None:
    with home(place, keep=True):
        loaded(place)
        found = [child(LOOKUP, NAME) * 1e3 for _ in range(max(20, count // 20))]
        print(f"lookup in a second process: {statistics.median(found):.3f} ms")


def timed(command: list[str], **more: object) -> tuple[float, float]:
    """Seconds by the clock, and of CPU of it and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **more)  # type: ignore[call-overload]
    wall = time.perf_counter() - begin
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def making(place: Path) -> float:
    """us that it takes to make an empty file. ext4 uses no inode again for one to five minutes after it was freed, and
    looks at each of those that were: where many files were removed lately it takes a hundred times as long."""
    with tempfile.TemporaryDirectory(dir=place) as there:
        begin = time.perf_counter()
        for n in range(1000):
            os.close(os.open(f"{there}/{n}", os.O_WRONLY | os.O_CREAT, 0o600))
        return (time.perf_counter() - begin) * 1e3


def unpack(place: Path, count: int) -> None:
    layout = place / "img"
    blobs = layers(layout, "app")
    untar = "set -e; for layer; do tar -C \"$0\" -xzpf \"$layer\" --exclude='*/.wh.*' --exclude='.wh.*'; done"
    found: dict[str, list[tuple[float, float]]] = {"pyjail": [], "tar": [], "umoci": []}
    with contextlib.ExitStack() as stack:  # nothing is removed before the end: see `making`
        print(f"to make a file takes {making(place):.0f} us here, now")
        for _ in range(max(3, min(9, count // 50))):
            for way in random.sample(list(found), 3):
                store = stack.enter_context(home(place))
                target = store / "x"
                target.mkdir()
                os.sync()
                if way == "pyjail":
                    ref = f"oci:{layout}:app"
                    found[way].append(timed([sys.executable, "-m", "pyjail", "image", "load", ref, "--name", NAME]))
                elif way == "tar":
                    found[way].append(timed(["sh", "-c", untar, str(target), *map(str, blobs)]))
                else:
                    found[way].append(timed(["umoci", "unpack", "--image", f"{layout}:app", str(target / "b")]))
    by = {way: [statistics.median(t) for t in zip(*rows, strict=True)] for way, rows in found.items()}
    for way, (wall, cpu) in by.items():
        of = ", ".join(f"{wall / by[o][0]:.2f} x of {o} (CPU {cpu / by[o][1]:.2f})" for o in by if o != way)
        print(f"unpack by {way}: {wall:.2f} s, CPU {cpu:.2f} s: {of}")


# What a process had before its execve counts as its own: from a small one.
SMALL = ["sh", "-c", '"$0" -c "$@"; true', sys.executable]
PEAK = """import os, resource, sys
from pyjail import images
try:
    images.load(sys.argv[1], "bench-bomb", bounds=images.Bounds(unpacked="2G"))
except images.ImageError as e:
    said = f"refused: {e}"
else:
    said = "loaded"
kib = max(resource.getrusage(w).ru_maxrss for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
print(f"{kib / 1024:.0f} MiB, {said}")"""


def bombs(place: Path, count: int) -> None:
    from tests.images_made import bomb, file, folder, header  # the tests' own

    del count
    with home(place) as store:
        store.mkdir(exist_ok=True)
        hostile = {
            "10 GiB of zeros behind the end": bomb(10 << 30),
            "a file of 10 GiB of zeros": bomb(10 << 30, before=header(b"zeros", size=10 << 30)),
            "200,000 directories": gzip.compress(b"".join(folder(b"%d" % n) for n in range(200_000)), 1),
            "200,000 whiteouts": gzip.compress(b"".join(file(b".wh.%d" % n) for n in range(200_000)), 1),
        }
        for name, data in hostile.items():
            path = store / "hostile.tar.gz"
            path.write_bytes(data)
            command = [*SMALL, PEAK, f"tar:{path}"]
            print(
                f"peak memory, {name}: {subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()}"
            )
        command = [*SMALL, PEAK, f"oci:{place / 'img'}:app"]
        print(
            f"peak memory, the image: {subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()}"
        )


def size(root: Path) -> int:
    """Bytes of a tree, each inode once."""
    seen = set()
    total = 0
    for where, _, names in os.walk(root):
        for name in names:
            st = os.lstat(os.path.join(where, name))
            if st.st_ino not in seen:
                seen.add(st.st_ino)
                total += st.st_size
    return total


def share(place: Path, count: int) -> None:
    del count
    with home(place) as store:
        before = size(store)
        one = images.load(f"oci:{place / 'img'}:py", "py")
        with_one = size(store)
        images.load(f"oci:{place / 'img'}:app", "app")
        with_both = size(store)
        plain = size(Path(one.root))
        print(f"store: one image {with_one / MIB:.1f} MiB for {plain / MIB:.1f} MiB of files: {(with_one - before) / plain:.3f} x; "
              f"a second one on it, of one more layer: {(with_both - with_one) / 1024:.0f} KiB more")  # fmt: skip


def slab() -> int:
    with open("/proc/meminfo") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("Slab:"))


def alive(place: Path, count: int) -> None:
    """Jails that stay, of the image and of the host, one after the other."""
    many = 1000 if count >= 300 else 100
    limits = Limits(wall_time=None, cpu_time=None, memory="64M", processes=8)
    with home(place, keep=True):
        loaded(place)
        for which, jail in (("image", Jail(image=NAME, fresh=True)), ("host", Jail(fresh=True))):
            pyjail.run(TRUE, limits, jail=jail)
            before, starts, running = slab(), [], []
            try:
                for _ in range(many):
                    begin = time.perf_counter()
                    program = pyjail.start(["/bin/sh", "-c", "echo x; read y"], limits, jail=jail)
                    assert program.stdout.read1() == b"x\n"
                    starts.append((time.perf_counter() - begin) * 1e3)
                    running.append(program)
                each = (slab() - before) / many
            finally:
                for program in running:
                    program.kill()
                for program in running:
                    program.wait()
            last, begun = statistics.median(starts[-20:]), statistics.median(starts[:20])
            print(f"alive, {many} of the {which}: {each:.1f} KiB of slab each; start of the last {last:.1f} ms, "
                  f"of the first {begun:.1f} ms: {last / begun:.2f} x")  # fmt: skip


def pull(place: Path, count: int) -> None:
    from tests.images_docker import PASSWORD, USER, docker_registry  # the tests' own

    directory = place / "registry"
    directory.mkdir(exist_ok=True)
    with docker_registry(directory) as open_:
        sh("skopeo", "copy", "--dest-tls-verify=false", f"oci:{place / 'img'}:app", f"docker://{open_.host}/team/app:1")
    for auth in ("", "password", "token"):
        with docker_registry(directory, auth) as there:
            ref = f"{there.host}/team/app:1"
            given = (USER, PASSWORD) if auth else None
            skopeo = [
                "skopeo",
                "copy",
                "--src-tls-verify=false",
                *(["--src-creds", f"{USER}:{PASSWORD}"] if auth else []),
            ]
            ways: dict[str, Callable[[Path], object]] = {
                "pyjail": lambda _, ref=ref, given=given: images.pull(ref, credentials=given),
                "load": lambda _: images.load(f"oci:{place / 'img'}:app", NAME),
                "skopeo": lambda store, ref=ref, skopeo=skopeo: sh(*skopeo, f"docker://{ref}", f"dir:{store / 'd'}"),
                "umoci": lambda store, ref=ref, skopeo=skopeo: (
                    sh(*skopeo, f"docker://{ref}", f"oci:{store / 'o'}:app"),
                    sh("umoci", "unpack", "--image", f"{store / 'o'}:app", store / "b"),
                ),
            }
            found: dict[str, list[float]] = {way: [] for way in (*ways, "again")}
            with contextlib.ExitStack() as stack:  # see `making`
                for _ in range(max(3, min(9, count // 50))):
                    for way in random.sample(list(ways), len(ways)):
                        store = stack.enter_context(home(place))
                        os.sync()
                        begin = time.perf_counter()
                        ways[way](store)
                        found[way].append(time.perf_counter() - begin)
                        if way == "pyjail":
                            begin = time.perf_counter()
                            images.pull(ref, credentials=given)
                            found["again"].append((time.perf_counter() - begin) * 1e3)
            a, load, b, both, again = (statistics.median(found[way]) for way in found)
            print(f"pull, {auth or 'open'}: {a:.2f} s, unpacked: {a / both:.2f} x of skopeo copy with umoci unpack ({both:.2f} s); "
                  f"{a - load:+.2f} s beside a load from a directory, skopeo copy alone {b:.2f} s; "
                  f"an unchanged tag again {again:.1f} ms")  # fmt: skip


PARTS = {f.__name__: f for f in (warm, first, lookup, unpack, bombs, pull, share, alive)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=["make", *PARTS], metavar="PART")
    parser.add_argument("--place", type=Path, default=PLACE, help=f"where the image is made and kept (default {PLACE})")
    parser.add_argument("--count", type=int, default=300, help="pairs of runs (default 300)")
    options = parser.parse_args()
    options.place.mkdir(parents=True, exist_ok=True)
    make(options.place)
    for name in options.parts or PARTS:
        if name != "make":
            PARTS[name](options.place, options.count)


if __name__ == "__main__":
    main()
