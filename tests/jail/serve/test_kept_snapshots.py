"""Snapshots of sessions and boxes over HTTP: taken, put back, bounded, and gone with what they are of."""

from __future__ import annotations

import threading

import httpx
import pytest

from pyjail.serve import Config
from pyjail.serve.config import Admission, Places
from tests.jail.serve.served import PATIENCE, served
from tests.scripts import until

pytestmark = pytest.mark.needs_cgroups


@pytest.fixture(scope="module")
def service():
    with served(Config(admission=Admission(concurrent=3, patience=1), places=Places(snapshots=4 << 20))) as found:
        yield found


@pytest.fixture
def client(service):
    with httpx.Client(base_url=service.url, timeout=PATIENCE) as made:
        yield made


@pytest.fixture(params=["sessions", "boxes"])
def where(request, client):
    answer = client.post(f"/v1/{request.param}", json={})
    yield answer.headers["location"]
    client.delete(answer.headers["location"])


def sh(client, where, script):
    answer = client.post(f"{where}/steps", json={"args": ["sh", "-c", script]})
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]["stdout"]["bytes"]


def test_what_was_there_is_there_again_as_often_as_needed(client, where):
    sh(client, where, "echo one > a; mkdir d; ln -s a d/link; chmod 750 a")
    answer = client.put(f"{where}/snapshots/first")
    assert answer.status_code == 201, answer.text
    said = answer.json()
    assert (said["name"], said["size"], said["files"], said["links"]) == ("first", 4, 1, 1)
    for _ in range(2):
        sh(client, where, "rm -r d; echo two > a; echo > b")
        assert client.post(f"{where}/snapshots/first/restore").json() == said
        assert sh(client, where, "ls; cat a; readlink d/link; stat -c %a a") == "a\nd\none\na\n750\n"
    sh(client, where, "echo more >> a")
    assert client.put(f"{where}/snapshots/first").status_code == 200  # in the place of the other
    assert client.put(f"{where}/snapshots/second").status_code == 201
    sizes = {row["name"]: row["size"] for row in client.get(f"{where}/snapshots").json()["snapshots"]}
    assert sizes == {"first": 9, "second": 9}
    assert client.delete(f"{where}/snapshots/first").status_code == 204
    for method, path in (("DELETE", "first"), ("POST", "first/restore"), ("POST", "no/restore")):
        answer = client.request(method, f"{where}/snapshots/{path}")
        assert (answer.status_code, answer.json()["field"]) == (404, "name")


@pytest.mark.parametrize("name", ["a%20b", "x" * 65, "%C3%A9", "a%00"])
def test_a_name_is_plain(client, where, name):
    answer = client.put(f"{where}/snapshots/{name}")
    assert (answer.status_code, answer.json()["field"]) == (422, "name")


def test_their_bytes_and_their_number_are_bounded(client, where):
    sh(client, where, "head -c 1500000 /dev/zero | tr '\\0' x > a")
    assert client.put(f"{where}/snapshots/one").status_code == 201
    assert client.put(f"{where}/snapshots/one").status_code == 200
    answer = client.put(f"{where}/snapshots/two")
    assert (answer.status_code, answer.json()["type"]) == (507, "urn:pyjail:problem:quota")
    client.delete(f"{where}/snapshots/one")
    sh(client, where, "rm a; truncate -s 30M hole")
    for i in range(16):
        assert client.put(f"{where}/snapshots/{i}").status_code == 201
    assert client.put(f"{where}/snapshots/more").status_code == 507
    assert client.put(f"{where}/snapshots/3").status_code == 200
    assert [row["size"] for row in client.get(f"{where}/snapshots").json()["snapshots"]] == [0] * 16


def test_they_go_with_what_they_are_of(client):
    for _ in range(3):  # each takes more than half of what there is
        where = client.post("/v1/sessions", json={}).headers["location"]
        sh(client, where, "head -c 1500000 /dev/zero | tr '\\0' x > a")
        assert client.put(f"{where}/snapshots/one").status_code == 201
        client.delete(where)
        assert client.put(f"{where}/snapshots/one").status_code == 409
        assert client.get(f"{where}/snapshots").status_code == 409


def test_nothing_is_put_back_below_a_program_that_runs(service, client, where):
    assert client.put(f"{where}/snapshots/a").status_code == 201
    statuses = []

    def run():
        answer = client.post(f"{where}/steps", json={"args": ["sh", "-c", "until [ -e go ]; do sleep .05; done"]})
        statuses.append(answer.status_code)

    running = threading.Thread(target=run)
    running.start()
    assert until(lambda: any(b"until" in line for line in service.programs()), PATIENCE)
    answer = client.post(f"{where}/snapshots/a/restore")
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:pyjail:problem:busy")
    assert client.put(f"{where}/files", params={"path": "go"}, content=b"x",
                      headers={"content-type": "application/octet-stream"}).status_code == 201  # fmt: skip
    running.join(PATIENCE)
    assert statuses == [200]
    assert client.post(f"{where}/snapshots/a/restore").status_code == 200
    assert sh(client, where, "ls") == ""
