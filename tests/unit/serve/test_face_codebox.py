"""Codebox's interface, as a table."""

from __future__ import annotations

import pytest

from pyjail import Verdict
from pyjail.serve import Config
from pyjail.serve.faces.codebox import Codebox
from pyjail.serve.job import LATE, Outcome
from pyjail.serve.problem import Problem
from tests.unit.serve.face_desk import Desk, ask, result

FACE = Codebox()


def execute(sources, commands, desk=None):
    return ask(FACE, "POST", "/execute", {"sources": sources, "commands": commands}, desk)


def test_commands_run_one_after_the_other_in_sandbox():
    desk = Desk(result(stdout="olá".encode()), result(Verdict.RUNTIME_ERROR, stderr=b"e"))
    answer = execute(
        {"/a/b.py": "x"},
        [{"command": "/venv/bin/python 'a b'", "stdin": "ç"}, {"command": "false", "timeout": 1}],
        desk,
    )
    assert answer.content == [
        {"stdout": "olá", "stderr": "", "exit_code": 0, "elapsed_time": 0.25},
        {"stdout": "", "stderr": "e", "exit_code": 3, "elapsed_time": 0.25},
    ]
    (script,) = desk.scripts
    assert script.files == {"a/b.py": b"x"}
    assert [(step.args, step.stdin, step.cwd, step.limits.wall_time) for step in script.steps] == [
        (("/venv/bin/python", "a b"), "ç".encode(), "/sandbox", 0.2), (("false",), b"", "/sandbox", 1.0),
    ]  # fmt: skip
    links = {m.dst: m.target for m in script.jail.mounts if m.kind == "link"}
    assert links["/sandbox"] == "/box"
    assert {"/venv/bin/python", "/venv/bin/pip", "/venv/bin/pytest", "/usr/local/cargo/bin/rustc"} < set(links)
    limits = script.steps[0].limits
    assert (limits.memory, limits.processes, limits.file_size) == (64_000_000, 12, 5 << 20)
    assert script.jail.env["HOME"] == "/sandbox"


def test_nothing_to_run_is_an_empty_list_and_one_command_needs_no_session():
    desk = Desk()
    assert execute({"a": "b"}, [], desk).content == []
    assert (desk.jobs, desk.scripts) == ([], [])
    execute({"a": "b"}, [{"command": "x"}], desk)
    assert [dict(job.files) for job in desk.jobs] == [{"a": b"b"}]


def test_a_timeout_may_be_text_and_the_answer_tells_how_long_it_took():
    desk = Desk()
    answer = execute({}, [{"command": "x", "timeout": " 1.5"}], desk)
    assert desk.jobs[0].limits.wall_time == 1.5
    assert float(answer.headers["X-Processed-Time"]) >= 0
    assert desk.jobs[0].env["PYTHONIOENCODING"] == "utf-8:strict"


def test_without_a_timeout_the_server_s_maximum_holds():
    desk = Desk()
    execute({}, [{"command": "x", "timeout": None}], desk)
    assert desk.jobs[0].limits.wall_time == desk.config.maxima.wall_time


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("invalid/path/../../../../usr/bin/help.py", "/usr/bin/help.py"), ("../x", "/tmp/x"), ("..", "/tmp"),
        ("../sandbox2/x", "/tmp/sandbox2/x"), (".", "/tmp/sandbox"), ("", "/tmp/sandbox"), ("/..//../../etc/x", "/etc/x"),
        ("a\x1b[2J/../../x", "/tmp/x"),
    ],
)  # fmt: skip
def test_a_bad_path_runs_nothing_and_is_told(path, told):
    desk = Desk()
    answer = execute({path: "t", "good": "g"}, [{"command": "x"}], desk)
    assert answer.status == 200
    bad = {"stdout": "", "stderr": f"Invalid file path: {told}", "exit_code": -1, "elapsed_time": 0.0}
    assert answer.content == [bad]
    assert (desk.jobs, desk.scripts) == ([], [])


