"""The first run of a process: what it loads, keeps, and meets in an embedder that forks or is short of fds."""

from __future__ import annotations

import errno

import pytest

from tests.scripts import script


def test_a_child_forked_while_another_thread_packs_a_request_can_run():
    """On Python 3.11 functools.cached_property has one lock for all: the child would wait for it for ever."""
    code = """
    import os, signal, threading, time, pyjail
    from tests.inside import packed
    packed(["true"])
    many, stop = ["x"] + ["a"] * 20000, threading.Event()
    def work():
        while not stop.is_set(): packed(many)
    thread = threading.Thread(target=work)
    thread.start()
    hung = 0
    for n in range(15):
        time.sleep(0.01)
        child = os.fork()
        if not child:
            signal.alarm(10)
            packed(["true", str(n)])
            os._exit(0)
        hung += os.WIFSIGNALED(os.waitpid(child, 0)[1])
    stop.set()
    thread.join()
    print(hung)
    """
    out = script(code)
    assert out.stdout == "0\n", out.stderr


@pytest.mark.needs_root
def test_fds_in_flight_of_this_user_keep_no_keeper_from_starting():
    """unix(7), ETOOMANYREFS: more of them than RLIMIT_NOFILE, and who has no CAP_SYS_RESOURCE or SYS_ADMIN sends none."""
    code = """
    import array, os, resource, socket, pyjail
    print(pyjail.run(["true"]).verdict)
    pyjail.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0] * 20))]
    a.setblocking(False)
    try:
        for _ in range(100): a.sendmsg([b"x"], rights)
    except OSError as e: print(e.errno)
    print(pyjail.run(["true"]).verdict)
    """
    less = "-sys_resource,-sys_admin"
    out = script(code, wrap=("setpriv", "--bounding-set", less, "--inh-caps", less))
    assert out.stdout == f"ok\n{errno.ETOOMANYREFS}\nok\n", (out.stdout, out.stderr)


def test_plans_that_are_kept_are_small():
    code = """
    import pyjail
    from tests.inside import packed, size_of_kept_plans
    for n in range(70):
        assert len(packed([f"{n:04}" + "a" * 1900], env={"PATH": ":" * 2000})) > 1 << 20
    for n in range(70): packed(["true", str(n)])
    print(size_of_kept_plans() < 64 << 12)
    """
    out = script(code)
    assert out.stdout == "True\n", out.stderr


def test_a_plain_first_run_loads_little():
    """What a process pays once: see `pyjail._base.records`, `pyjail._policy.filter`, `pyjail._verdict.outcome.load_results`."""
    code = """
    import sys, pyjail
    before = set(sys.modules)
    assert pyjail.run(["true"]).ok
    heavy = {"pyseccomp", "ctypes", "typing", "socket", "base64", "pyjail._policy.seccomp", "pyjail._policy.profiles",
             "dataclasses", "inspect", "pyjail._spec.seccomp", "pyjail._result.usage", "pyjail._verdict.receipt", "pyjail._keeper.files", "asyncio", "tomllib"}
    print(sorted(heavy & (set(sys.modules) - before)))
    """
    out = script(code)
    assert out.stdout == "[]\n", out.stderr


def test_what_results_are_made_with_takes_its_place_at_the_first_run():
    """Else each run asks for it again, under the lock of all late imports."""
    code = """
    import types, pyjail
    from pyjail._run import turn
    pyjail.run(["true"])
    print(isinstance(turn.outcome, types.ModuleType))
    """
    out = script(code)
    assert out.stdout == "True\n", out.stderr
