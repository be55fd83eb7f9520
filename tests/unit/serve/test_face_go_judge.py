"""go-judge's interface, as a table."""

from __future__ import annotations

import asyncio
import json

import pytest

from pyjail import Link, Usage, Verdict
from pyjail.serve.faces.go_judge import GoJudge
from pyjail.serve.faces.go_judge_socket import talk
from pyjail.serve.job import Outcome
from pyjail.serve.problem import Problem
from tests.unit.serve.face_desk import Desk, ask, result

FACE = GoJudge()
STREAMS = [{"content": "in"}, {"name": "stdout", "max": 10240}, {"name": "stderr", "max": 1024}]
HELLO = {"args": ["/bin/cat"], "env": ["PATH=/usr/bin:/bin"], "files": STREAMS, "copyOut": ["stdout", "stderr"]}


def run(*commands, desk=None):
    return ask(FACE, "POST", "/run", {"cmd": list(commands)}, desk)


def test_a_command_has_its_limits_its_files_and_its_answer():
    ended = result(stdout=b"out\xff", stderr=b"e", files={"a": b"bin"})
    object.__setattr__(ended, "usage", Usage(wall_time=0.5, cpu_time=0.25, memory_peak=4096, processes_peak=2))
    desk = Desk(ended)
    desk.files = {"id1/lib": b"lib"}
    (said,) = run({
        **HELLO, "cpuLimit": 1_000_000_000, "clockLimit": 3_000_000_000, "memoryLimit": 1 << 26, "procLimit": 5, "cpuRateLimit": 500,
        "stackLimit": 1 << 20, "copyIn": {"a.cc": {"content": "x"}, "l/b": {"fileId": "id1"}}, "copyOutCached": ["a"], "unknown": 1,
    }, desk=desk).content  # fmt: skip
    (identity,) = said.pop("fileIds").values()
    assert desk.files[f"{identity}/a"] == b"bin"
    assert said == {
        "status": "Accepted", "exitStatus": 0, "time": 250_000_000, "memory": 4096, "runTime": 500_000_000, "procPeak": 2,
        "files": {"stdout": "out\ufffd", "stderr": "e"},
    }  # fmt: skip
    (job,) = desk.jobs
    assert (job.args, job.stdin, job.cwd, job.env, job.collect) == (
        ("/bin/cat",),
        b"in",
        "/w",
        {"PATH": "/usr/bin:/bin"},
        ("a",),
    )
    assert {name: file.data for name, file in job.files.items()} == {"a.cc": b"x", "l/b": b"lib"}
    asked = job.limits
    assert (asked.cpu_time, asked.wall_time, asked.memory, asked.processes, asked.cpus, asked.stack) == (
        1,
        3,
        1 << 26,
        5,
        0.5,
        1 << 20,
    )
    assert asked.output == 10240


@pytest.mark.parametrize(
    ("verdict", "status", "code"),
    [
        (Verdict.OK, "Accepted", 0), (Verdict.RUNTIME_ERROR, "Nonzero Exit Status", 3), (Verdict.SIGNALED, "Signalled", 11),
        (Verdict.CPU_TIME, "Time Limit Exceeded", 9), (Verdict.WALL_TIME, "Time Limit Exceeded", 9), (Verdict.MEMORY, "Memory Limit Exceeded", 9),
        (Verdict.OUTPUT, "Output Limit Exceeded", 9), (Verdict.SECURITY, "Dangerous Syscall", 31), (Verdict.JAIL_ERROR, "Internal Error", 0),
    ],
)  # fmt: skip
def test_each_verdict_has_its_status(verdict, status, code):
    (said,) = run(HELLO, desk=Desk(result(verdict))).content
    assert (said["status"], said["exitStatus"]) == (status, code)
    assert "secret" not in str(said)


def test_a_name_that_is_copied_in_is_run():
    desk = Desk()
    run({"args": ["a", "1"], "copyIn": {"a": {"content": ""}}}, desk=desk)
    assert desk.jobs[0].args == ("./a", "1")


def test_links_are_made_in_the_jail():
    desk = Desk()
    run({**HELLO, "copyIn": {"in": {"symlink": "/dev/stdin"}, "/w/d/up": {"symlink": "../x"}}}, desk=desk)
    assert desk.jobs[0].files == {"in": Link("/dev/stdin"), "d/up": Link("../x")}


def test_names_that_come_out_are_no_patterns_and_may_begin_with_the_directory():
    desk = Desk(result(files={"a[1]*": b"x", "b": b"y"}))
    (said,) = run({**HELLO, "copyOut": ["a[1]*", "/w/b"]}, desk=desk).content
    assert desk.jobs[0].collect == ("a[[]1][*]", "b")
    assert {name: said["files"][name] for name in ("a[1]*", "/w/b")} == {"a[1]*": "x", "/w/b": "y"}


