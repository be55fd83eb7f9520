"""Pipes between programs, which are tasks here that read and write: what goes through, and that nothing of them stays."""

from __future__ import annotations

import asyncio
import errno
import os
import threading

import pytest

from pyjail.serve import joined
from pyjail.serve.job import Job, Outcome, Pipe
from pyjail.serve.problem import Problem
from tests.scripts import until

THERE = Pipe((0, "stdout"), (1, "stdin"))
RING = [THERE, Pipe((1, "stdout"), (0, "stdin"))]


@pytest.fixture(autouse=True)
def nothing_stays():
    before = set(os.listdir("/proc/self/fd")), threading.active_count()
    yield
    assert until(lambda: set(os.listdir("/proc/self/fd")) == before[0] and threading.active_count() <= before[1])


def run(programs, pipes):
    """``programs``: called with {"stdin": fd, ...} of their own, in threads, as programs would run."""

    async def one(job, watcher, *, ends):
        own = {name: os.dup(fd) for name, fd in ends.streams.items()}
        ends.close()
        try:
            await asyncio.to_thread(programs[int(job.args[0])], own)
        finally:
            for fd in own.values():
                os.close(fd)
        return Outcome(None)

    async def main():
        jobs = [Job((str(i),)) for i in range(len(programs))]
        found = await joined.run(jobs, pipes, [None] * len(jobs), one)
        await asyncio.get_running_loop().shutdown_default_executor()
        return found

    return asyncio.run(main())


def everything(fd):
    found = b""
    while data := os.read(fd, 1 << 16):
        found += data
    return found


def write(fd, data):
    while data:
        data = data[os.write(fd, data) :]


@pytest.mark.parametrize("pipe", [THERE, Pipe(THERE.source, THERE.target, True, 10)])
def test_all_goes_through_and_the_first_of_it_is_kept(pipe):
    got = []
    data = os.urandom(300_000)
    found = run([lambda own: write(own["stdout"], data), lambda own: got.append(everything(own["stdin"]))], [pipe])
    assert got == [data]
    assert found[0].kept == ({"stdout": data[:10]} if pipe.drained else {})


def test_who_writes_for_nobody_sees_it_unless_that_is_drained():
    def flood(own):
        try:
            write(own["stdout"], bytes(1 << 20))
            seen.append("all")
        except BrokenPipeError:
            seen.append("broken")

    seen: list[str] = []
    run([flood, lambda own: None], [THERE])
    found = run([flood, lambda own: None], [Pipe(THERE.source, THERE.target, True, 1 << 19)])
    assert seen == ["broken", "all"]
    assert len(found[0].kept["stdout"]) == 1 << 19


@pytest.mark.parametrize("drained", [False, True])
def test_where_one_cannot_run_the_others_are_cancelled(drained):
    cancelled = []

    async def one(job, watcher, *, ends):
        if job.args == ("bad",):
            await asyncio.sleep(0.01)
            raise Problem(422, "field", "it cannot be")
        try:
            await asyncio.sleep(3600)
            raise AssertionError
        finally:
            cancelled.append(job.args)

    pipes = [Pipe(pipe.source, pipe.target, drained, 5) for pipe in RING]
    with pytest.raises(Problem, match="it cannot be"):
        asyncio.run(joined.run([Job(("bad",)), Job(("good",))], pipes, [None] * 2, one))
    assert cancelled == [("good",)]


@pytest.mark.parametrize("at", range(4))
def test_without_fds_it_is_told_and_none_is_lost(monkeypatch, at):
    real, calls = os.pipe, []

    def pipe():
        calls.append(1)
        if len(calls) > at:
            raise OSError(errno.EMFILE, "")
        return real()

    monkeypatch.setattr(joined.os, "pipe", pipe)
    pipes = [Pipe(one.source, one.target, True, 5) for one in RING]
    with pytest.raises(Problem) as refused:
        asyncio.run(joined.run([Job(("a",)), Job(("b",))], pipes, [None] * 2, None))
    assert (refused.value.status, refused.value.retry) == (503, 1)


def test_without_threads_it_is_told_and_no_fd_is_lost(monkeypatch):
    def start(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    pipes = [Pipe((0, "stdout"), (1, "stdin"), True)]
    with pytest.raises(Problem) as refused:
        asyncio.run(joined.run([Job(("a",)), Job(("b",))], pipes, [None] * 2, None))
    assert refused.value.status == 503
