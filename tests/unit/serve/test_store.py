"""What every store of runs promises, of the one in memory and of the one in a file; what only the second one promises."""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
import subprocess
import sys
import threading
from contextlib import asynccontextmanager, closing

import pytest

from pyjail.serve.config import Jobs
from pyjail.serve.problem import Problem
from pyjail.serve.sqlite_store import LONG, SQLite
from pyjail.serve.store import Record
from tests.instants import some
from tests.unit.serve.memory_store import Memory
from tests.unit.serve.promises import *  # noqa: F403 (its tests)
from tests.unit.serve.promises import Clock, record


@pytest.fixture(params=("memory", "sqlite"))
def opened(request, tmp_path):
    @asynccontextmanager
    async def opening(jobs, **more):
        store = Memory(jobs, **more) if request.param == "memory" else await SQLite.open(tmp_path, jobs, **more)
        yield store
        await store.close()

    return opening


@asynccontextmanager
async def sqlite(directory, jobs=None, **more):
    store = await SQLite.open(directory, jobs or Jobs(), **more)
    yield store
    await store.close()


def files(directory):
    return [path for path in directory.rglob("*") if path.is_file() and "jobs.sqlite3" not in path.name]


def test_a_restart_keeps_what_waits_and_gives_what_was_running_to_a_worker_again(tmp_path):
    async def main():
        for attempt in (1, 2):
            async with sqlite(tmp_path) as store:
                if attempt == 1:
                    for id in "12":
                        await store.submit(record(id), id, "d")
                claimed = await store.claim("w")
                assert (claimed.id, claimed.attempts) == ("1", attempt)
        async with sqlite(tmp_path) as store:
            lost = await store.get("1", "a")
            assert (lost.state, lost.reason) == ("lost", "its worker died 2 times")
            assert not (await store.submit(record("3"), "2", "d"))[1]
            assert (await store.claim("w")).id == "2"

    asyncio.run(main())


def test_tenants_take_turns(tmp_path):
    async def main():
        async with sqlite(tmp_path) as store:
            for n, tenant in enumerate("aaaaabbc"):
                await store.submit(record(str(n), tenant))
            assert [(await store.claim("w")).tenant for _ in range(8)] == list("abcabaaa")

    asyncio.run(main())


def test_a_long_result_is_a_file_that_goes_with_its_run(tmp_path):
    async def main():
        clock = Clock()
        async with sqlite(tmp_path, Jobs(keep=10), clock=clock) as store:
            for id in "12":
                await store.submit(record(id))
                await store.claim("w")
                await store.finish(id, "w", {"x": "x" * LONG})  # the same content
            await store.submit(record("3"))
            await store.claim("w")
            await store.cancel("3", "a")
            assert not await store.finish("3", "w", {"y": "y" * LONG})
            assert len({path.read_bytes() for path in files(tmp_path)} - {b""}) == 1
            clock.now += 5
        async with sqlite(tmp_path, Jobs(keep=10), clock=clock) as store:
            assert (await store.get("2", "a")).result == {"x": "x" * LONG}
            clock.now += 6
            assert await store.expire() == 3
            assert files(tmp_path) == []

    asyncio.run(main())


def test_a_full_disk_refuses_a_run_and_harms_none(tmp_path):
    async def main():
        async with sqlite(tmp_path) as store:
            await store.submit(record("1"))
            pages = await store._database.do(lambda db: db.execute("PRAGMA page_count").fetchone()[0])
            await store._database.do(lambda db: db.execute(f"PRAGMA max_page_count = {pages}").fetchall())
            with pytest.raises(Problem) as e:
                await store.submit(Record("2", "a", {"long": "x" * 100_000}))
            assert e.value.status == 507
            assert (await store.claim("w")).id == "1"
            assert await store.finish("1", "w", {"x": 1})

    asyncio.run(main())


def test_no_event_loop_waits_for_the_disk(tmp_path):
    async def main():
        async with sqlite(tmp_path) as store:
            slow, ticks = threading.Event(), 0
            waiting = asyncio.create_task(store._database.do(lambda _: slow.wait(60)))  # a disk that takes long
            submitted = asyncio.create_task(store.submit(record("1")))
            while ticks < 100:
                await asyncio.sleep(0)
                ticks += 1
            assert not submitted.done()
            slow.set()
            assert await waiting and (await submitted)[1]

    asyncio.run(main())


def test_nothing_of_python_is_in_the_file(tmp_path):
    async def main():
        async with sqlite(tmp_path) as store:
            await store.submit(record("1"))
            with pytest.raises(TypeError):
                await store.submit(Record("2", "a", {"object": object()}))
            assert (await store.submit(record("2")))[1]

    asyncio.run(main())
    with closing(sqlite3.connect(tmp_path / "jobs.sqlite3")) as db:
        assert db.execute("SELECT spec FROM jobs").fetchone() == ('{"kind":"run","body":{}}',)
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


