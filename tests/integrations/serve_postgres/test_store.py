"""The store of runs in a real PostgreSQL: what every store promises, and what several services need of one."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import sys
from contextlib import asynccontextmanager
from dataclasses import replace

import psycopg
import pytest

from pyjail.serve.config import Jobs
from pyjail.serve.postgres_store import Postgres
from pyjail.serve.problem import Problem
from tests.instants import some
from tests.integrations.serve_postgres.cluster import binaries, cluster
from tests.place import WITHOUT_TOOL
from tests.unit.serve.promises import *  # noqa: F403 (its tests)
from tests.unit.serve.promises import Clock, record

NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def server():
    programs = binaries()
    if programs is None:
        pytest.skip(f"postgresql {WITHOUT_TOOL}")
    with cluster(programs) as made:
        yield made


@pytest.fixture
def address(server):
    return server.database(f"test{next(NUMBERS)}")


@pytest.fixture
def opened(address):
    @asynccontextmanager
    async def opening(jobs, **more):
        store = await Postgres.open(replace(jobs, postgres=address), **more)
        yield store
        await store.close()

    return opening


def waiting(address):
    """Jobs of procrastinate that nobody has."""
    with psycopg.connect(address) as db:
        return db.execute("SELECT count(*) FROM procrastinate_jobs").fetchone()[0]


def test_services_that_start_at_once_share_the_tables_and_each_run_is_one_services(opened, address):
    async def main():
        stores = await asyncio.gather(*(Postgres.open(Jobs(postgres=address)) for _ in range(4)))
        await asyncio.gather(*(stores[n % 4].submit(record(str(n))) for n in range(20)))
        claimed = await asyncio.gather(*(stores[n % 4].claim(f"w{n % 4}") for n in range(24)))
        assert sorted(int(r.id) for r in claimed if r) == list(range(20))
        for n, found in enumerate(claimed):
            assert found is None or await stores[n % 4].finish(found.id, f"w{n % 4}", {})
        assert (await stores[0].get("7", "a")).state == "done"
        for store in stores:
            await store.close()

    asyncio.run(main())
    assert waiting(address) == 0


def test_no_job_is_left_in_the_queue_of_a_run_that_has_ended(opened, address):
    async def main():
        clock = Clock()
        async with opened(Jobs(attempts=1, lease=1), clock=clock) as store:
            for n in range(4):
                await store.submit(record(str(n)))
            assert waiting(address) == 4
            await store.cancel("0", "a")
            for _ in range(3):
                await store.claim("w")
            await store.finish("1", "w", {})
            await store.cancel("2", "a")
            clock.now += 2
            assert await store.claim("w") is None
            assert (await store.get("3", "a")).state == "lost"
            assert waiting(address) == 0

    asyncio.run(main())


def test_a_database_that_goes_and_comes_back_is_told_and_used_again(opened, server):
    async def main():
        async with opened(Jobs()) as store:
            await store.submit(record("1"))
            server.stop()
            with pytest.raises(Problem) as e:
                await store.submit(record("2"))
            assert (e.value.status, e.value.kind) == (503, "store")
            server.start()
            assert (await store.claim("w")).id == "1"
            assert await store.finish("1", "w", {})

    asyncio.run(main())


def test_where_nothing_answers_no_store_is_opened(tmp_path):
    async def main():
        with pytest.raises(Problem) as e:
            await Postgres.open(Jobs(postgres=f"host={tmp_path} connect_timeout=1"))
        assert str(tmp_path) not in e.value.detail

    asyncio.run(main())


STEPS = """
import asyncio, os, signal, sys
from pyjail.serve.config import Jobs
from pyjail.serve.postgres_store import Postgres
from pyjail.serve.store import Record
number, seen = int(sys.argv[2]), 0

def die(frame, event, _):
    global seen
    name = frame.f_code.co_filename
    if event == "c_call" or not ("postgres_store" in name or "procrastinate" in name or name.endswith("psycopg/connection_async.py")):
        return
    seen += 1
    if seen == number:
        os.kill(os.getpid(), signal.SIGKILL)

async def main():
    store = await Postgres.open(Jobs(postgres=sys.argv[1], attempts=99, lease=0))
    sys.setprofile(die)
    for id in "12":
        await store.submit(Record(id, "a", {"id": id}), id, "d")
        print("kept", id, flush=True)
    claimed = await store.claim("w")
    await store.release(claimed.id, "w")
    claimed = await store.claim("w")
    if await store.finish(claimed.id, "w", {"x": claimed.id}):
        print("done", claimed.id, flush=True)
    await store.cancel("2", "a")
    print("cancelled 2", flush=True)
    sys.setprofile(None)
    await store.close()
    print("all", seen, flush=True)

asyncio.run(main())
"""


def died(address, number):
    """The lines that it said before it died at this step."""
    asked = [sys.executable, "-c", STEPS, address, str(number)]
    done = subprocess.run(
        asked, stdout=subprocess.PIPE, text=True, timeout=100, env={**os.environ, "PYTHONPATH": "src"}
    )
    assert done.returncode == (-9 if number else 0), done.stdout
    return done.stdout.splitlines()


def test_a_death_at_any_step_loses_nothing_that_was_said_to_be_kept(server):
    steps = int(died(server.database("whole"), 0)[-1].split()[1])
    for number in some(steps, 40):
        address = server.database(f"died{number}")
        said = died(address, number)

        async def main(address=address, said=said):
            store = await Postgres.open(Jobs(postgres=address, attempts=99))
            found = {id: await store.get(id, "a") for id in "12"}
            for id in "12":
                if f"kept {id}" in said:
                    assert found[id].spec == {"id": id}, said
                    assert not (await store.submit(record("3"), id, "d"))[1], said
            if "done 1" in said:
                assert found["1"].result == {"x": "1"}
            if "cancelled 2" in said:
                assert found["2"].state == "cancelled"
            undone = {id for id, kept in found.items() if kept and kept.state in ("queued", "running")}
            while claimed := await store.claim("v"):
                undone.remove(claimed.id)
                assert await store.finish(claimed.id, "v", {"x": claimed.id})
            assert not undone, (undone, said)
            await store.close()

        asyncio.run(main())
        assert waiting(address) == 0
