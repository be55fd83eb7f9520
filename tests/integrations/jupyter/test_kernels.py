"""A kernel in a jail is a kernel: state, interrupt, restart, the end and what is said of it."""

from __future__ import annotations

import gc
import os
import signal

import pytest

import pyjail
from tests.host_side import cgroups_of, keepers_of
from tests.integrations.jupyter.conftest import until


@pytest.fixture
def kernel(start):
    return start()


def test_cells_share_their_state_and_the_environments_packages(kernel):
    kernel.run("import zmq, IPython; x = 41")
    assert kernel.run("print(x + 1)") == "42\n"
    assert (
        kernel.run("import multiprocessing as m; print(m.get_context('fork').Pool(2).map(abs, [-1, 2]))") == "[1, 2]\n"
    )


def test_the_host_is_not_seen(kernel):
    assert kernel.run("import os; print(os.getuid(), os.getcwd(), os.listdir())") == "1000 /box []\n"
    os.environ["PYJAIL_SECRET_OF_HOST"] = "s"
    try:
        assert "SECRET" not in kernel.run("print(dict(os.environ), open('/proc/self/environ').read())")
        kernel.manager.restart_kernel()
        kernel.client.wait_for_ready(timeout=60)
        assert "SECRET" not in kernel.run("import os; print(dict(os.environ), open('/proc/self/environ').read())")
    finally:
        del os.environ["PYJAIL_SECRET_OF_HOST"]
    for path in (
        os.path.realpath(__file__),
        os.path.expanduser("~"),
        kernel.manager.connection_file,
        kernel.manager.ip + "-1",
    ):
        assert kernel.run(f"print(os.path.exists({path!r}))") == "False\n"
    with pytest.raises(RuntimeError, match="OSError"):
        kernel.run("import socket; socket.create_connection(('127.0.0.1', 80), 1)")


# The shell says itself that it runs: IPython leaves it behind when it is interrupted before it has started it.
@pytest.mark.parametrize(
    "cell",
    [
        "print('it runs', flush=True)\nwhile True: pass",
        "print('it runs', flush=True)\nimport time; time.sleep(1000)",
        "!echo it runs; sleep 1000",
    ],
)
def test_an_interrupt_ends_the_cell_and_keeps_the_state(kernel, cell):
    kernel.run("x = 'kept'")
    with pytest.raises(RuntimeError, match="KeyboardInterrupt"):
        kernel.run(cell, when_it_prints=kernel.manager.interrupt_kernel)
    assert kernel.run("print(x)") == "kept\n"
    assert "sleep" not in kernel.run("!cat /proc/[0-9]*/cmdline").replace("\0", " ")


def test_a_restart_keeps_the_files_and_nothing_else(kernel):
    kernel.run("x = 1; open('f', 'w').write('of before'); open('/tmp/t', 'w').close()")
    first = kernel.provisioner.connection_info["ip"]
    for now in (False, True):
        kernel.manager.restart_kernel(now=now)
        kernel.client.wait_for_ready(timeout=60)
        assert (
            kernel.run("import os; print('x' in dir(), open('f').read(), os.path.exists('/tmp/t'))")
            == "False of before False\n"
        )
    assert kernel.provisioner.connection_info["ip"] == first


@pytest.mark.parametrize(
    ("cell", "code"),
    [("import os; os._exit(3)", 3), ("import os; os._exit(0)", 0), ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -9),
     ("import os; os.abort()", -6)],
)  # fmt: skip
def test_how_it_ended_is_told_as_it_was(kernel, log, cell, code):
    assert kernel.poll() is None
    kernel.begin(cell)
    assert kernel.dead() == code
    assert kernel.info() == {
        "ended_by": None,
        "verdict": "signaled" if code < 0 else "runtime_error" if code else "ok",
        "returncode": code,
        "error": None,
    }
    assert not kernel.manager.is_alive()
    assert "limit" not in log.text


