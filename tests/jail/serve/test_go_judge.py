"""go-judge's commands that talk to each other, have terminals and CPUs, as real programs; nothing of them stays."""

from __future__ import annotations

import hashlib
import json
import os
import threading

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from pyjail.serve import Config
from pyjail.serve.config import Admission, Token
from tests.jail.serve.served import PATIENCE, served
from tests.scripts import until

SECONDS = 10**9
LOST = "90"  # s of a sleep that must not be waited for


@pytest.fixture(scope="module")
def service():
    with served(Config(admission=Admission(concurrent=4, patience=60))) as found:
        with httpx.Client(base_url=found.url, timeout=PATIENCE) as client:
            client.post("/go-judge/run", json={"cmd": [sh("true")]})
        before = fds(found)
        yield found
        assert until(lambda: found.programs() == [])
        assert until(lambda: fds(found) <= before, PATIENCE), (before, fds(found))
        log = found.log()
        assert "Traceback" not in log and '"problem": "internal"' not in log


@pytest.fixture
def client(service):
    with httpx.Client(base_url=service.url, timeout=PATIENCE) as made:
        yield made


def fds(service):
    """Those of the service that are pipes, of which each run has some."""
    found = []
    for fd in os.listdir(f"/proc/{service.pid}/fd"):
        try:
            found.append(os.readlink(f"/proc/{service.pid}/fd/{fd}"))
        except FileNotFoundError:
            continue
    return sum(name.startswith("pipe:") for name in found)


def sh(script, files=(None, None, None), **more):
    streams = [*files[:2], {"name": "stderr", "max": 10240}]
    return {
        "args": ["/bin/sh", "-c", script], "env": ["PATH=/usr/bin:/bin"], "files": streams, "cpuLimit": 5 * SECONDS,
        "clockLimit": 60 * SECONDS, "procLimit": 10, **more,
    }  # fmt: skip


OUT = (None, {"name": "stdout", "max": 10240})


def pipe(source, target, **more):
    ends = (dict(zip(("index", "fd"), end, strict=True)) for end in (source, target))
    return {**dict(zip(("in", "out"), ends, strict=True)), **more}


def ring(n, **more):
    return [pipe((i, 1), ((i + 1) % n, 0), **more) for i in range(n)]


def run(client, commands, pipes=()):
    answer = client.post("/go-judge/run", json={"cmd": commands, "pipeMapping": list(pipes)})
    return answer.json() if answer.status_code == 200 else (answer.status_code, answer.json())


@pytest.mark.parametrize("more", [{}, {"proxy": True}, {"proxy": True, "name": "talk", "max": 5}])
def test_two_that_talk(client, more):
    asker = sh("echo 20; read x; echo got $x >&2; echo 30; read x; echo got $x >&2")
    solver = sh("while read n; do echo $((n + 1)); done")
    said = run(client, [asker, solver], ring(2, **more))
    assert [one["status"] for one in said] == ["Accepted", "Accepted"]
    assert said[0]["files"]["stderr"] == "got 21\ngot 31\n"
    assert [one["files"].get("talk") for one in said] == (["20\n30", "21\n31"] if "name" in more else [None, None])


def test_much_goes_through_whole(client):
    many = sh("head -c 3000000 /dev/zero | tr '\\0' a")
    for more in ({}, {"proxy": True, "name": "some", "max": 100_000}):
        said = run(client, [many, sh("wc -c", OUT)], [pipe((0, 1), (1, 0), **more)])
        assert [one["status"] for one in said] == ["Accepted", "Accepted"]
        assert said[1]["files"]["stdout"].strip() == "3000000"
    assert said[0]["files"]["some"] == "a" * 100_000


def test_who_reads_no_more_is_seen_by_who_writes_unless_there_is_a_proxy(client):
    flood = sh("exec yes", clockLimit=30 * SECONDS)
    said = run(client, [flood, sh("head -c 1", OUT)], [pipe((0, 1), (1, 0))])
    assert [(one["status"], one["exitStatus"]) for one in said] == [("Signalled", 13), ("Accepted", 0)]
    bounded = sh("head -c 5000000 /dev/zero && echo done >&2")
    said = run(client, [bounded, sh("head -c 1", OUT)], [pipe((0, 1), (1, 0), proxy=True)])
    assert [one["status"] for one in said] == ["Accepted", "Accepted"]
    assert said[0]["files"]["stderr"] == "done\n"


