"""Inside somebody else's process: threads, forks, odd fds, odd signals, odd limits."""

from __future__ import annotations

import math
import multiprocessing
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import pyjail
from pyjail import Jail, Limits
from tests.conftest import QUICK, SLOW
from tests.host_side import fds
from tests.scripts import script


def test_many_threads_never_mix_results():
    def one(i: int) -> bool:
        r = pyjail.run(["sh", "-c", f"cat; echo {i}; exit {i % 200}"], input=str(i).encode())
        return (r.stdout, r.exit_code) == (f"{i}{i}\n".encode(), i % 200)

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(one, range(max(64, int(200 / SLOW)))))


def test_a_run_continues_while_another_thread_holds_the_gil():
    code = f"""
    import pyjail, threading, time, re
    def hold():
        while not pyjail.testing.busy():
            time.sleep(0.001)
        # one C call without releasing the GIL; twice as long for every letter
        re.match(r"(a*)*b", "a" * {26 - round(math.log2(SLOW))})
    pyjail.run(["true"])
    t = threading.Thread(target=hold); t.start()
    start = time.monotonic()
    r = pyjail.run(["sleep", "100"], pyjail.Limits(wall_time=0.2))
    print(r.verdict, r.usage.wall_time < (time.monotonic() - start) / 2)  # the call came back when that let go
    t.join()
    """
    out = script(code)
    assert out.stdout == "wall_time True\n", out.stderr


def test_after_fork_parent_and_child_both_run():
    code = """
    import os, pyjail
    pyjail.run(["true"])
    pid = os.fork()
    r = pyjail.run(["echo", "x"])
    assert r.stdout == b"x\\n", r
    if not pid: os._exit(0 if r.ok else 1)
    print(os.waitpid(pid, 0)[1], pyjail.run(["echo", "parent"]).stdout)
    """
    out = script(code)
    assert out.stdout == "0 b'parent\\n'\n", out.stderr


def _work(i: int) -> bytes:
    return pyjail.run(["echo", str(i)]).stdout


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_multiprocessing(method):
    pyjail.run(["true"])
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(_work, range(6)) == [f"{i}\n".encode() for i in range(6)]


def test_sigchld_ignored_and_signals_blocked_and_timers():
    code = """
    import signal, pyjail
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM, signal.SIGTERM, signal.SIGCHLD})
    r = pyjail.run(["sh", "-c", "sh -c 'exit 3'; echo $?; grep -E 'SigBlk|SigIgn' /proc/self/status"])
    print(r.stdout.split())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
    signal.signal(signal.SIGALRM, lambda *a: None)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    print(all(pyjail.run(["true"], jail=pyjail.Jail(fresh=i % 5 == 0)).ok for i in range(60)))
    signal.setitimer(signal.ITIMER_REAL, 0)
    """
    out = script(code)
    zero = "b'0000000000000000'"
    assert out.stdout == f"[b'3', b'SigBlk:', {zero}, b'SigIgn:', {zero}]\nTrue\n", out.stderr


def test_stdio_closed():
    code = """
    import os, sys
    keep = os.dup(1)
    keep = os.dup2(keep, 50)
    for fd in (0, 1, 2): os.close(fd)
    import pyjail
    r = pyjail.run(["sh", "-c", "cat; echo out; echo err >&2; ls /proc/self/fd | wc -l"], input=b"in ")
    os.write(keep, repr((r.stdout, r.stderr)).encode())
    """
    out = script(code)
    assert out.stdout == repr((b"in out\n4\n", b"err\n")), out.stderr


def test_thousands_of_inheritable_fds_stay_outside():
    code = """
    import os, pyjail, resource
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(5000, hard), hard))
    for i in range(3000 if hard > 5000 else hard // 2):
        os.set_inheritable(os.open("/etc/shadow" if os.getuid() == 0 else "/etc/passwd", os.O_RDONLY), True)
    os.set_inheritable(os.open("/", os.O_RDONLY), True)
    for fresh in (False, True):
        print(pyjail.run(["ls", "/proc/self/fd"], jail=pyjail.Jail(fresh=fresh)).stdout)
    """
    out = script(code)
    assert out.stdout == "b'0\\n1\\n2\\n3\\n'\n" * 2, out.stderr  # 3 is ls's own


