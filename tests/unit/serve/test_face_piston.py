"""Piston's interface, as a table."""

from __future__ import annotations

import pytest

from pyjail import Verdict
from pyjail.serve.faces.piston import Piston
from pyjail.serve.faces.piston_versions import matches
from pyjail.serve.job import Outcome
from pyjail.serve.problem import Problem
from tests.unit.serve.face_desk import Desk, ask, result

FACE = Piston()
HELLO = {"language": "py", "version": "3.x", "files": [{"name": "m.py", "content": "print(1)"}]}


def execute(body, desk=None):
    return ask(FACE, "POST", "/api/v2/execute", body, desk)


def test_a_program_is_a_job_of_its_language():
    desk = Desk(result(stdout=b"1\n", stderr=b"e"))
    more = [
        {"name": "lib.py", "content": "x"},
        {"name": "d/b", "content": "AAE=", "encoding": "base64"},
        {"name": "h", "content": "ff", "encoding": "hex"},
    ]
    said = execute(
        {
            **HELLO,
            "files": HELLO["files"] + more,
            "stdin": "a",
            "args": ["1"],
            "run_timeout": 500,
            "run_memory_limit": 1 << 25,
        },
        desk,
    ).content
    assert (said["language"], said["version"], set(said)) == ("python", "3.11.2", {"language", "version", "run"})
    assert {name: said["run"][name] for name in ("stdout", "stderr", "output", "code", "signal", "message", "status")} == {
        "stdout": "1\n", "stderr": "e", "output": "1\ne", "code": 0, "signal": None, "message": None, "status": None,
    }  # fmt: skip
    (job,) = desk.jobs
    assert (job.language, job.source, job.stdin, job.args) == ("python", {"m.py": "print(1)"}, b"a\n", ("1",))
    assert job.env == {"PISTON_LANGUAGE": "python"}
    assert job.files == {"lib.py": b"x", "d/b": b"\0\1", "h": b"\xff"}
    assert (job.limits.wall_time, job.limits.cpu_time, job.limits.memory, job.limits.output) == (0.5, 3, 1 << 25, 1024)
    assert (job.compile_limits.wall_time, job.compile_limits.cpu_time) == (10, 10)


@pytest.mark.parametrize(
    ("verdict", "status", "code", "signal"),
    [
        (Verdict.OK, None, 0, None), (Verdict.RUNTIME_ERROR, "RE", 3, None), (Verdict.SIGNALED, "SG", None, "SIGSEGV"),
        (Verdict.WALL_TIME, "TO", None, "SIGKILL"), (Verdict.CPU_TIME, "TO", None, "SIGKILL"), (Verdict.MEMORY, "SG", None, "SIGKILL"),
        (Verdict.OUTPUT, "OL", None, "SIGKILL"), (Verdict.SECURITY, "SG", None, "SIGSYS"), (Verdict.JAIL_ERROR, "XX", None, None),
    ],
)  # fmt: skip
def test_each_verdict_has_its_status(verdict, status, code, signal):
    said = execute(HELLO, Desk(result(verdict))).content["run"]
    assert (said["status"], said["code"], said["signal"]) == (status, code, signal)
    assert (said["message"] is None) == (status is None)
    assert "secret" not in str(said)


def test_too_much_on_stderr_is_told_apart():
    assert execute(HELLO, Desk(result(Verdict.OUTPUT, stdout_bytes=1, stderr_bytes=9))).content["run"]["status"] == "EL"


