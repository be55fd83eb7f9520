"""Programs in a box: several at once, each with its own verdict, what they share, and what stays."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from pyjail import (
    PIPE,
    Box,
    ExecError,
    Jail,
    KeeperError,
    Limits,
    PoolExhaustedError,
    SpecError,
    TimeoutExpired,
    Verdict,
)
from tests.conftest import SLOW
from tests.jail.box.programs import LIMITS, PYTHON, shell
from tests.scripts import until


def test_what_a_program_leaves_in_any_writable_place_is_there_for_the_next(box):
    for place in ("/box", "/tmp", "/var/tmp", "/home", "/dev/shm"):
        assert box.run(shell(f"echo {place} > {place}/x")).verdict is Verdict.OK
    for place in ("/box", "/tmp", "/var/tmp", "/home", "/dev/shm"):
        assert box.run(["cat", f"{place}/x"]).stdout == f"{place}\n".encode()
    assert box.run(shell("pwd; echo $HOME; echo y > /usr/x || echo no")).stdout == b"/box\n/box\nno\n"


def test_all_writable_places_share_one_disk(box):
    r = box.run(shell("head -c 12M /dev/zero > /tmp/a; head -c 12M /dev/zero > /box/b"))
    assert r.exit_code != 0 and b"No space left" in r.stderr
    assert "disk" in r.limits_hit


def test_several_run_at_once_and_none_waits_for_another(box):
    """Each waits for all others to be there."""
    n = 16
    box.run(["mkdir", "here"])
    script = f"touch here/$0; while [ $(ls here | wc -l) -lt {n} ]; do sleep 0.02; done; echo $0"
    with ThreadPoolExecutor(n) as threads:
        results = list(threads.map(lambda i: box.run([*shell(script), str(i)]), range(n)))
    assert [r.stdout for r in results] == [b"%d\n" % i for i in range(n)]
    assert {r.verdict for r in results} == {Verdict.OK}
    assert len(box.results) == n + 1


def test_verdicts_are_each_program_s_own(box):
    def run(given):
        script, limits = given
        return box.run([*PYTHON, script], limits).verdict

    calls = [
        ("pass", None),
        ("raise SystemExit(3)", None),
        ("while 1: pass", Limits(cpu_time=0.3 * SLOW, wall_time=30 * SLOW)),
        ("import time; time.sleep(99)", Limits(wall_time=0.5 * SLOW)),
        ("x = bytearray(200 << 20); x[::4096] = b'x' * len(x[::4096])", Limits(memory="50M", cpu_time=20 * SLOW)),
        ("while 1: print('x' * 1000)", Limits(output="10K", wall_time=30 * SLOW)),
        ("import os, signal; os.kill(os.getpid(), 9)", None),
    ]
    with ThreadPoolExecutor(len(calls)) as threads:
        found = list(threads.map(run, calls))
    assert found == ["ok", "runtime_error", "cpu_time", "wall_time", "memory", "output", "signaled"]


def test_they_see_each_other_and_may_signal_each_other(box):
    with box.start(["sleep", "99"]) as sleeper:
        assert until(lambda: [p.args for p in box.processes()] == [("sleep", "99")])  # it may not have executed yet
        (one,) = box.processes()
        assert not one.kept
        seen = box.run(shell(f"cat /proc/{one.pid}/cmdline; ps -e -o comm=; cat /proc/1/environ")).stdout.decode()
        assert seen.startswith("sleep\0" + "99\0") and "\nsleep\n" in seen
        assert box.run(["kill", "-TERM", str(one.pid)]).exit_code == 0
        sleeper.wait(10 * SLOW)
    assert sleeper.result.signal == 15


def test_killing_one_disturbs_no_other(box):
    others = [box.start(["cat"]) for _ in range(4)]
    victim = box.start(shell("sleep 99 & sleep 99 & wait"))
    time.sleep(0.2)
    victim.kill()
    victim.wait(10 * SLOW)
    victim.close()
    assert victim.result.verdict is Verdict.SIGNALED
    assert until(lambda: sorted(p.args for p in box.processes()) == [("cat",)] * 4)
    for p in others:
        assert p.communicate(b"still here") == (b"still here", b"")
        assert p.result.verdict is Verdict.OK
    assert box.processes() == []


def test_with_loopback_one_serves_and_another_asks():
    server = "import http.server as h; h.HTTPServer(('127.0.0.1', 8000), h.SimpleHTTPRequestHandler).serve_forever()"
    ask = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8000/page').read())"
    with Box(Jail(network="loopback"), LIMITS) as box:
        box.write("page", "hello")
        with box.start([*PYTHON, server]) as p:
            for _ in range(100):
                r = box.run([*PYTHON, ask])
                if r.verdict is Verdict.OK:
                    break
                time.sleep(0.1)
            assert r.stdout == b"b'hello'\n"
            p.kill()


def test_without_it_there_is_no_network(box):
    r = box.run([*PYTHON, "import socket; socket.create_connection(('127.0.0.1', 1), 2)"])
    assert r.exit_code == 1 and b"OSError" in r.stderr


def test_programs_open_terminals_but_not_all_of_the_host_and_type_on_none(box):
    code = """
import fcntl, os, pty, termios
shell, fd = pty.fork()
if not shell:
    os.execvp("sh", ["sh", "-c", "tty; stty size"])