def test_addresses_are_limited_as_memory_is():
    desk = Desk()
    for given in (
        {},
        {"memoryLimit": 64 << 20},
        {"memoryLimit": 64 << 20, "addressSpaceLimit": True},
        {"addressSpaceLimit": True},
    ):
        run({**HELLO, "memoryLimit": 0, **given}, desk=desk)
    assert [job.limits.address_space for job in desk.jobs] == [None, None, 64 << 20, 256 << 20]


def test_what_does_not_come_out_is_a_file_error_unless_it_need_not():
    (said,) = run({**HELLO, "copyOut": ["gone", "maybe?"]}).content
    assert said["status"] == "File Error"
    assert [error["name"] for error in said["fileError"]] == ["gone"]
    (said,) = run({**HELLO, "copyOut": ["big"], "copyOutMax": 2}, desk=Desk(result(files={"big": b"123"}))).content
    assert said["fileError"][0]["type"] == "CopyOutSizeExceeded"
    big = {**HELLO, "copyOut": ["big"], "copyOutMax": 2, "copyOutTruncate": True}
    (said,) = run(big, desk=Desk(result(files={"big": b"123"}))).content
    assert (said["status"], said["files"]["big"]) == ("File Error", "12")  # cut, and told


def test_each_stream_has_a_limit_of_its_own():
    (said,) = run(HELLO, desk=Desk(result(stderr=b"e" * 1025))).content
    assert (said["status"], len(said["files"]["stderr"])) == ("Output Limit Exceeded", 1024)
    assert said["error"] == "Output Limit Exceeded"
    assert said["fileError"] == [{"name": "stderr", "type": "CollectSizeExceeded", "message": "Output Limit Exceeded"}]
    none = {**HELLO, "files": [None, {"name": "stdout", "max": 0}]}
    (said,) = run(none, desk=Desk(result(stdout=b"x"))).content
    assert (said["status"], said["files"]["stdout"]) == ("Output Limit Exceeded", "")


