"""How a selftest judges and shows: no jail is started here."""

from __future__ import annotations

import base64
import errno
import io
import json
import os
import pickle
import re
import subprocess
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from pyjail import Control, Jail, Limits, Mount, Receipt, Result, Usage, Verdict
from pyjail._policy import seccomp
from pyjail._selftest import applicable, judge, runner
from pyjail._selftest.attacks.numbers import MACHINES, NUMBERS
from pyjail._selftest.attacks.privileges import tiny_program
from pyjail._selftest.attacks.toolkit import Attack
from pyjail._selftest.report import Probe, Report, Row, Status
from pyjail.cli import progress as bars
from pyjail.cli import selftest

ROOT = Path(__file__).resolve().parents[3]
ATTACK = Attack("kernel.x", "kernel", "pyjail._selftest.attacks.kernel", "tries x", "CVE-0", errnos=("EPERM", "ENOSYS"))
ANY = replace(ATTACK, errnos=None)
SECRET = b"pyjail-canary-1234"


def line(**what) -> bytes:
    return json.dumps(what).encode() + b"\n"


def call(result: int, error: str = "", **more) -> bytes:
    return line(call="x(1)", name="x", result=result, errno=error, **more)


DONE = line(done="token")


def judged(said: bytes, attack: Attack = ATTACK, *, changes=(), survivors=(), refusals=None, **fields):
    result = Result(["python"], 0, **{"verdict": Verdict.OK, "stdout": said, "stderr": b"", "exit_code": 0, **fields})
    leaked = lambda data: "the secret" if SECRET in data else ""  # noqa: E731
    outcome = judge.Outcome(
        result, "token", list(changes), list(survivors), leaked, {b"TOKEN": b"hunter2"}, refusals or {}
    )
    return judge.judge(attack, outcome)


def test_refused_calls_are_contained_and_counted():
    assert judged(call(-1, "EPERM") * 2 + call(-1, "ENOSYS") + DONE) == (Status.CONTAINED, "EPERM x2, ENOSYS")


@pytest.mark.parametrize(
    ("said", "attack"),
    [
        (call(0) + DONE, ATTACK),
        (call(0) + DONE, ANY),
        (call(-1, "EFAULT") + DONE, ATTACK),  # the kernel's own answer: no filter was in the way
        (call(-1, "EPERM") + call(7), ATTACK),  # told before the run was ended
        (line(where="/tmp/x", data=base64.b64encode(b"..." + SECRET).decode()) + DONE, ANY),
        (line(where="/proc/self/environ", data=base64.b64encode(b"A=1\0TOKEN=hunter2\0").decode()) + DONE, ANY),
        (b"no json: " + SECRET, ANY),
    ],
)
def test_what_got_through_is_escaped(said, attack):
    assert judged(said, attack)[0] is Status.ESCAPED
    assert judged(said, attack, verdict=Verdict.SECURITY, syscall="x")[0] is Status.ESCAPED


def test_an_errno_of_the_users_policy_is_the_filters():
    assert judged(call(-1, "EBADF") + DONE, refusals={"y": {"EBADF"}})[0] is Status.ESCAPED
    assert judged(call(-1, "EBADF") + DONE, refusals={"x": {"EBADF"}})[0] is Status.CONTAINED


def test_any_failure_will_do_where_no_errno_is_named():
    assert judged(call(-1, "ENOENT") + DONE, ANY)[0] is Status.CONTAINED


@pytest.mark.parametrize(
    "evidence",
    [
        {"changes": ["/tmp/canary was changed"]},
        {"survivors": [4711]},
        {"files": {"leak": SECRET}},
        {"stderr": SECRET},
        {"usage": Usage(processes_peak=99), "limits": Limits(processes=16)},
        {"usage": Usage(memory_peak=99 << 20), "limits": Limits(memory="64M")},
        {"stdout": DONE + b"x" * 100, "limits": Limits(output=10)},
    ],
    ids=lambda e: next(iter(e)),
)
def test_what_the_host_sees_outweighs_what_the_attempt_says(evidence):
    assert judged(**{"said": call(-1, "EPERM") + DONE, **evidence} if "stdout" not in evidence else {"said": b"", **evidence})[0] is Status.ESCAPED  # fmt: skip


def test_a_limit_that_is_not_enforced_is_not_held_against_it():
    receipt = Receipt([Control("memory", "64M", "", "no cgroup", "not_enforced")])
    evidence = {"usage": Usage(memory_peak=99 << 20), "limits": Limits(memory="64M"), "receipt": receipt}
    assert judged(DONE, ANY, **evidence)[0] is Status.CONTAINED


