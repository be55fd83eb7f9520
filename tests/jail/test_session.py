"""`Session`: one /box over several runs, and hands in it from outside, while nothing runs and while something does."""

from __future__ import annotations

import errno
import os
import pickle
import signal
import sys
import textwrap
import threading
import time

import pytest

import pyjail
from pyjail import File, Jail, KeeperError, Limits, Mount, Session, Snapshot, SpecError, Verdict
from tests.conftest import SLOW
from tests.host_side import alive, keeper_below, keepers_of, rss

PYTHON = [sys.executable, "-I", "-c"]
LIMITS = Limits(cpu_time=20 * SLOW, wall_time=60 * SLOW)


@pytest.fixture
def s():
    with Session(limits=LIMITS, disk="8M", inodes=500) as session:
        yield session


def test_compile_run_test(s, tmp_path):
    s.write("add.c", '#include <stdio.h>\nint main() { int a, b; scanf("%d%d", &a, &b); printf("%d", a + b); }')
    assert s.run(["gcc", "-o", "add", "add.c"], Limits(memory="512M", wall_time=60 * SLOW)).ok
    for a, b in ((1, 2), (30, 4)):
        assert s.run(["./add"], Limits(memory="32M"), input=f"{a} {b}".encode()).stdout == str(a + b).encode()
    assert s.list() == ["add", "add.c"]
    assert len(s.results) == 3
    assert s.cpu_time == sum(r.usage.cpu_time for r in s.results)


def test_only_the_box_stays(s):
    s.run(["sh", "-c", "echo x > /tmp/x; echo y > /dev/shm/y; echo z > z; (sleep 100 &) "])
    look = "ls; ls -d /tmp/x /dev/shm/y 2>&-; set -- /proc/[0-9]*; echo $#"
    assert s.run(["sh", "-c", look], text=True).stdout.split() == ["z", "1"]


def test_files_from_outside(s):
    s.write("a/b/c.txt", "text")
    s.write("a/x", File(b"#!/bin/sh\necho $1", 0o755))
    s.write("a/b/c.txt", b"other")
    assert s.read("a/b/c.txt") == b"other"
    assert s.run(["./a/x", "hi"]).stdout == b"hi\n"
    assert s.list() == ["a", "a/b", "a/b/c.txt", "a/x"]
    assert s.list("a/*") == ["a/b", "a/x"]
    s.remove("a/b/c.txt")
    with pytest.raises(OSError, match="not empty"):
        s.remove("a")
    s.remove("a", recursive=True)
    assert s.list() == []
    with pytest.raises(FileNotFoundError):
        s.read("a/b/c.txt")
    assert s.run(["sh", "-c", "ls -ln; id -u; touch mine"], text=True).stdout == "total 0\n1000\n"
    for bad in ("", "/etc/passwd", "../x", "a/../../x"):
        with pytest.raises(SpecError):
            s.read(bad)
        with pytest.raises(SpecError):
            s.write(bad, "x")


def test_no_symlink_leads_out(s):
    s.run(["sh", "-c", "ln -s /etc/passwd p; ln -s /etc d; ln -s p q; mkfifo f"])
    for path in ("p", "q", "d/passwd", "f"):
        with pytest.raises(OSError):
            s.read(path)
    s.write("p", "mine")  # the link itself is replaced
    assert s.read("p") == b"mine"
    with pytest.raises(OSError):
        s.write("d/x", "x")


def test_files_while_something_runs(s):
    with s.start(
        ["sh", "-c", "cat; while [ ! -e go ]; do sleep 0.05; done; cat go; rm go; echo z > made"], text=True
    ) as p:
        p.stdin.write("first\n")
        p.stdin.flush()
        assert p.stdout.readline() == "first\n"
        p.stdin.close()
        s.write("other", "x" * 100_000)
        assert s.read("other") == b"x" * 100_000
        s.remove("other")
        with pytest.raises(SpecError, match="runs already"):
            s.run(["true"])
        with pytest.raises(SpecError, match="runs already"):
            s.snapshot()
        s.write("go", "went\n")
        assert p.stdout.readline() == "went\n"
        assert p.wait() == 0
    assert s.list() == ["made"]


