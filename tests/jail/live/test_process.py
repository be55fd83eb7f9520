"""`start`: live streams, signals, terminals; and nothing is left, however it ends."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time

import pytest

import pyjail
from pyjail import DEVNULL, STDOUT, Limits, SpecError, TimeoutExpired, Verdict, start, testing
from tests.conftest import SLOW
from tests.host_side import alive, keepers_of
from tests.inside import Turn, turn_of
from tests.scripts import script

LIMITS = Limits(cpu_time=10 * SLOW, wall_time=30 * SLOW)


def fds() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_conversation():
    with start(["cat"], LIMITS, text=True) as p:
        for line in ("one\n", "two\n"):
            p.stdin.write(line)
            p.stdin.flush()
            assert p.stdout.readline() == line
        assert p.poll() is None
        assert p.result is None
        p.stdin.close()
        assert p.wait(30 * SLOW) == 0
    assert (p.result.verdict, p.returncode, p.poll()) == (Verdict.OK, 0, 0)
    assert p.result.usage.wall_time > 0


def test_a_repl_lives_for_long_under_its_limits():
    with start(["python3", "-i", "-q"], LIMITS, stderr=STDOUT, text=True) as p:
        p.stdin.write("x = 20\n")
        time.sleep(0.5)
        p.stdin.write("print(x + 1)\n")
        p.stdin.flush()
        while "21" not in p.stdout.readline():
            pass
    assert p.result.verdict is Verdict.OK


@pytest.mark.needs_cgroups
@pytest.mark.parametrize(
    ("command", "limits", "verdict"),
    [
        (["sh", "-c", "while :; do :; done"], Limits(cpu_time=0.3, wall_time=30 * SLOW), Verdict.CPU_TIME),
        (["sleep", "100"], Limits(wall_time=0.3), Verdict.WALL_TIME),
        (["python3", "-c", "x = b'x' * (1 << 30)"], Limits(memory="64M"), Verdict.MEMORY),
    ],
)
def test_limits_hold_while_nobody_waits(command, limits, verdict):
    with start(command, limits) as p:
        time.sleep(0.6)
    assert p.result.verdict is verdict


def test_wait_has_a_patience_that_ends_nothing():
    with start(["sleep", "1"], LIMITS) as p:
        with pytest.raises(TimeoutExpired):
            p.wait(0.05)
        assert p.poll() is None
        assert p.wait() == 0


def test_kill_ends_the_whole_jail():
    with start(["sh", "-c", "sleep 100 & sleep 100 & echo x; wait"], LIMITS) as p:
        assert p.stdout.readline() == b"x\n"
        p.kill()
        assert p.wait(10 * SLOW) == -signal.SIGKILL
    assert p.result.verdict is Verdict.SIGNALED


def test_signals_reach_the_program_alone():
    code = "trap 'echo usr1' USR1; trap 'echo term; exit 3' TERM; echo ready; while :; do sleep 0.05; done"
    with start(["sh", "-c", code], LIMITS, text=True) as p:
        assert p.stdout.readline() == "ready\n"
        p.send_signal(signal.SIGUSR1)
        assert p.stdout.readline() == "usr1\n"
        p.send_signal(signal.SIGSTOP)
        p.send_signal(signal.SIGCONT)
        p.terminate()
        assert p.stdout.readline() == "term\n"
        assert p.wait(10 * SLOW) == 3
    p.send_signal(signal.SIGTERM)  # nobody is there any more


@pytest.mark.parametrize("number", [0, 65, -1, True, "TERM", None])
def test_signals_that_make_no_sense(number):
    with start(["true"], LIMITS) as p, pytest.raises(SpecError):
        p.send_signal(number)


def test_a_terminal():
    with start(["sh"], LIMITS, pty=(30, 100)) as p:
        p.terminal.write(b"stty size; sleep 100 && echo n''o\n")
        seen = _until(p, b"30 100")
        time.sleep(0.3 * SLOW)
        p.terminal.write(b"\x03")  # ^C: SIGINT for the foreground
        p.resize(40, 90)
        p.terminal.write(b"stty size; exit 7\n")
        seen += _until(p, b"40 90")
        assert p.wait(10 * SLOW) == 7
    assert b"no\r\n" not in seen


def _until(p, mark: bytes) -> bytes:
    seen = b""
    while mark not in seen:
        seen += os.read(p.terminal.fileno(), 4096)
    return seen


def test_nothing_can_be_typed_into_the_terminal_from_inside(run_c, cc):
    source = '#include <sys/ioctl.h>\n#include <stdio.h>\nint main() { char c = 33; printf("[%d]\\n", ioctl(0, TIOCSTI, &c)); }'
    with start(["./a"], LIMITS, pty=True, files={"a": cc(source)}) as p:
        assert b"[-1]" in _until(p, b"]")
        p.wait(10 * SLOW)


def test_a_terminal_takes_the_place_of_all_streams():
    with pytest.raises(SpecError, match="pty"):
        start(["true"], pty=True, stdout=DEVNULL)
    for size in ((0, 80), (24,), "24x80", (24, 70000), 1):
        with pytest.raises(SpecError, match="pty"):
            start(["true"], pty=size)


def test_communicate_is_as_in_subprocess():
    with start(["sh", "-c", "cat; echo error >&2"], LIMITS) as p:
        assert p.communicate(b"x" * 1_000_000) == (b"x" * 1_000_000, b"error\n")
        assert p.returncode == 0
    with start(["sh", "-c", "echo a; sleep 100"], LIMITS, text=True) as p:
        with pytest.raises(TimeoutExpired) as e:
            p.communicate(timeout=1)
        assert e.value.stdout == "a\n"
        p.kill()
    with start(["cat"], LIMITS, stdin=DEVNULL) as p, pytest.raises(SpecError):
        p.communicate(b"x")


def test_streams_of_ones_own():
    read, write = os.pipe()
    with start(["sh", "-c", "echo out; echo err >&2"], LIMITS, stdout=write, stderr=STDOUT) as p:
        os.close(write)
        assert (p.stdout, p.stderr) == (None, None)
        p.wait()
    with open(read, "rb") as f:
        assert f.read() == b"out\nerr\n"


def test_what_cannot_be_executed_is_told_by_wait():
    pyjail.close()  # how many warm keepers there are is not asked here
    before = fds()
    p = start(["/no/such/program"], LIMITS)
    with pytest.raises(FileNotFoundError):
        p.wait()
    with pytest.raises(pyjail.ExecError):
        p.poll()
    p.close()
    with pytest.raises(SpecError):
        start([], LIMITS)
    with pytest.raises(SpecError):
        start(["true"], "limits")
    pyjail.close()
    assert fds() <= before + 2


def test_memory_that_ends_before_the_program_began_is_told_once(monkeypatch):
    """A keeper that is given back twice would serve two programs at the same time."""
    pyjail.close()
    begin = Turn.begin

    def starved(turn):
        begin(turn)
        assert turn.wait()
        turn.read()

    monkeypatch.setattr(Turn, "begin", starved)
    with start(["true"], LIMITS) as p:
        assert p.poll() == 0
    assert len(testing.idle()) == 1


def test_an_exception_in_the_block_kills():
    with pytest.raises(KeyError), start(["sleep", "100"], LIMITS) as p:
        raise KeyError
    assert p.result.verdict is Verdict.SIGNALED


def test_leaving_the_block_reads_what_nobody_read():
    with start(["sh", "-c", "head -c 1000000 /dev/zero; echo x >&2"], LIMITS) as p:
        pass
    assert p.result.verdict is Verdict.OK


def test_what_nobody_waits_for_ends_with_its_object():
    p = start(["sleep", "100"], LIMITS)
    keeper = turn_of(p).keeper.pid
    below = keepers_of(keeper)
    p.close()  # of its files Python itself would complain, as for subprocess.Popen
    del p
    gc.collect()
    end = time.monotonic() + 10 * SLOW
    while any(map(alive, [keeper, *below])) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(map(alive, [keeper, *below]))


def test_many_at_once_from_many_threads():
    done = []

    def one(i: int) -> None:
        with start(["sh", "-c", f"read x; echo $x {i}"], LIMITS, text=True) as p:
            p.stdin.write("hello\n")
            p.stdin.close()
            done.append(p.stdout.read() == f"hello {i}\n" and p.wait() == 0)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(12)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert done == [True] * 12


def test_one_waits_another_kills():
    with start(["sleep", "100"], LIMITS) as p:
        t = threading.Timer(0.3, p.kill)
        t.start()
        assert p.wait() == -signal.SIGKILL
        assert p.poll() == -signal.SIGKILL


def test_a_keeper_that_was_killed_is_a_jail_error():
    with start(["sleep", "100"], LIMITS) as p:
        time.sleep(0.3)
        os.kill(turn_of(p).keeper.pid, signal.SIGKILL)
        p.wait()
    assert p.result.verdict is Verdict.JAIL_ERROR


def test_files_and_collect():
    with start(["sh", "-c", "cat a > b"], LIMITS, files={"a": "x"}, collect=["b"]) as p:
        p.wait()
    assert p.result.files == {"b": b"x"}


def test_nothing_is_left_open():
    with start(["true"], LIMITS) as p:
        p.wait()
    before = fds()
    for _ in range(5):
        with start(["cat"], LIMITS) as p:
            p.communicate(b"x")
        with start(["true"], LIMITS, pty=True) as p:
            p.wait()
    assert fds() <= before


def test_a_signal_sent_at_once_reaches_the_program():
    """Before its execve it waits; what init and the program's process are before is nobody's to end."""
    for _ in range(10):
        with start(["sleep", "100"], LIMITS) as p:
            p.terminate()
            assert p.wait(20 * SLOW) == -signal.SIGTERM


def test_a_signal_at_the_first_instant_is_the_programs(monkeypatch):
    """On a new keeper its process may not have run one instruction when the signal comes."""
    for fresh in (True, False) * 10:
        with pyjail.start(["sleep", "100"], LIMITS, jail=pyjail.Jail(fresh=fresh)) as p:
            p.send_signal(signal.SIGUSR1)
            p.wait()
        assert (p.result.verdict, p.result.signal) == (Verdict.SIGNALED, signal.SIGUSR1), p.result


@pytest.mark.parametrize("given", ["é" * 150_000, b"x" * 300_000])
def test_communicate_that_timed_out_goes_on_where_it_was(given):
    p = start(["sh", "-c", "sleep 0.3; head -c 100000; sleep 0.3; cat"], LIMITS, text=isinstance(given, str))
    found, times = None, 0
    while found is None:
        try:
            found = p.communicate(given if not times else None, timeout=0.1)
        except TimeoutExpired as e:
            times += 1
            assert given.startswith(e.stdout.rstrip("\ufffd") if isinstance(given, str) else e.stdout)
    assert times
    assert found == (given, given[:0])


def test_communicate_loses_neither_input_nor_output_to_a_timeout():
    with start(["sh", "-c", "echo first; sleep 0.5; wc -c"], LIMITS) as p:
        with pytest.raises(TimeoutExpired):
            p.communicate(b"x" * 200_000, timeout=0.2)
        with pytest.raises(SpecError, match="communicate has begun"):
            p.communicate(b"more")
        assert p.communicate() == (b"first\n200000\n", b"")
        assert p.communicate() == (b"first\n200000\n", b"")


def test_leaving_the_block_keeps_nothing_of_what_is_still_written():
    out = script("""
    import pyjail, resource
    def most(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    pyjail.start(["true"]).communicate()
    before = most()
    with pyjail.start(["sh", "-c", "echo hello; head -c 300000000 /dev/zero; echo end >&2"]) as p:
        assert p.stdout.readline() == b"hello\\n"
    print(p.result.verdict, most() - before < 50_000)
    """)
    assert out.stdout == "ok True\n", (out.stdout, out.stderr)