def test_what_does_not_compile_is_told_twice():
    failed = result(Verdict.RUNTIME_ERROR, stderr=b"error")
    said = execute({**HELLO, "language": "c++", "version": "*"}, Desk(Outcome(None, failed))).content
    assert said["run"] == said["compile"]
    assert said["compile"]["code"] == 3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"language": None}, "language is required as a string"), ({"version": 3}, "version is required as a string"), ({"files": {}}, "files is required as an array"),
        ({"files": []}, "files must include at least one utf8 encoded file"), ({"files": [{"name": "x"}]}, "files[0].content is required as a string"), ({"files": [1]}, "files[0].content is required"),
        ({"language": "cobol"}, "cobol-3.x runtime is unknown"), ({"version": "2.x"}, "py-2.x runtime is unknown"),
        ({"files": [{"content": "AA==", "encoding": "base64"}]}, "files must include at least one utf8 encoded file"),
        ({"files": [{"content": "?", "encoding": "hex"}]}, "files[0].content is no hex"), ({"files": [*HELLO["files"], {"name": "./m.py", "content": ""}]}, "m.py is there twice"), ({"run_timeout": "1"}, "If specified, run_timeout must be a number"),
        ({"run_timeout": 3001}, "run_timeout cannot exceed the configured limit of 3000"), ({"compile_timeout": 10001}, "compile_timeout cannot exceed the configured limit of 10000"),
        ({"run_timeout": -1}, "run_timeout must be non-negative"), ({"args": [1]}, "args"), ({"stdin": 1}, "stdin"), ({"run_memory_limit": 1 << 60}, "run_memory_limit cannot exceed"),
        ({"files": [*HELLO["files"], {"name": "../x", "content": ""}]}, "invalid path"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_a_400_with_its_message(given, message):
    answer = execute({**HELLO, **given})
    assert (answer.status, set(answer.content)) == (400, {"message"})
    assert message in answer.content["message"]


@pytest.mark.parametrize(
    ("selector", "fits"),
    [("*", True), ("3", True), ("3.x", True), ("3.11", True), ("3.11.2", True), ("3.11.3", False), ("^3.10", True), ("^2", False), ("~3.11", True), ("~3.10", False), (">=3.9", True), (">=4", False), ("3.1", False), ("latest", True), ("x;y", False),
     (">=3 <4", True), (">=3.9 <3.11", False), ("< 3.12", True), (">3.11", False), ("3.9 - 3.12", True), ("2.x || 3.11.x", True), ("2 || 4", False), ("=3.11.2", True), ("v3", True), ("..", False), ("9" * 300, False), ("> x", False)],
)  # fmt: skip
def test_versions_are_selected(selector, fits):
    assert matches(selector, "3.11.2") is fits


@pytest.mark.parametrize(
    ("file", "others", "language", "source", "name"),
    [
        ({"name": "app.py"}, ["main.py"], "py", {"app.py": "x"}, None), ({"name": "d/app.py"}, [], "py", {"d/app.py": "x"}, None), ({}, [], "py", "x", None),
        ({}, ["main.py"], "py", "x", "file0.code"), ({"name": "app"}, ["main.py"], "py", "x", "app"), ({"name": "d/app"}, [], "py", "x", None), ({"name": "-c"}, [], "py", "x", None), ({"name": "-x.py"}, [], "py", "x", None), ({"name": "/app.py"}, [], "py", {"app.py": "x"}, None),
        ({"name": "a.cc", "encoding": None}, [], "c++", {"a.cc": "x"}, None), ({"name": "a", "encoding": "UTF-8"}, [], "c++", "x", None),
    ],
)  # fmt: skip
def test_the_program_keeps_its_name_where_its_language_can_have_it(file, others, language, source, name):
    desk = Desk()
    files = [{**file, "content": "x"}, *({"name": other, "content": "y"} for other in others)]
    assert execute({"language": language, "version": "*", "files": files}, desk).status == 200
    (job,) = desk.jobs
    assert (job.source, job.how and job.how.source, list(job.files)) == (source, name, others)


def test_base64_may_be_in_lines_and_of_both_alphabets():
    desk = Desk()
    more = [
        {"name": f"f{i}", "content": text, "encoding": "base64"}
        for i, text in enumerate(("aG\nk", "-_8=", "aGk=", "?"))
    ]
    execute({**HELLO, "files": HELLO["files"] + more}, desk)
    assert list(desk.jobs[0].files.values()) == [b"hi", b"\xfb\xff", b"hi", b""]


def test_runtimes_and_packages():
    assert ask(FACE, "GET", "/api/v2/runtimes").content[0] == {
        "language": "python",
        "version": "3.11.2",
        "aliases": ["py", "py3", "python3", "python3.x"],
    }
    assert ask(FACE, "GET", "/api/v2/packages").content[2] == {
        "language": "c++",
        "language_version": "12.2.0",
        "installed": True,
    }
    for method in ("POST", "DELETE"):
        for language, version, status in (("python", "3.11.2", 403), ("python", "2.7.18", 404), ("zig", "0.10.1", 404)):
            answer = ask(FACE, method, "/api/v2/packages", {"language": language, "version": version})
            assert answer.status == status and f"{language}-{version}" in answer.content["message"]
        assert ask(FACE, method, "/api/v2/packages", b"{").status == 400
        assert ask(FACE, method, "/api/v2/packages", []).status == 404
    assert FACE.problem(Problem(429, "rate", "too many", retry=1)).content == {"message": "too many"}
