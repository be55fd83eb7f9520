"""Several processes at one store, processes that are killed, and a disk that is full: it holds whole images, or none."""

from __future__ import annotations

import contextlib
import gc
import io
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from pyjail import HostError, images
from pyjail._images import add, confine, place, unpack
from tests import images_archives as archives
from tests import instants
from tests.conftest import SLOW
from tests.images_made import archive, file
from tests.images_store import BASE, UPPER, layout, unfinished, whole
from tests.scripts import script, until

LOAD = "import sys\nfrom pyjail import images\nprint(images.load(sys.argv[1], sys.argv[2]).id)\n"
BIG = archive(*(file(b"data/%d" % n, random.Random(n).randbytes(200_000)) for n in range(40)))


def started(spec: str, name: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", LOAD, spec, name], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def unpackers(home: Path) -> list[int]:
    """Processes that unpack into this store: they have a place of it open."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if b"pyjail._images import unpacker" in Path("/proc", pid, "cmdline").read_bytes():
                opened = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
                if any(path.startswith(f"{home}/") for path in opened):
                    found.append(int(pid))
    return found


def test_of_processes_that_load_the_same_at_once_one_unpacks_it(home, tmp_path):
    spec = layout(tmp_path / "big", BIG)
    both = [started(spec, name) for name in ("a", "b", "c")]
    assert until(lambda: unpackers(home) or None not in [process.poll() for process in both], 60)
    said = [process.communicate(timeout=100 * SLOW) for process in both]
    assert [process.returncode for process in both] == [0, 0, 0], said
    assert len({out for out, _ in said}) == 1
    assert whole() == ["a", "b", "c"]
    assert unfinished() == []
    assert len([name for name in os.listdir(home / "images/roots") if "." not in name]) == 1


def test_processes_that_load_and_remove_at_once_do_not_disturb_each_other(home, tmp_path):
    specs = [layout(tmp_path / "one", BASE), layout(tmp_path / "two", BASE, UPPER)]
    loop = """
        import sys, time
        from pyjail import HostError, images
        end = time.monotonic() + 4
        while time.monotonic() < end:
            name = sys.argv[2]
            image = images.load(sys.argv[1], name)
            try:
                assert images.verify(name) == []
            except HostError as e:
                assert name == "shared", e  # the other one removed it
            try:
                images.remove(name)
            except HostError as e:
                assert "no image" in str(e) and name == "shared", e
            images.gc()
        """
    processes = [
        subprocess.Popen([sys.executable, "-c", textwrap.dedent(loop), spec, name], stderr=subprocess.PIPE, text=True)
        for spec, name in ((specs[0], "a"), (specs[1], "b"), (specs[1], "shared"), (specs[1], "shared"))
    ]
    said = [process.communicate(timeout=100 * SLOW)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, said
    assert whole() == []
    assert images.gc() == []
    assert unfinished() == os.listdir(home / "images/roots") == []


def swept() -> bool:
    """Whether nothing unfinished is left after a collection."""
    images.gc()
    return unfinished() == []


def killed_at(number: int, spec: str) -> int:
    """How a child ended that loads ``spec`` and kills itself at step ``number`` of that; 0: it had come to the end."""
    child = os.fork()
    if not child:
        code = 1
        try:
            with instants.Instant(number, lambda: os.kill(os.getpid(), signal.SIGKILL)):
                images.load(spec, "killed")
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1]


def test_a_process_killed_at_any_instant_leaves_a_whole_store(home, tmp_path):
    images.load(layout(tmp_path / "base", BASE), "base")
    spec = layout(tmp_path / "both", BASE, UPPER)
    with instants.Instant(0) as counted:
        images.load(spec, "counted")
    images.remove("counted")
    ends = set()
    for number in instants.some(counted.steps, 120):
        ends.add(killed_at(number, spec))
        assert whole() in (["base"], ["base", "killed"])
        assert until(lambda: not unpackers(home), 20), "the unpacker outlives who started it"
        assert until(swept, 20)
        if "killed" in [image.name for image in images.list()]:
            images.remove("killed")
        assert os.listdir(home / "images/names") == ["base"]
        assert sorted(len(os.listdir(home / "images" / part)) for part in ("images", "roots", "locks")) == [1, 2, 3]
    assert signal.SIGKILL in ends
    assert images.load(spec, "killed").entries and whole() == ["base", "killed"]


def test_a_process_killed_while_it_is_unpacked_leaves_a_whole_store(home, tmp_path):
    spec = layout(tmp_path / "big", BIG)
    begun = time.monotonic()
    process = started(spec, "big")
    process.communicate(timeout=100 * SLOW)
    assert process.returncode == 0
    takes = time.monotonic() - begun
    images.remove("big")
    for part in range(8):
        process = started(spec, "big")
        time.sleep(takes * (part + 1) / 9)
        process.kill()
        process.communicate()
        assert whole() in ([], ["big"])
        assert until(swept, 20)  # its unpacker may only be about to find out
    images.load(spec, "big")
    assert whole() == ["big"]


@pytest.fixture
def no_collector(monkeypatch):
    """Python's collector does not come in the test; what it says of an interrupted function's files is not looked at."""
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    gc.collect()
    gc.disable()
    yield
    gc.enable()
    gc.collect()


def held(home: Path) -> list[str]:
    """What this process has open of the store."""
    found = []
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            path = os.readlink(f"/proc/self/fd/{fd}").removesuffix(" (deleted)")
            if path.startswith(f"{home}/images/"):
                found.append(path)
    return found


def locks_held(home: Path) -> list[str]:
    """Locks of the store that this process has open."""
    return [path for path in held(home) if path.startswith(f"{home}/images/locks/") or path.endswith("/lock")]


def test_an_interrupt_at_any_instant_leaves_a_whole_store(home, tmp_path, no_collector):
    specs = [layout(tmp_path / "one", BASE), layout(tmp_path / "two", BASE, UPPER)]

    def used() -> None:
        for spec, name in zip(specs, ("one", "two"), strict=True):
            images.load(spec, name)
        images.verify("two")
        images.remove("one")
        images.gc(max_size=1)

    for number in instants.every(used, 160):
        try:
            with instants.Instant(number):
                used()
        except instants.Interrupted as e:
            assert locks_held(home) == [], e.__traceback__  # while the exception is there, with all that it holds
        gc.collect()  # of an exception that a stack of contexts has seen
        assert held(home) == []
        assert whole() in ([], ["one"], ["two"], ["one", "two"])
        images.gc(older=0)
        assert images.list() == []
        assert until(lambda: not unpackers(home), 20)
        assert swept() and os.listdir(home / "images/roots") == []


def test_a_full_disk_ends_it_cleanly(tmp_path):
    small, big = layout(tmp_path / "small", BASE), layout(tmp_path / "big", BIG)
    code = f"""
        import ctypes, os
        from pyjail import HostError, images
        disk = {str(tmp_path / "disk")!r}
        assert ctypes.CDLL(None).mount(b"small", disk.encode(), b"tmpfs", 0, b"size=5m,mode=755") == 0
        os.environ["PYJAIL_HOME"] = {str(tmp_path / "disk")!r}
        one = images.load({small!r}, "small")
        for _ in range(2):
            try:
                images.load({big!r}, "big")
            except HostError as e:
                print(e.hint)
            assert os.listdir("{tmp_path}/disk/images/staging") == []
            assert images.verify("small") == [] and images.list() == [one]
            images.gc()
            assert len(os.listdir("{tmp_path}/disk/images/locks")) == 2
        """
    (tmp_path / "disk").mkdir()
    own = () if os.geteuid() == 0 else ("--user", "--map-current-user", "--keep-caps")
    done = script(code, wrap=("unshare", *own, "--mount", "--propagation", "private"))
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 2 and "pyjail image gc" in done.stdout


def test_no_room_is_said_before_anything_is_made(home, tmp_path, monkeypatch):
    def nearly_full(path):
        return os.statvfs_result((4096, 4096, 1000, 40, 40, 1000, 500, 500, 0, 255))

    monkeypatch.setattr(os, "statvfs", nearly_full)
    with pytest.raises(HostError, match=r"no room left for it in .*/images\. Fix: pyjail image gc"):
        images.load(layout(tmp_path / "one", BASE), "one")
    assert unfinished() == [] == images.list()


def test_who_takes_too_long_is_ended(home, tmp_path, monkeypatch):
    monkeypatch.setattr(unpack.unpack, "__kwdefaults__", {**unpack.unpack.__kwdefaults__, "deadline": 0.01})
    with pytest.raises(images.ImageError, match="more than the deadline allows"):
        images.load(layout(tmp_path / "big", BIG), "big")
    assert until(lambda: not unpackers(home), 5)
    assert unfinished() == [] == images.list()


def test_what_a_layer_is_waited_for_is_not_the_time_of_who_unpacks_it(home, tmp_path, monkeypatch):
    real = add._layer

    class Slow(io.BytesIO):
        def read(self, n=-1):
            time.sleep(0.5 * SLOW)
            return super().read(len(BIG) // 8)

    monkeypatch.setattr(unpack.unpack, "__kwdefaults__", {**unpack.unpack.__kwdefaults__, "deadline": 3.0 * SLOW})

    def slow(source, descriptor, diff_id):
        made = real(source, descriptor, diff_id)
        made.file.close()
        return made._replace(file=Slow(BIG))

    monkeypatch.setattr(add, "_layer", slow)
    begun = time.monotonic()
    images.load(layout(tmp_path / "big", BIG, compress=False), "big")
    assert time.monotonic() - begun > 4.0 * SLOW
    assert whole() == ["big"]
    monkeypatch.setattr(unpack, "_BOOT", "import time\ntime.sleep(300)")
    monkeypatch.setattr(unpack.unpack, "__kwdefaults__", {**unpack.unpack.__kwdefaults__, "deadline": 0.5})
    with pytest.raises(images.ImageError, match="more than the deadline allows"):
        images.load(layout(tmp_path / "one", BASE), "one")
    assert unfinished() == [] and whole() == ["big"]


def test_an_unpacker_that_dies_is_told(home, tmp_path, monkeypatch):
    monkeypatch.setattr(unpack, "_BOOT", "import os\nos.kill(os.getpid(), 9)")
    with pytest.raises(HostError, match="ended by SIGKILL"):
        images.load(layout(tmp_path / "one", BASE), "one")
    monkeypatch.setattr(unpack, "_BOOT", "print('x' * 5_000_000)")
    with pytest.raises(HostError, match="says more than it should"):
        images.load(layout(tmp_path / "one", BASE), "one")
    assert unfinished() == [] == images.list()


EVIL = b"""
import os
os.write(1, b'{"summary": [1, {}, 1], "sums": "00"}\\n')
os._exit(0)
"""


def test_nothing_of_the_image_is_imported_by_who_unpacks_it(home, tmp_path):
    """Its root is the tree: what is imported late would come from there, and could say that all digests are right."""
    asked = [sys.executable, "-I", "-S", "-c", "import sys; print(*sys.path, sep=chr(10))"]
    places = [path for path in subprocess.check_output(asked, text=True).splitlines() if not path.endswith(".zip")]
    assert places
    evil = [
        file(f"{path}/{module}.py".lstrip("/").encode(), EVIL)
        for path in places
        for module in (
            "compression/__init__",
            "compression/zstd",
            "backports/zstd",
            "backports/zstd/__init__",
            "traceback",
        )
    ]
    layer = archive(*evil)
    members = archives.oci(layer, UPPER)
    manifest = json.loads(members["index.json"])["manifests"][0]
    data = members.pop(f"blobs/sha256/{manifest['digest'][7:]}")
    document = json.loads(data)
    document["layers"][0]["mediaType"] = "application/vnd.oci.image.layer.v1.tar"
    document["layers"][1]["mediaType"] = "application/vnd.oci.image.layer.v1.tar+zstd"
    data = json.dumps(document).encode()
    manifest |= {"digest": archives.digest(data), "size": len(data)}
    members[f"blobs/sha256/{manifest['digest'][7:]}"] = data
    members["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [manifest]}).encode()
    with pytest.raises((HostError, images.ImageError), match="zstd"):
        images.load(f"oci:{archives.directory(tmp_path / 'evil', members)}", "evil")
    assert images.list() == [] == unfinished()


CONFINED = """
    import os, socket, sys
    sys.path.insert(0, {src!r})
    from pyjail._images import confine
    root, above = os.open({root!r}, os.O_RDONLY), {above!r}
    outer = os.open(above, os.O_RDONLY | os.O_DIRECTORY) if {landlock} else -1
    def tried(name, call):
        try:
            call()
            print(name, "works")
        except Exception as e:
            print(name, type(e).__name__)
    confine.confine(root, {identity}, os.getppid(), memory=1 << 30, cpu=10, size=1 << 20)
    confine.alone()
    def inside():
        os.mkdir("a", dir_fd=root); os.mkdir("b", dir_fd=root)
        fd = os.open("a/f", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=root)
        os.write(fd, b"x")
        os.link("a/f", "b/f", src_dir_fd=root, dst_dir_fd=root)
        os.symlink("/etc/passwd", "b/l", dir_fd=root)
        os.rename("a/f", "b/g", src_dir_fd=root, dst_dir_fd=root)
        os.unlink("b/g", dir_fd=root)
    tried("inside", inside)
    tried("passwd", lambda: open({canary!r}).read())
    tried("above", lambda: os.open("../secret", os.O_RDONLY, dir_fd=root))
    tried("symlink", lambda: os.open("b/l", os.O_RDONLY, dir_fd=root))
    tried("proc", lambda: os.listdir("/proc/self/fd"))
    tried("write", lambda: open(above + "/new", "w"))
    tried("execute", lambda: os.execv("/bin/true", ["true"]))
    tried("fork", os.fork)
    tried("root", lambda: os.setresuid(0, 0, 0))
    tried("signal", lambda: os.kill(os.getppid(), 0))
    tried("connect", lambda: socket.create_connection(("127.0.0.1", {port}), 1))
    tried("device", lambda: os.mknod("n", 0o20666, os.makedev(1, 3), dir_fd=root))
    tried("chroot", lambda: os.chroot("."))
    if outer >= 0:
        tried("outer", lambda: os.open("secret", os.O_RDONLY, dir_fd=outer))
    tried("large", lambda: os.ftruncate(os.open("b/f", os.O_WRONLY, dir_fd=root), 2 << 20))
    """


def test_who_unpacks_has_no_right_to_anything_else(tmp_path):
    import socket

    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret").write_text("x")
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_uid == os.geteuid():
            path.chmod(path.stat().st_mode | 0o055)  # it is not the permissions that keep it out
    identity = place.identity()
    if identity is not None:
        os.chown(root, identity, identity)
    landlock = confine._libc.syscall(444, None, 0, 1) >= 2
    with socket.create_server(("127.0.0.1", 0)) as server:
        code = CONFINED.format(
            src=str(Path(add.__file__).parents[2]), root=str(root), above=str(tmp_path), identity=identity,
            canary=str(tmp_path / "secret"), port=server.getsockname()[1], landlock=landlock,
        )  # fmt: skip
        done = script(code)
    assert done.returncode == 0, done.stderr
    said = dict(line.split() for line in done.stdout.splitlines())
    assert said.pop("inside") == "works"
    if said["signal"] == "works" and identity is None:
        del said["signal"]  # before Landlock's sixth version a user's own processes are in reach
    assert {name for name, how in said.items() if how == "works"} == set(), done.stdout
    assert len(said) >= 12
    assert sorted(path.name for path in tmp_path.iterdir()) == ["root", "secret"]
