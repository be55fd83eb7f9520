"""The store of files by digest: what it keeps, for whom, how much and how long, and what a death leaves."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256

import pytest

from pyjail.serve.config import Files
from pyjail.serve.files import FileStore
from pyjail.serve.problem import Problem
from pyjail.serve.upload import CHUNK
from tests.instants import some

ROOMY = Files(floor=0)


def digest(data):
    return sha256(data).hexdigest()


def left(directory):
    """Names of all that lies there, but for directories."""
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


def status(call, *args, **more):
    with pytest.raises(Problem) as e:
        call(*args, **more)
    return e.value.status


def test_a_file_is_its_owners_alone_and_lies_there_once(tmp_path):
    store = FileStore(tmp_path, ROOMY)
    a, b = store.put("a", b"x"), store.put("b", b"x")
    assert a == b == digest(b"x")
    assert len([name for name in left(tmp_path) if name.startswith("files")]) == 1
    assert store.get("a", a) == b"x"
    assert store.get("c", a) is store.size("c", a) is store.open("c", a) is None
    assert not store.drop("c", a)
    assert store.drop("a", a) and not store.drop("a", a)
    assert store.get("a", a) is None and store.get("b", b) == b"x"
    assert store.drop("b", b)
    assert left(tmp_path) == []


def test_a_wrong_digest_keeps_nothing(tmp_path):
    store = FileStore(tmp_path, ROOMY)
    with store.upload("a") as upload:
        upload.write(b"x")
        assert status(upload.keep, digest(b"y")) == 422
    with store.upload("a") as upload:
        upload.write(b"x")
        assert left(tmp_path) != []
    assert left(tmp_path) == []
    assert store.total() == 0


def test_a_file_a_tenant_and_a_number_of_files_have_their_bounds(tmp_path):
    store = FileStore(tmp_path, replace(ROOMY, file=10, total=25, count=3))
    assert status(store.put, "a", b"x" * 11) == 413
    store.put("a", b"1" * 10)
    store.put("a", b"2" * 10)
    assert status(store.put, "a", b"3" * 6) == 507
    store.put("b", b"3" * 6)  # another's share
    store.put("a", b"")
    assert status(store.put, "a", b"4") == 507
    store.put("a", b"1" * 10)  # it is there
    store.drop("a", digest(b"1" * 10))
    store.put("a", b"4")
    assert (tmp_path / "incoming").stat().st_nlink == 2 and not list((tmp_path / "incoming").iterdir())


def test_the_floor_of_the_disk_stays_free(tmp_path):
    assert status(FileStore(tmp_path, replace(ROOMY, floor=1 << 60)).put, "a", b"x") == 507
    assert left(tmp_path) == []


def test_what_is_not_used_goes_and_what_is_held_stays(tmp_path):
    now = [1000.0]
    store = FileStore(tmp_path, replace(ROOMY, keep=100), lambda: now[0])
    a, b, c = (store.put("a", data) for data in (b"a", b"b", b"c"))
    now[0] += 90
    assert store.get("a", a) == b"a"
    with store.hold("a", {"x": b}) as paths:
        now[0] += 90
        assert store.expire() == 1  # c
        now[0] += 20
        assert store.expire() == 1  # a
        assert paths["x"].read_bytes() == b"b"
    assert store.expire() == 1
    assert store.size("a", c) is None
    assert left(tmp_path) == []


def test_what_is_held_can_be_read_when_its_owner_has_dropped_it(tmp_path):
    store = FileStore(tmp_path, ROOMY)
    a = store.put("a", b"a")
    with store.hold("a", {"x": a, "y": a}) as first:
        with store.hold("a", {"x": a}):
            assert store.drop("a", a)
        assert status(store.hold, "a", {"x": a}) == 422
        assert first["y"].read_bytes() == b"a"
        assert store.put("a", b"a") == a
        assert store.drop("a", a)
    assert left(tmp_path) == []


def test_a_hold_of_a_file_that_is_not_there_holds_none(tmp_path):
    store = FileStore(tmp_path, ROOMY)
    a = store.put("a", b"a")
    assert status(store.hold, "a", {"x": a, "y": digest(b"?")}) == 422
    assert status(store.hold, "b", {"x": a}) == 422
    store.drop("a", a)
    assert left(tmp_path) == []


def test_a_start_reads_the_disk_and_removes_what_is_nobodys(tmp_path):
    now = [1000.0]
    store = FileStore(tmp_path, replace(ROOMY, keep=100), lambda: now[0])
    a, b = store.put("a", b"a"), store.put("b", b"b")
    now[0] += 70
    store.get("a", a)
    (tmp_path / "incoming/abc").write_bytes(b"half")
    lost = digest(b"lost")
    (tmp_path / "files" / lost[:2]).mkdir(exist_ok=True)
    (tmp_path / "files" / lost[:2] / lost[2:]).write_bytes(b"lost")
    (tmp_path / "owners/strange").mkdir()
    (tmp_path / "owners/strange" / a).touch()
    (next((tmp_path / "owners").iterdir()) / digest(b"gone")).touch()
    for _ in range(2):
        store = FileStore(tmp_path, replace(ROOMY, keep=100), lambda: now[0])
        assert (store.size("a", a), store.size("b", b), store.total()) == (1, 1, 2)
        assert len(left(tmp_path)) == 4
    now[0] += 40
    store = FileStore(tmp_path, replace(ROOMY, keep=100), lambda: now[0])
    assert store.expire() == 1 and store.size("b", b) is None
    assert store.size("a", a) == 1  # it was used: the disk says so


def test_names_of_owners_reach_no_path(tmp_path):
    store = FileStore(tmp_path / "store", ROOMY)
    for owner in ("../../x", "", "/etc", "a\0b", "\udcff"):
        kept = store.put(owner, b"x")
        assert store.get(owner, kept) == b"x"
        assert store.open(owner, "../../../etc/passwd") is None
        assert not store.drop(owner, "../incoming")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_threads_that_put_use_and_drop_the_same_file_see_it_whole_or_not_at_all(tmp_path):
    store = FileStore(tmp_path, ROOMY)
    data = os.urandom(3 * CHUNK + 1)
    wanted, stop = digest(data), threading.Event()

    def work(n):
        for _ in range(40):
            assert store.put(f"{n % 2}", data) == wanted
            if n % 3:
                store.drop(f"{n % 2}", wanted)
            assert store.get(f"{n % 2}", wanted) in (None, data)
            try:
                with store.hold(f"{n % 2}", {"x": wanted}) as held:
                    assert held["x"].read_bytes() == data
            except Problem as e:
                assert e.status == 422
        return True

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(work, range(6)))
    stop.set()
    for n in "01":
        store.drop(n, wanted)
    assert left(tmp_path) == []


STEPS = """
import os, signal, sys
from pyjail.serve.config import Files
from pyjail.serve.files import FileStore
number, seen = int(sys.argv[2]), 0