def test_kill_and_signals_end_it(start):
    killed, terminated = start(), start()
    killed.manager.signal_kernel(signal.SIGKILL)
    assert (killed.dead(), killed.info()["ended_by"]) == (-9, None)
    terminated.begin("import time; time.sleep(1000)")
    terminated.manager.signal_kernel(signal.SIGTERM)
    assert (terminated.dead(), terminated.info()["ended_by"]) == (-15, None)


@pytest.mark.parametrize(
    ("limits", "cell", "by"),
    [
        ({"memory": "256M"}, "b = bytearray(1 << 30)", "memory"),
        ({"cpu_time": 3}, "while True: pass", "cpu_time"),
        ({"wall_time": 20}, "import time; time.sleep(1000)", "wall_time"),
        ({"output": "2M"}, "print('x' * 3_000_000)", "output"),
        ({"output": "2M"}, "while True: print('x' * 1000)", "output"),
    ],
    ids=lambda v: v if isinstance(v, str) else next(iter(v)),
)  # fmt: skip
def test_a_limit_that_ended_it_is_told(start, log, limits, cell, by):
    kernel = start(limits)
    kernel.begin(cell)
    assert kernel.dead() == -9
    assert kernel.info()["ended_by"] == by
    (value,) = limits.values()
    (line,) = [r.getMessage() for r in log.records if "was ended by" in r.getMessage()]
    assert f"was ended by its limit {by} ({value}): `pyjail kernel install --{by.replace('_', '-')} MORE`" in line
    kernel.manager.restart_kernel(now=True)
    kernel.client.wait_for_ready(timeout=60)
    assert kernel.run("print(1)") == "1\n"
    assert kernel.info() == {}


def test_a_fork_bomb_takes_no_more_than_its_processes(start):
    kernel = start({"processes": 40})
    code = "import os, time\npids = []\ntry:\n    while True:\n        pid = os.fork()\n        if not pid: time.sleep(1000)\n        pids.append(pid)\n"
    swept = "for pid in pids: os.kill(pid, 9); os.waitpid(pid, 0)\nprint(20 < len(pids) < 40)"
    assert kernel.run(f"{code}except BlockingIOError: pass\n{swept}") == "True\n"
    assert kernel.run("print('alive')") == "alive\n"


def test_files_are_bounded(start):
    kernel = start({"disk": "8M"})
    with pytest.raises(RuntimeError, match="No space left"):
        kernel.run("open('f', 'wb').write(bytes(9 << 20))")


def test_the_notebooks_directory_comes_in_when_it_is_asked_for(start, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/rows.csv").write_text("a,b\n")
    kernel = start(copy_directory=True, given={"cwd": str(tmp_path)})
    assert kernel.run("print(open('data/rows.csv').read())") == "a,b\n\n"
    kernel.run("open('data/rows.csv', 'w').write('changed')")
    assert (tmp_path / "data/rows.csv").read_text() == "a,b\n"
    kernel.manager.restart_kernel(now=True)
    kernel.client.wait_for_ready(timeout=60)
    assert kernel.run("print(open('data/rows.csv').read())") == "changed\n"


def test_several_kernels_at_once_and_nothing_is_left(start):
    before = set(os.listdir("/proc/self/fd"))
    kernels = [start() for _ in range(6)]
    for number, kernel in enumerate(kernels):
        kernel.run(f"x = {number}")
    assert [kernel.run("print(x)") for kernel in kernels] == [f"{n}\n" for n in range(6)]
    for kernel in kernels:
        kernel.end()
    assert until(lambda: not [c for c in cgroups_of(os.getpid()) for _, dirs, _ in os.walk(c) if dirs], 10)
    assert until(lambda: len(set(os.listdir("/proc/self/fd")) - before) < 12, 10)


def test_a_kernel_that_nobody_has_any_more_is_ended(start):
    pyjail.close()
    before = keepers_of(os.getpid())
    kernel = start()
    assert len(keepers_of(os.getpid())) > len(before)
    kernel.client.stop_channels()
    kernel.manager.provisioner = None
    gc.collect()
    assert until(lambda: keepers_of(os.getpid()) == before, 10)