def test_files_of_a_program_that_fights_back(s):
    code = """
import os, time
end = time.monotonic() + 3
while time.monotonic() < end:
    for make in (lambda: os.symlink("/etc/passwd", "f"), lambda: os.mkdir("f"), lambda: open("f", "w").close()):
        try: make()
        except OSError: pass
        try: os.unlink("f")
        except OSError:
            try: os.rmdir("f")
            except OSError: pass
"""
    with s.start([sys.executable, "-c", code]) as p:
        for _ in range(200):
            try:
                s.write("f", "mine")
                assert b"root" not in s.read("f")
            except OSError:
                pass
        p.kill()


def test_many_threads_ask_while_one_runs(s):
    errors = []

    def ask(i: int) -> None:
        try:
            for k in range(20):
                s.write(f"{i}/{k}", f"{i} {k}")
                assert s.read(f"{i}/{k}") == f"{i} {k}".encode()
        except BaseException as e:
            errors.append(e)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(6)]
    with s.start(["sh", "-c", "sleep 0.3; echo end"]) as p:
        for t in threads:
            t.start()
        assert p.communicate()[0] == b"end\n"
    for t in threads:
        t.join()
    assert errors == []
    assert len(s.list("*/*")) == 120


@pytest.mark.needs_cgroups
def test_the_quota_is_of_all_runs_together(s):
    assert s.run(["sh", "-c", "head -c 6000000 /dev/zero > one"]).ok
    r = s.run(["sh", "-c", "head -c 6000000 /dev/zero > two"])
    assert "disk" in r.limits_hit
    assert not r.ok
    with pytest.raises(OSError, match="No space"):
        s.write("three", b"x" * 3_000_000)
    s.remove("one")
    s.write("three", b"x" * 3_000_000)
    assert s.run(["true"]).receipt["disk"].value.startswith("/box=8388608")


def test_a_step_may_only_look(s):
    s.write("x", "x")
    r = s.run(["sh", "-c", "cat x; echo y > x; touch /tmp/fine && echo fine"], read_only=True, text=True)
    assert r.stdout == "xfine\n"
    assert "Read-only" in r.stderr
    assert s.run(["sh", "-c", "echo y > x; cat x"]).stdout == b"y\n"


def test_snapshots(s):
    s.write("bin/tool", File(b"#!/bin/sh\necho tool", 0o755))
    s.run(["sh", "-c", "ln -s bin/tool link; mkfifo fifo; mkdir -m 700 empty; echo $'\\xff' > raw"])
    snap = s.snapshot()
    assert snap.files["bin/tool"] == (0o755, b"#!/bin/sh\necho tool")
    assert snap.links == {"link": "bin/tool"}
    assert set(snap.skipped) == {"fifo"}
    assert pickle.loads(pickle.dumps(snap)) == snap
    for wreck in (
        "rm -r bin; echo other > raw",
        "chmod 000 bin . ; true",
        "i=0; while [ $i -lt 400 ]; do echo > f$i; i=$((i+1)); done",
        'python3 -c \'import os\nfor i in range(450): os.mkdir("d"); os.chdir("d")\'',
    ):
        s.run(["sh", "-c", wreck])
        s.restore(snap)
        again = s.snapshot()
        assert (again.files, again.directories, again.links) == (snap.files, snap.directories, snap.links)
        assert again.digest != snap.digest or not snap.skipped or again.skipped == {}
        assert s.run(["./link"]).stdout == b"tool\n"
    with Session(limits=LIMITS) as other:
        other.restore(snap)
        assert other.run(["bin/tool"]).ok
    s.clear()
    assert s.list() == []
    with pytest.raises(SpecError):
        s.restore("snapshot")


def test_a_snapshot_holds_what_the_disk_does_whatever_the_files_seem_to_be(s):
    make = """
    import os
    for i in range(100): open(f"hole{i}", "wb").truncate(64 << 20)
    f = open("islands", "wb")
    for at in (0, 8 << 20, 40 << 20): f.seek(at); f.write(b"x" * 5000)
    f.truncate(50 << 20)
    open("whole", "wb").write(os.urandom(4 << 20))
    for i in range(300): os.link("whole", f"link{i}")
    """
    look = "sha256sum islands whole; stat -c '%n %s %b' hole7 islands"
    assert s.run([*PYTHON, textwrap.dedent(make)]).ok
    seen = s.run(["sh", "-c", look]).stdout
    before = rss()
    snap = s.snapshot()
    assert len(pickle.dumps(snap)) < 6 << 20
    assert len({snap, pickle.loads(pickle.dumps(snap))}) == 1
    assert len(repr(snap)) < 300
    assert rss() - before < 64 << 20
    assert snap.files["islands"][1] == b"".join(b"x" * 5000 + bytes(n - 5000) for n in (8 << 20, 32 << 20, 10 << 20))
    only = Snapshot({path: snap.files[path] for path in ("whole", "islands")}, {}, {})
    assert only.files == {path: snap.files[path] for path in ("islands", "whole")} != snap.files
    s.remove("whole")
    for i in range(300):
        s.remove(f"link{i}")
    small = s.snapshot()
    s.clear()
    s.restore(small)
    assert s.run(["sh", "-c", look.replace("whole", "")]).stdout == b"".join(
        line + b"\n" for line in seen.splitlines() if b"whole" not in line
    )
    assert s.snapshot() == small
    with pytest.raises(OSError, match="raise Session"):  # a link comes back as a file
        s.restore(snap)


