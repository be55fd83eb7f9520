"""What belongs to one tenant is not there for another, and nobody's programs take all turns."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from contextlib import contextmanager

import httpx
import pytest

from pyjail.serve import Config
from pyjail.serve.config import Admission, Token
from tests.jail.serve.served import PATIENCE, served
from tests.scripts import until

SECRETS = {"ada": "a" * 43, "bob": "b" * 43}
TOKENS = tuple(Token(name, hashlib.sha256(secret.encode()).hexdigest()) for name, secret in SECRETS.items())
SLEEP = {"args": ["sleep", "1000"], "limits": {"wall_time": 100}}


@pytest.fixture(scope="module")
def service():
    with served(Config(tokens=TOKENS, admission=Admission(concurrent=1, patience=60))) as found:
        yield found


@contextmanager
def client(service, name):
    headers = {"authorization": f"Bearer {SECRETS[name]}"}
    with httpx.Client(base_url=service.url, timeout=PATIENCE, headers=headers) as made:
        yield made


def test_runs_sessions_and_boxes_of_another_are_not_found(service):
    with client(service, "ada") as ada, client(service, "bob") as bob:
        run = ada.post("/v1/runs", json=SLEEP, headers={"prefer": "respond-async"}).headers["location"]
        for method, path in (("GET", run), ("GET", f"{run}?wait=1"), ("DELETE", run), ("GET", f"{run}/events")):
            assert bob.request(method, path).status_code == 404
        said = ada.get(run).json()
        assert said["state"] in ("queued", "running"), said
        said = ada.delete(run).json()
        assert said["state"] == "cancelled", said
        for kind in ("sessions", "boxes"):
            where = ada.post(f"/v1/{kind}", json={}).headers["location"]
            assert bob.get(where).status_code == bob.delete(where).status_code == 404
            assert bob.post(f"{where}/steps", json={"args": ["ls"]}).status_code == 404
            assert ada.put(f"{where}/snapshots/a").status_code == 201
            inside = [
                ("GET", "snapshots"),
                ("PUT", "snapshots/a"),
                ("DELETE", "snapshots/a"),
                ("POST", "snapshots/a/restore"),
            ]
            if kind == "boxes":
                inside += [("GET", "processes"), ("DELETE", "processes"), ("DELETE", "processes/2"), ("GET", "receipt")]
            for method, path in (*inside, ("POST", "keepalive"), ("GET", "files")):
                assert bob.request(method, f"{where}/{path}").status_code == 404, path
            assert [row["name"] for row in ada.get(f"{where}/snapshots").json()["snapshots"]] == ["a"]
            answer = ada.post(f"{where}/steps", json={"args": ["true"]})
            assert answer.status_code == 200, (answer.text, service.log())
            ada.delete(where)
        assert bob.get("/v1/runs/" + "0" * 32).json() | {"request_id": ""} == bob.get(run).json() | {"request_id": ""}


def test_a_stream_of_another_is_not_stopped(service):
    with client(service, "ada") as ada, client(service, "bob") as bob:
        headers = {"accept": "text/event-stream"}
        with ada.stream("POST", "/v1/runs", json=SLEEP, headers=headers) as answer:
            lines = answer.iter_lines()
            id = next(json.loads(line[6:])["id"] for line in lines if line.startswith("data: "))
            assert until(lambda: service.programs(), PATIENCE)
            assert bob.delete(f"/v1/runs/{id}").status_code == 404
            assert service.programs()
            assert ada.delete(f"/v1/runs/{id}").json()["state"] == "cancelled"


def test_who_asks_for_much_does_not_hold_up_who_asks_for_little(service):
    ended = []

    def ask(name):
        with client(service, name) as one:
            one.post("/v1/runs", json={"args": ["sh", "-c", "sleep .1"]})
            ended.append(name)

    with client(service, "ada") as ada:
        first = ada.post("/v1/runs", json=SLEEP, headers={"prefer": "respond-async"}).headers["location"]
        assert until(lambda: service.programs(), PATIENCE)
        many = [threading.Thread(target=ask, args=("ada",)) for _ in range(12)]
        for thread in many:
            thread.start()
        few = [threading.Thread(target=ask, args=("bob",)) for _ in range(2)]
        for thread in few:
            thread.start()
        time.sleep(1.0)  # by then all of them wait
        ada.delete(first)
        for thread in (*many, *few):
            thread.join(PATIENCE)
    assert len(ended) == 14
    assert "ada" in ended[max(i for i, name in enumerate(ended) if name == "bob") :]
