"""interact: pipes as data, transcripts, who was first, deadlocks, the ugly parties; nothing hangs, nothing is left."""

from __future__ import annotations

import gc
import json
import os
import pickle
import re
import signal
import sys
import threading
from pathlib import Path

import pytest

import pyjail
from pyjail import Edge, Interaction, Jail, Limits, Party, SpecError, Verdict, interact
from tests.conftest import SLOW
from tests.host_side import keepers_of, left_over, programs
from tests.scripts import script, until

LIMITS = Limits(cpu_time=10 * SLOW, wall_time=40 * SLOW)
ALL = 60 * SLOW
PAIR = ("a.stdout -> b.stdin", "b.stdout -> a.stdin")
PY = [sys.executable, "-I", "-c"]


def sh(code: str, limits: Limits = LIMITS, **kw) -> Party:
    return Party(["sh", "-c", code], limits, **kw)


def play(*parties, **kw) -> Interaction:
    return interact(*parties, **{"wall_time": ALL, **kw})


@pytest.fixture(autouse=True)
def nothing_is_left():
    pyjail.run(["true"])
    gc.collect()
    pyjail.close()
    before, others = left_over(), set(keepers_of(os.getpid()))
    yield
    gc.collect()
    pyjail.close()
    assert until(lambda: not set(keepers_of(os.getpid())) - others)
    assert until(lambda: left_over() == before), (before, left_over())


# ---- conversations ----


def test_two_parties_talk():
    i = play(sh("echo 20; read x; echo got $x >&2"), sh("read n; echo $((n + 1))"))
    assert (i.verdict, i.ok, i.fault, i.deadlock) == ("ok", True, None, {})
    assert list(i.results) == ["a", "b"]
    assert i.results["a"].stderr == b"got 21\n"
    assert [str(f.edge) for f in i.flows] == list(PAIR)
    assert [f.data for f in i.flows] == [b"20\n", b"21\n"]
    assert [(f.written, f.delivered, f.truncated) for f in i.flows] == [(3, 3, False)] * 2
    assert i.flow("b.stdout") is i.flow("a.stdin") is i.flow("b.stdout -> a.stdin") is i.flows[1]
    with pytest.raises(KeyError):
        i.flow("c.stdin")
    (asked, _), (answered, _) = i.flows[0].transcript[0], i.flows[1].transcript[0]
    assert 0 < asked <= answered <= i.wall_time
    assert {h.what for h in i.happenings} == {"ended"}


def test_a_chain_and_what_is_not_joined_is_captured():
    i = play(
        sh("cat; echo log >&2", name="first", input=b"b\na\n"),
        sh("sort", name="second"),
        sh("cat > out; echo done", name="third", collect=["out"]),
        edges=["first.stdout -> second.stdin", ("second.stdout", "third.stdin")],
    )
    assert i.ok
    assert i.results["third"].files == {"out": b"a\nb\n"}
    assert i.results["third"].stdout == b"done\n"
    assert i.results["first"].stderr == b"log\n"
    assert i.results["first"].stdout is None


def test_a_circle_of_five():
    middle = [sh("read x; echo $((x + 1))", name=f"p{n}") for n in range(1, 5)]
    edges = [(f"p{n}.stdout", f"p{(n + 1) % 5}.stdin") for n in range(5)]
    i = play(sh("echo 0; read x; echo $x >&2", name="p0"), *middle, edges=edges)
    assert i.ok and i.results["p0"].stderr == b"4\n"


def test_stderr_can_be_a_source():
    i = play(sh("echo x >&2; echo y"), sh("cat"), edges=[("a.stderr", "b.stdin")])
    assert (i.results["a"].stdout, i.results["b"].stdout) == (b"y\n", b"x\n")


def test_a_manager_talks_to_many_through_named_pipes():
    manager = """if 1:
        import sys
        n = int(sys.argv[1])
        out = [open(f"/pipes/to{i}", "w", buffering=1) for i in range(n)]
        back = [open(f"/pipes/from{i}") for i in range(n)]
        for turn in range(50):
            for i in range(n): print(turn * i, file=out[i])
            for i in range(n): assert int(back[i].readline()) == turn * i + 1
        print(sys.stdin.read())
    """
    n = 5
    copies = [sh("while read x; do echo $((x + 1)); done", name=f"c{i}") for i in range(n)]
    edges = [(f"manager.to{i}", f"c{i}.stdin") for i in range(n)] + [
        (f"c{i}.stdout", f"manager.from{i}") for i in range(n)
    ]
    i = play(Party([*PY, manager, str(n)], LIMITS, name="manager", input=b"score"), *copies, edges=edges)
    assert i.ok, i.results["manager"].stderr
    assert i.results["manager"].stdout == b"score\n"
    assert i.flow("c4.stdin").data == b"".join(b"%d\n" % (4 * t) for t in range(50))