DEEP = "import os\nfor i in range({}): os.mkdir({!r}); os.chdir({!r})\nopen('f', 'w').write('x')"


@pytest.mark.parametrize("depth", [300, 1500])
def test_deep_trees_are_listed_kept_and_removed(depth):
    with Session(limits=LIMITS) as s:
        assert s.run([*PYTHON, DEEP.format(depth, "d", "d")]).ok
        deepest = "d/" * depth + "f"
        assert s.list()[-1] == deepest
        assert s.read(deepest) == b"x"
        snap = s.snapshot()
        s.clear()
        s.restore(snap)
        assert s.read(deepest) == b"x"
        s.remove("d", recursive=True)
        assert s.list() == []


def test_to_remove_what_a_program_makes_again_and_again_ends_before_the_program_does():
    make = """
    import os
    while True:
        try:
            for i in range(100): os.makedirs(f"d/{i}/x", exist_ok=True); open(f"d/{i}/x/f", "w").close()
        except OSError: pass
    """
    with Session(limits=LIMITS, inodes=500) as s:
        s.run(["mkdir", "d"])
        p = s.start([*PYTHON, textwrap.dedent(make)])
        for _ in range(5):
            try:
                s.remove("d", recursive=True)
            except FileNotFoundError:
                pass
            except OSError as e:
                assert e.errno == errno.ENOTEMPTY
        assert p.poll() is None
        p.kill()
        p.wait()


def test_what_is_too_deep_for_a_name_is_told_and_can_be_removed(s):
    name = "n" * 250
    assert s.run([*PYTHON, DEEP.format(300, name, name)]).ok
    s.write("beside", "x")
    assert [len(p) for p in s.list() if p != "beside"] == [251 * n - 1 for n in range(1, len(s.list()))]
    snap = s.snapshot()
    (path,) = snap.skipped
    assert "too deep" in snap.skipped[path]
    assert s.build(["true"]).result.ok
    s.remove(name, recursive=True)
    assert s.list() == ["beside"]


def test_more_entries_than_are_held_at_once_are_an_error_and_can_be_removed():
    with Session(limits=LIMITS, inodes=None) as s:
        assert s.run(
            [*PYTHON, "import os; os.mkdir('d'); open('f', 'w')\nfor i in range(150_000): os.link('f', f'd/{i}')"]
        ).ok
        before = rss()
        for look in (s.list, s.snapshot, lambda: s.build(["true"])):
            with pytest.raises(OSError, match="more than 100000 entries"):
                look()
        s.remove("d", recursive=True)
        assert rss() - before < 100 << 20
        assert s.list() == ["f"]


def test_steps(s):
    done = s.steps(
        [
            {"command": "cat > a; echo err >&2; exit 3", "stdin": "in"},
            {"command": ["cat", "a"]},
            {"command": "nope"},
            {"command": ["/nope"]},
            {"command": "sleep 100", "timeout": 0.3},
        ]
    )
    assert [(d["stdout"], d["exit_code"], d["verdict"]) for d in done] == [
        ("", 3, "runtime_error"), ("in", 0, "ok"), ("", 127, "runtime_error"), ("", 127, "runtime_error"),
        ("", None, "wall_time"),
    ]  # fmt: skip
    assert done[0]["stderr"] == "err\n"
    assert len(s.steps([{"command": "false"}, {"command": "true"}], stop=True)) == 1
    for bad in ({}, {"command": []}, {"cmd": "x"}, "x", {"command": "x", "stdni": "y"}):
        with pytest.raises(SpecError):
            s.steps([{"command": "touch never"}, bad])
    assert "never" not in s.list()