def test_who_cannot_be_started_ends_its_pipes(client):
    gone = {**sh("true"), "args": ["/bin/no-such-program"]}
    said = run(client, [gone, sh("cat; echo end >&2", (None, None))], ring(2))
    assert (said[0]["exitStatus"], said[1]["files"]["stderr"]) == (127, "end\n")


@pytest.mark.parametrize("proxy", [False, True])
def test_pipes_that_nobody_reads_or_writes_end_with_their_limits(client, proxy):
    quick = {"clockLimit": SECONDS}
    said = run(client, [sh("yes", **quick), sh("sleep 50", **quick)], [pipe((0, 1), (1, 0), proxy=proxy)])
    assert said[1]["status"] == "Time Limit Exceeded"
    said = run(client, [sh("cat", **quick), sh("cat", **quick), sh("cat", **quick)], ring(3, proxy=proxy))
    statuses = {one["status"] for one in said}  # the first one's end is the end of what another reads
    assert "Time Limit Exceeded" in statuses and statuses <= {"Time Limit Exceeded", "Accepted"}


def test_one_may_talk_to_itself(client):
    (said,) = run(client, [sh("echo 5; read x; echo got $x >&2")], [pipe((0, 1), (0, 0))])
    assert (said["status"], said["files"]["stderr"]) == ("Accepted", "got 5\n")


def test_commands_of_a_request_run_at_the_same_time(client):
    """Each waits for a limit of its own: in turn they would take as long as all of them."""
    slow = sh("sleep 50", clockLimit=2 * SECONDS)
    answer = client.post("/go-judge/run", json={"cmd": [slow] * 4})
    assert [one["status"] for one in answer.json()] == ["Time Limit Exceeded"] * 4
    assert answer.elapsed.total_seconds() < 7


def test_more_than_there_are_slots_are_refused_when_they_are_joined_and_wait_when_they_are_not(client):
    assert run(client, [sh("cat")] * 5, ring(5)) == (422, "at most 4 programs may run at the same time here, not 5")
    assert [one["status"] for one in run(client, [sh("true")] * 9)] == ["Accepted"] * 9
    status, why = run(client, [sh("cat")] * 100, ring(100))
    assert (status, why) == (400, "at most 16 cmd are run at once")


def test_many_groups_that_need_all_slots_are_all_served(service):
    done = []

    def ask():
        with httpx.Client(base_url=service.url, timeout=PATIENCE) as own:
            done.append([one["status"] for one in run(own, [sh("echo 1; read x")] * 3, ring(3, proxy=True))])

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [["Accepted"] * 3] * 12


@pytest.mark.parametrize("proxy", [False, True])
def test_who_leaves_or_cancels_takes_all_of_them_along(service, client, proxy):
    asked = {"cmd": [sh(f"sleep {LOST}; cat")] * 3, "pipeMapping": ring(3, proxy=proxy)}

    def sleeping():
        return sum(b"sleep" in line and LOST.encode() in line for line in service.programs())

    with connect(f"ws://127.0.0.1:{service.port}/go-judge/ws", compression=None) as line:
        line.send(json.dumps({"requestId": "a", **asked}))
        assert until(lambda: sleeping() >= 3, PATIENCE)
        line.send(json.dumps({"cancelRequestId": "a"}))
        assert json.loads(line.recv(PATIENCE)) == {"requestId": "a", "error": "cancelled"}
        assert sleeping() == 0
        line.send(json.dumps({"requestId": "b", **asked}))
        assert until(lambda: sleeping() >= 3, PATIENCE)
    assert until(lambda: sleeping() == 0, PATIENCE)
    with pytest.raises(httpx.ReadTimeout):
        client.post("/go-judge/run", json=asked, timeout=1)
    assert until(lambda: sleeping() == 0, PATIENCE)
    assert [one["status"] for one in run(client, [sh("echo 1; read x")] * 4, ring(4))] == ["Accepted"] * 4


