"""interact: killed, closed, interrupted, out of fds; what makes no sense; the documents."""

from __future__ import annotations

import os
import re
import signal
import threading
from pathlib import Path

import pytest

import pyjail
from pyjail import KeeperError, Party, SpecError, Verdict, interact
from pyjail._interact import scene
from tests.conftest import SLOW
from tests.host_side import programs
from tests.jail.interact.parties import LIMITS, play, sh
from tests.scripts import script, until


def test_a_party_that_is_killed_from_outside():
    def strike():
        assert until(lambda: len(programs(b"sleep")) == 1)
        os.kill(programs(b"sleep")[0], signal.SIGKILL)

    thread = threading.Thread(target=strike)
    thread.start()
    i = play(Party(["sleep", "1000"], LIMITS), sh("read x; echo alone >&2"))
    thread.join()
    assert (i.verdict, i.fault) == ("fault", "a")
    assert (i.results["a"].verdict, i.results["a"].signal) == (Verdict.SIGNALED, 9)
    assert i.results["b"].stderr == b"alone\n"


@pytest.mark.parametrize("generations", [1, 2], ids=["keeper", "guard"])
def test_a_keeper_that_is_killed_from_outside(generations):
    def strike():
        assert until(lambda: len(programs(b"sleep")) == 1)
        victim = programs(b"sleep")[0]
        for _ in range(generations):
            victim = parent(victim)
        os.kill(victim, signal.SIGKILL)

    def parent(pid: int) -> int:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])

    thread = threading.Thread(target=strike)
    thread.start()
    i = play(Party(["sleep", "1000"], LIMITS), sh("read x; echo alone >&2"))
    thread.join()
    assert i.fault == "a"
    assert i.results["a"].verdict is Verdict.JAIL_ERROR
    assert "keeper" in i.results["a"].error
    assert i.results["b"].stderr == b"alone\n"


def test_a_keeper_that_is_killed_with_its_named_pipes_is_an_error_at_once(monkeypatch):
    """Another one would have others, which lead nowhere."""
    prepare = scene.Player.prepare

    def killed(player):
        prepare(player)
        if player.ready is not None:
            os.kill(player.ready.keeper.pid, signal.SIGKILL)
            assert until(lambda: not player.ready.keeper.alive)

    monkeypatch.setattr(scene.Player, "prepare", killed)
    with pytest.raises(KeeperError, match="killed from outside") as e:
        play(sh("echo x > /pipes/out", name="a"), sh("read x", name="b"), edges=["a.out -> b.stdin"])
    assert e.value.__notes__ == ["(party 'a' of pyjail.interact)"]


def test_close_from_another_thread_is_no_hang():
    def strike():
        assert until(lambda: len(programs(b"sleep")) == 2)
        pyjail.close()

    thread = threading.Thread(target=strike)
    thread.start()
    i = play(Party(["sleep", "1000"], LIMITS), Party(["sleep", "1000"], LIMITS))
    thread.join()
    assert [r.verdict for r in i.results.values()] == [Verdict.JAIL_ERROR] * 2


def test_an_interrupt_comes_out_when_all_jails_are_gone():
    code = """
    import os, pyjail, signal, threading, time
    from tests.host_side import programs
    signal.signal(signal.SIGINT, signal.default_int_handler)
    def interrupt():
        while len(programs(b"sleep")) < 3: time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)
    threading.Thread(target=interrupt, daemon=True).start()
    sleep = ["sleep", "1000"]
    try: pyjail.interact(sleep, sleep, sleep, edges=[("a.stdout", "b.stdin")], wall_time=None)
    except KeyboardInterrupt: print("interrupted", programs(b"sleep"))
    """
    out = script(code)
    assert out.stdout == "interrupted []\n", out.stderr