def test_an_attempt_that_did_not_come_to_its_end_proves_nothing():
    status, detail = judged(call(-1, "EPERM"), verdict=Verdict.RUNTIME_ERROR, exit_code=1, stderr=b"a\nKeyError: 'x'")
    assert status is Status.ERROR
    assert "KeyError: 'x'" in detail
    assert judged(line(done="another run's token"))[0] is Status.ERROR
    assert judged(b"", verdict=Verdict.JAIL_ERROR, error="lost")[0] is Status.ERROR


def test_what_is_documented_as_not_promised_is_not_an_escape_unless_the_host_is_touched():
    attack = replace(ANY, options={"known_limit": "locks"})
    assert judged(call(0) + DONE, attack) == (Status.NOT_APPLICABLE, "a known limit, not promised: locks")
    assert judged(call(-1, "EPERM") + DONE, attack)[0] is Status.CONTAINED
    assert judged(call(0) + DONE, attack, changes=["/tmp/canary was changed"])[0] is Status.ESCAPED


def test_the_end_by_the_filter_is_contained():
    assert judged(b"", verdict=Verdict.SECURITY, syscall="ptrace") == (
        Status.CONTAINED,
        "the filter ended the run at ptrace",
    )


def test_calls_that_the_machine_has_not_are_not_applicable():
    assert judged(call(-1, missing=True) + DONE)[0] is Status.NOT_APPLICABLE
    assert judged(call(-1, missing=True) + call(-1, "EPERM") + DONE)[0] is Status.CONTAINED


def test_a_bomb_has_to_end_by_its_limit():
    bomb = replace(ANY, options={"expect": ("memory",)})
    assert judged(b"", bomb, verdict=Verdict.MEMORY)[0] is Status.CONTAINED
    assert judged(DONE, bomb)[0] is Status.ESCAPED
    assert judged(b"", bomb, verdict=Verdict.WALL_TIME)[0] is Status.ESCAPED


def test_a_setuid_program_tells_who_it_was_by_its_exit_code():
    attack = replace(ANY, options={"exits_as_user": True})
    receipt = Receipt([Control("ids", "", "", "uid 1000 gid 1000; outside uid 5 gid 5", "enforced")])

    def end(code):
        return judged(b"", attack, verdict=Verdict.RUNTIME_ERROR, exit_code=code, receipt=receipt)[0]

    assert [end(code) for code in (1000 & 255, 0, 65534 & 255, 1)] == [
        Status.CONTAINED, Status.ESCAPED, Status.ESCAPED, Status.ERROR,
    ]  # fmt: skip


@pytest.mark.skipif(os.uname().machine not in MACHINES, reason="no program was made for this machine")
def test_the_tiny_program_ends_with_its_effective_uid(tmp_path):
    program = tmp_path / "tiny"
    program.write_bytes(tiny_program(os.uname().machine))
    program.chmod(0o755)
    assert subprocess.run([program], check=False).returncode == os.geteuid() & 255
    for machine, elf in (("x86_64", 62), ("aarch64", 183)):
        assert int.from_bytes(tiny_program(machine)[18:20], "little") == elf


@pytest.mark.parametrize("machine", MACHINES)
def test_numbers_of_system_calls_are_those_of_libseccomp(machine):
    wrong = {}
    for name, numbers in NUMBERS.items():
        known = seccomp.number(machine, name)
        if known >= 0 and known != numbers[MACHINES.index(machine)]:  # an old libseccomp does not know the newest
            wrong[name] = known
    assert wrong == {}
    known = [n for n in NUMBERS if seccomp.number(machine, n) >= 0]
    assert len(known) > 80


def test_the_catalogue_is_complete_and_well_formed():
    attacks = runner.catalogue()
    assert len(attacks) >= 100
    assert {a.group for a in attacks} == set(runner.GROUPS)
    needs = {
        "home", "beside", "handle", "ipv4", "ipv6", "abstract", "path_socket", "sysv", "mqueue", "keyring", "dev_shm", "proc", "memory", "processes", "cgroups", "box",
        "own_tmp", "loopback", "no_network", "no_disk", "uid", "root", "x86_64", "machine",
        "read_only", "egress",
    }  # fmt: skip
    options = {
        "limits", "expect", "short", "bound", "leaks", "terminal", "collect", "exits_as_user", "exits_by", "at_once_only",
        "environment", "known_limit", "written",
    }  # fmt: skip
    for a in attacks:
        assert a.tries, a.name
        assert a.stands_for, a.name
        assert set(a.needs) <= needs, a.name
        assert set(a.options) <= options, a.name
        assert all(hasattr(errno, name) for name in a.errnos or ()), a.name
        assert not re.search(r"\bT-[A-Z]\d", a.stands_for), a.name