def die(frame, event, _):
    global seen
    if event == "c_call" or "pyjail/serve" not in frame.f_code.co_filename:
        return
    seen += 1
    if seen == number:
        os.kill(os.getpid(), signal.SIGKILL)

sys.setprofile(die)
store = FileStore(sys.argv[1], Files(floor=0))
first = store.put("a", b"a" * 100_000)
print("kept", flush=True)
second = store.put("b", b"a" * 100_000)
store.get("a", first)
store.drop("b", second)
store.expire()
sys.setprofile(None)
print("all", seen, flush=True)
"""


def test_a_death_at_any_step_leaves_whole_files_and_nothing_else(tmp_path):
    data = b"a" * 100_000

    def died(directory, number):
        asked = [sys.executable, "-c", STEPS, str(directory), str(number)]
        done = subprocess.run(
            asked, stdout=subprocess.PIPE, text=True, timeout=60, env={**os.environ, "PYTHONPATH": "src"}
        )
        assert done.returncode == (-9 if number else 0), done.stdout
        return done.stdout.split()

    steps = int(died(tmp_path / "whole", 0)[-1])
    for number in some(steps, 60):
        directory = tmp_path / str(number)
        said = died(directory, number)
        store = FileStore(directory, ROOMY)
        assert store.get("a", digest(data)) in ((data,) if "kept" in said else (None, data))
        assert store.get("b", digest(data)) in (None, data)
        for owner in "ab":
            store.drop(owner, digest(data))
        assert left(directory) == []