def test_a_terminal_is_one_and_its_input_has_an_end(client):
    script = "test -t 0 && test -t 1 && test -t 2 && stty size && cat && echo end"
    both = [{"content": "typed\n"}, {"name": "stdout", "max": 1024}, {"name": "stderr", "max": 1024}]
    (said,) = run(client, [{**sh(script), "files": both, "tty": True}])
    assert (said["status"], set(said["files"])) == ("Accepted", {"stdout"})
    shown = said["files"]["stdout"].split("\r\n")
    assert "24 80" in shown and shown[-2:] == ["end", ""] and shown.count("typed") == 2  # echoed, and said
    (said,) = run(
        client, [{**sh("sleep 50"), "files": [{"content": "x" * 100_000}], "tty": True, "clockLimit": SECONDS}]
    )
    assert said["status"] == "Time Limit Exceeded"
    (said,) = run(client, [{**sh("yes"), "files": both, "tty": True}])
    assert (said["status"], len(said["files"]["stdout"])) == ("Output Limit Exceeded", 1024)


def test_a_program_has_the_cpus_that_it_asks_for(client):
    own = min(os.sched_getaffinity(0))
    said = run(client, [sh("grep Cpus_allowed_list /proc/self/status", OUT, cpuSetLimit=str(own))])
    assert said[0]["files"]["stdout"].split() == ["Cpus_allowed_list:", str(own)]
    status, why = run(client, [sh("true", cpuSetLimit="4000")])
    assert (status, why.startswith("cpus: ")) == (422, True), why


IN, SHOWN = {"streamIn": True}, {"streamOut": True}


def stream(service):
    return connect(f"ws://127.0.0.1:{service.port}/go-judge/stream", compression=None)


def heard(line):
    """{index and fd of a stream: what came of it}, and the response."""
    found: dict[int, bytes] = {}
    while True:
        data = line.recv(PATIENCE)
        if data[0] == 1:
            return found, json.loads(data[1:])
        found[data[1]] = found.get(data[1], b"") + data[2:]


def request(*commands, pipes=()):
    return b"\x01" + json.dumps({"cmd": list(commands), "pipeMapping": list(pipes)}).encode()


def test_a_stream_has_several_commands_that_talk(service):
    first = {**sh("read x; echo $x; echo said $x >&2; cat >&2"), "files": [IN, None, SHOWN]}
    second = {**sh("read y; echo heard $y; exit 3"), "files": [None, SHOWN, None]}
    with stream(service) as line:
        line.send(request(first, second, pipes=[pipe((0, 1), (1, 0))]))
        line.send(b"\x03\x00hi\n")
        line.send(b"\x03\x00more")
        line.send(b"\x03\x00")
        found, end = heard(line)
    assert found == {2: b"said hi\nmore", 17: b"heard hi\n"}
    assert [(one["status"], one["exitStatus"]) for one in end["results"]] == [
        ("Accepted", 0),
        ("Nonzero Exit Status", 3),
    ]


def test_a_command_whose_input_is_not_streamed_has_an_end_of_it(service):
    with stream(service) as line:
        line.send(request({**sh("cat; echo end"), "files": [None, SHOWN, None]}))
        found, end = heard(line)
    assert (found, end["results"][0]["status"]) == ({1: b"end\n"}, "Accepted")


def test_a_terminal_of_a_stream_has_the_size_that_its_client_says(service):
    command = {**sh("read x; stty size; cat"), "files": [IN, SHOWN, SHOWN], "tty": True}
    with stream(service) as line:
        line.send(request(command))
        line.send(b"\x02" + json.dumps({"index": 0, "fd": 0, "rows": 7, "cols": 99}).encode())
        line.send(b"\x03\x00go\n")
        line.send(b"\x03\x00")
        found, end = heard(line)
    assert (found[1].split(), end["results"][0]["status"]) == ([b"go", b"7", b"99"], "Accepted")