def test_a_keeper_that_died_takes_the_session_with_it(s):
    s.write("x", "x")
    with s.start(["sleep", "100"]) as p:
        time.sleep(0.2)
        os.kill(s._keeper.pid, signal.SIGKILL)
        p.wait()
    assert p.result.verdict is Verdict.JAIL_ERROR
    for call in (lambda: s.run(["true"]), lambda: s.read("x"), lambda: s.write("y", "y"), s.snapshot, s.list):
        with pytest.raises(KeeperError, match="new session"):
            call()


def test_a_keeper_that_died_between_two_runs_is_an_error_not_an_empty_box(s):
    s.write("x", "x")
    os.kill(keeper_below(s._keeper.pid), signal.SIGKILL)
    with pytest.raises(KeeperError, match="new session"):
        s.run(["cat", "x"])


def test_a_compile_step_that_leaves_processes_and_many_files():
    with Session(limits=LIMITS, inodes=20_000) as s:
        code = "import os\nfor i in range(15000): open(f'f{i}', 'w').close()\nfor i in range(20):\n    if not os.fork():\n        os.setsid(); import time; time.sleep(100)"
        assert s.run([sys.executable, "-c", code]).ok
        assert len(s.list()) == 15_000
        r = s.run(["sh", "-c", "rm -r f*; set -- /proc/[0-9]*; echo $#"])
        assert int(r.stdout) <= 4


def test_limits_may_differ_from_run_to_run(s):
    s.write("x", "x")
    for memory in ("32M", "64M", "128M"):
        assert s.run(["cat", "x"], Limits(memory=memory)).stdout == b"x"


def test_a_box_that_is_full_is_told_and_keeps_no_half_of_a_file(s):
    s.write("kept", b"k")
    s.write("big", b"small")
    for write in (lambda: s.write("big", b"x" * (9 << 20)), lambda: s.run(["true"], files={"big": b"x" * (9 << 20)})):
        with pytest.raises(OSError, match=r"No space left in the session's /box: raise Session\(disk=\)") as e:
            write()
        assert (e.value.errno, e.value.filename, s.list()) == (errno.ENOSPC, "big", ["kept"])
    with pytest.raises(OSError, match=r"Session\(inodes=\)"):
        for n in range(600):
            s.write(str(n), b"")
    assert s.run(["cat", "kept"]).stdout == b"k"


def test_errors_leave_the_session_usable(s):
    with pytest.raises(FileNotFoundError):
        s.run(["/nope"])
    with pytest.raises(pyjail.SetupError):
        s.run(["true"], cwd="/nope")
    with pytest.raises(pyjail.TimeoutExpired):
        s.run(["sleep", "100"], timeout=0.2)
    with pytest.raises(SpecError):
        s.run([])
    with pytest.raises(pyjail.JailedProcessError):
        s.run(["false"], check=True)
    assert s.run(["echo", "x"]).stdout == b"x\n"


def test_what_makes_no_sense():
    for bad in (
        {"jail": "x"}, {"limits": 3}, {"disk": 0}, {"inodes": -1}, {"disk": "1X"},
        {"jail": Jail(mounts=(Mount.tmpfs("/box", 100),))}, {"jail": Jail(mounts=(Mount.bind("/usr", "/box"),))},
        {"jail": Jail(mounts=(Mount.bind("/usr", "/box/usr"),))},
    ):  # fmt: skip
        with pytest.raises(SpecError):
            Session(**bad)