def test_a_large_embedder_starts_keepers_as_a_small_one():
    code = """
    import pyjail
    ballast = bytearray(1 << 30)
    for i in range(0, len(ballast), 4096): ballast[i] = 1
    print(pyjail.run(["echo", "x"], jail=pyjail.Jail(fresh=True)).stdout)
    """
    assert script(code).stdout == "b'x\\n'\n"


def test_the_callers_hard_limits_are_respected_or_refused():
    code = """
    import pyjail, resource
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
    few = dict(memory=None, processes=None, cpus=None, cpu_time=None)
    try: pyjail.run(["true"], pyjail.Limits(**few), jail=pyjail.Jail(strict=True))
    except pyjail.HostError as e: print(e.control)
    print(pyjail.run(["sh", "-c", "ulimit -n"], pyjail.Limits(open_files=50)).stdout)
    r = pyjail.run(["sh", "-c", "ulimit -n"], pyjail.Limits(**few), jail=pyjail.Jail(strict=False))
    print(r.stdout, [c.name for c in r.receipt.not_enforced])
    """
    out = script(code)
    assert out.stdout == "open_files\nb'50\\n'\nb'100\\n' ['RLIMIT_NOFILE']\n", out.stderr


@pytest.mark.needs_cgroups
def test_a_receipt_names_every_control_and_all_are_enforced():
    r = pyjail.run(["true"], Limits(cpus=0.5), jail=Jail(network="loopback"))
    assert r.receipt.not_enforced == ()
    names = [row.name for row in r.receipt]
    assert {
        "cpu_time",
        "wall_time",
        "memory",
        "processes",
        "output",
        "disk",
        "inodes",
        "cpus",
        "ids",
        "capabilities",
        "no_new_privs",
        "seccomp",
        "landlock",
        "root",
    } <= set(names)
    assert len(names) == len(set(names))
    assert r.receipt["cpus"].value.split()[0] == "50000"
    assert r.receipt["processes"].value == "64"
    assert r.receipt["namespace pid"].status == "enforced"


def test_fds_of_ours_are_constant_over_runs():
    pyjail.run(["true"])
    before = fds()
    for i in range(20):
        pyjail.run(["cat"], input=b"x", files={"a": b"b"}, collect=["a"])
        if i % 5 == 0:
            with pytest.raises(FileNotFoundError):
                pyjail.run(["nope"])
            with pytest.raises(pyjail.TimeoutExpired):
                pyjail.run(["sleep", "10"], timeout=0.05)
    assert fds() == before


def test_nothing_of_the_callers_priorities_mask_or_personality_gets_inside():
    code = """
    import ctypes, os, pyjail
    os.umask(0o077)
    if os.getuid() == 0: os.nice(-10)
    with open("/proc/self/oom_score_adj", "w") as f: f.write("500")
    ctypes.CDLL(None).personality(0x0040000 | 0x0100000)
    print(pyjail.run(["sh", "-c", "umask; nice; cat /proc/self/personality; stat -c %a /dev/shm /box"]).stdout.split())
    """
    out = script(code)
    assert out.stdout == "[b'0022', b'0', b'00000000', b'1777', b'755']\n", out.stderr


@pytest.mark.parametrize("policy", ["SCHED_RR", "SCHED_FIFO", "SCHED_BATCH", "SCHED_OTHER"])
def test_the_callers_way_of_being_scheduled_is_neither_the_keepers_nor_the_programs(policy):
    code = f"""
    import os, pyjail
    from pyjail.testing import idle
    if os.getuid() == 0: os.nice(-10)
    else: os.nice(3)
    try:
        os.sched_setscheduler(0, os.{policy}, os.sched_param(os.sched_get_priority_min(os.{policy})))
    except PermissionError:
        pass
    look = 'read -r line < /proc/self/stat; set -- ${{line##*) }}; echo ${{39}} ${{38}} ${{17}}' # policy, priority, nice
    print(pyjail.run(["sh", "-c", look]).stdout.decode().split())
    pid = idle()[-1]
    print(os.sched_getscheduler(pid), os.getpriority(os.PRIO_PROCESS, pid))
    """
    nice = 0 if os.getuid() == 0 else 3
    out = script(code)
    assert out.stdout == f"['0', '0', '{nice}']\n0 {nice}\n", out.stderr


