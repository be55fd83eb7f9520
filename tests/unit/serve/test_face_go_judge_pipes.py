"""go-judge's pipes, terminals and CPUs, as a table: what is asked for becomes jobs, or is refused by its name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pyjail import Limits
from pyjail.serve import Config
from pyjail.serve.faces.go_judge import GoJudge
from pyjail.serve.job import Outcome, Pipe
from pyjail.serve.problem import Problem
from tests.unit.serve.face_desk import Desk, ask, result

FACE = GoJudge()
NONE = {"args": ["/bin/cat"], "files": [None, None, {"name": "stderr", "max": 100}]}


def asked(commands, pipes=(), desk=None):
    return ask(FACE, "POST", "/run", {"cmd": commands, "pipeMapping": list(pipes)}, desk)


def pipe(source, target, **more):
    ends = (dict(zip(("index", "fd"), end, strict=True)) for end in (source, target))
    return {**dict(zip(("in", "out"), ends, strict=True)), **more}


def test_those_that_pipes_join_run_together_and_the_others_by_themselves():
    desk = Desk(*(result(stderr=str(i).encode()) for i in range(5)))
    pipes = [pipe((4, 1), (1, 0)), pipe((1, 1), (4, 0), proxy=True, name="log", max=7)]
    said = asked([{**NONE, "args": [str(i)]} for i in range(5)], pipes, desk).content
    (group,) = desk.groups
    assert [job.args for job in group.jobs] == [("1",), ("4",)]
    assert group.pipes == (Pipe((1, "stdout"), (0, "stdin")), Pipe((0, "stdout"), (1, "stdin"), True, 7))
    assert sorted(job.args for job in desk.jobs) == [("0",), ("2",), ("3",)]
    assert len(said) == 5


def test_what_is_kept_of_a_pipe_is_a_file_of_who_writes():
    desk = Desk(Outcome(result(), kept={"stdout": b"passed"}), result())
    pipes = [pipe((0, 1), (1, 0), proxy=True, name="log", max=10)]
    said = asked([{**NONE, "copyOut": ["log"]}, NONE], pipes, desk).content
    assert [one["files"] for one in said] == [{"stderr": "", "log": "passed"}, {"stderr": ""}]
    desk = Desk(Outcome(result(), kept={"stdout": b"passed"}), result())
    said = asked([{**NONE, "copyOutCached": ["log"]}, NONE], pipes, desk).content
    assert desk.files[f"{said[0]['fileIds']['log']}/log"] == b"passed"


def test_a_name_without_a_proxy_keeps_nothing():
    desk = Desk()
    asked([NONE, NONE], [pipe((0, 1), (1, 0), name="log", max=10)], desk)
    assert desk.groups[0].pipes == (Pipe((0, "stdout"), (1, "stdin")),)


def test_where_one_cannot_be_run_the_whole_request_is_refused():
    wrong = Problem(422, "field", "it is not there", field="cwd")
    answer = asked([NONE, NONE, NONE], (), Desk(result(), wrong, result()))
    assert (answer.status, answer.content) == (422, "cwd: it is not there")


def test_a_request_needs_no_more_of_the_queue_than_one_command():
    """Of a token that may have one program at once, and none that waits: the others have their turns afterwards."""
    full = Problem(429, "share-full", "0 requests of this token wait already", retry=1)
    desk = Desk(result(stderr=b"0"), full, full, result(stderr=b"1"), result(stderr=b"2"))
    said = asked([NONE] * 3, (), desk).content
    assert [one["files"]["stderr"] for one in said] == ["0", "1", "2"]
    answer = asked([NONE] * 3, (), Desk(full, full, full))
    assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
    answer = asked([NONE] * 3, (), Desk(result(), full, full, full))
    assert answer.status == 429


@pytest.mark.parametrize(
    ("pipes", "text"),
    [
        ({"in": 1}, "pipeMapping is to be a list"), ([1], "pipeMapping[0] is to be an object"), ([{}], "pipeMapping[0].in: index and fd"),
        ([{"in": {"index": 0, "fd": 1}}], "pipeMapping[0].out"), ([pipe((0, True), (1, 0))], "index and fd"), ([pipe((2, 1), (1, 0))], "out of range 2"),
        ([pipe((-1, 1), (1, 0))], "out of range -1"), ([pipe((0, 2), (1, 0))], "fd already occupied 0 2"), ([pipe((0, 3), (1, 0))], "no other fds"),
        ([pipe((0, 1), (1, 7))], "no other fds"), ([pipe((0, 0), (1, 1))], "no other fds"), ([pipe((0, -1), (1, 0))], "no other fds"),
        ([pipe((0, 1), (1, 0)), pipe((0, 1), (1, 0))], "existing file descriptor: 0/1"), ([pipe((0, 1), (1, 0), proxy=True, name="a", max=10**9)], "max: at most"),
        ([pipe((0, 1), (1, 0), proxy=True, name=1)], "a name is text"), ([pipe((0, 1), (1, 0), max="1")], "a whole number"),
    ],
)  # fmt: skip
def test_pipes_that_cannot_be_are_refused_by_their_number(pipes, text):
    desk = Desk()
    answer = ask(FACE, "POST", "/run", {"cmd": [NONE, NONE], "pipeMapping": pipes}, desk)
    assert answer.status == 400
    assert text in answer.content
    assert not desk.groups


def test_a_terminal_has_one_stream_whose_name_is_the_first():
    streams = [{"content": "typed"}, {"name": "stdout", "max": 100}, {"name": "stderr", "max": 100}]
    desk = Desk(result(stdout=b"shown"))
    (said,) = asked([{**NONE, "files": streams, "tty": True, "copyOut": ["stdout", "stderr"]}], (), desk).content
    assert (said["status"], said["files"]) == ("Accepted", {"stdout": "shown"})
    assert (desk.jobs[0].terminal, desk.jobs[0].stdin, desk.jobs[0].merged) == ((24, 80), b"typed", False)
    answer = asked([{**NONE, "tty": True}, NONE], [pipe((0, 1), (1, 0))])
    assert (answer.status, "cmd[0].tty" in answer.content) == (400, True)


def test_two_streams_of_one_name_are_one():
    same = [None, {"name": "both", "max": 10}, {"name": "both", "max": 10}]
    desk = Desk(result(stdout=b"oe"))
    (said,) = asked([{**NONE, "files": same}], (), desk).content
    assert (said["files"], desk.jobs[0].merged) == ({"both": "oe"}, True)


def test_cpus_are_those_that_are_asked_for():
    for text, cpus in (("0", {0}), (" 1 - 2 , 5", {1, 2, 5})):
        desk = Desk(config=Config(maxima=replace(Config().maxima, cpus=3.0)))
        assert asked([{**NONE, "cpuSetLimit": text}], (), desk).status == 200
        assert desk.jobs[0].limits.cpus == frozenset(cpus)


@pytest.mark.parametrize("text", ["x", "1-", "-1", "3-1", "1--2", "0,", "1" * 30, "²", "0,1", 7, "0-4095", "," * 5000])
def test_cpus_that_cannot_be_are_refused_by_name(text):
    answer = asked([{**NONE, "cpuSetLimit": text}])
    assert (answer.status, "cpuSetLimit" in answer.content) == (400, True)


def test_cpus_are_within_the_maxima_and_no_rate_besides():
    config = Config(maxima=Limits(cpus={0, 1}), limits=Limits(cpus={0}))
    assert "of CPUs [0, 1]" in asked([{**NONE, "cpuSetLimit": "2"}], (), Desk(config=config)).content
    assert "cpuRateLimit" in asked([{**NONE, "cpuSetLimit": "0", "cpuRateLimit": 500}]).content