def test_close_ends_everything():
    pyjail.close()
    before = set(keepers_of(os.getpid()))
    s = Session(limits=LIMITS)
    p = s.start(["sleep", "100"])
    time.sleep(0.2)
    mine = set(keepers_of(os.getpid())) - before
    s.close()
    s.close()
    end = time.monotonic() + 10 * SLOW
    while any(map(alive, mine)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(map(alive, mine))
    p.close()
    with pytest.raises(KeeperError, match="closed"):
        s.run(["true"])


def test_two_sessions_have_nothing_in_common():
    with Session(limits=LIMITS) as a, Session(limits=LIMITS) as b:
        a.write("x", "a")
        assert b.list() == []
        assert b.run(["ls"]).stdout == b""


def test_a_network_of_its_own_for_each_run_keeps_the_keeper():
    with Session(Jail(network="loopback"), limits=LIMITS) as s:
        s.write("a", "a")
        keeper = s._ready().pid
        for _ in range(3):
            assert s.run(["sh", "-c", "cat a; ls /tmp/x 2>&-; echo x > /tmp/x"]).stdout == b"a"
        assert s._ready().pid == keeper


def test_a_look_at_the_machine_again_is_no_other_machine(s):
    """What was there already is not listed anew, and must make no other plan of the same jail."""
    from pyjail import _prepare

    s.write("a", "a")
    assert s.run(["cat", "a"]).stdout == b"a"
    _prepare.look_again()
    assert s.run(["cat", "a"], Limits(processes=5)).stdout == b"a"


def test_sockets_left_in_flight_end_no_session(s):
    """The kernel's collector takes a moment; the keeper of a single run would rather end."""
    code = """
import socket
a, b = socket.socketpair()
for x in a, b: socket.send_fds(x, [b"x"], [a.fileno(), b.fileno()])
"""
    s.write("a", "a")
    for _ in range(5):
        assert s.run([sys.executable, "-c", code]).ok
        assert s.read("a") == b"a"


def test_limits_hold_while_a_long_file_is_written():
    with Session(limits=LIMITS, disk="300M") as s, s.start(["sleep", "100"], Limits(wall_time=0.3, memory="512M")) as p:
        s.write("a", b"x" * 200_000_000)
        p.wait()
    assert p.result.verdict is Verdict.WALL_TIME
    assert p.result.usage.wall_time < 0.3 + 0.2 * SLOW


def test_the_example_prints_what_it_says(capsys):
    import runpy
    from pathlib import Path

    runpy.run_path(str(Path(__file__).parents[2] / "examples" / "session.py"))["main"]()
    assert capsys.readouterr().out.splitlines() == [
        "test 1: right, ['log']", "test 2: right, ['log']", "test 3: right, ['log']", "test 4: runtime_error, []",
        "5 runs in all", "[('', 0), ('', 127), ('12\\n', 0)]", "compiled: 12", "from the cache: 12",
    ]  # fmt: skip


def test_what_the_program_may_not_open_no_more_may_the_session(s):
    s.write("secret", "x")
    s.write("kept", "old", mode=0o400)
    s.write("closed/inside", "x")
    s.run(["sh", "-c", "mkdir sealed; echo x > sealed/f; ln -s f closed/link; chmod 0 secret closed; chmod 555 sealed"])
    assert s.run(["sh", "-c", "cat secret || echo y > kept || rm -r sealed || ls closed"]).exit_code != 0
    for refused in (
        lambda: s.read("secret"),
        lambda: s.read("closed/inside"),
        lambda: s.write("kept", "new"),
        lambda: s.write("sealed/new", "x"),
        lambda: s.write("closed/new", "x"),
        lambda: s.remove("sealed/f"),
        lambda: s.remove("sealed", recursive=True),
        lambda: s.remove("closed", recursive=True),
    ):
        with pytest.raises(PermissionError):
            refused()
    assert s.read("kept") == b"old"
    assert s.list() == ["closed", "kept", "sealed", "sealed/f", "secret"]
    snap = s.snapshot()  # a copy is of all there is
    s.clear()
    s.restore(snap)
    assert s.snapshot().files == snap.files
    assert s.snapshot().directories == snap.directories
    assert snap.files["secret"] == (0, b"x")
    unseen = {} if os.geteuid() == 0 else {"closed/link": "cannot be read: Permission denied"}
    assert snap.skipped == unseen
    s.run(["sh", "-c", "chmod 700 closed sealed; chmod 600 secret kept"])
    s.write("kept", "new")
    s.remove("sealed", recursive=True)
    s.remove("closed", recursive=True)
    assert (s.read("kept"), s.read("secret")) == (b"new", b"x")


def test_what_the_program_has_closed_is_not_collected():
    r = pyjail.run(["sh", "-c", "echo x > a; echo x > b; chmod 0 b"], collect=["a", "b"])
    assert r.files == {"a": b"x\n"}
    assert r.uncollected == {"b": "cannot be opened: Permission denied"}


def test_a_session_without_an_end_does_not_keep_all_outputs():
    with pyjail.Session(limits=pyjail.Limits(output="20M")) as s:
        for _ in range(6):
            s.run(["head", "-c", "15000000", "/dev/zero"])
        assert len(s.results) == 4
        assert s.results[-1].stdout_bytes == 15_000_000
        assert s.cpu_time > sum(r.usage.cpu_time for r in s.results)
        assert "6 runs" in repr(s)
