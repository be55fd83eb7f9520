"""snekbox's interface, as a table."""

from __future__ import annotations

import pytest

from pyjail import Verdict
from pyjail.serve.faces.snekbox import Snekbox
from pyjail.serve.job import Outcome
from pyjail.serve.problem import Media, Problem
from tests.unit.serve.face_desk import Desk, ask, result

FACE = Snekbox()


def evaluate(body, desk=None):
    return ask(FACE, "POST", "/eval", body, desk)


@pytest.mark.parametrize(
    ("body", "args"),
    [({"args": ["", "", "-m", "x", ""]}, ("-m", "x", "")), ({"input": "x"}, ("-c", "x")), ({"args": ["-c", "x"]}, ("-c", "x")), ({"input": "pass", "args": ["-m", "timeit"]}, ("-m", "timeit", "pass")), ({"args": []}, ())],
)  # fmt: skip
def test_arguments(body, args):
    desk = Desk()
    assert evaluate(body, desk).content == {"stdout": "", "returncode": 0, "files": []}
    (job,) = desk.jobs
    assert (job.args, job.cwd, job.merged, job.limits.wall_time) == (("python3", *args), "/home", True, 6)
    limits, env = job.limits, job.env
    assert (limits.memory, limits.processes, limits.address_space, limits.disk) == (70 << 20, 15, 700 << 20, 48 << 20)
    assert (env["OMP_NUM_THREADS"], env["PYTHON_COLORS"]) == ("15", "1")


def test_new_and_changed_files_come_back():
    desk = Desk(result(files={"same": b"1", "changed": b"2", "d/new": b"3"}))
    files = [{"path": "same", "content": "MQ=="}, {"path": "d/../changed", "content": "M\nQ=="}]
    assert evaluate({"args": ["x"], "files": files}, desk).content["files"] == [
        {"path": "changed", "size": 1, "content": "Mg=="}, {"path": "d/new", "size": 1, "content": "Mw=="},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("verdict", "given", "code"),
    [
        (Verdict.WALL_TIME, {}, 137), (Verdict.MEMORY, {}, 137), (Verdict.SIGNALED, {}, 139), (Verdict.OUTPUT, {"stdout": b"y"}, 143), (Verdict.RUNTIME_ERROR, {}, 3),
        (Verdict.OK, {"stdout": b"\xff"}, None),
    ],
)  # fmt: skip
def test_each_end(verdict, given, code):
    assert evaluate({"input": "x"}, Desk(result(verdict, **given))).content["returncode"] == code


@pytest.mark.parametrize(
    ("body", "title", "text"),
    [
        ({"stuff": "foo"}, "Request data failed validation", "{'stuff': 'foo'} is not valid under any of the given schemas"),
        ({"args": 400}, "Request data failed validation", "400 is not of type 'array'"), ({"args": [], "files": [215]}, "Request data failed validation", "215 is not of type 'object'"),
        ({"args": [], "files": [{"path": "/etc"}]}, "Request data failed validation", "does not match"), ({"args": [], "files": [{"path": r"a\0b"}]}, "Request data failed validation", "does not match"),
        ({"args": [], "files": [{"path": "dir/../../x"}]}, "Request file is invalid", "File path 'dir/../../x' may not traverse beyond root"),
        ({"args": [], "files": [{"path": "x", "content": "a"}]}, "Request file is invalid", "Invalid base64 encoding for file 'x'"), (b"{", "Invalid JSON", "Could not parse"),
    ],
)  # fmt: skip
def test_what_is_wrong(body, title, text):
    answer = evaluate(body)
    assert (answer.status, answer.content["title"]) == (400, title)
    assert text in answer.content["description"]


def test_other_problems_have_a_title():
    assert FACE.problem(Problem(503, "queue-full", "full", retry=1)).content == {
        "title": "503 Service Unavailable",
        "description": "full",
    }
    assert evaluate({"input": "x"}, Desk(result(Verdict.JAIL_ERROR))).status == 500
    for fault, why in (("no", "does not exist"), ("/etc: Permission denied", "is not executable")):
        said = evaluate({"input": "x", "executable_path": "/nope"}, Desk(Outcome(None, fault=fault)))
        assert (said.status, said.content) == (400, {"title": f"executable_path {why}"})
    assert FACE.problem(Media("application/xml", "", "")).content == {
        "title": "415 Unsupported Media Type",
        "description": "application/xml is an unsupported media type.",
    }
    assert ask(FACE, "OPTIONS", "/eval").headers == {"Allow": "POST"}


def test_what_the_run_finds_wrong_is_a_400_too():
    assert FACE.problem(Problem(422, "field", "no room")).status == 400


@pytest.mark.parametrize(
    ("body", "stdout"),
    [
        ({"args": ["a\0"]}, "ValueError: embedded null byte"),
        ({"args": [], "files": [{"path": "d/x"}, {"path": "d"}]}, "IsADirectoryError: Failed to create file 'd'."),
        ({"args": [], "files": [{"path": "d"}, {"path": "d/x"}]}, "FileExistsError: Failed to create file 'd/x'."),
        ({"args": [], "files": [{"path": "d"}, {"path": "d/x/y"}]}, "NotADirectoryError: Failed to create file 'd/x/y'."),
    ],
)  # fmt: skip
def test_what_cannot_be_run_is_told_as_output(body, stdout):
    answer = evaluate(body, Desk(Problem(500, "", "it ran")))
    assert (answer.status, answer.content) == (200, {"stdout": stdout, "returncode": None, "files": []})


def test_what_is_no_text_is_told_as_output():
    assert evaluate({"input": "x"}, Desk(result(stdout=b"\xff"))).content["stdout"].startswith("UnicodeDecodeError: ")
    said = evaluate({"input": "x"}, Desk(result(files={"\udcc3.txt": b""}))).content
    assert (said["returncode"], said["stdout"][:37]) == (None, "FileParsingError: invalid bytes in fi")
    said = FACE.problem(Problem(422, "field", "no room", field="files.big"))
    assert (said.status, said.content["stdout"]) == (200, "OSError: Failed to create file 'big'.")


def test_hidden_files_do_not_come_back():
    files = {"a": b"1", ".hidden/b": b"2", "d/.c/e": b"3", "_d/f": b"4"}
    said = evaluate({"input": "x"}, Desk(result(files=files))).content["files"]
    assert [file["path"] for file in said] == ["_d/f", "a"]


def test_the_last_file_of_a_path_is_the_one():
    desk = Desk()
    evaluate({"args": [], "files": [{"path": "a", "content": "MQ=="}, {"path": "b/../a", "content": "Mg=="}]}, desk)
    assert desk.jobs[0].files == {"a": b"2"}
