"""A client that goes takes its program with it, and the slot is free; a run that is cancelled is gone when that is told."""

from __future__ import annotations

import json
import socket
import time

import httpx
import pytest

from pyjail.serve import Config
from pyjail.serve.config import Admission
from tests.jail.serve.served import PATIENCE, served
from tests.scripts import until

SLEEP = {"args": ["sleep", "1000"], "limits": {"wall_time": 100}}
BUILD = {  # the compiler runs until it is ended
    "language": "c", "source": '#include "/dev/zero"\nint main() {}', "limits": {"wall_time": 100},
}  # fmt: skip


@pytest.fixture(scope="module")
def service():
    with served(Config(admission=Admission(concurrent=3, queue=100, patience=60))) as found:
        yield found


@pytest.fixture
def client(service):
    with httpx.Client(base_url=service.url, timeout=PATIENCE) as made:
        yield made


def ask(service, asked, *headers):
    """A connection that has sent a request and reads nothing."""
    body = json.dumps(asked).encode()
    lines = ["POST /v1/runs HTTP/1.1", f"Host: 127.0.0.1:{service.port}", "Content-Type: application/json"]
    head = "\r\n".join([*lines, f"Content-Length: {len(body)}", *headers, "", ""]).encode()
    made = socket.create_connection(("127.0.0.1", service.port))
    made.sendall(head + body)
    return made


def sleeping(service):
    return [line for line in service.programs() if line.startswith(b"sleep")]


def free(client):
    """All slots are: so many programs run at the same time, without waiting."""
    said = [client.post("/v1/runs", json={"args": ["true"]}).json() for _ in range(4)]
    return all(one["queue_s"] < 0.05 for one in said)


@pytest.mark.parametrize("stream", [False, True])
def test_thirty_clients_that_leave_leave_no_program_and_no_slot_taken(service, client, stream):
    headers = ["Accept: text/event-stream"] if stream else []
    clients = [ask(service, SLEEP, *headers) for _ in range(30)]
    assert until(lambda: len(sleeping(service)) == 3, PATIENCE)
    for one in clients:
        one.close()
    assert until(lambda: not service.programs(), PATIENCE)
    assert free(client)


def test_who_leaves_lets_the_next_one_in_at_once(service, client):
    clients = [ask(service, SLEEP) for _ in range(3)]
    assert until(lambda: len(sleeping(service)) == 3, PATIENCE)
    waiting = ask(service, {"args": ["echo", "in"]})
    time.sleep(0.2)
    clients[0].close()
    waiting.settimeout(PATIENCE)
    assert b"200 OK" in waiting.recv(65536)
    for one in (*clients, waiting):
        one.close()
    assert until(lambda: not service.programs(), PATIENCE)


def test_a_client_that_leaves_while_its_program_is_compiled_ends_the_compiler(service, client):
    one = ask(service, BUILD)
    assert until(lambda: any(b"cc1" in line or b"gcc" in line for line in service.programs()), PATIENCE)
    one.close()
    assert until(lambda: not service.programs(), PATIENCE)
    assert free(client)


def test_a_client_that_leaves_half_a_body_behind_costs_nothing(service, client):
    made = socket.create_connection(("127.0.0.1", service.port))
    head = f"POST /v1/runs HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\nContent-Type: application/json\r\n"
    made.sendall(f'{head}Content-Length: 100\r\n\r\n{{"args"'.encode())
    made.close()
    assert free(client)
    assert "Traceback" not in service.log()


def later(client, asked):
    return client.post("/v1/runs", json=asked, headers={"prefer": "respond-async"}).headers["location"]


def test_a_cancelled_run_is_gone_when_that_is_told_and_once_more_changes_nothing(service, client):
    where = later(client, SLEEP)
    assert until(lambda: client.get(where).json()["state"] == "running", PATIENCE)
    assert until(lambda: sleeping(service), PATIENCE)
    said = client.delete(where).json()
    assert said["state"] == "cancelled" and said["gone_ms"] >= 0
    assert sleeping(service) == []
    assert client.delete(where).json()["state"] == "cancelled"
    assert client.get(where).json()["state"] == "cancelled"
    assert free(client)


def test_a_run_that_waits_is_cancelled_before_it_has_begun(service, client):
    running = [later(client, SLEEP) for _ in range(3)]
    assert until(lambda: len(sleeping(service)) == 3, PATIENCE)
    where = later(client, {"args": ["echo", "never"]})
    assert client.get(where).json()["state"] == "queued"
    assert client.delete(where).json()["state"] == "cancelled"
    for one in running:
        client.delete(one)
    said = client.get(f"{where}?wait=1").json()
    assert said["state"] == "cancelled" and "result" not in said
    assert not service.programs()


def test_who_waits_for_a_run_needs_no_slot_and_may_leave(service, client):
    where = later(client, SLEEP)
    assert until(lambda: sleeping(service), PATIENCE)
    waiting = []
    for _ in range(20):
        made = socket.create_connection(("127.0.0.1", service.port))
        made.sendall(f"GET {where}?wait=60 HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\n\r\n".encode())
        waiting.append(made)
    assert client.post("/v1/runs", json={"args": ["true"]}).status_code == 200
    for one in waiting[:10]:
        one.close()
    assert sleeping(service)  # it is nobody's to end who only waits
    client.delete(where)
    for one in waiting[10:]:
        one.settimeout(PATIENCE)
        said = b""
        while not said.endswith(b"}"):
            said += one.recv(65536) or pytest.fail(f"cut off: {said!r}")
        assert b"cancelled" in said
        one.close()


def test_another_id_is_no_run(client):
    for id in ("0" * 32, "x", "..%2f", "0" * 31 + "G"):
        assert client.delete(f"/v1/runs/{id}").status_code == 404