def test_named_pipes_carry_any_bytes_and_their_directory_cannot_be_filled():
    data = bytes(range(256)) * 4000
    i = play(
        sh("cat > /pipes/o; ls /pipes; touch /pipes/x", name="m", input=data),
        sh("cat > out", name="p", collect=["out"]),
        edges=["m.o -> p.stdin"],
    )
    assert i.results["p"].files["out"] == data
    assert i.results["m"].stdout == b"o\n"
    assert i.results["m"].exit_code == 1


def test_each_party_has_its_jail_and_its_limits():
    i = play(
        sh("hostname >&2; cat f >&2; pwd >&2; echo $X >&2", jail=Jail(hostname="alice"), files={"f": "file\n"}, cwd="/tmp",
           env={"PATH": "/bin:/usr/bin", "X": "env"}),
        sh("hostname >&2", Limits(wall_time=5 * SLOW), jail=Jail(hostname="bob")),
    )  # fmt: skip
    assert i.results["b"].stderr == b"bob\n"
    assert i.results["b"].limits.wall_time == 5 * SLOW
    assert i.results["a"].stderr.startswith(b"alice\n") and i.results["a"].stderr.endswith(b"/tmp\nenv\n")


def test_results_can_be_kept():
    i = play(sh("echo 20; read x"), sh("read n; printf '\\377'; exit 1"))
    assert pickle.loads(pickle.dumps(i)).to_dict() == i.to_dict()
    d = json.loads(json.dumps(i.to_dict()))
    assert d["verdict"] == "fault" and d["results"]["b"]["exit_code"] == 1
    assert d["flows"][0]["transcript"][0][1] == {"bytes": "20\n"}
    assert d["flows"][1]["transcript"][0][1] == {"base64": "/w=="}
    with pytest.raises(AttributeError):
        i.verdict = "ok"


# ---- transcripts ----


@pytest.mark.parametrize(("cap", "kept", "cut"), [("1K", 1024, True), (0, 0, True), (None, 300_000, False)])
def test_the_transcript_has_a_cap_and_the_conversation_has_none(cap, kept, cut):
    i = play(sh("head -c 300000 /dev/zero"), sh("cat | wc -c >&2"), edges=["a.stdout -> b.stdin"], transcript=cap)
    flow = i.flow("a.stdout")
    assert i.results["b"].stderr.strip() == b"300000"
    assert (len(flow.data), flow.truncated, flow.written, flow.delivered) == (kept, cut, 300_000, 300_000)


def test_what_was_written_last_is_in_the_transcript_even_if_nobody_read_it():
    i = play(sh("echo never read"), sh("sleep 0.3"), edges=["a.stdout -> b.stdin"])
    assert i.flow("a.stdout").data == b"never read\n"
    assert i.ok


# ---- who was first ----


def test_a_party_that_exits_early():
    i = play(sh("exit 0"), sh("read x; sleep 0.2; echo an answer; echo alive >&2"))
    assert (i.first.party, i.first.what, i.first.verdict) == ("a", "ended", Verdict.OK)
    assert i.results["b"].signal == signal.SIGPIPE
    assert (i.verdict, i.fault) == ("fault", "a")  # b was ended by the pipe that a broke
    assert i.flow("b.stdout").closed_by == "a"


def test_a_party_that_crashes_is_at_fault_and_not_who_waits_for_it():
    i = play(sh("read x; kill -SEGV $$"), sh("echo hello; read answer || exit 9"))
    assert (i.verdict, i.fault) == ("fault", "a")
    assert (i.first.party, i.first.verdict) == ("a", Verdict.SIGNALED)
    assert i.results["b"].exit_code == 9


def test_a_party_that_answers_before_it_is_asked():
    i = play(sh(f"sleep {0.5 * SLOW}; echo 3 4; read x; echo $x >&2"), sh("echo 7; read a b"))
    assert i.ok and i.results["a"].stderr == b"7\n"
    assert i.flow("b.stdout").transcript[0][0] < i.flow("a.stdout").transcript[0][0]


