"""What is sent to hurt the faces, the judge, sessions and terminals: no 5xx, nothing told, nothing left."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import websockets

from pyjail import Limits
from pyjail.serve import Config
from pyjail.serve.config import Admission
from pyjail.serve.job import LATE
from tests.jail.serve.served import PATIENCE, ROOT, served

JSON = {"Content-Type": "application/json"}
VALUES = [
    None, True, 1, -1, 0, 1.5, 10**80, 10**400, "", [], {}, [[]], "a\0b", "../x", "/etc/passwd", "\u202e", "\u00b2", "9" * 5000, ["a", 1], {"a": None},
    "inf", 1e308, -1e308, "\ud800", "*", "..", ".", "a" * 300,
]  # fmt: skip
TABLE = {
    "/piston/api/v2/execute": (
        {"language": "python", "version": "*", "files": [{"content": "print(1)"}]},
        "language version files stdin args compile_timeout run_timeout compile_cpu_time run_cpu_time compile_memory_limit run_memory_limit",
    ),
    "/snekbox/eval": ({"input": "print(1)"}, "input args files executable_path"),
    "/sandboxfusion/run_code": ({"code": "1", "language": "python"}, "code language stdin compile_timeout run_timeout memory_limit_MB files fetch_files"),
    "/go-judge/run": ({"cmd": [{"args": ["/bin/true"]}]}, "cmd requestId pipeMapping"),
    "/boxer/run": ({"image": "python:3", "cmd": ["true"]}, "image cmd env cwd limits files persist network"),
    "/codebox/execute": ({"sources": {}, "commands": [{"command": "true"}]}, "sources commands"),
    "/judge0/submissions": (
        {"language_id": 71, "source_code": "1"},
        "source_code stdin expected_output command_line_arguments language_id number_of_runs cpu_time_limit memory_limit stack_limit max_file_size callback_url",
    ),
    "/v1/judge": (
        {"language": "python", "source": "1", "tests": [{"input": ""}]}, "language source tests limits files entry checker stop_on_failure subtasks outputs",
    ),
}  # fmt: skip
GO = "args env files tty cpuLimit clockLimit realCpuLimit memoryLimit stackLimit procLimit cpuRateLimit cpuSetLimit copyIn copyOut copyOutCached copyOutMax addressSpaceLimit"


def inner(value):
    """(path, body) where the value is further inside."""
    yield from (("/go-judge/run", {"cmd": [{"args": ["/bin/true"], name: value}]}) for name in GO.split())
    for kind in ("content", "fileId", "src", "symlink"):
        yield (
            "/go-judge/run",
            {"cmd": [{"args": ["/bin/true"], "copyIn": {"a": {kind: value}}, "files": [{kind: value}]}]},
        )
    for name in ("name", "max"):
        stream = {"name": "stdout", "max": 100, name: value}
        out = [value] if isinstance(value, str) else ["stdout"]
        yield "/go-judge/run", {"cmd": [{"args": ["/bin/echo"], "files": [None, stream, None], "copyOut": out}]}
    for name in ("name", "content", "encoding"):
        yield (
            "/piston/api/v2/execute",
            {"language": "python", "version": "*", "files": [{"content": "1"}, {"content": "x", name: value}]},
        )
    for name in ("path", "content"):
        yield "/snekbox/eval", {"input": "1", "files": [{"path": "a", "content": "", name: value}]}
    yield (
        "/sandboxfusion/run_code",
        {"code": "1", "language": "python", "files": {str(value): "eA=="}, "fetch_files": [value]},
    )
    for name in ("cpu_cores", "memory_mb", "pids_limit", "wall_clock_secs", "nofile"):
        yield "/boxer/run", {"image": "python:3", "cmd": ["true"], "limits": {name: value}}
    for name in ("command", "stdin", "timeout"):
        yield "/codebox/execute", {"sources": {}, "commands": [{"command": "true", name: value}]}
    for name in ("input", "expected", "name", "limits", "points"):
        yield "/v1/judge", {"language": "python", "source": "1", "tests": [{"input": "", name: value}]}
    for name in ("name", "points", "tests", "needs"):
        subtask = {"name": "a", "points": 1, "tests": ["1"], name: value}
        yield "/v1/judge", {"language": "python", "source": "1", "tests": [{"input": ""}], "subtasks": [subtask]}


@pytest.fixture(scope="module")
def service():
    with served(Config()) as found:
        yield found
        assert "Traceback" not in found.log() and '"problem": "internal"' not in found.log()


@pytest.fixture
def client(service):
    with httpx.Client(base_url=service.url, timeout=PATIENCE) as made:
        yield made


def send(client, path, body):
    answer = client.post(path, content=json.dumps(body).encode(), headers=JSON)
    assert answer.status_code < 500, (path, str(body)[:500], answer.text[:500])
    assert str(ROOT) not in answer.text
    return answer


@pytest.mark.parametrize("value", VALUES, ids=lambda v: ascii(v)[:12])
def test_a_value_in_any_place_has_an_answer(client, value):
    for path, (usual, names) in TABLE.items():
        for name in names.split():
            send(client, path, {**usual, name: value})
    for path, body in inner(value):
        send(client, path, body)


@pytest.mark.parametrize(
    "value", ["\ud800", "\udcff", base64.b64encode(b"\xff#\0").decode(), "a" * 600_000, "'a' " * 100_000, "'"]
)
def test_what_judge0_keeps_can_be_fetched(client, value):
    for name in ("source_code", "stdin", "expected_output", "command_line_arguments"):
        for encoded in ("true", "false"):
            answer = send(
                client,
                f"/judge0/submissions?base64_encoded={encoded}&wait=true&fields=*",
                {"language_id": 71, "source_code": "1", name: value},
            )
            if answer.status_code == 201 and encoded == "true":
                for how in ("true", "false"):
                    token = answer.json()["token"]
                    fetched = client.get(f"/judge0/submissions/{token}?fields=*&base64_encoded={how}")
                    assert fetched.status_code in (200, 400), fetched.text[:300]


@pytest.mark.parametrize("kind", ["sessions", "boxes"])
def test_a_step_of_any_kind_leaves_the_place_as_it_was(client, kind):
    place = client.post(f"/v1/{kind}", json={}).headers["Location"]
    for value in VALUES:
        for name in ("args", "stdin", "env", "cwd", "limits", "files", "collect", "merged"):
            assert send(client, f"{place}/steps", {"args": ["true"], name: value}).status_code != 409
    assert client.get(place).json()["state"] == "open"
    client.delete(place)


LINKS = "ln -s /etc/passwd l; ln -s / r; mkfifo p; mkdir d; ln -s ../../../etc d/up; ln -s l ll; echo own > own; ln own hard"


def test_no_link_of_a_program_leads_to_a_file_of_this_machine(client):
    """Where a program's files come back, by every way they can."""
    secret = Path("/etc/passwd").read_text()
    wanted = ["l", "ll", "r/etc/passwd", "d/up/passwd", "p", "own", "hard"]
    said = send(client, "/v1/runs", {"args": ["sh", "-c", LINKS], "collect": ["**", *wanted]}).json()["result"]
    assert said["files"]["own"] == {"bytes": "own\n"}
    answers = [json.dumps(said)]
    go = {"args": ["/bin/sh", "-c", LINKS], "copyOut": [f"{name}?" for name in wanted], "copyOutCached": ["own?", "l?"]}
    answers.append(send(client, "/go-judge/run", {"cmd": [go]}).text)
    code = f"import os; os.system({LINKS!r})"
    answers.append(send(client, "/snekbox/eval", {"input": code}).text)
    answers.append(
        send(client, "/sandboxfusion/run_code", {"code": code, "language": "python", "fetch_files": wanted}).text
    )
    run = send(
        client, "/boxer/run", {"image": "python:3", "cmd": ["/bin/sh", "-c", f"cd /output; {LINKS}"], "persist": True}
    ).json()
    kept = [f"output/{run['exec_id']}/{name}" for name in wanted]
    answers += [client.get("/boxer/files", params={"path": path}).text for path in kept]
    place = client.post("/v1/sessions", json={}).headers["Location"]
    answers.append(send(client, f"{place}/steps", {"args": ["sh", "-c", LINKS], "collect": ["**", *wanted]}).text)
    for name in ("l", "r/etc/x", "d", "own/x", "p", "d/up/x"):
        answers.append(send(client, f"{place}/steps", {"args": ["cat", "own"], "files": {name: "x"}}).text)
    client.delete(place)
    encoded = base64.b64encode(secret.encode()).decode()[:40]
    for answer in answers:
        assert "root:x:0:0:root" not in answer and encoded not in answer
    assert Path("/etc/passwd").read_text() == secret


