"""`Session`: one /box over several runs, and nothing else of one is there in the next."""

from __future__ import annotations

import sys

import pytest

import pyjail
from pyjail import Jail, Limits, Mount, Session, SpecError
from tests.conftest import SLOW
from tests.inside import keeper_of, look_again
from tests.jail.session.programs import LIMITS


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


def test_two_sessions_have_nothing_in_common():
    with Session(limits=LIMITS) as a, Session(limits=LIMITS) as b:
        a.write("x", "a")
        assert b.list() == []
        assert b.run(["ls"]).stdout == b""


def test_a_network_of_its_own_for_each_run_keeps_the_keeper():
    with Session(Jail(network="loopback"), limits=LIMITS) as s:
        s.write("a", "a")
        keeper = keeper_of(s).pid
        for _ in range(3):
            assert s.run(["sh", "-c", "cat a; ls /tmp/x 2>&-; echo x > /tmp/x"]).stdout == b"a"
        assert keeper_of(s).pid == keeper


def test_a_look_at_the_machine_again_is_no_other_machine(s):
    """What was there already is not listed anew, and must make no other plan of the same jail."""
    s.write("a", "a")
    assert s.run(["cat", "a"]).stdout == b"a"
    look_again()
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


def test_the_example_prints_what_it_says(capsys):
    import runpy
    from pathlib import Path

    runpy.run_path(str(Path(__file__).parents[3] / "examples" / "session.py"))["main"]()
    assert capsys.readouterr().out.splitlines() == [
        "test 1: right, ['log']", "test 2: right, ['log']", "test 3: right, ['log']", "test 4: runtime_error, []",
        "5 runs in all", "[('', 0), ('', 127), ('12\\n', 0)]", "compiled: 12", "from the cache: 12",
    ]  # fmt: skip


def test_a_session_without_an_end_does_not_keep_all_outputs():
    with pyjail.Session(limits=pyjail.Limits(output="20M")) as s:
        for _ in range(6):
            s.run(["head", "-c", "15000000", "/dev/zero"])
        assert len(s.results) == 4
        assert s.results[-1].stdout_bytes == 15_000_000
        assert s.cpu_time > sum(r.usage.cpu_time for r in s.results)
        assert "6 runs" in repr(s)
