"""Policies have their effect on real programs, and warn, and are explained."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import pyjail
from pyjail import Jail, PolicyWarning, SeccompPolicy, SeccompRule, SpecError, Verdict

SHOW = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
static void show(const char *name, long rc) { printf("%s %d\n", name, rc < 0 ? errno : 0); fflush(stdout); }
int main() {
  show("unix", socket(AF_UNIX, SOCK_STREAM, 0));
  show("netlink", socket(AF_NETLINK, SOCK_RAW, 0));
  show("mlockall", syscall(SYS_mlockall, 99));
  show("kcmp", syscall(SYS_kcmp, getpid(), getpid(), 99, 0, 0));
  show("wx", (long)mmap(0, 4096, PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == -1 ? -1 : 0);
  show("big", read(-1, 0, 1ul << 40));
}
"""


def outcome(result):
    return dict(line.split() for line in result.stdout.decode().splitlines())


def test_the_default_profile(run_c):
    assert outcome(run_c(SHOW)) == {"unix": "0", "netlink": "97", "mlockall": "22", "kcmp": "1", "wx": "0", "big": "9"}


def test_allow_refuse_and_rules_have_their_effect(run_c):
    policy = SeccompPolicy(
        refuse=("mlockall",),
        errno="ENOSYS",
        rules=(
            SeccompRule("kcmp", "EXDEV", ((2, 98),)),
            SeccompRule("socket", "EACCES", ((0, 1), (1, 1, 0xF))),
            SeccompRule("socket", "allow", ((0, 16),)),
            SeccompRule("mmap", "EROFS", ((2, 4, 4),)),  # nothing executable that is not a file
            SeccompRule("read", "EFBIG", ((2, 1 << 40, 1 << 40),)),
        ),
    )
    with pytest.warns(PolicyWarning, match="AF_NETLINK"):
        result = run_c(SHOW, jail=Jail(seccomp=policy))
    # libraries are mapped executable from files: this policy is for static programs, and says so by their refusal
    assert result.verdict is Verdict.RUNTIME_ERROR
    with pytest.warns(PolicyWarning):
        result = run_c(
            SHOW, jail=Jail(seccomp=SeccompPolicy(refuse=policy.refuse, errno="ENOSYS", rules=policy.rules[:3]))
        )
    assert outcome(result) == {"unix": "13", "netlink": "0", "mlockall": "38", "kcmp": "1", "wx": "0", "big": "9"}


def test_pages_both_writable_and_executable_can_be_refused(run_c):
    rules = (SeccompRule("mmap", "EACCES", ((2, 6, 6),)), SeccompRule("read", "EFBIG", ((2, 1 << 40, 1 << 40),)))
    result = run_c(SHOW, jail=Jail(seccomp=SeccompPolicy(rules=rules)))
    assert (outcome(result)["wx"], outcome(result)["big"]) == ("13", "27")


def test_kill_by_argument_ends_the_run_with_the_name_of_the_call(run_c):
    policy = SeccompPolicy(rules=(SeccompRule("socket", "kill", ((0, 16),)),))
    result = run_c(SHOW, jail=Jail(seccomp=policy))
    assert (result.verdict, result.syscall, result.stdout) == (Verdict.SECURITY, "socket", b"unix 0\n")
    result = run_c(SHOW, jail=Jail(seccomp=SeccompPolicy(kill=("kcmp",))))
    assert (result.verdict, result.syscall) == (Verdict.SECURITY, "kcmp")


def test_an_allowed_escape_warns_before_the_first_run_and_only_then(run_c):
    jail = Jail(seccomp=SeccompPolicy(allow=("kcmp",)))
    with pytest.warns(PolicyWarning, match="reach into other processes") as seen:
        result = run_c(SHOW, jail=jail)
    assert outcome(result)["kcmp"] != "1"  # the kernel was reached, and knows no such comparison
    assert all(w.filename.endswith("conftest.py") for w in seen)  # who called run
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run_c(SHOW, jail=jail)


def test_base_none_still_has_its_rules(run_c):
    with pytest.warns(PolicyWarning, match="every call"):
        result = run_c(SHOW, jail=Jail(seccomp=SeccompPolicy(base="none", rules=(SeccompRule("kcmp", "EDOM"),))))
    assert outcome(result) == {"unix": "0", "netlink": "0", "mlockall": "22", "kcmp": "33", "wx": "0", "big": "9"}
    assert result.receipt["seccomp"].status == "enforced"


def test_an_empty_allow_list_is_no_permission(run_c):
    result = run_c(SHOW, jail=Jail(seccomp=SeccompPolicy(base="strict", allow=())))
    assert (result.verdict, result.syscall) == (Verdict.SECURITY, "socket")


def test_a_name_that_is_no_call_is_refused_before_anything_starts():
    with pytest.raises(SpecError, match="did you mean 'socket'"):
        pyjail.run(["true"], jail=Jail(seccomp=SeccompPolicy(kill=("sockket",))))


def plan(*args):
    out = subprocess.run(
        [sys.executable, "-m", "pyjail", "plan", *args, "--", "true"], capture_output=True, text=True, check=False
    )
    assert out.returncode == 0, out.stderr
    return out.stdout


def test_plan_names_action_reason_and_source_of_every_call(tmp_path):
    (tmp_path / "c.toml").write_text(
        '[jail.seccomp]\nallow = ["ptrace"]\n[[jail.seccomp.rule]]\nname = "socket"\naction = "kill"\ntests = [[0, 16]]\n'
    )
    config = ("--config", str(tmp_path / "c.toml"))
    text = plan(*config)
    lines = [line for line in text.splitlines() if line.startswith(("seccomp", "warning"))]
    assert any(
        "seccomp kill" in line and "socket if arg0 & 0xffffffff == 0x10" in line and "[policy]" in line
        for line in lines
    )
    assert any("seccomp EPERM" in line and "keyctl" in line and "[base default]" in line for line in lines)
    assert [line.split()[0] for line in lines][-1] == "warning"
    assert "ptrace: reach into other processes" in lines[-1]
    steps = json.loads(plan(*config, "--json"))["steps"]
    calls = {(c["name"], json.dumps(c["tests"])): s for s in steps for c in s.get("calls", ())}
    assert (calls["ptrace", "[]"]["step"], calls["ptrace", "[]"]["source"]) == ("seccomp allow", "policy")
    assert calls["socket", "[[0, 16, 4294967295]]"]["source"] == "policy"
    assert calls["bpf", "[]"]["source"] == "base default"
    assert all(s["why"] for s in calls.values())
    assert [(s["call"], s["why"]) for s in steps if s["step"] == "warning"] == [
        ("ptrace", "reach into other processes")
    ]


def test_plan_without_a_filter_warns():
    assert "warning" in plan("--seccomp", "none")
    assert "warning" not in plan("--seccomp", "strict")


def test_the_snippets_of_the_documentation_run(tmp_path):
    text = (Path(__file__).resolve().parents[3] / "docs/policies.md").read_text()
    for code in re.findall(r"```python\n(.*?)```", text, re.S):
        exec(compile(code, "docs/policies.md", "exec"), {})
    toml = re.search(r"```toml\n(.*?)```", text, re.S)[1]
    (tmp_path / "c.toml").write_text(toml)
    assert Jail.from_toml(tmp_path / "c.toml").seccomp.rules[0].name == "clone"