def test_an_interrupt_at_any_moment_leaves_nothing():
    code = """
    import gc, os, pyjail, random, signal, tempfile, time
    from tests.host_side import keepers_of
    tempfile.tempdir = tempfile.mkdtemp()
    rng = random.Random(5)
    def interrupt(*_): raise KeyboardInterrupt
    signal.signal(signal.SIGALRM, interrupt)
    edges = ["a.o -> b.stdin", "b.stdout -> a.i"]
    play = lambda: pyjail.interact(["sh", "-c", "echo x >/pipes/o; cat /pipes/i"], ["cat"], edges=edges)
    play()
    end = time.monotonic() + LIMIT
    fired = 0
    while time.monotonic() < end:
        try:
            signal.setitimer(signal.ITIMER_REAL, rng.uniform(0.0001, 0.03))
            play()
            signal.setitimer(signal.ITIMER_REAL, 0)
        except KeyboardInterrupt: fired += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
    gc.collect()
    pyjail.close()
    print(fired > 0, keepers_of(os.getpid()), os.listdir(tempfile.tempdir), play().ok)
    """
    out = script(code.replace("LIMIT", str(4 * SLOW)), timeout=120)
    assert out.stdout == "True [] [] True\n", (out.stdout, out.stderr[-2000:])


def test_out_of_fds_half_way_leaves_nothing():
    code = """
    import os, pyjail, resource, tempfile
    from tests.host_side import keepers_of
    tempfile.tempdir = tempfile.mkdtemp()
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
    few = pyjail.Limits(open_files=32)
    parties = [pyjail.Party(["sh", "-c", "cat /pipes/i"], few), pyjail.Party(["true"], few), pyjail.Party(["true"], few)]
    edges = ["a.o -> b.stdin", "b.stdout -> a.i", "c.stdout -> a.i2"]
    pyjail.interact(*parties, edges=edges)
    pyjail.close()
    failed = ok = 0
    for spare in range(0, 100, 3):
        held = []
        try:
            while True: held.append(os.open("/dev/null", os.O_RDONLY))
        except OSError: pass
        for fd in held[:spare]: os.close(fd)
        try:
            pyjail.interact(*parties, edges=edges)
            ok += 1
        except OSError as e:
            assert e.errno == 24, e
            failed += 1
        for fd in held[spare:]: os.close(fd)
        pyjail.close()
        links = [os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{n}")]
        assert not [f for f in links if f.startswith("pipe:") or "/pipes" in f][3:], links
        assert not keepers_of(os.getpid()) and not os.listdir(tempfile.tempdir)
    print(failed > 5, ok > 5)
    """
    out = script(code, timeout=120)
    assert out.stdout == "True True\n", (out.stdout, out.stderr[-2000:])