@pytest.mark.parametrize(
    "message", [b"\x03\x10x", b"\x03\x01x", b"\x03", b"", b"\x02{", b"\x02[]", b'\x02{"rows": 7, "cols": 9}', b"\x09", b"\x02" + b"[" * 50_000]
)  # fmt: skip
def test_what_cannot_be_said_ends_it(service, message):
    with stream(service) as line:
        line.send(request({**sh(f"sleep {LOST}"), "files": [IN, SHOWN, None]}))
        line.send(message)
        with pytest.raises(ConnectionClosed):
            line.recv(PATIENCE)
    assert until(lambda: service.programs() == [], PATIENCE)


def test_a_small_share_is_enough_for_many_commands():
    """One program at once and none that waits: they run one after the other, but not those that are joined."""
    token = Token("ci", hashlib.sha256(b"secret").hexdigest(), concurrent=1, queue=0)
    with (
        served(Config(tokens=(token,), admission=Admission(concurrent=4))) as found,
        httpx.Client(base_url=found.url, timeout=PATIENCE, headers={"Authorization": "Bearer secret"}) as client,
    ):
        assert [one["status"] for one in run(client, [sh("true")] * 5)] == ["Accepted"] * 5
        assert run(client, [sh("cat")] * 2, ring(2))[0] == 422
        assert [httpx.get(f"{found.url}/go-judge/{name}").status_code for name in ("version", "config", "file")] == [
            200,
            200,
            401,
        ]


def test_files_of_this_machine_are_those_that_the_configuration_offers(tmp_path, client):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/1.in").write_bytes(b"given")
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "tests/link").symlink_to("../secret")

    def asked(path):
        return {**sh("cat - copied", OUT), "files": [{"src": path}, OUT[1]], "copyIn": {"copied": {"src": path}}}

    assert run(client, [asked(f"{tmp_path}/tests/1.in")])[0] == 400  # none without that
    settings = {"go-judge": {"src_prefix": (f"{tmp_path}/tests",)}}
    with served(Config(faces=settings)) as found, httpx.Client(base_url=found.url, timeout=PATIENCE) as own:
        assert run(own, [asked(f"{tmp_path}/tests/1.in")])[0]["files"]["stdout"] == "givengiven"
        for path in ("secret", "tests/link", "tests/../secret", "tests", "tests/gone"):
            status, why = run(own, [asked(f"{tmp_path}/{path}")])
            assert (status, str(tmp_path) in why) == (400, False), path


def test_links_that_are_copied_in_lead_where_they_say_inside_alone(client, tmp_path):
    (tmp_path / "secret").write_text("of the host")
    links = {"in": "/dev/stdin", "out": "/dev/stdout", "d/up": "../word", "host": f"{tmp_path}/secret"}
    files = {"word": {"content": "W"}, **{name: {"symlink": target} for name, target in links.items()}}
    script = "cat in d/up > out; cat host"
    streams = ({"content": "typed "}, {"name": "stdout", "max": 10240})
    (said,) = run(client, [sh(script, streams, copyIn=files, copyOut=["word", "in?"])])
    assert (said["files"]["stdout"], said["files"]["word"], "in" in said["files"]) == ("typed W", "W", False)
    assert "No such file" in said["files"]["stderr"]
    (said,) = run(client, [sh("true", OUT, copyIn=files, copyOut=["in"])])
    assert (said["status"], said["fileError"][0]["type"]) == ("File Error", "CopyOutNotRegularFile")


@pytest.mark.parametrize("more", [{}, {"proxy": True}])
def test_a_pipe_between_two_is_opened_by_its_name_in_the_direction_that_it_has(client, more):
    links = {"in": {"symlink": "/dev/stdin"}, "out": {"symlink": "/dev/stdout"}}
    ours = sh("echo hi > out" + "; cat out" * bool(more), copyIn=links)
    theirs = sh("read x < in; echo got $x", OUT, copyIn=links)
    first, second = run(client, [ours, theirs], [pipe((0, 1), (1, 0), **more)])
    assert second["files"]["stdout"] == "got hi\n", (first, second)
    if more:
        assert "Permission denied" in first["files"]["stderr"]


def test_names_with_marks_of_patterns_come_out(client):
    (said,) = run(client, [sh("echo x > 'a[1]*'; echo no > a1b", OUT, copyOut=["a[1]*"])])
    assert {name: text for name, text in said["files"].items() if text} == {"a[1]*": "x\n"}