@pytest.mark.parametrize("paths", [("a", "a/b"), ("a/b", "a"), ("x\0", "y"), ("n" * 300, "y")])
def test_paths_that_cannot_be_files_are_bad_ones(paths):
    answer = execute(dict.fromkeys(paths, ""), [])
    assert [e["exit_code"] for e in answer.content] == [-1]


@pytest.mark.parametrize(
    ("verdict", "given", "expected"),
    [
        (Verdict.WALL_TIME, {}, ("", "Timeout Error. Exceeded 0.2s", -1)), (Verdict.WALL_TIME, {"stdout": b"part", "stderr": b"e"}, ("part", "e", -1)),
        (Verdict.MEMORY, {}, ("", "", 137)), (Verdict.SIGNALED, {"stdout": b"kept"}, ("kept", "", 139)), (Verdict.CPU_TIME, {}, ("", "", 137)),
        (Verdict.OUTPUT, {"stdout": b"y" * 9 + b"\xc3"}, ("y" * 9, "", 137)), (Verdict.SECURITY, {}, ("", "", 159)),
        (Verdict.OK, {"stdout": b"\xff"}, ("", "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte", -1)),
    ],
)  # fmt: skip
def test_each_end_is_told_as_codebox_tells_it(verdict, given, expected):
    (told,) = execute({}, [{"command": "x"}], Desk(result(verdict, **given))).content
    assert (told["stdout"], told["stderr"], told["exit_code"]) == expected


def test_what_is_no_command_does_not_stop_the_others():
    missing = Outcome(None, fault="nope: nowhere")
    told = execute(
        {}, [{"command": "'"}, {"command": "nope"}, {"command": " "}, {"command": "x"}], Desk(missing, result())
    ).content
    assert [(e["exit_code"], e["stderr"]) for e in told] == [
        (-1, "No closing quotation"), (127, "nope: nowhere\n"), (-1, "empty command"), (0, ""),
    ]  # fmt: skip
    assert execute({}, [{"command": "nope"}], Desk(missing)).content[0]["exit_code"] == 127


