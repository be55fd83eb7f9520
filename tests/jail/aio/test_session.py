"""aio.Session.start: programs of a session whose streams are live, while files of it are read and written."""

from __future__ import annotations

import threading

import anyio
import pytest

from pyjail import ExecError, Limits, SpecError, Verdict, aio
from tests.conftest import SLOW

LIMITS = Limits(cpu_time=10 * SLOW, wall_time=30 * SLOW)


def test_its_streams_are_live_and_files_are_had_meanwhile(everywhere):
    async def main():
        async with aio.Session(limits=LIMITS) as session:
            code = "cat a; read x; echo $x > b; cat b a"
            async with await session.start(["sh", "-c", code], files={"a": "old\n"}, collect=["b"]) as p:
                assert await p.stdout.readline() == b"old\n"
                assert await session.read("a") == b"old\n"
                await session.write("a", "new\n")
                with pytest.raises(SpecError, match="runs already"):
                    await session.run(["true"])
                assert (p.used().processes or 1) >= 1  # None: without cgroups
                p.stdin.write(b"typed\n")
                assert await p.stdout.read() == b"typed\nnew\n"
                assert await p.wait() == 0
            assert p.result.files == {"b": b"typed\n"}
            assert (await session.run(["cat", "b"])).stdout == b"typed\n"

    everywhere(main)


def test_a_cancellation_ends_the_program_and_not_the_session(everywhere):
    async def main():
        async with aio.Session(limits=LIMITS) as session:
            await session.write("a", "kept")
            p = await session.start(["sleep", "1000"])
            with anyio.move_on_after(0.1):
                async with p:
                    await p.wait()
            assert p.result.verdict == Verdict.SIGNALED
            async with await session.start(["sleep", "1000"]) as p:
                with anyio.move_on_after(0.05):
                    await p.wait()
                assert p.returncode is None
                p.kill()
                assert await p.wait() == -9
            assert await session.read("a") == b"kept"

    everywhere(main)


def test_several_wait_for_one_that_ends_with_its_session(everywhere):
    async def main():
        async with aio.Session(limits=LIMITS) as session, await session.start(["sleep", "1000"]) as p:
            async with anyio.create_task_group() as group:
                for _ in range(3):
                    group.start_soon(p.wait)
                await anyio.sleep(0.05)
                await session.close()
            assert p.result.verdict == Verdict.JAIL_ERROR

    everywhere(main)


def test_what_cannot_be_started_leaves_the_session_free(everywhere):
    async def main():
        async with aio.Session(limits=LIMITS) as session:
            with pytest.raises(ExecError):
                async with await session.start(["no-such"]) as p:
                    await p.wait()
            for wrong in ({"files": {"../a": "b"}}, {"cwd": "relative"}):
                with pytest.raises(SpecError):
                    await session.start(["true"], **wrong)
            assert (await session.run(["echo", "x"])).stdout == b"x\n"

    everywhere(main)


def test_without_a_thread_it_is_ended_and_the_session_stays(loop, monkeypatch):
    async def main():
        async with aio.Session(limits=LIMITS) as session:
            await session.write("a", "kept")
            start = threading.Thread.start

            def refuse(self):
                if self.name == "pyjail-aio-wait":
                    raise RuntimeError("can't start new thread")
                start(self)

            with monkeypatch.context() as patched:
                patched.setattr(threading.Thread, "start", refuse)
                with pytest.raises(OSError, match="RLIMIT_NPROC"):
                    await session.start(["sleep", "1000"])
            assert (await session.run(["cat", "a"])).stdout == b"kept"

    loop(main)