STEPS = """
import asyncio, os, signal, sys
from pathlib import Path
from pyjail.serve.config import Jobs
from pyjail.serve.sqlite_store import SQLite
from pyjail.serve.store import Record
number, seen = int(sys.argv[2]), 0

def die(frame, event, _):
    global seen
    if event == "c_call" or "pyjail/serve" not in frame.f_code.co_filename:
        return
    seen += 1
    if seen == number:
        os.kill(os.getpid(), signal.SIGKILL)

async def main():
    import threading
    threading.setprofile(die)  # the thread of the database, where all happens
    store = await SQLite.open(Path(sys.argv[1]), Jobs(attempts=99))
    for id in "12":
        record, _ = await store.submit(Record(id, "a", {"id": id, "awaited": id == "1"}), id, "d")
        print("kept", id, flush=True)
    claimed = await store.claim("w")
    await store.beat(claimed.id, "w")
    if await store.finish(claimed.id, "w", {"long": claimed.id * 70_000}, claimed.sure):
        print("done", claimed.id, flush=True)
    await store.cancel("2", "a")
    print("cancelled 2", flush=True)
    await store.expire()
    await store.close()
    print("all", seen, flush=True)

asyncio.run(main())
"""


def died(directory, number):
    """The lines that it said before it died at this step of the database's thread."""
    asked = [sys.executable, "-c", STEPS, str(directory), str(number)]
    done = subprocess.run(asked, stdout=subprocess.PIPE, text=True, timeout=60, env={**os.environ, "PYTHONPATH": "src"})
    assert done.returncode == (-9 if number else 0), done.stdout
    return done.stdout.splitlines()


def test_a_death_at_any_step_loses_nothing_that_was_said_to_be_kept(tmp_path):
    steps = int(died(tmp_path / "whole", 0)[-1].split()[1])
    for number in some(steps, 60):
        directory = tmp_path / str(number)
        said = died(directory, number)

        async def main(directory=directory, said=said):
            async with sqlite(directory, Jobs(attempts=99)) as store:
                found = {id: await store.get(id, "a") for id in "12"}
                for id in "12":
                    if f"kept {id}" in said:
                        assert found[id].spec["id"] == id, said
                        assert not (await store.submit(record("3"), id, "d"))[1], said
                    assert found[id] is None or found[id].state in ("queued", "done", "cancelled"), found
                if "done 1" in said:
                    assert found["1"].result == {"long": "1" * 70_000}
                if "cancelled 2" in said:
                    assert found["2"].state == "cancelled"
                waiting = {id for id, kept in found.items() if kept and kept.state == "queued"}
                while claimed := await store.claim("v"):
                    waiting.remove(claimed.id)
                    assert await store.finish(claimed.id, "v", {"long": claimed.id * 70_000})
                assert not waiting
                whole = {path.name for path in (directory / "results/incoming").iterdir()}
                assert not whole

        asyncio.run(main())


SYNCS = """
import asyncio, os, sys
from pathlib import Path
from pyjail.serve.config import Jobs
from pyjail.serve.sqlite_store import SQLite
from pyjail.serve.store import Record

async def main():
    store = await SQLite.open(Path(sys.argv[1]), Jobs())
    for id, spec in (("told", {}), ("awaited", {"awaited": True})):
        os.access(f"/submit-{id}", 0)
        await store.submit(Record(id, "a", spec))
        claimed = await store.claim("w")
        os.access(f"/finish-{id}", 0)
        await store.finish(id, "w", {"x": 1}, claimed.sure)
    os.access("/expire", 0)
    await store.expire()
    os.access("/close", 0)
    await store.close()

asyncio.run(main())
"""


def test_a_run_whose_client_waits_for_its_end_is_synced_later_and_any_other_at_once(tmp_path):
    trace = tmp_path / "trace"
    watched = ["strace", "-f", "-qq", "-o", str(trace), "-e", "trace=fsync,fdatasync,access,faccessat,faccessat2"]
    asked = [*watched, sys.executable, "-c", SYNCS, str(tmp_path / "store")]
    subprocess.run(asked, check=True, timeout=60, env={**os.environ, "PYTHONPATH": "src"})
    synced: dict[str, int] = {}
    at = "open"
    for line in trace.read_text().splitlines():
        if mark := re.search(r'"/(submit-told|finish-told|submit-awaited|finish-awaited|expire|close)"', line):
            at = mark[1]
        elif "sync(" in line:
            synced[at] = synced.get(at, 0) + 1
    assert synced["submit-told"] > 0 and synced["finish-told"] > 0 and synced["expire"] > 0
    assert "submit-awaited" not in synced and "finish-awaited" not in synced