@pytest.mark.parametrize(
    ("body", "at", "kind"),
    [
        (b"x", ["body"], "json_invalid"), ([], ["body"], "model_attributes_type"), ({}, ["body", "sources"], "missing"),
        ({"sources": []}, ["body", "sources"], "dict_type"), ({"sources": {"a": 1}}, ["body", "sources", "a"], "string_type"),
        ({"sources": {}, "commands": {}}, ["body", "commands"], "list_type"), ({"sources": {}, "commands": [1]}, ["body", "commands", 0], "model_attributes_type"),
        ({"sources": {}, "commands": [{}]}, ["body", "commands", 0, "command"], "missing"),
        ({"sources": {}, "commands": [{"command": None}]}, ["body", "commands", 0, "command"], "string_type"),
        ({"sources": {}, "commands": [{"command": "x", "stdin": 1}]}, ["body", "commands", 0, "stdin"], "string_type"),
        ({"sources": {}, "commands": [{"command": "x", "timeout": "1s"}]}, ["body", "commands", 0, "timeout"], "float_type"),
        ({"sources": {}, "commands": [{"command": "x", "timeout": True}]}, ["body", "commands", 0, "timeout"], "float_type"),
        ({"sources": {}, "commands": [{"command": "x", "timeout": 0}]}, ["body", "commands", 0, "timeout"], "greater_than"),
        ({"sources": {}, "commands": [{"command": "x", "timeout": "0.0"}]}, ["body", "commands", 0, "timeout"], "greater_than"),
        ({"sources": {}, "commands": [{"command": "x", "timeout": 1e308}]}, ["body", "commands", 0, "timeout"], "less_than_equal"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_a_422_in_fastapi_s_words(body, at, kind):
    answer = ask(FACE, "POST", "/execute", body)
    assert answer.status == 422
    assert (answer.content["detail"][0]["loc"], answer.content["detail"][0]["type"]) == (at, kind)


def test_only_the_jail_s_own_failure_is_a_500_and_says_nothing_of_the_machine():
    answer = execute({}, [{"command": "x"}], Desk(result(Verdict.JAIL_ERROR)))
    assert (answer.status, answer.body) == (500, b"Internal Server Error")
    assert FACE.problem(Problem(429, "rate", "too many", retry=2)).content == {"detail": "too many"}


def test_there_is_no_way_around_the_jail():
    assert {endpoint.path for endpoint in FACE.endpoints()} == {"/execute", "/languages"}


def test_languages_are_those_that_answer():
    said = b"python3 Python 3.11.2\nsqlite3 3.40.1 2022-12-28\nbash GNU bash, version 5.2.15(1)-release (x86_64)\n"
    assert ask(FACE, "GET", "/languages", desk=Desk(result(stdout=said))).content == {
        "python": "3.11.2", "sqlite3": "3.40.1", "bash": "5.2.15(1)-release",
    }  # fmt: skip


def test_a_request_is_bounded_before_anything_is_made_of_it():
    """To split a command takes time by the square of its length, so a body of 1 MB would keep the service for minutes."""
    many = [{"command": "true"}] * 101
    for body, at in (
        ({"sources": {}, "commands": [{"command": "a" * 70_000}]}, "commands"),
        ({"sources": {}, "commands": [{"command": "a" * 800}] * 90}, "commands"),
        ({"sources": {}, "commands": many}, "commands"),
        ({"sources": {f"f{i}": "" for i in range(1001)}, "commands": []}, "sources"),
    ):
        desk = Desk()
        answer = ask(FACE, "POST", "/execute", body, desk)
        assert answer.status == 422 and not desk.jobs and not desk.scripts
        assert (answer.content["detail"][0]["loc"], answer.content["detail"][0]["type"]) == (["body", at], "too_long")
        assert len(str(answer.content)) < 500  # it does not come back


def test_a_file_where_a_directory_is_is_found_however_many_there_are():
    sources = {f"d{i}/{'x/' * 200}f": "" for i in range(900)} | {
        "a": "",
        "a-b": "",
        "a/b/c": "",
        "a/d": "",
        "b/c": "",
        "b": "",
    }
    answer = ask(FACE, "POST", "/execute", {"sources": sources, "commands": [{"command": "ls"}]}, Desk())
    assert [entry["stderr"] for entry in answer.content] == [
        f"Invalid file path: /tmp/sandbox/{name}" for name in ("a/b/c", "a/d", "b/c")
    ]


def test_all_commands_together_take_no_longer_than_one_may():
    desk = Desk(result(), Outcome(None, fault=LATE))
    answer = execute({}, [{"command": "a", "timeout": None}, {"command": "b", "timeout": 100}], desk)
    assert desk.scripts[0].seconds == Config().maxima.wall_time == 120
    assert [entry["exit_code"] for entry in answer.content] == [0, -1]


@pytest.mark.parametrize("number", [b"1e999", b"-1e999", b"9" * 4000, b"-" + b"9" * 400])
def test_a_number_that_is_none_is_told(number):
    answer = ask(FACE, "POST", "/execute", b'{"sources": {}, "commands": [{"command": "x", "timeout": %b}]}' % number)
    assert answer.status == 422 and answer.content["detail"][0]["type"] == "json_invalid"


@pytest.mark.parametrize("path", ["x" * 1_000_000, "a/" * 500_000, "../" * 300_000], ids=["long", "deep", "up"])
def test_a_path_that_is_far_too_long_is_told_in_short(path):
    answer = execute({path: "x", "b": "y"}, [{"command": "true"}], Desk(result()))
    (entry,) = answer.content
    assert (
        entry["exit_code"] == -1 and entry["stderr"].startswith("Invalid file path: /") and len(entry["stderr"]) < 9000
    )