said = b""
try:
    while piece := os.read(fd, 1000): said += piece
except OSError: pass
print(said.split())
try: fcntl.ioctl(pty.openpty()[1], termios.TIOCSTI, b"x")
except OSError as e: print(e.strerror)
some = []
try:
    while len(some) < 100: some.append(pty.openpty())
except OSError: print(len(some) < 64)
"""
    r = box.run(["python3", "-c", code], text=True)
    assert r.stdout.splitlines() == ["[b'/dev/pts/0', b'0', b'0']", "Operation not permitted", "True"], r


def test_a_terminal_of_its_own(box):
    with box.start(shell("tty; read x; echo got $x; stty size"), pty=(30, 100)) as p:
        p.terminal.write(b"hello\n")
        seen = b""
        while b"30 100" not in seen:
            seen += p.terminal.read(1000)
    assert b"got hello" in seen and b"/dev/pts" not in box.run(["ls", "/dev"]).stdout


def test_one_more_than_may_run_at_once_waits_for_its_turn():
    with Box(limits=LIMITS, concurrency=2) as box:
        script = (
            "echo x >> log; n=$(ls -d run* 2>/dev/null | wc -l); echo $n >> most; mkdir run$0; sleep 0.2; rmdir run$0"
        )
        with ThreadPoolExecutor(6) as threads:
            results = list(threads.map(lambda i: box.run([*shell(script), str(i)]), range(6)))
        assert {r.verdict for r in results} == {Verdict.OK}
        assert max(map(int, box.read("most").split())) <= 1


def test_the_wait_for_a_place_is_in_the_timeout():
    with Box(limits=LIMITS, concurrency=1) as box:
        thread = threading.Thread(target=box.run, args=(["sleep", "3"],))
        thread.start()
        while not box.processes():
            time.sleep(0.01)
        with pytest.raises(PoolExhaustedError):
            box.run(["true"], timeout=0.1)
        box.kill()
        thread.join()


def test_a_timeout_ends_the_program_and_the_box_goes_on(box):
    with pytest.raises(TimeoutExpired) as e:
        box.run(shell("echo so far; sleep 99"), timeout=0.5 * SLOW)
    assert e.value.stdout == b"so far\n"
    assert box.processes() == []
    assert box.run(["true"]).verdict is Verdict.OK


def test_usage_and_receipt_are_the_program_s(box):
    busy = f"import time\nwhile time.process_time() < {SLOW}: pass"
    with ThreadPoolExecutor(2) as threads:
        hard, idle = threads.map(lambda s: box.run([*PYTHON, s]), (busy, "import time; time.sleep(0.5)"))
    assert hard.usage.cpu_time >= 0.9 * SLOW > idle.usage.cpu_time
    assert hard.receipt["memory"].status == "enforced"
    assert hard.receipt["processes"].value == "64"
    assert not hard.receipt.not_enforced
    assert box.cpu_time == pytest.approx(hard.usage.cpu_time + idle.usage.cpu_time)
    assert box.memory_peak == max(hard.usage.memory_peak, idle.usage.memory_peak)


def test_a_program_that_is_not_there_is_said_so_and_the_box_goes_on(box):
    with pytest.raises(ExecError, match="nothing-like-it"):
        box.run(["nothing-like-it"])
    assert box.run(["echo", "x"]).stdout == b"x\n"


def test_options_are_those_of_run(box):
    r = box.run(shell("cat; cat in/f; echo $X; pwd; echo made > out"), input="a\n", text=True, env={"X": "1", "PATH": "/bin:/usr/bin"},
                cwd="/tmp", files={"in/f": "never there"})  # fmt: skip
    assert r.stdout == "a\n1\n/tmp\n" and "in/f" in r.stderr
    r = box.run(shell("cat in/f; echo made > out"), files={"in/f": "b\n"}, collect=["out"])
    assert r.stdout == b"b\n" and r.files == {"out": b"made\n"}
    r = box.run(shell("cat in/f"), files={"in/f": "again\n"})
    assert r.stdout == b"again\n"
    with pytest.raises(TypeError):
        box.run(["true"], nonsense=1)
    with pytest.raises(SpecError, match="orphans"):
        box.run(["true"], orphans="maybe")


def test_a_program_that_is_started_as_soon_as_another_has_ended_gets_the_fds_that_it_was_given():
    """Its slot still has to be put away then, which takes an fd from who has ended."""
    for _ in range(3):
        with Box(limits=LIMITS) as box:
            for number in (2, 3):
                with ExitStack() as open_:
                    for program in [open_.enter_context(box.start(["true"])) for _ in range(number)]:
                        program.wait()
                    said = []
                    for _ in range(number):
                        reading, writing = os.pipe()
                        os.write(writing, b"x")
                        os.close(writing)
                        said.append(open_.enter_context(box.start(["cat"], stdin=reading, stdout=PIPE)))
                        os.close(reading)
                    for program in said:
                        assert program.stdout.read() == b"x"
                        assert program.wait() == 0


def test_a_closed_box_says_so():
    box = Box(limits=LIMITS)
    box.run(["true"])
    box.close()
    box.close()
    for call in (
        lambda: box.run(["true"]),
        lambda: box.start(["true"]),
        lambda: box.read("x"),
        box.processes,
        box.kill,
    ):
        with pytest.raises(KeeperError, match="closed"):
            call()