def test_a_party_that_closes_stdin_and_computes_on():
    compute = "n=0; while [ $n -lt 100000 ]; do n=$((n+1)); done; sleep 1"
    i = play(sh("read x; sleep 0.2; echo x; echo never >&2"), sh(f"exec <&-; echo closed; {compute}"))
    assert (i.first.party, i.first.what, i.first.stream) == ("b", "closed", "stdin")
    assert i.results["a"].signal == signal.SIGPIPE
    assert i.results["b"].ok
    assert i.fault == "b"


def test_a_party_that_closes_stdout_lets_the_other_see_the_end():
    i = play(sh("cat >&2; echo end >&2; echo x"), sh("echo one; exec >&-; sleep 1; read x; echo $x >&2"))
    assert i.ok
    assert i.results["a"].stderr == b"one\nend\n"
    assert i.results["b"].stderr == b"x\n"
    assert [(h.party, h.what) for h in i.happenings] == [("b", "closed"), ("a", "ended"), ("b", "ended")]


# ---- back-pressure, SIGPIPE ----


def test_a_reader_that_never_reads_stops_its_writer():
    i = play(sh("exec yes"), sh("sleep 1"), edges=["a.stdout -> b.stdin"], transcript=10)
    assert i.flow("a.stdout").written < 1 << 20
    assert i.results["a"].signal == signal.SIGPIPE
    assert (i.first.party, i.first.what) == ("b", "ended")


@pytest.mark.parametrize("edge", [Edge("a.stdout", "b.stdin", False), "a.stdout -> b.stdin"])
def test_a_writer_may_write_on_when_nobody_reads(edge):
    code = f"sleep {0.3 * SLOW}; head -c 500000 /dev/zero; echo all >&2"
    i = play(sh(code), sh("exit 0"), edges=[edge], sigpipe=isinstance(edge, Edge))
    assert i.ok and i.results["a"].stderr == b"all\n"
    assert (i.flow("a.stdout").written, i.flow("a.stdout").delivered) == (500_000, 0)


@pytest.mark.needs_cgroups
def test_a_flood_ends_with_the_limit_of_who_floods():
    i = play(sh("exec yes", Limits(cpu_time=0.3 * SLOW)), sh("exec cat >/dev/null"), transcript="1K")
    assert (i.verdict, i.fault) == ("fault", "a")
    assert i.results["a"].verdict is Verdict.CPU_TIME
    assert i.flow("a.stdout").written > 1 << 20


def test_a_flood_does_not_outlast_the_wall_limit_for_all():
    i = play(sh("exec yes"), sh("exec cat >/dev/null"), transcript="1K", wall_time=0.7 * SLOW)
    assert i.verdict == "wall_time"


@pytest.mark.needs_cgroups
def test_one_partys_limit_is_its_own():
    i = play(Party([*PY, "x = b'x' * (1 << 30)"], Limits(memory="64M")), sh("read x; exit 0"))
    assert i.results["a"].verdict is Verdict.MEMORY
    assert i.results["b"].verdict is Verdict.OK
    assert i.fault == "a"


def test_the_wall_limit_of_one_party_ends_it_alone():
    i = play(sh("sleep 100", Limits(wall_time=0.5)), sh("read x; echo end >&2"))
    assert (i.verdict, i.fault) == ("fault", "a")
    assert i.results["a"].verdict is Verdict.WALL_TIME
    assert i.results["b"].stderr == b"end\n"


# ---- all together ----


def test_a_wall_limit_for_all():
    i = play(sh("while :; do sleep 0.05; done"), sh("cat"), wall_time=0.7 * SLOW)
    assert (i.verdict, i.fault) == ("wall_time", None)
    assert [(h.party, h.what) for h in sorted(i.happenings, key=lambda h: h.party)] == [
        ("a", "killed"),
        ("b", "killed"),
    ]
    assert [r.signal for r in i.results.values()] == [9, 9]
    assert i.flow("a.stdout").closed_by is None


def test_both_wait_for_each_other():
    i = play(sh("read x"), sh("cat"), deadlock_after=0.4)
    assert i.verdict == "deadlock"
    assert i.deadlock == {
        "a": ("reads a.stdin, and b writes nothing",),
        "b": ("reads b.stdin, and a writes nothing",),
    }
    assert {h.what for h in i.happenings} == {"killed"}


