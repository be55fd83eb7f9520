"""Boxer's interface, as a table: requests, and what is asked for and answered."""

from __future__ import annotations

import dataclasses
import re

import pytest

import pyjail
from pyjail import Limits, Verdict
from pyjail.serve import Config
from pyjail.serve.faces.boxer import Boxer, Request, request_of
from pyjail.serve.faces.boxer_doc import description
from pyjail.serve.job import Outcome
from pyjail.serve.problem import Problem
from tests.unit.serve.face_desk import Desk, ask, result

FACE = Boxer()
HELLO = {"image": "python:3.12-slim", "cmd": ["python3", "-c", "print(42)"]}


def run(body, desk=None):
    return ask(FACE, "POST", "/run", body, desk)


def test_a_run_has_boxer_s_defaults_and_answer():
    desk = Desk(result(stdout=b"42\n\xff", stderr=b"e", wall=0.3421))
    answer = run(HELLO, desk)
    content = dict(answer.content)
    assert content.pop("exec_id").startswith("boxer-")
    assert content == {"exit_code": 0, "stdout": "42\n\ufffd", "stderr": "e", "wall_ms": 342}
    (job,) = desk.jobs
    assert job.args == ("python3", "-c", "print(42)")
    assert job.cwd == "/"
    assert job.env == {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    asked = job.limits
    assert (asked.memory, asked.wall_time, asked.processes, asked.open_files, asked.cpus) == (256 << 20, 30, 64, 256, 1)
    assert asked.output == (10 << 20) - 1
    assert [(m.dst, m.target) for m in job.jail.mounts] == [("/output", "/box")]


def test_limits_env_and_cwd_are_translated_and_keys_have_any_case():
    desk = Desk()
    run({
        "Image": "python:3", "CMD": ["x"], "env": ["A=1=2", "PATH=/p"], "cwd": "/tmp", "unknown": 1, "network": "none",
        "limits": {"cpu_cores": 0.5, "memory_mb": 64, "pids_limit": 9, "wall_clock_secs": 2, "nofile": 0, "other": 5},
    }, desk)  # fmt: skip
    (job,) = desk.jobs
    assert job.env == {"A": "1=2", "PATH": "/p"}
    assert job.cwd == "/tmp"
    asked = job.limits
    assert (asked.cpus, asked.memory, asked.processes, asked.wall_time, asked.open_files) == (0.5, 64 << 20, 9, 2, 256)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"{", "invalid JSON: "), (b'{"image": NaN}', "invalid JSON: "), (b"[" * 100_000, "invalid JSON: "), ([], "the body"),
        ({"cmd": ["x"]}, "'image' is required"), ({"image": "python:3"}, "'cmd' is required"),
        ({"image": "python:3", "cmd": []}, "'cmd' is required"), ({"image": "python:3", "cmd": "x"}, "'cmd'"),
        ({"image": "python:3", "cmd": [1]}, "'cmd'"), ({**HELLO, "network": "x"}, "invalid network: must be none, sandbox, or host"),
        ({**HELLO, "network": "host"}, "network=host is not offered by this server"),
        ({**HELLO, "network": "sandbox"}, "network=sandbox is not offered by this server"),
        ({**HELLO, "image": "nope"}, "unknown image: nope; known: alpine"), ({**HELLO, "env": ["A"]}, "NAME=VALUE"),
        ({**HELLO, "files": ["gone"]}, "file not found: gone"), ({**HELLO, "files": ["../x"]}, "invalid file path: "),
        ({**HELLO, "cwd": "box"}, "cwd"), ({**HELLO, "limits": {"memory_mb": True}}, "memory_mb"),
        ({**HELLO, "limits": {"memory_mb": -1}}, "memory_mb"), ({**HELLO, "limits": {"memory_mb": 1.5}}, "memory_mb"),
        ({**HELLO, "limits": {"memory_mb": 10**30}}, "memory: at most"), ({**HELLO, "limits": {"cpu_cores": 1e308}}, "cpus: at most"),
        ({**HELLO, "limits": {"wall_clock_secs": 100_000}}, "wall_time: at most 120"), ({**HELLO, "persist": "yes"}, "'persist'"),
        ({**HELLO, "cmd": ["a\0b"]}, ""), ({**HELLO, "files": ["tmp/x"]}, "invalid file path: "),
    ],
)  # fmt: skip
def test_what_is_wrong_is_a_400_that_says_so(body, error):
    desk = Desk()
    desk.files["tmp/x"] = b""
    desk.answers = [pyjail.SpecError("cwd", "box", "an absolute path is needed")]
    answer = run(body, desk)
    assert answer.status == 400
    assert set(answer.content) == {"error"}
    assert error in answer.content["error"]