def test_go_judge_holds_no_more_than_a_request_may(client):
    identity = client.post("/go-judge/file", files={"file": ("a", b"x" * (9 << 20))}).json()
    many = {f"f{i}": {"fileId": identity} for i in range(64)}
    answer = send(client, "/go-judge/run", {"cmd": [{"args": ["/bin/true"], "copyIn": many}] * 8})
    assert answer.status_code == 400 and "too large together" in answer.text
    answer = send(
        client,
        "/go-judge/run",
        {"cmd": [{"args": ["/bin/true"], "copyIn": {f"f{i}": {"content": ""} for i in range(1001)}}]},
    )
    assert answer.status_code == 400 and "at most 1000 files" in answer.text


def test_tests_keep_a_slot_no_longer_than_ten_programs_may():
    config = Config(maxima=Limits(wall_time=0.3, cpu_time=60, memory="1G", output="10M"))
    with served(config) as found, httpx.Client(base_url=found.url, timeout=PATIENCE) as client:
        asked = {"language": "bash", "source": "sleep 5", "tests": [{"input": ""}] * 900, "limits": {"wall_time": 0.3}}
        answer = client.post("/v1/judge", json=asked)
        assert (answer.status_code, answer.json()["field"]) == (422, "tests")
        assert found.programs() == []