def test_a_program_that_is_not_there_is_not_ours():
    (said,) = run(HELLO, desk=Desk(Outcome(None, fault="no such program"))).content
    assert (said["status"], said["exitStatus"], said["error"]) == ("Nonzero Exit Status", 127, "no such program")
    assert said["files"] == {"stdout": "", "stderr": ""}  # which clients look for


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"{", ""), ({}, "no cmd provided"), ({"cmd": []}, "no cmd provided"), ({"cmd": [1]}, "object"), ({"cmd": [{"args": []}]}, "args"),
        ({"cmd": [HELLO], "pipeMapping": [{}]}, "pipeMapping"), ({"cmd": [HELLO] * 17}, "16"),
        ({"cmd": [{**HELLO, "files": [{"src": "/etc/passwd"}]}]}, "files of the host are not offered"),
        ({"cmd": [{**HELLO, "copyIn": {"a": {"src": "/etc/passwd"}}}]}, "files of the host are not offered"),
        ({"cmd": [{**HELLO, "copyIn": {"../a": {"content": ""}}}]}, "invalid path"), ({"cmd": [{**HELLO, "copyOut": ["/etc/passwd"]}]}, "invalid path"),
        ({"cmd": [{**HELLO, "copyIn": {"a": {"symlink": ""}}}]}, "symlink is to be a path"), ({"cmd": [{**HELLO, "copyIn": {"a": {"symlink": 5}}}]}, "symlink is to be a path"),
        ({"cmd": [{**HELLO, "copyIn": {"../a": {"symlink": "x"}}}]}, "invalid path"), ({"cmd": [{**HELLO, "files": [None] * 4}]}, "three at most"),
        ({"cmd": [{**HELLO, "copyIn": {"a": {"fileId": "none"}}}]}, "file not exists with id none"), ({"cmd": [{**HELLO, "memoryLimit": -1}]}, "memoryLimit"),
        ({"cmd": [{**HELLO, "memoryLimit": 1 << 62}]}, "memory: at most"), ({"cmd": [{**HELLO, "cpuLimit": 10**15}]}, "cpu_time: at most"),
        ({"cmd": [{**HELLO, "files": [None, {"src": "/tmp/x"}]}]}, "name and max"), ({"cmd": [{**HELLO, "memoryLimit": True}]}, "memoryLimit"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_a_bare_string(body, text):
    answer = ask(FACE, "POST", "/run", body)
    assert answer.status == 400
    assert isinstance(answer.content, str)
    assert text in answer.content


def test_files_have_ids():
    desk = Desk()
    identity = ask(FACE, "POST", "/file", desk=desk, form={"file": b"x"}, filenames={"file": "../../a b"}).content
    assert ask(FACE, "GET", "/file", desk=desk).content == {identity: "a b"}
    said = ask(FACE, "GET", "/file/{id}", desk=desk, params={"id": identity})
    assert (said.body, said.headers["Content-Disposition"]) == (b"x", 'attachment; filename="a b"')
    assert ask(FACE, "DELETE", "/file/{id}", desk=desk, params={"id": identity}).status == 200
    assert [ask(FACE, m, "/file/{id}", desk=desk, params={"id": identity}).status for m in ("GET", "DELETE")] == [
        404,
        404,
    ]
    assert ask(FACE, "POST", "/file", desk=desk).status == 400


def test_problems_of_admission_are_bare_strings():
    full = FACE.problem(Problem(503, "queue-full", "the queue is full", retry=3))
    assert (full.status, full.content, full.headers["Retry-After"]) == (503, "worker queue is full", "3")
    assert (FACE.problem(Problem(401, "token", "a token is needed")).body) == b""


class Talk:
    """A line on which these messages come; it ends when all that were asked for are answered."""

    def __init__(self, *messages, answers):
        self.messages, self.answers, self.said = list(messages), answers, []
        self.all = asyncio.Event()

    async def receive(self):
        await asyncio.sleep(0.01)
        if self.messages:
            return self.messages.pop(0)
        if self.answers:
            await self.all.wait()
        return None

    async def send(self, data):
        self.said.append(json.loads(data))
        if len(self.said) >= self.answers:
            self.all.set()


def test_requests_of_a_socket_have_ids_and_may_be_cancelled():
    class Slow(Desk):
        async def run(self, job, watcher=None):
            await asyncio.sleep(3600 if job.args == ("slow",) else 0)
            return Outcome(result())

    asked = [
        {"requestId": "a", "cmd": [{"args": ["slow"]}]},
        {"requestId": "b", "cmd": [{"args": ["quick"]}]},
        {"requestId": "c", "cmd": []},
        {"cancelRequestId": "a"},
    ]
    line = Talk(*map(json.dumps, asked), "{", b"\xff", answers=5)
    asyncio.run(talk(line, Slow()))
    said = {one["requestId"]: one for one in line.said if one["requestId"]}
    assert said["b"]["results"][0]["status"] == "Accepted"
    assert said["c"]["error"] == "no cmd provided"
    assert said["a"]["error"] == "cancelled"
    assert len([one for one in line.said if not one["requestId"] and one["error"]]) == 2


def test_who_goes_takes_all_requests_along():
    ended = []

    class Slow(Desk):
        async def run(self, job, watcher=None):
            try:
                await asyncio.sleep(3600)
            finally:
                ended.append(job)

    asyncio.run(
        talk(Talk(*(json.dumps({"requestId": str(i), "cmd": [{"args": ["x"]}]}) for i in range(3)), answers=0), Slow())
    )
    assert len(ended) == 3


def test_what_it_is_is_said_as_there_and_nothing_of_the_machine():
    said, told = ask(FACE, "GET", "/version").content, ask(FACE, "GET", "/config").content
    offered = {
        "copyOutOptional", "pipeProxy", "symlink", "addressSpaceLimit", "stream", "procPeak", "copyOutTruncate",
        "pipeProxyZeroCopy", "fixSymlinkEscape",
    }  # fmt: skip
    assert said.keys() == offered | {"buildVersion", "goVersion", "platform", "os"}
    assert told.keys() == offered | {"fileStorePath", "runnerConfig"}
    assert (told["fileStorePath"], told["runnerConfig"]) == ("", {})


def test_what_shows_only_when_it_is_run_is_told_by_its_name():
    answer = FACE.problem(Problem(422, "field", "there is no such CPU", field="cpus"))
    assert (answer.status, answer.content) == (422, "cpus: there is no such CPU")


def test_files_of_the_host_are_those_that_the_configuration_offers():
    desk = Desk(settings={"src_prefix": ("/srv/tests",)})
    files = [{"src": "/srv/tests/1.in"}, {"name": "stdout", "max": 10}]
    assert (
        run({**HELLO, "files": files, "copyOut": [], "copyIn": {"a": {"src": "/srv/tests/a"}}}, desk=desk).status == 200
    )
    assert desk.jobs[0].stdin.startswith(b"/srv/tests/1.in of ('/srv/tests',), ")
    assert desk.jobs[0].files["a"].data.startswith(b"/srv/tests/a of ")

    class None_(Desk):
        async def host(self, path, directories, most):
            raise Problem(400, "field", "No such file or directory")

    answer = run({**HELLO, "files": files}, desk=None_(settings={"src_prefix": ("/srv/tests",)}))
    assert (answer.status, answer.content) == (400, "cmd[0].files[0].src: No such file or directory")
