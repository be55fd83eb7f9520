"""Pool: fork, interpreter exit, and the end of this process's own resources."""

from __future__ import annotations

import errno
import os

import pytest

from pyjail import Limits, Pool
from tests.host_side import cgroups_of, programs
from tests.inside import idle_keepers, no_more_processes
from tests.jail.many.blocker import Blocker
from tests.scripts import script, until


def test_a_forked_child_has_a_pool_of_its_own_and_leaves_the_parents_alone():
    code = """
    import os, pyjail, threading
    pool = pyjail.Pool(2)
    reader, writer = os.pipe()
    results = []
    busy = [threading.Thread(target=lambda: results.append(pool.run(["cat"], stdin=reader))) for _ in range(4)]
    for t in busy: t.start()
    while (pool.running, pool.waiting) != (2, 2): pass
    pid = os.fork()
    if not pid:
        assert (pool.running, pool.waiting, pool.idle) == (0, 0, 0), pool
        assert [r.stdout for r in pool.map([["echo", "x"]] * 4)] == [b"x\\n"] * 4
        pool.close()
        assert not pyjail.Pool(1).run(["false"]).ok
        raise SystemExit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    os.close(writer)
    for t in busy: t.join()
    print([r.ok for r in results], pool.run(["echo", "parent"]).stdout)
    pool.close()
    """
    out = script(code)
    assert out.stdout == "[True, True, True, True] b'parent\\n'\n", out.stderr


def test_interpreter_exit_with_runs_in_flight_leaves_nothing():
    code = """
    import os, pyjail, threading
    pool = pyjail.Pool(2)
    for i in range(4):
        threading.Thread(target=pool.run, args=(["sleep", "1000"], pyjail.Limits(wall_time=None)), daemon=True).start()
    while (pool.running, pool.waiting) != (2, 2): pass
    print(os.getpid(), flush=True)
    """
    out = script(code)
    assert out.returncode == 0, out.stderr
    assert until(lambda: not cgroups_of(int(out.stdout)))


def test_own_fds_used_up_is_a_clear_error_and_no_place_is_lost():
    code = """
    import os, pyjail, resource
    few = pyjail.Limits(open_files=32)
    pool = pyjail.Pool(2, limits=few)
    resource.setrlimit(resource.RLIMIT_NOFILE, (96, 96))
    def out_of_fds(call, left=0):
        held = []
        try:
            while True: held.append(os.open("/dev/null", os.O_RDONLY))
        except OSError: pass
        for _ in range(left): os.close(held.pop())
        try: r = call(); print(r.verdict, r.uncollected)
        except OSError as e: print(type(e).__name__, e.errno)
        for fd in held: os.close(fd)
    out_of_fds(lambda: pool.run(["true"]))  # a warm keeper needs nothing more
    out_of_fds(lambda: pool.run(["cat"], input=b"x"))
    out_of_fds(lambda: pool.run(["cat", "a"], files={"a": b"x"}))
    out_of_fds(lambda: pool.run(["touch", "a"], collect=["a"]))
    out_of_fds(lambda: pyjail.Pool(2, limits=few))
    print([r.ok for r in pool.map([["true"]] * 4)], pool.running)
    pool.close()
    """
    out = script(code)
    assert out.stdout.splitlines() == [
        "ok {}",
        "OSError 24",
        "SetupError 24",
        "ok {'a': '/box cannot be read: Too many open files'}",
        "OSError 24",
        "[True, True, True, True] 0",
    ], (out.stdout, out.stderr)


def test_threads_that_cannot_be_started_are_a_clear_error():
    code = """
    import pyjail, resource, threading
    threading.stack_size(64 << 20)  # so that the bound on addresses is met by threads, not by our own objects
    pool = pyjail.Pool(4)
    with open("/proc/self/statm") as f: now = int(f.read().split()[0]) * 4096
    resource.setrlimit(resource.RLIMIT_AS, (now + (100 << 20),) * 2)
    try: list(pool.map([["true"]] * 4))
    except OSError as e: print(e.errno, "RLIMIT_AS" in str(e))
    print(pool.run(["true"]).verdict)
    pool.close()
    """
    out = script(code)
    assert out.stdout == "11 True\nok\n", (out.stdout, out.stderr)


def test_upkeep_and_helpers_that_cannot_be_started_are_a_clear_error_and_nothing_is_left():
    code = """
    import asyncio, os, pyjail, resource, threading
    from tests.host_side import keepers_of
    pyjail.run(["true"]); pyjail.close()
    pyjail.Pool, pyjail.aio.run
    threading.stack_size(64 << 20)
    with open("/proc/self/statm") as f: now = int(f.read().split()[0]) * 4096
    resource.setrlimit(resource.RLIMIT_AS, (now + (32 << 20), -1))
    async def run(): return await pyjail.aio.run(["true"], files={"a": b"x"})
    for call in (lambda: pyjail.Pool(1), lambda: asyncio.run(run())):
        try: call()
        except OSError as e: print(e.errno, "RLIMIT_AS" in str(e), keepers_of(os.getpid()))
    resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
    with pyjail.Pool(1) as pool: print(pool.run(["true"]).verdict, asyncio.run(run()).verdict)
    """
    out = script(code)
    assert out.stdout == "11 True []\n11 True []\nok ok\n", (out.stdout, out.stderr)


@pytest.mark.parametrize("number", [errno.ENOMEM, errno.ENOBUFS, errno.EAGAIN])
@pytest.mark.parametrize("where", ["send", "recv"])
def test_own_memory_used_up_in_the_talk_with_a_keeper_is_told_and_ends_the_jail(number, where):
    """The keeper lives then, with a program in it: nobody may wait for it to die by itself."""

    class Failing:
        def __init__(self, sock):
            self.sock = sock

        def __getattr__(self, name):
            return getattr(self.sock, name)

        def recv(self, size):
            if where == "recv":
                raise OSError(number, os.strerror(number))
            return self.sock.recv(size)

        def send(self, data):
            if where == "send":
                raise OSError(number, os.strerror(number))
            return self.sock.send(data)

    with Pool(1) as pool:
        (keeper,) = idle_keepers(pool)
        keeper.sock = Failing(keeper.sock)
        with pytest.raises(OSError) as e:
            pool.run(["sleep", "1000"], Limits(wall_time=None))
        assert e.value.errno == number
        assert programs(b"sleep") == []
        assert pool.run(["true"]).ok


def test_a_process_limit_of_ours_is_a_clear_error():
    with Pool(2, warm=1) as pool, Blocker(pool.run):
        assert until(lambda: len(programs(b"cat")) == 1)
        with no_more_processes(), pytest.raises(OSError) as e:
            pool.run(["true"])
        assert e.value.errno == errno.EAGAIN
        assert pool.run(["true"]).ok
