"""Live programs, terminals, and the same without ``await``."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import threading
import time

import pytest

import pyjail.testing
from pyjail import boxlite
from tests.jail.boxlite.conftest import PATIENCE, run
from tests.scripts import script

pytestmark = pytest.mark.needs_cgroups
PYTHON = "python:slim"


@pytest.fixture(autouse=True)
def runtime(default):
    return default(timeout_seconds=PATIENCE)


def in_box(use):
    """``await use(box)`` of a `Box`."""

    async def main():
        runtime = boxlite.Boxlite.default()
        async with await runtime.create(boxlite.BoxOptions(image=PYTHON)) as box:
            return await use(box)

    return run(main())


def test_lines_come_when_they_are_written():
    async def use(box):
        execution = await box.exec("sh", ["-c", "echo one; read x; echo $x; echo err >&2; printf end; exit 5"])
        lines = execution.stdout()
        first = await anext(lines)
        await execution.stdin().send_input("two\n")
        await execution.stdin().close()
        rest = [line async for line in lines]
        result = await execution.wait()
        return first, rest, result.exit_code, [line async for line in execution.stderr()]

    assert in_box(use) == ("one\n", ["two\n", "end"], 5, ["err\n"])


def test_the_end_may_be_waited_for_before_the_output_is_read():
    async def use(box):
        execution = await box.exec("sh", ["-c", "seq 100000; cat"])
        assert (await execution.wait()).exit_code == 0
        return [line async for line in execution.stdout()]

    assert in_box(use) == [f"{n}\n" for n in range(1, 100001)]


def test_the_end_may_be_waited_for_by_one_task_while_another_one_reads():
    async def use(box):
        execution = await box.exec(
            "sh", ["-c", "printf 'caf\\303'; sleep 0.2; printf '\\251\\n'; read x; echo $x"], tty=True
        )
        waiting = asyncio.create_task(execution.wait())
        await asyncio.sleep(0)
        seen = ""
        while "caf\u00e9\r\n" not in seen:
            seen += await anext(execution.stdout())
        await execution.stdin().send_input("typed\n")
        async for text in execution.stdout():
            seen += text
        return seen, (await waiting).exit_code

    assert in_box(use) == ("caf\u00e9\r\ntyped\r\ntyped\r\n", 0)


def test_output_that_nobody_reads_is_bounded():
    async def use(box):
        execution = await box.exec("sh", ["-c", "yes"])
        with pytest.raises(boxlite.ResourceError, match="read them while it runs"):
            await execution.wait()
        assert [p for p in await box.inner.processes() if "yes" in p.args] == []

    in_box(use)


def test_a_live_program_is_killed_by_signal_limit_and_hand():
    async def use(box):
        one = await box.exec("sleep", ["1000"])
        await one.signal(signal.SIGTERM)
        assert (await one.wait()).exit_code == -signal.SIGTERM
        with pytest.raises(boxlite.InvalidStateError):
            await one.signal(signal.SIGTERM)
        two = await box.exec("sleep", ["1000"], timeout_secs=0.3)
        with pytest.raises(boxlite.TimeoutError):
            await two.wait()
        three = await box.exec("sleep", ["1000"])
        await three.kill()
        assert (await three.wait()).exit_code == -signal.SIGKILL
        with pytest.raises(boxlite.UnsupportedError, match="tty=True"):
            await three.resize_tty(1, 1)
        assert one.id() != two.id()

    in_box(use)


def test_a_live_program_that_is_not_there():
    async def use(box):
        with pytest.raises(boxlite.ExecutionError):
            await (await box.exec("no-such-program")).wait()

    in_box(use)


def test_a_terminal():
    async def use(box):
        shell = await box.exec("sh", tty=True, window=(30, 100))
        await shell.stdin().send_input("stty size\n")
        seen = ""
        while "30 100" not in seen:
            seen += await anext(shell.stdout())
        await shell.resize_tty(31, 101)
        await shell.stdin().send_input("stty size; exit 4\n")
        while "31 101" not in seen:
            seen += await anext(shell.stdout())
        assert shell.stderr() is None
        return (await shell.wait()).exit_code

    assert in_box(use) == 4


def test_an_interactive_box_without_a_terminal_of_ours():
    async def main():
        async with boxlite.InteractiveBox(image=PYTHON, tty=False) as box:
            await box.execution.stdin().send_input("echo $((6 * 7))\n")
            seen = ""
            while "42\r\n" not in seen:
                seen += await anext(box.execution.stdout())
            assert (await box.exec("echo", "beside")).stdout == "beside\n"

    run(main())


def test_an_interactive_box_is_the_caller_s_terminal_and_gives_it_back():
    code = """
        import asyncio, termios
        from pyjail import boxlite
        async def main():
            async with boxlite.InteractiveBox(image="python:slim") as box:
                pass
        before = termios.tcgetattr(0)
        asyncio.run(main())
        assert termios.tcgetattr(0) == before
        print("the end")
    """
    import subprocess
    import sys
    import textwrap

    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    seen = b""
    try:
        os.write(ours, b"echo $((6 * 7)); stty size; exit\n")
        end = time.monotonic() + PATIENCE
        while b"the end" not in seen and time.monotonic() < end:
            seen += os.read(ours, 4096)
        assert process.wait(PATIENCE) == 0, seen
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert b"42\r\n24 80\r\n" in seen


def test_an_interactive_box_needs_a_terminal_to_connect(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(boxlite.InvalidArgumentError, match="no terminal"):
        run(boxlite.InteractiveBox(image=PYTHON, tty=True).start())


def test_twins_wait_in_the_caller_s_thread():
    with pyjail.testing.nothing_left(), boxlite.SyncSimpleBox(image=PYTHON, memory_mb=128) as box:
        assert box.exec("echo", "hello").stdout == "hello\n"
        assert box.created and box.info().memory_mib == 128
        box.snapshot.create("s")
        assert [one.name for one in box.snapshot.list()] == ["s"]
        found = []
        threads = [threading.Thread(target=lambda: found.append(box.exec("sleep", "0.2").exit_code)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [0] * 4
        with pytest.raises(boxlite.TimeoutError):
            box.exec("sleep", "1000", timeout=0.2)
    with boxlite.SyncCodeBox() as code:
        assert code.run("print(6 * 7)") == "42\n"


def test_a_twin_can_be_used_where_an_event_loop_runs():
    async def main():
        with boxlite.SyncCodeBox() as box:
            return box.run("print(1)")

    assert run(main()) == "1\n"


def test_twins_of_runtime_box_and_execution():
    with boxlite.SyncBoxlite.default() as runtime:
        with runtime.create(boxlite.BoxOptions(image=PYTHON), name="twin") as box:
            execution = box.exec("sh", ["-c", "echo a; echo b; cat"])
            execution.stdin().send_input(b"c")
            execution.stdin().close()
            assert list(execution.stdout()) == ["a\n", "b\n", "c"]
            assert execution.wait().exit_code == 0
            again, created = runtime.get_or_create(boxlite.BoxOptions(image=PYTHON), name="twin")
            assert not created and again.id == box.id
            with boxlite.SyncSimpleBox(image=PYTHON, runtime=runtime) as other:
                assert other.exec("true").exit_code == 0
            assert runtime.metrics().num_running_boxes == 1
        assert runtime.get("twin") is None


def test_an_interrupt_ends_the_program_that_a_twin_waits_for():
    out = script(
        """
        import os, signal, threading, pyjail.testing
        from pyjail import boxlite
        with boxlite.SyncSimpleBox(image="python:slim") as box:
            threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
            try:
                box.exec("sh", "-c", "sleep 1000 & sleep 1000", timeout=1000)
            except KeyboardInterrupt:
                print("interrupted")
            print("sleep" in box.exec("sh", "-c", "cat /proc/[0-9]*/comm").stdout)
        """,
        timeout=PATIENCE,
    )
    assert out.stdout.split() == ["interrupted", "False"] and out.stderr == "", out


def test_a_forked_child_has_boxes_of_its_own():
    with boxlite.SyncSimpleBox(image=PYTHON) as box:
        child = os.fork()
        if not child:
            status = 1
            try:
                with boxlite.SyncSimpleBox(image=PYTHON) as other:
                    status = 7 if other.exec("echo", "x").stdout == "x\n" else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert box.exec("echo", "on").stdout == "on\n"


def test_many_boxes_at_once():
    async def one(i):
        async with boxlite.CodeBox(memory_mb=64) as box:
            return await box.run(f"print({i})")

    async def main():
        return await asyncio.gather(*map(one, range(8)))

    with pyjail.testing.nothing_left():
        assert run(main()) == [f"{i}\n" for i in range(8)]
