"""Sessions and boxes over HTTP: what one program leaves is there for the next, and nothing is when they are gone."""

from __future__ import annotations

import json
import socket
import threading

import httpx
import pytest

from pyjail import languages
from pyjail.serve import Config
from pyjail.serve.config import Admission
from tests.jail.serve.served import PATIENCE, served
from tests.scripts import until

SLOW_TO_MAKE = languages.Language(
    "slow-to-make",
    compile=("sleep", "1000"),
    run=("true",),
    source="a.slow",
    artefacts=("a.out",),
    tools={"sleep": "--version"},
)
COMPILES = {"language": "slow-to-make", "source": "x"}
SLEEPS = {"language": "python", "source": "import os; os.execvp('sleep', ['sleep', '1000'])"}


@pytest.fixture(scope="module")
def service():
    known = {**languages.table(), SLOW_TO_MAKE.name: SLOW_TO_MAKE}
    with served(Config(admission=Admission(concurrent=3, patience=60), languages=known)) as found:
        yield found


@pytest.fixture
def client(service):
    with httpx.Client(base_url=service.url, timeout=PATIENCE) as made:
        yield made


@pytest.fixture(params=["sessions", "boxes"])
def kind(request):
    return request.param


def opened(client, kind, **asked):
    answer = client.post(f"/v1/{kind}", json=asked)
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"].endswith(answer.json()["id"])
    return answer.headers["location"]


def step(client, where, *args, **more):
    answer = client.post(f"{where}/steps", json={"args": list(args), **more})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_what_a_program_leaves_is_there_for_the_next(client, kind):
    where = opened(client, kind)
    step(client, where, "sh", "-c", "cat > a", stdin="one\n")
    said = step(
        client, where, "sh", "-c", "cat a b; echo $X; pwd", files={"b": "two\n"}, env={"X": "3", "PATH": "/bin"}
    )
    assert said["result"]["stdout"]["bytes"] == "one\ntwo\n3\n/box\n" and "receipt" not in said["result"]
    assert step(client, where, "sh", "-c", "echo x > c", collect=["c"])["result"]["files"] == {"c": {"bytes": "x\n"}}
    assert "no-such" in step(client, where, "no-such")["fault"]
    assert client.post(f"{where}/steps", json={"args": ["ls"], "cwd": "/no"}).json()["field"] == "cwd"
    told = client.get(where).json()
    assert told["steps"] == 5 and told["cpu_time"] > 0
    assert client.delete(where).json()["state"] == "closed"
    assert client.delete(where).json()["state"] == "closed"
    assert client.post(f"{where}/steps", json={"args": ["ls"]}).status_code == 409


def test_limits_hold_for_what_it_keeps(client, kind):
    where = opened(client, kind, limits={"disk": "1M"})
    said = step(client, where, "sh", "-c", "head -c 3000000 /dev/zero > a; wc -c < a")
    assert int(said["result"]["stdout"]["bytes"]) <= 1 << 20
    said = step(client, where, "sleep", "100", limits={"wall_time": 0.2})
    assert said["result"]["verdict"] == "wall_time"
    client.delete(where)


@pytest.mark.parametrize("asked", [{"args": ["sleep", "1000"]}, SLEEPS, COMPILES], ids=["args", "source", "compiler"])
def test_who_leaves_takes_his_program_along_and_nothing_else(service, client, kind, asked):
    where = opened(client, kind)
    step(client, where, "sh", "-c", "echo kept > a")
    body = json.dumps({**asked, "limits": {"wall_time": 100}}).encode()
    made = socket.create_connection(("127.0.0.1", service.port))
    head = f"POST {where}/steps HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\nContent-Type: application/json\r\n"
    made.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    asleep = lambda: [line for line in service.programs() if line.startswith(b"sleep")]  # noqa: E731
    assert until(asleep, PATIENCE)
    made.close()
    assert until(lambda: not asleep(), PATIENCE)
    answer = client.post(f"{where}/steps", json={"args": ["cat", "a"]})
    assert answer.json()["result"]["stdout"]["bytes"] == "kept\n", answer.text
    client.delete(where)


def test_closing_ends_what_runs(service, client, kind):
    where = opened(client, kind)
    answers = []
    asked = {"args": ["sleep", "1000"], "limits": {"wall_time": 100}}
    running = threading.Thread(target=lambda: answers.append(client.post(f"{where}/steps", json=asked)))
    running.start()
    assert until(lambda: any(line.startswith(b"sleep") for line in service.programs()), PATIENCE)
    client.delete(where)
    running.join(PATIENCE)
    assert answers[0].status_code == 409
    assert not any(line.startswith(b"sleep") for line in service.programs())


def test_what_nobody_uses_goes(client, kind):
    where = opened(client, kind, ttl=0.2)
    step(client, where, "true")
    assert until(lambda: client.get(where).json()["state"] == "closed", PATIENCE)


def test_a_tenant_has_a_bounded_number(client):
    wheres = [opened(client, "sessions") for _ in range(8)]
    answer = client.post("/v1/boxes", json={})
    assert answer.status_code == 429 and "retry-after" in answer.headers
    for where in wheres:
        client.delete(where)
    client.delete(opened(client, "boxes"))


def test_one_of_another_kind_or_id_is_not_found(client):
    where = opened(client, "sessions")
    assert client.get(where.replace("sessions", "boxes")).status_code == 404
    assert client.get("/v1/sessions/x").status_code == 404
    client.delete(where)


@pytest.mark.parametrize(("asked", "field"), [({"ttl": 0}, "ttl"), ({"ttl": 1e9}, "ttl"), ({"tll": 1}, "tll"),
                                              ({"limits": {"disk": "1T"}}, "limits.disk")])  # fmt: skip
def test_what_is_wrong_is_told_by_its_field(client, asked, field):
    answer = client.post("/v1/sessions", json=asked)
    assert (answer.status_code, answer.json()["field"]) == (422, field)
