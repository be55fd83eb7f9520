"""Any order of submissions, claims, ends, cancellations, deaths and restarts: the store says what a simple model of it says."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from pyjail.serve.config import Jobs
from pyjail.serve.problem import Problem
from pyjail.serve.sqlite_store import LONG, SQLite
from pyjail.serve.store import ENDED, Record
from tests.unit.serve.promises import Clock

JOBS = Jobs(attempts=2, lease=30, keep=100)
TENANTS, KEYS, WORKERS = st.sampled_from("ab"), st.sampled_from(("", "", "k", "l")), st.sampled_from("vw")


class Runs(RuleBasedStateMachine):
    """``known``: what each run is to be; ``leases``: whose it is, and until when."""

    ids = Bundle("ids")

    def __init__(self) -> None:
        super().__init__()
        self.directory, self.clock, self.runner = Path(tempfile.mkdtemp()), Clock(), asyncio.Runner()
        self.known: dict[str, Record] = {}
        self.keys: dict[tuple[str, str], tuple[str, str]] = {}
        self.leases: dict[str, tuple[str, float]] = {}
        self.store = self.wait(SQLite.open(self.directory, JOBS, clock=self.clock))
        self.number = 0

    def wait(self, call):
        return self.runner.run(call)

    def teardown(self):
        self.wait(self.store.close())
        self.runner.close()
        shutil.rmtree(self.directory)

    def end(self, id, state, **more):
        self.leases.pop(id, None)
        now = self.clock.now
        self.known[id] = replace(self.known[id], state=state, ended=now, expires=now + JOBS.keep, **more)

    @rule(target=ids, tenant=TENANTS, key=KEYS, digest=st.sampled_from("12"))
    def submit(self, tenant, key, digest):
        self.number += 1
        record = Record(str(self.number), tenant, {"n": self.number})
        known = self.keys.get((tenant, key)) if key else None
        if known and known[1] != digest:
            try:
                self.wait(self.store.submit(record, key, digest))
            except Problem as e:
                assert e.status == 422
                return known[0]
            raise AssertionError("another request has taken the key")
        kept, new = self.wait(self.store.submit(record, key, digest))
        assert new == (known is None)
        if known:
            assert kept == self.known[known[0]]
            return known[0]
        self.known[record.id] = replace(record, created=self.clock.now, expires=self.clock.now + JOBS.keep)
        assert kept == self.known[record.id]
        if key:
            self.keys[tenant, key] = record.id, digest
        return record.id

    def lapse(self, id):
        if self.known[id].attempts >= JOBS.attempts:
            self.end(id, "lost", reason="its worker died 2 times")
        else:
            self.leases.pop(id)
            self.known[id] = replace(self.known[id], state="queued")

    @rule(worker=WORKERS)
    def claim(self, worker):
        for id, (_, until) in list(self.leases.items()):
            if until < self.clock.now:
                self.lapse(id)
        claimed = self.wait(self.store.claim(worker))
        waiting = [id for id, record in self.known.items() if record.state == "queued"]
        assert (claimed is None) == (not waiting)
        if claimed:
            first = {self.known[id].tenant: id for id in reversed(waiting)}
            assert claimed.id in first.values()  # the first of its tenant
            before = self.known[claimed.id]
            self.known[claimed.id] = replace(before, state="running", attempts=before.attempts + 1)
            self.leases[claimed.id] = worker, self.clock.now + JOBS.lease
            assert claimed == self.known[claimed.id]

    @rule(id=ids, worker=WORKERS, size=st.sampled_from((0, LONG)))
    def finish(self, id, worker, size):
        mine = self.leases.get(id, ("",))[0] == worker
        result = {"text": id + "x" * size}
        assert self.wait(self.store.finish(id, worker, result)) == mine
        if mine:
            self.end(id, "done", result=result)

    @rule(id=ids, worker=WORKERS)
    def beat(self, id, worker):
        mine = self.leases.get(id, ("",))[0] == worker
        assert self.wait(self.store.beat(id, worker)) == mine
        if mine:
            self.leases[id] = worker, self.clock.now + JOBS.lease

    @rule(id=ids, worker=WORKERS)
    def release(self, id, worker):
        mine = self.leases.get(id, ("",))[0] == worker
        assert self.wait(self.store.release(id, worker)) == mine
        if mine:
            del self.leases[id]
            self.known[id] = replace(self.known[id], state="queued", attempts=self.known[id].attempts - 1)

    @rule(id=ids, tenant=TENANTS)
    def cancel(self, id, tenant):
        found = self.wait(self.store.cancel(id, tenant))
        known = self.known.get(id)
        if known is None or known.tenant != tenant:
            assert found is None
            return
        if known.state not in ENDED:
            self.end(id, "cancelled")
        assert found == self.known[id]

    @rule(id=ids, tenant=TENANTS)
    def fetch(self, id, tenant):
        known = self.known.get(id)
        assert self.wait(self.store.get(id, tenant)) == (known if known and known.tenant == tenant else None)

    @rule(id=consumes(ids), seconds=st.sampled_from((1, 20, 60, 101)))
    def expire(self, id, seconds):
        self.clock.now += seconds
        over = {i for i, r in self.known.items() if r.state in ENDED and r.expires < self.clock.now}
        assert self.wait(self.store.expire()) == len(over)
        for i in over:
            del self.known[i]
        self.keys = {key: value for key, value in self.keys.items() if value[0] not in over}

    @rule()
    def restart(self):
        self.wait(self.store.close())
        self.store = self.wait(SQLite.open(self.directory, JOBS, clock=self.clock))
        for id in list(self.leases):
            self.lapse(id)

    @invariant()
    def no_file_is_left_that_no_result_needs(self):
        wanted = sum(record.result is not None and len(record.result["text"]) > LONG for record in self.known.values())
        there = list((self.directory / "results/owners").glob("*/*"))
        assert len(there) == wanted and not list((self.directory / "results/incoming").iterdir())


Runs.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestRuns = Runs.TestCase