def test_keepers_are_in_a_session_of_their_own():
    pyjail.run(["true"])
    from pyjail.testing import idle

    assert all(os.getsid(pid) == pid for pid in idle())


def test_a_small_hard_file_size_limit_of_the_caller_does_not_lose_output():
    code = """
    import pyjail, resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
    r = pyjail.run(["head", "-c", "200000", "/dev/zero"], pyjail.Limits(file_size=4096, output=1 << 20))
    print(r.verdict, r.error)
    """
    out = script(code)
    assert (
        out.stdout
        == "jail_error captured output was lost: no memory left here, or beyond the RLIMIT_FSIZE of the caller\n"
    ), out.stderr


def test_a_receipt_without_proc_still_reads_the_kernel():
    r = pyjail.run(["true"], Limits(memory=None, processes=None, cpus=None, cpu_time=None), jail=Jail(proc=False))
    assert r.receipt.not_enforced == ()
    assert r.receipt["no_new_privs"].value == "1"


def test_a_file_can_be_bound_writable(tmp_path):
    os.chmod(tmp_path, 0o755)
    target = tmp_path / "f"
    target.write_text("old")
    os.chmod(target, 0o666)
    jail = Jail(mounts=(pyjail.Mount.bind(target, "/out/f", ro=False),))
    assert pyjail.run(["sh", "-c", "echo new > /out/f"], jail=jail).ok
    assert target.read_text() == "new\n"


def test_files_can_be_executed_while_other_threads_fork(cc):
    """A child of a fork holds copies of all fds until its exec: were ./a among them, open for writing, ETXTBSY."""
    binary = cc("int main() { return 0; }")
    stop = threading.Event()

    def fork_all_the_time():
        while not stop.is_set():
            pid = os.fork()
            if pid == 0:
                time.sleep(0.02)
                os._exit(0)
            os.waitpid(pid, 0)

    threads = [threading.Thread(target=fork_all_the_time) for _ in range(3)]
    for t in threads:
        t.start()
    try:
        for _ in range(int(100 / SLOW) + 5):
            assert pyjail.run(["./a"], QUICK, files={"a": binary}).ok
    finally:
        stop.set()
        for t in threads:
            t.join()


@pytest.mark.parametrize("field", ["stdin", "stdout", "stderr"])
@pytest.mark.parametrize("value", [1 << 31, 1 << 32, 1 << 64])
def test_a_number_that_no_fd_can_have_is_a_spec_error(field, value):
    with pytest.raises(pyjail.SpecError) as e:
        pyjail.run(["true"], **{field: value})
    assert e.value.field == field


@pytest.mark.parametrize(
    "module", ["pyjail._cgroups.janitor", "pyjail._plan.requests", "pyjail._verdict.outcome", "pyseccomp"]
)
def test_a_fork_while_another_thread_imports_for_its_first_run_leaves_a_child_that_can_run(module):
    code = f"""
    import os, pyjail, signal, sys, threading, time
    importing = threading.Event()
    class Slowly:
        def find_spec(self, name, path=None, target=None):
            if name == {module!r} and not importing.is_set():
                importing.set()
                time.sleep(0.5)
    sys.meta_path.insert(0, Slowly())
    policy = pyjail.SeccompPolicy(rules=(pyjail.SeccompRule("socket", "EPERM"),))  # one that no shipped filter is of
    jail = pyjail.Jail(seccomp=policy) if {module!r} == "pyseccomp" else None
    t = threading.Thread(target=lambda: pyjail.run(["true"], jail=jail))
    t.start()
    assert importing.wait({20 * SLOW}), "not imported by the first run"
    pid = os.fork()
    if pid == 0:
        signal.alarm({int(20 * SLOW)})
        os._exit(0 if pyjail.run(["echo", "child"]).stdout == b"child\\n" else 1)
    status = os.waitpid(pid, 0)[1]
    t.join()
    print(status, pyjail.run(["echo", "parent"]).stdout)
    """
    out = script(code)
    assert out.stdout == "0 b'parent\\n'\n", (out.stdout, out.stderr)