@pytest.mark.parametrize(
    ("verdict", "status", "code", "error"),
    [
        (Verdict.WALL_TIME, 408, None, "execution timed out after 1500ms"), (Verdict.CPU_TIME, 408, None, "execution timed out after 1500ms"),
        (Verdict.OUTPUT, 507, None, "output limit exceeded: limit=10485760 bytes"), (Verdict.JAIL_ERROR, 500, None, "the jail failed, not the program"),
        (Verdict.MEMORY, 200, 137, None), (Verdict.SIGNALED, 200, 139, None), (Verdict.RUNTIME_ERROR, 200, 3, None),
    ],
)  # fmt: skip
def test_each_verdict_is_told_as_boxer_tells_it(verdict, status, code, error):
    answer = run(HELLO, Desk(result(verdict, wall=1.5)))
    assert (answer.status, answer.content.get("exit_code"), answer.content.get("error")) == (status, code, error)


def test_a_program_that_is_not_there_is_127_with_text():
    answer = run({**HELLO, "cmd": ["nope"]}, Desk(Outcome(None, fault="nope: it is nowhere")))
    assert (answer.status, answer.content["exit_code"], answer.content["stderr"]) == (200, 127, "nope: it is nowhere\n")


def test_files_are_shown_at_their_paths_and_go_unless_they_are_to_persist():
    for persist in (True, False):
        desk = Desk(result(files={"a/b": b"1", ".boxer/in/put.py": b"i"}))
        desk.files["in/put.py"] = b"i"
        answer = run({**HELLO, "files": ["in/./put.py"], "persist": persist}, desk)
        (job,) = desk.jobs
        assert [(m.dst, m.target) for m in job.jail.mounts][1:] == [("/in/put.py", "/box/.boxer/in/put.py")]
        assert [(name, file.data, file.mode) for name, file in job.files.items()] == [(".boxer/in/put.py", b"i", 0o444)]
        assert job.collect == (("**",) if persist else ())
        name = answer.content["exec_id"]
        if persist:
            assert desk.files == {"in/put.py": b"i", f"output/{name}/a/b": b"1"}
        else:
            assert "in/put.py" not in desk.files


def test_inputs_go_also_when_the_run_is_late():
    desk = Desk(result(Verdict.WALL_TIME))
    desk.files["x"] = b""
    assert run({**HELLO, "files": ["x"]}, desk).status == 408
    assert desk.files == {}


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        (None, 400, "form field 'file' is required"), ({"path": b"x"}, 400, "form field 'file' is required"),
        ({"file": b""}, 400, "form field 'path' is required"), ({"file": b"", "path": b"../x"}, 400, "invalid path"),
        ({"file": b"", "path": b"a/../.."}, 400, "invalid path"), ({"file": b"", "path": b"a\0"}, 400, "invalid path"),
        ({"file": b"", "path": b"output/x"}, 400, "reserved prefix 'output/'"), ({"file": b"", "path": b"output"}, 400, "reserved"),
        ({"file": b"", "path": b"./output/x"}, 400, "reserved"), ({"file": b"x" * 11, "path": b"x"}, 413, "upload exceeds limit"),
    ],
)  # fmt: skip
def test_uploads_that_are_refused(form, status, error):
    desk = Desk(settings={"upload": 10})
    answer = ask(FACE, "POST", "/files", desk=desk, form=form)
    assert (answer.status, desk.files) == (status, {})
    assert error in answer.content["error"]


def test_files_go_in_and_come_out():
    desk = Desk()
    assert ask(FACE, "POST", "/files", desk=desk, form={"file": b"\0x", "path": b"a/b"}).content == {"path": "a/b"}
    answer = ask(FACE, "GET", "/files", desk=desk, query={"path": "a/b"})
    assert (answer.body, answer.type) == (b"\0x", "application/octet-stream")
    assert ask(FACE, "GET", "/files", desk=desk, query={"path": "c"}).content == {"error": "file not found"}
    assert ask(FACE, "GET", "/files", desk=desk, query={"path": "../c"}).status == 400
    assert ask(FACE, "GET", "/files", desk=desk).status == 400
    assert ask(FACE, "GET", "/healthz").content == {"ok": True}