def test_both_write_and_nobody_reads():
    code = "head -c 1000000 /dev/zero; cat >/dev/null"
    i = play(sh(code), sh(code), deadlock_after=0.4)
    assert i.deadlock == {
        "a": ("writes a.stdout, and b reads nothing",),
        "b": ("writes b.stdout, and a reads nothing",),
    }


def test_a_circle_of_three_that_all_wait():
    edges = ["a.stdout -> b.stdin", "b.stdout -> c.stdin", "c.stdout -> a.stdin"]
    i = play(sh("cat"), sh("cat"), sh("cat"), edges=edges, deadlock_after=0.4)
    assert list(i.deadlock) == ["a", "b", "c"]


def test_who_reads_a_named_pipe_is_part_of_a_deadlock():
    i = play(sh("cat /pipes/i"), sh("cat"), edges=["a.o -> b.stdin", "b.stdout -> a.i"], deadlock_after=0.4)
    assert i.deadlock["a"] == ("reads a.i, and b writes nothing",)


def test_the_last_party_left_may_be_in_a_deadlock_with_itself():
    i = play(sh("exit 0"), Party([*PY, "import signal; signal.pause()"], LIMITS), deadlock_after=0.4)
    assert i.deadlock == {"b": ("waits in pause",)} or i.deadlock == {"b": ("waits in ppoll",)}  # aarch64 has no pause


@pytest.mark.parametrize(
    "code",
    [
        "sleep 2; echo x",
        "n=0; while [ $n -lt 1500000 ]; do n=$((n+1)); done; echo x",
        "for i in 1 2 3 4; do sleep 0.5; done; echo x",
        f"exec {sys.executable} -I -c 'import select; select.select([], [], [], 2); print()'",
        f"exec {sys.executable} -I -c 'import threading; threading.Event().wait(2); print()'",
    ],
)
def test_who_sleeps_or_computes_is_in_no_deadlock(code):
    i = play(sh(code, name="slow"), sh("read x; exit 0"), edges=["slow.stdout -> b.stdin"], deadlock_after=0.2)
    assert i.ok, i.deadlock


def test_deadlocks_need_not_be_looked_for():
    i = play(sh("read x"), sh("cat"), deadlock_after=None, wall_time=2.5)
    assert i.verdict == "wall_time"


# ---- named pipes, opened late or never ----


def test_a_named_pipe_that_is_opened_when_its_reader_is_gone_does_not_hang():
    code = "sleep 0.5; exec 3>/pipes/o; sleep 0.5; trap '' PIPE; echo x >&3 || echo broken"
    i = play(sh(code, name="m"), sh("exit 0", name="p"), edges=["m.o -> p.stdin"])
    assert i.results["m"].stdout == b"broken\n"


def test_named_pipes_that_are_never_opened_end_with_their_party():
    i = play(sh("sleep 0.2", name="m"), sh("cat; echo end", name="p"), edges=["m.o -> p.stdin"])
    assert i.ok and i.results["p"].stdout == b"end\n"
    i = play(sh("sleep 0.2", name="m"), sh("exec yes", name="p"), edges=["p.stdout -> m.i"], transcript=1)
    assert i.results["p"].signal == signal.SIGPIPE
    assert i.fault == "m"


def test_what_waits_in_a_named_pipe_is_there_when_it_is_opened():
    i = play(sh("sleep 0.5; cat /pipes/i", name="m"), sh("echo early", name="p"), edges=["p.stdout -> m.i"])
    assert i.ok and i.results["m"].stdout == b"early\n"


# ---- from outside ----


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
        assert not [f for f in links if f.startswith("pipe:") or "pyjail-pipes" in f][3:], links
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


# ---- what makes no sense ----


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


# ---- documents and examples ----


@pytest.mark.parametrize(
    ("page", "first"),
    [("interact", [b"ok b'got 21\\n'", b"b'300\\n'", b"deadlock"]), ("sessions", [b"b'42\\n'", b"3", b"['data']"])],
)
def test_every_snippet_of_the_page_runs(page, first):
    text = (Path(__file__).parents[2] / f"docs/{page}.md").read_text()
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
    source = (Path(__file__).parents[2] / "examples" / example).read_text()
    out = script("__name__ = '__main__'\n" + source.replace("from __future__ import annotations\n", ""), timeout=120)
    assert out.returncode == 0, out.stderr
    assert out.stdout.splitlines()[: len(lines)] == lines