def test_nothing_that_has_our_fd_numbers_is_executed_written_or_closed(tmp_path):
    """os.closerange, as daemons call it, and then the numbers are files of the caller's."""
    code = f"""
    import os, pyjail
    def stolen(wanted):
        for i in range(5): assert pyjail.run(["true"], jail=pyjail.Jail(hostname=f"h{{i % 2}}")).ok
        os.closerange(3, 300)
        for i in range(60):
            path = f"{tmp_path}/{{i}}"
            with open(path, "w") as f: f.write(wanted)
            os.chmod(path, 0o755)
            os.open(path, os.O_RDWR)
    script = "#!/bin/sh\\ntouch {tmp_path}/executed\\n"
    stolen(script)
    print(pyjail.run(["echo", "x"]).stdout, pyjail.run(["echo", "y"], jail=pyjail.Jail(fresh=True)).stdout)
    held = [n for n in range(3, 63) if os.readlink(f"/proc/self/fd/{{n}}").startswith({str(tmp_path)!r})]
    pyjail.close()
    print(len(held), [n for n in held if not os.readlink(f"/proc/self/fd/{{n}}").startswith({str(tmp_path)!r})])
    print({{open(f"{tmp_path}/{{i}}").read() == script for i in range(60)}}, os.path.exists("{tmp_path}/executed"))
    try: print(os.waitpid(-1, os.WNOHANG))
    except ChildProcessError: print("no child")
    """
    out = script(code)
    assert out.stdout == "b'x\\n' b'y\\n'\n60 []\n{True} False\nno child\n", (out.stdout, out.stderr)


@pytest.mark.parametrize("which", ["sock.fileno()", "outputs[0].number", "outputs[1].number", "request.number"])
def test_one_fd_of_ours_that_has_become_a_file_of_the_callers(which, tmp_path):
    """A long request is written to a memfd, a short one is not; output is read from two others."""
    code = f"""
    import os, pyjail
    from tests.inside import idle_keepers
    for pad in "", "z" * 40000:
        pyjail.run(["true"])
        file = os.open({str(tmp_path / "file")!r}, os.O_RDWR | os.O_CREAT)
        os.dup2(file, idle_keepers()[-1].{which})
        r = pyjail.run(["sh", "-c", "echo x; echo y >&2", pad])
        print(r.verdict.value, r.stdout, r.stderr, os.fstat(file).st_size)
    """
    out = script(code)
    assert out.stdout == "ok b'x\\n' b'y\\n' 0\n" * 2, (out.stdout, out.stderr)


def test_a_socket_of_the_callers_at_our_number_is_not_shut_down():
    code = """
    import os, pyjail, socket
    pyjail.run(["true"])
    os.closerange(3, 300)
    pairs = [socket.socketpair() for _ in range(20)]
    children = [os.pidfd_open(os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "100")) for _ in range(10)]
    print(pyjail.run(["echo", "x"]).stdout)
    pyjail.close()
    for a, b in pairs:
        a.send(b"x")
        assert b.recv(1) == b"x"
    import signal
    for fd in children:
        assert os.waitid(os.P_PIDFD, fd, os.WEXITED | os.WNOHANG) is None
        signal.pidfd_send_signal(fd, signal.SIGKILL)
    print("all theirs")
    """
    out = script(code)
    assert out.stdout == "b'x\\n'\nall theirs\n", (out.stdout, out.stderr)
