"""A program is judged over HTTP as in process: verdicts, points, files by digest, events, and clients that leave."""

from __future__ import annotations

import hashlib
import json
import socket

import httpx
import pytest

import pyjail
from pyjail.serve import Config
from pyjail.serve.config import Admission
from tests.jail.serve.served import PATIENCE, served
from tests.jail.serve.test_events import parsed
from tests.scripts import until

SUM = "print(sum(map(int, input().split())))"


@pytest.fixture(scope="module")
def service():
    with served(Config(admission=Admission(concurrent=2))) as found:
        yield found


@pytest.fixture
def client(service):
    with httpx.Client(base_url=service.url, timeout=PATIENCE) as made:
        yield made


def test_verdicts_and_points_are_those_of_a_judgement_in_process(client):
    tests = [("3 4", "7"), ("1 1", "3"), ("x", "1"), ("", None)]
    asked = {
        "language": "python", "source": SUM,
        "tests": [{"input": i, "expected": e, "points": n + 1} for n, (i, e) in enumerate(tests)],
        "subtasks": [{"name": "a", "points": 30, "tests": ["1"]}, {"name": "b", "points": 70, "tests": ["*"]}],
    }  # fmt: skip
    said = client.post("/v1/judge", json=asked).json()
    here = pyjail.judge_source("python", SUM, [pyjail.Test(i, e, points=n + 1) for n, (i, e) in enumerate(tests)],
                               subtasks=[pyjail.Subtask("a", 30, ("1",)), pyjail.Subtask("b", 70, ("*",))])  # fmt: skip
    assert [row["verdict"] for row in said["results"]] == [row.verdict for row in here.results]
    assert (said["verdict"], said["points"], said["score"]) == (here.verdict, here.points, here.score)
    assert [one["points"] for one in said["subtasks"]] == [30, 0]
    assert all("stdout" not in row["result"] and "receipt" not in row["result"] for row in said["results"])
    said = client.post("/v1/judge", json={**asked, "outputs": True}).json()
    assert said["results"][0]["result"]["stdout"] == {"bytes": "7\n"}


def test_what_does_not_compile_is_a_verdict(client):
    said = client.post("/v1/judge", json={"language": "c", "source": "int main( {", "tests": [{}]}).json()
    assert said["verdict"] == "compile_error" and "error" in said["compile"]["stderr"]["bytes"]


def test_tests_may_be_files_that_were_sent_before(client):
    data = b"20 22"
    digest = hashlib.sha256(data).hexdigest()
    assert client.put(f"/v1/files/{digest}", content=data,
                      headers={"content-type": "application/octet-stream"}).status_code in (200, 201)  # fmt: skip
    asked = {"language": "python", "source": SUM, "tests": [{"input": {"sha256": digest}, "expected": "42"}]}
    assert client.post("/v1/judge", json=asked).json()["passed"]
    asked["tests"][0]["input"] = {"sha256": "0" * 64}
    assert client.post("/v1/judge", json=asked).status_code == 422


def test_each_verdict_is_told_when_it_is_known(client):
    source = "import sys, time\ntime.sleep(float(input()))\nprint('x')"
    asked = {"language": "python", "source": source, "tests": [{"input": "0", "expected": "x"}, {"input": "2"}]}
    with client.stream("POST", "/v1/judge", json=asked, headers={"accept": "text/event-stream"}) as answer:
        seen = []
        for name, data, _ in parsed(answer.iter_lines()):
            seen.append((name, data))
            if name == "test" and len([one for one in seen if one[0] == "test"]) == 1:
                id = seen[0][1]["id"]
                assert client.get(f"/v1/runs/{id}").json()["state"] == "running"
    assert [data["verdict"] for name, data in seen if name == "test"] == ["ok", "ok"]
    assert seen[-1][0] == "result" and seen[-1][1]["passed"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"tests": []}, "tests"), ({"tests": [{"inptu": ""}]}, "tests.0.inptu"), ({"checker": "mine"}, "checker"),
        ({"tests": [{"limits": {"memory": "1T"}}]}, "tests.0.limits.memory"), ({"language": "pyhton"}, "language"),
        ({"limits": {"memroy": 1}}, "limits.memroy"), ({"subtasks": [{"name": "a", "points": 1, "tests": ["9"]}]}, "subtasks"),
        ({"tests": [{"points": True}]}, "tests.0.points"), ({"entry": "no"}, "entry"),
        ({"tests": [{"input": {"base64": "?"}}]}, "tests.0.input"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_by_its_field(client, change, field):
    answer = client.post("/v1/judge", json={"language": "python", "source": SUM, "tests": [{}], **change})
    assert (answer.status_code, answer.json()["field"]) == (422, field), answer.text
    if field == "tests.0.inptu":
        assert "input" in answer.json()["hint"]


def test_a_client_that_leaves_ends_it(service, client):
    asked = {"language": "python", "source": "import time; time.sleep(1000)", "tests": [{}] * 5,
             "limits": {"wall_time": 100}}  # fmt: skip
    body = json.dumps(asked).encode()
    made = socket.create_connection(("127.0.0.1", service.port))
    head = f"POST /v1/judge HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\nContent-Type: application/json\r\n"
    made.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    assert until(lambda: any(b"python" in line for line in service.programs()), PATIENCE)
    made.close()
    assert until(lambda: not service.programs(), PATIENCE)
    assert client.post("/v1/runs", json={"args": ["true"]}).json()["queue_s"] < 1


def test_all_tests_together_have_a_bounded_output(client):
    asked = {"language": "python", "source": "print('x' * 500_000)", "tests": [{}] * 100, "stop_on_failure": True}
    answer = client.post("/v1/judge", json={**asked, "limits": {"output": "10M"}})
    assert (answer.status_code, answer.json()["field"]) == (422, "limits.output")
    said = client.post("/v1/judge", json=asked).json()
    assert said["verdict"] == "output" and said["results"][0]["result"]["limits"]["output"] < 1 << 20
    assert client.post("/v1/judge", json={**asked, "tests": [{}]}).json()["verdict"] == "ok"