def test_every_package_is_shipped():
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    there = {".".join(p.parent.relative_to(ROOT / "src").parts) for p in (ROOT / "src/pyjail").rglob("*.py")}
    assert there == set(packages)


def test_what_a_jail_lacks_makes_attempts_not_applicable(monkeypatch):
    def receipt(status):
        return Receipt(Control(n, "", "", "why", status) for n in applicable.LIMITS)

    found = applicable.reasons(Jail(), receipt("enforced"), {"home": "no home"})
    assert not {"memory", "proc", "box", "no_network", "cgroups"} & set(found)
    assert {"home", "loopback"} <= set(found)
    own = (Mount.bind("/usr", "/box"), Mount.bind("/usr", "/tmp"))
    found = applicable.reasons(Jail(proc=False, network="loopback", uid=0, mounts=own), receipt("not_enforced"), {})
    assert {"memory", "processes", "cpu_time", "cgroups", "proc", "box", "own_tmp", "no_network", "uid"} <= set(found)
    assert applicable.why_not(replace(ATTACK, needs=("x", "proc")), found) == "this jail has no /proc"
    assert applicable.why_not(ATTACK, found) == ""


# ---- what it looks like ----

ROWS = tuple(Row(f"files.{s.name.lower()}", "files", "reads it", "CVE-0", s, f"d{i}") for i, s in enumerate(Status))
PROBES = (
    Probe("wall_time", "s", 0.3, 0.3125, Status.CONTAINED, "wall_time"),
    Probe("disk", "bytes", 1000, 996, Status.CONTAINED, ""),
    Probe("memory", "bytes", 0, None, Status.NOT_APPLICABLE, "no cgroup"),
)
REPORT = Report(ROWS, PROBES, "Jail()", "Linux", 1.5)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(stream: io.StringIO, report: Report = REPORT) -> str:
    selftest.show(report, stream)
    return stream.getvalue()


def test_every_row_and_limit_is_shown_and_counted():
    text = shown(io.StringIO())
    for row in ROWS:
        assert re.search(rf"^{row.status.value} +{re.escape(row.name)} +reads it \({row.detail}\)$", text, re.M)
    assert re.search(r"^contained +wall_time +0\.300 +0\.31[23] +\+12\.5 ms +wall_time$", text, re.M)
    assert re.search(r"^contained +disk +1000 +996 +-4", text, re.M)
    assert re.search(r"^not applicable +memory +- +- +- +no cgroup$", text, re.M)
    assert "3 contained, 1 escaped, 2 not applicable, 1 errors in 1.5 s" in text


def test_colours_on_a_terminal_only_and_not_with_no_color(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b" not in shown(io.StringIO())
    text = shown(Terminal())
    assert re.search(r"\x1b\[1;31mescaped", text)
    assert re.search(r"\x1b\[32mcontained", text)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", shown(Terminal()))


def test_a_bar_on_a_terminal_only(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    with bars.bar(io.StringIO()) as progress:
        assert progress is None
    stream = Terminal()
    with bars.bar(stream) as progress:
        progress(3, 7, "kernel.bpf")
    assert "3/7" in stream.getvalue()
    assert "kernel.bpf" in stream.getvalue()


def test_a_report_is_data():
    assert pickle.loads(pickle.dumps(REPORT)) == REPORT
    data = json.loads(json.dumps(REPORT.to_dict()))
    assert data["counts"] == {"contained": 3, "escaped": 1, "not applicable": 2, "error": 1}
    assert data["limits"][1]["deviation"] == -4
    assert not REPORT.ok
    assert [r.name for r in REPORT.escaped] == ["files.escaped"]
    assert Report(ROWS[:1], PROBES, "", "", 0).ok
    assert not Report(ROWS[3:], (), "", "", 0).ok


def test_work_in_progress_is_told_on_a_terminal_only(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    for terminal, told in ((False, False), (True, True)):
        stream = io.StringIO()
        monkeypatch.setattr(stream, "isatty", lambda terminal=terminal: terminal, raising=False)
        with bars.working(stream, "compiling a.c"):
            pass
        assert ("compiling a.c" in stream.getvalue()) is told
    with bars.working(None, "x"), bars.bar(None) as progress:
        assert progress is None