def test_many_interactions_from_many_threads():
    done = []

    def one(n: int) -> None:
        i = play(sh(f"echo {n}; read x; [ $x = {n + 1} ]"), sh("read n; echo $((n + 1))"))
        done.append(i.ok)

    threads = [threading.Thread(target=one, args=(n,)) for n in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert done == [True] * 8


def test_a_program_that_cannot_be_executed_is_told_with_its_party():
    with pytest.raises(FileNotFoundError) as e:
        play(Party(["sleep", "1000"], LIMITS), Party(["/no/such/program"], LIMITS, name="sol"))
    assert "'sol'" in e.value.__notes__[0]
    assert programs(b"sleep") == []
    with pytest.raises(SpecError) as e:
        play(["true"], "a shell string")
    assert e.value.field == "args" and "'b'" in e.value.__notes__[0]


TWICE = Party(["true"], name="x")


@pytest.mark.parametrize(
    ("parties", "options", "named"),
    [
        ((), {}, "parties"),
        ((["true"],), {}, "edges"),
        ((["true"],) * 3, {}, "edges"),
        ((["true"],) * 257, {"edges": []}, "257"),
        ((TWICE, TWICE), {}, "'x'"),
        ((Party(["true"], name="x"), Party(["false"], name="x")), {}, "'x'"),
        ((Party(["true"], name="b"), ["true"]), {}, "'b'"),
        ((Party(["true"], name="no.dots"), ["true"]), {}, "no.dots"),
        ((Party(["true"], jail="jail"), ["true"]), {}, "jail"),
        ((Party(["true"], limits="1s"), ["true"]), {}, "limits"),
        ((["true"], ["true"]), {"edges": ["a.stdout -> c.stdin"]}, "'c'"),
        ((["true"], ["true"]), {"edges": ["a.stdout -> a.stdin"]}, "itself"),
        ((["true"], ["true"]), {"edges": ["a.stdin -> b.stdin"]}, "a.stdin"),
        ((["true"], ["true"]), {"edges": ["a.stdout -> b.stdout"]}, "b.stdout"),
        ((["true"], ["true"]), {"edges": ["a.stdout"]}, "a.stdout"),
        ((["true"], ["true"]), {"edges": "a.stdout -> b.stdin"}, "sequence"),
        ((["true"], ["true"]), {"edges": [("a", "b")]}, "PARTY.STREAM"),
        ((["true"], ["true"]), {"edges": [("a.stdout", "b./etc")]}, "PARTY.STREAM"),
        ((["true"], ["true"]), {"edges": [3]}, "3"),
        ((["true"],) * 3, {"edges": ["a.stdout -> c.stdin", "b.stdout -> c.stdin"]}, "c.stdin"),
        ((["true"],) * 3, {"edges": ["a.stdout -> b.stdin", "a.stdout -> c.stdin"]}, "a.stdout"),
        ((["true"],) * 3, {"edges": ["a.x -> b.stdin", "c.stdout -> a.x"]}, "a.x"),
        ((Party(["true"], input=b"x"), ["true"]), {}, "'a'"),
        ((["true"], ["true"]), {"wall_time": 0}, "wall_time"),
        ((["true"], ["true"]), {"deadlock_after": -1}, "deadlock_after"),
        ((["true"], ["true"]), {"transcript": "much"}, "transcript"),
        ((["true"], ["true"]), {"sigpipe": "yes"}, "sigpipe"),
    ],
)
def test_what_makes_no_sense_is_named_and_starts_nothing(parties, options, named):
    with pytest.raises(SpecError) as e:
        interact(*parties, **options)
    assert named in str(e.value)


@pytest.mark.parametrize(
    ("page", "first"),
    [("interact", [b"ok b'got 21\\n'", b"b'300\\n'", b"deadlock"]), ("sessions", [b"b'42\\n'", b"3", b"['data']"])],
)
def test_every_snippet_of_the_page_runs(page, first):
    text = (Path(__file__).parents[3] / f"docs/{page}.md").read_text()
    shown = []
    for code in re.findall(r"```python\n(.*?)```", text, re.S):
        out = script(code)
        assert (out.returncode, out.stderr) == (0, ""), code
        shown.append(out.stdout.encode())
    assert [s[: len(f)] for s, f in zip(shown, first, strict=False)] == first


@pytest.mark.parametrize(
    ("example", "lines"),
    [
        ("interactor.py", ["bisection: accepted", "one by one: too many guesses: wrong answer",
                           "gives up: no number: wrong answer", "nonsense: no number: wrong answer", "no flush: deadlock"]),
        ("communication.py", ["right: 100 right (ok)", "wrong: 0 wrong (ok)",
                              "talks too much: 0 copy 0 broke the rules (ok)", "silent: 0 copy 0 broke the rules (ok)"]),
    ],
)  # fmt: skip
def test_the_examples(example, lines):
    source = (Path(__file__).parents[3] / "examples" / example).read_text()
    out = script("__name__ = '__main__'\n" + source.replace("from __future__ import annotations\n", ""), timeout=120)
    assert out.returncode == 0, out.stderr
    assert out.stdout.splitlines()[: len(lines)] == lines
