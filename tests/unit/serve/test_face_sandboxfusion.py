"""SandboxFusion's interface, as a table."""

from __future__ import annotations

import pytest

from pyjail import Verdict
from pyjail.serve.faces.sandboxfusion import SandboxFusion
from pyjail.serve.job import Outcome
from pyjail.serve.problem import Problem
from tests.unit.serve.face_desk import Desk, ask, result

FACE = SandboxFusion()
HELLO = {"language": "python", "code": "print(1)"}


def run(body, desk=None):
    return ask(FACE, "POST", "/run_code", body, desk)


def test_a_program_with_files():
    desk = Desk(result(stdout=b"1\n", files={"a.txt": b"a", "b": b"b"}))
    body = {
        **HELLO,
        "stdin": "5",
        "run_timeout": "2",
        "memory_limit_MB": 64,
        "files": {"/mnt/d/f": "Z\ng==", "g": None, "IGNORE_THIS_FILE": "Zg=="},
        "fetch_files": ["a.txt", "/mnt/b", "[gone]"],
    }
    assert run(body, desk).content == {
        "status": "Success", "message": "", "compile_result": None, "executor_pod_name": None, "files": {"a.txt": "YQ==", "/mnt/b": "Yg=="},
        "run_result": {"status": "Finished", "execution_time": 0.25, "return_code": 0, "stdout": "1\n", "stderr": ""},
    }  # fmt: skip
    (job,) = desk.jobs
    assert (job.language, job.source, job.stdin, job.files, job.collect) == (
        "python",
        "print(1)",
        b"5",
        {"d/f": b"f"},
        ("a.txt", "b", "[[]gone]"),
    )
    assert (job.limits.wall_time, job.limits.memory, job.compile_limits.wall_time) == (2, 64 << 20, 10)


@pytest.mark.parametrize(
    ("verdict", "status", "stage", "code"),
    [
        (Verdict.OK, "Success", "Finished", 0), (Verdict.RUNTIME_ERROR, "Failed", "Finished", 3), (Verdict.SIGNALED, "Failed", "Finished", -11),
        (Verdict.WALL_TIME, "Failed", "TimeLimitExceeded", None), (Verdict.CPU_TIME, "Failed", "TimeLimitExceeded", None), (Verdict.MEMORY, "Failed", "Finished", -9),
        (Verdict.OUTPUT, "Failed", "Finished", -9), (Verdict.SECURITY, "Failed", "Finished", -31),
    ],
)  # fmt: skip
def test_a_program_s_fault_is_never_the_sandbox_s(verdict, status, stage, code):
    answer = run(HELLO, Desk(result(verdict)))
    said = answer.content["run_result"]
    assert (answer.status, answer.content["status"], said["status"], said["return_code"]) == (200, status, stage, code)
    assert said["execution_time"] == 0.25


def test_the_jail_s_fault_is():
    answer = run(HELLO, Desk(result(Verdict.JAIL_ERROR)))
    assert (answer.status, answer.content["status"], answer.content["run_result"]) == (200, "SandboxError", None)


def test_what_does_not_compile_has_no_run():
    said = run({**HELLO, "language": "cpp"}, Desk(Outcome(None, result(Verdict.RUNTIME_ERROR, stderr=b"no")))).content
    assert (said["status"], said["compile_result"]["return_code"], said["run_result"]) == ("Failed", 3, None)
    assert run({**HELLO, "language": "lua"}).content["status"] == "Failed"


@pytest.mark.parametrize(
    ("body", "at"),
    [
        ({}, ["body", "code"]), ({**HELLO, "code": 1}, ["body", "code"]), ({**HELLO, "language": "x"}, ["body", "language"]), ({**HELLO, "run_timeout": "x"}, ["body", "run_timeout"]),
        ({**HELLO, "run_timeout": 10**6}, ["body", "wall_time"]), ({**HELLO, "files": [1]}, ["body", "files"]), ({**HELLO, "files": {"a": "b"}}, ["body", "files", "a"]), (b"{", ["body"]), ([], ["body"]),
        ({**HELLO, "fetch_files": ["../x"]}, ["body", "fetch_files"]), ({**HELLO, "files": {"/etc/x": ""}}, ["body", "files", "/etc/x"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_a_422(body, at):
    answer = run(body)
    assert (answer.status, answer.content["detail"][0]["loc"]) == (422, at)


def test_ping():
    assert ask(FACE, "GET", "/v1/ping").content == "pong"


def job(language, code="x", **files):
    desk = Desk()
    desk.languages = every
    assert (
        run({"language": language, "code": code, "files": {name.replace("_", "."): "" for name in files}}, desk).status
        == 200
    )
    return desk.jobs[0]


async def every(*names):
    return dict.fromkeys(names, "1")


def test_java_has_assertions_and_the_archives_that_came_with_it():
    made = job("java", b_jar=1, a_jar=1, c_txt=1).how
    assert made.run[:4] == ("java", "-cp", ".:a.jar:b.jar", "-ea")
    assert made.compile[:3] == ("javac", "-cp", ".:a.jar:b.jar")
    assert job("java").how.run[:2] == ("java", "-ea")


def test_typescript_is_not_checked_and_scripts_of_kotlin_and_tests_of_python_are_run_as_such():
    assert job("typescript").how.compile[0] == "node"
    assert job("kotlin_script").how.run == ("kotlinc", "-script", "{source}")
    assert "pytest" in job("pytest").how.run
    assert job("python").how is None


@pytest.mark.parametrize(
    ("code", "same"), [("class A {}", False), ("#define X\nclass A {}", True), ("extern  alias X;", True)]
)
def test_csharp_has_what_its_projects_import_unasked_where_that_may_stand(code, same):
    source = job("csharp", code).source
    assert source.endswith(code)
    assert (source == code) is same and source.count("\n") == code.count("\n")
    assert same or source.startswith("using System; ")


def test_a_tool_that_is_missing_is_no_error_of_the_sandbox():
    said = run(HELLO, Desk(Problem(422, "language", "no", field="language")))
    assert (said.status, said.content["status"], said.content["message"]) == (
        200,
        "Failed",
        "language python is not installed here",
    )
    assert run(HELLO, Desk(Problem(422, "field", "no", field="files.x"))).status == 422