def test_images_are_names_of_the_store_or_of_the_settings():
    desk = Desk(settings={"images": {"python:3.9*": "alpine"}})
    run({**HELLO, "image": "alpine"}, desk)
    assert desk.jobs[-1].jail.image == "alpine"
    assert desk.jobs[-1].env == {"PATH": "/image/bin"}
    run({**HELLO, "image": "python:3.9-slim"}, desk)
    assert desk.jobs[-1].jail.image == "alpine"
    run(HELLO, desk)
    assert desk.jobs[-1].jail.image is None


@pytest.mark.parametrize(
    ("problem", "status", "error"),
    [
        (Problem(401, "token", "a token is needed"), 401, "a token is needed"), (Problem(503, "queue-full", "full", retry=3), 503, "full"),
        (Problem(413, "body", "too long"), 413, "request exceeds limit"), (Problem(429, "rate", "too many", retry=2), 429, "too many"),
    ],
)  # fmt: skip
def test_problems_of_admission_have_boxer_s_shape(problem, status, error):
    answer = FACE.problem(problem)
    assert (answer.status, answer.content) == (status, {"error": error})
    assert answer.headers.get("Retry-After") == (str(problem.retry) if problem.retry else None)


def test_the_service_s_limits_bound_the_face_s_own():
    desk = Desk(config=Config(maxima=Limits(wall_time=5, memory="64M", cpu_time=5, output="1M", processes=8)))
    run(HELLO, desk)
    asked = desk.jobs[0].limits
    assert (asked.wall_time, asked.memory, asked.cpu_time, asked.output, asked.processes) == (
        5,
        64 << 20,
        5,
        1 << 20,
        8,
    )


@pytest.mark.parametrize("name", ["cpu_cores", "memory_mb", "pids_limit", "wall_clock_secs", "nofile"])
@pytest.mark.parametrize("number", ["9" * 99, "9" * 400, "1e308", "1e999", "-1", "true"])
def test_no_number_is_too_large_to_be_refused(name, number):
    body = f'{{"image": "python:3", "cmd": ["x"], "limits": {{"{name}": {number}}}}}'
    assert run(body.encode()).status == 400


def test_no_more_is_read_than_a_program_can_be_given():
    desk = Desk()
    desk.files = {f"f{i}": b"x" * (1 << 20) for i in range(300)}
    answer = run({**HELLO, "files": list(desk.files)}, desk)
    assert (answer.status, desk.jobs) == (400, []) and "at most 256 files" in answer.content["error"]
    answer = run({**HELLO, "files": list(desk.files)[:200]}, desk)
    assert (answer.status, desk.jobs) == (400, []) and "that /box has" in answer.content["error"]
    assert run({**HELLO, "files": ["f1"] * 200}, desk).status == 200
    assert list(desk.jobs[0].files) == [".boxer/f1"]


def test_what_is_unknown_does_not_come_back_whole():
    assert len(str(run({**HELLO, "env": ["x" * 100_000]}).content)) < 500


def test_what_it_says_of_itself_is_what_it_takes():
    said = description("/boxer")
    asked = said["definitions"]["api.RunRequest"]
    assert set(asked["properties"]) == {field.name for field in dataclasses.fields(Request)}
    body = {
        "image": "python:3",
        **{name: given["example"] for name, given in asked["properties"].items() if "example" in given},
    }
    limits = dict.fromkeys(said["definitions"]["config.ResourceLimits"]["properties"], 1)
    assert len(request_of({**body, "limits": limits}).limits) == 5
    answer = run({name: value for name, value in body.items() if name != "files"}, Desk(result()))
    assert set(answer.content) == set(said["definitions"]["api.RunResponse"]["properties"])
    known = {f"#/definitions/{name}" for name in said["definitions"]}
    assert set(re.findall(r"'(#/definitions/[^']+)'", str(said))) <= known
    endpoints = {(e.method.lower(), e.path) for e in Boxer().endpoints()}
    assert {(method, path) for path, methods in said["paths"].items() for method in methods} == endpoints