def test_commands_keep_a_slot_no_longer_than_one_program_may():
    with served(Config(maxima=Limits(wall_time=1, cpu_time=60, memory="1G", output="10M"))) as found:
        with httpx.Client(base_url=found.url, timeout=PATIENCE) as client:
            commands = [{"command": "sleep 0.7", "timeout": 1}] * 20
            answer = client.post("/codebox/execute", json={"sources": {}, "commands": commands}).json()
    assert [entry["exit_code"] for entry in answer] == [0] + [-1] * 19
    assert [entry["stderr"] for entry in answer[2:]] == [f"{LATE}\n"] * 18


FIRST = [
    "", "x", "[]", "{}", '{"args":[]}', '{"args":["true"],"size":[0,0]}', '{"args":["true"],"size":[99999999999,1]}', '{"args":["cat"],"files":{"../x":"a"}}',
    '{"args":["\\u0000"]}', '{"args":["\\ud800"]}', b"\0" * 100, '{"args":["cat"],"limits":{"cpu_time":' + "9" * 400 + "}}", '{"args":["nope"]}',
    '{"args":["cat"],"cwd":"/nope"}', '{"args":["cat"],"env":{"a=b":"c"}}', "x" * 300_000,
]  # fmt: skip
LATER = [
    '{"signal":0}', '{"signal":-1}', '{"signal":999}', '{"signal":true}', '{"resize":[0,1]}', '{"resize":[1e9,1]}', '{"credit":-1}', '{"credit":1e308}', '{"eof":1}',
    '{"a":' * 100, "", "null", "[]", '{"signal":9,"eof":true}', "x" * 300_000,
]  # fmt: skip


def test_a_terminal_that_is_misused_is_closed_and_its_program_is_gone(service):
    async def talk(*messages):
        with contextlib.suppress(websockets.ConnectionClosed):
            async with websockets.connect(f"ws://127.0.0.1:{service.port}/v1/terminal") as socket:
                for message in messages:
                    await socket.send(message)
                async with asyncio.timeout(PATIENCE):
                    while True:
                        await socket.recv()
        return socket.close_code

    async def all_of_them():
        for first in FIRST:
            assert await talk(first) not in (1000, 1011, 1006), first[:60]
        for message in LATER:
            assert await talk('{"args":["cat"]}', message) not in (1000, 1011, 1006), message[:60]
        assert await talk('{"args":["cat"]}', *[b"x" * 100_000] * 4) == 4413
        assert await talk('{"args":["cat"]}', *[b""] * 5000, '{"eof":true}') == 1000
        assert await talk('{"args":["true"]}', *['{"signal":15}', '{"resize":[5,5]}'] * 50) in (1000, 1006)

    asyncio.run(all_of_them())
    assert service.programs() == []


def test_files_that_wait_with_requests_are_bounded_over_all_of_them():
    admission = Admission(concurrent=1, inflight=24 << 20)
    with served(Config(admission=admission)) as found, httpx.Client(base_url=found.url, timeout=PATIENCE) as client:
        identity = client.post("/go-judge/file", files={"file": ("a", b"x" * (9 << 20))}).json()
        sleep = {"args": ["/bin/sleep", "2"], "copyIn": {"a": {"fileId": identity}, "b": {"fileId": identity}}}
        with ThreadPoolExecutor(4) as pool:
            statuses = [*pool.map(lambda _: client.post("/go-judge/run", json={"cmd": [sleep]}).status_code, range(4))]
        assert set(statuses) == {200, 503}
        assert (
            client.post("/go-judge/run", json={"cmd": [{**sleep, "args": ["/bin/true"]}]}).status_code == 200
        )  # let go
        for name in ("a", "b"):
            client.post("/boxer/files", files={"file": b"x" * (9 << 20)}, data={"path": name})
        asked = {"image": "python:3", "cmd": ["sleep", "2"], "files": ["a", "b"], "persist": True}
        with ThreadPoolExecutor(4) as pool:
            statuses = [*pool.map(lambda _: client.post("/boxer/run", json=asked).status_code, range(4))]
        assert set(statuses) == {200, 503}
        assert client.post("/boxer/run", json={**asked, "cmd": ["true"]}).status_code == 200
