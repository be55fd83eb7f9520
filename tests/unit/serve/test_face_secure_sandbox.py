"""Secure-Sandbox's interface, as a table."""

from __future__ import annotations

import asyncio

import pytest

from pyjail import Limits, Verdict
from pyjail.serve.faces.secure_sandbox import CUT, SecureSandbox
from pyjail.serve.job import Outcome
from tests.unit.serve.face_desk import Desk, ask, asking, result


def execute(body, desk=None, **settings):
    return ask(SecureSandbox(settings), "POST", "/execute", body, desk, client="10.0.0.1")


def test_a_program_is_looked_over_runs_and_is_shown_without_control_sequences():
    desk = Desk(result(stdout=b"hi\n", wall=0.123456))
    answer = execute({"code": "print(input())", "input": "hi"}, desk)
    assert answer.content == {"stdout": "hi\n", "stderr": "", "returncode": 0, "execution_time": 0.1235}
    (job,) = desk.jobs
    assert (job.args, dict(job.files), job.stdin) == (
        ("python3", "user_code.py"),
        {"user_code.py": b"print(input())"},
        b"hi\n",
    )
    assert (job.check, job.sanitize) == ("reject", "strip")
    asked = job.limits
    assert (asked.wall_time, asked.memory, asked.processes, asked.cpus) == (3, 100 << 20, 64, 1)


@pytest.mark.parametrize(("given", "stdin"), [(None, b""), ("", b""), ("a\n", b"a\n"), ("a", b"a\n")])
def test_input_ends_with_a_newline(given, stdin):
    desk = Desk()
    execute({"code": "x", "input": given}, desk)
    assert desk.jobs[0].stdin == stdin


@pytest.mark.parametrize("verdict", [Verdict.WALL_TIME, Verdict.CPU_TIME])
def test_late_programs_have_no_output(verdict):
    late = result(verdict, stdout=b"part", limits=Limits(cpu_time=None, wall_time=3))
    assert execute({"code": "x"}, Desk(late)).content == {
        "stdout": "", "stderr": "Execution timed out", "returncode": -1, "execution_time": 3.0,
    }  # fmt: skip


def test_what_the_check_finds_is_said_and_nothing_runs():
    found = Outcome(
        None,
        findings=({"rule": "import", "message": "Forbidden construct detected: Import(names=[alias(name='os')])"},),
    )
    assert execute({"code": "import os"}, Desk(found)).content == {
        "stdout": "", "stderr": "Forbidden construct detected: Import(names=[alias(name='os')])", "returncode": -1, "execution_time": 0.0,
    }  # fmt: skip


def test_output_is_cut_at_a_character():
    answer = execute({"code": "x"}, Desk(result(stdout="é".encode() * 51_201)))
    assert answer.content["stdout"] == "é" * 51_200 + CUT
    assert execute({"code": "x"}, Desk(result(stdout="é".encode() * 51_200))).content["stdout"] == "é" * 51_200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"x", 422), ({}, 422), ({"code": 1}, 422), ({"code": "x", "input": 1}, 422), ([], 422), ({"code": "x" * 65_537}, 413),
        ({"code": "é" * 32_769}, 413), ({"code": "x" * 65_536}, 200),
    ],
)  # fmt: skip
def test_what_is_refused(body, status):
    answer = execute(body)
    assert answer.status == status
    assert status == 200 or set(answer.content) == {"detail"}


def test_each_client_has_ten_in_a_minute():
    face = SecureSandbox({})
    said = [ask_as(face, "10.0.0.1") for _ in range(11)]
    assert [answer.status for answer in said] == [200] * 10 + [429]
    assert said[-1].content == {"detail": "Rate limit exceeded"}
    assert 1 <= int(said[-1].headers["Retry-After"]) <= 60
    assert ask_as(face, "10.0.0.2").status == 200


def ask_as(face, client):
    return ask(face, "POST", "/execute", {"code": "x"}, client=client)


def test_two_run_at_once():
    class Slow(Desk):
        running = most = 0

        async def run(self, job, watcher=None):
            self.running += 1
            self.most = max(self.most, self.running)
            await asyncio.sleep(0.01)
            self.running -= 1
            return Outcome(result())

    async def all_of_them():
        desk, face = Slow(), SecureSandbox({})
        given = [asking(face, "POST", "/execute", {"code": "x"}, desk, client=str(i)) for i in range(7)]
        return desk, await asyncio.gather(*given)

    desk, answers = asyncio.run(all_of_them())
    assert desk.most == 2
    assert {answer.status for answer in answers} == {200}


def test_the_jail_s_failure_is_a_500():
    answer = execute({"code": "x"}, Desk(result(Verdict.JAIL_ERROR)))
    assert (answer.status, answer.content) == (500, {"detail": "the jail failed, not the program"})
