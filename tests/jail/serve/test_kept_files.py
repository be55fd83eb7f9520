"""Files of sessions and boxes over HTTP: written, read, listed and removed; bounded, and each tenant's own."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from pathlib import Path

import httpx
import pytest

from pyjail import Limits
from pyjail.serve import Config
from pyjail.serve.config import Admission, Edge, Files, Places, Token
from tests.jail.serve.served import PATIENCE, served
from tests.scripts import until

pytestmark = pytest.mark.needs_cgroups

BINARY = {"content-type": "application/octet-stream"}
SECRETS = {name: name * 43 for name in "abr"}
TOKENS = tuple(
    Token(name, hashlib.sha256(secret.encode()).hexdigest(), "read" if name == "r" else "run")
    for name, secret in SECRETS.items()
)
MAXIMA = Limits(wall_time=100, cpu_time=60, memory="512M", output="10M", processes=64, disk="64M", inodes=20000)


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def service(state):
    config = Config(
        tokens=TOKENS, maxima=MAXIMA, admission=Admission(concurrent=2, patience=60, inflight=64 << 20), state=str(state),
        places=Places(file=8 << 20, share=4), edge=Edge(body=16 << 20), files=Files(file=1 << 20, floor=1 << 20),
    )  # fmt: skip
    with served(config) as found:
        yield found


def client_of(service, name):
    return httpx.Client(base_url=service.url, timeout=PATIENCE, headers={"authorization": f"Bearer {SECRETS[name]}"})


@pytest.fixture
def client(service):
    with client_of(service, "a") as made:
        yield made


@pytest.fixture(params=["sessions", "boxes"])
def where(request, client):
    yield from opened(client, request.param)


@pytest.fixture
def box(client):
    yield from opened(client, "boxes")


def opened(client, kind):
    answer = client.post(f"/v1/{kind}", json={"limits": {"disk": "16M", "memory": "256M"}})
    assert answer.status_code == 201, answer.text
    yield answer.headers["location"]
    client.delete(answer.headers["location"])


def put(client, where, path, data, **more):
    return client.put(f"{where}/files", content=data, params={"path": path, **more}, headers=BINARY)


def get(client, where, path):
    return client.get(f"{where}/files", params={"path": path})


def shell(client, where, code):
    answer = client.post(f"{where}/steps", json={"args": ["sh", "-c", code]})
    return answer.json()["result"]["stdout"]["bytes"]


def test_what_is_written_is_there_for_programs_and_what_they_write_is_read(client, where):
    answer = put(client, where, "a/b.txt", b"one\0\xff")
    assert (answer.status_code, answer.json()) == (201, {"path": "a/b.txt", "size": 5})
    assert put(client, where, "run", b"#!/bin/sh\necho ran", mode="755").status_code == 201
    assert shell(client, where, "wc -c < a/b.txt; ./run; echo x > c; stat -c %a a/b.txt run") == "5\nran\n644\n755\n"
    answer = get(client, where, "a/b.txt")
    assert answer.content == b"one\0\xff" and answer.headers["content-security-policy"] == "sandbox"
    assert 'filename="b.txt"' in answer.headers["content-disposition"]
    assert get(client, where, "c").content == b"x\n"
    assert client.get(f"{where}/files").json() == {"root": "/box", "files": ["a", "a/b.txt", "c", "run"]}
    assert client.get(f"{where}/files", params={"pattern": "*.txt"}).json()["files"] == []
    assert client.get(f"{where}/files", params={"pattern": "**/*.txt"}).json()["files"] == ["a/b.txt"]
    assert put(client, where, "c", b"two").status_code == 201 and get(client, where, "c").content == b"two"
    assert client.delete(f"{where}/files", params={"path": "c"}).status_code == 204
    answer = client.delete(f"{where}/files", params={"path": "a"})
    assert (answer.status_code, answer.json()["field"]) == (422, "path")
    assert client.delete(f"{where}/files", params={"path": "a", "recursive": True}).status_code == 204
    assert client.get(f"{where}/files").json()["files"] == ["run"]
    assert get(client, where, "c").status_code == 404


def test_paths_of_a_box_are_those_of_its_programs(client, box):
    assert put(client, box, "/tmp/x/y", b"t").status_code == 201
    assert shell(client, box, "cat /tmp/x/y; ln -s /tmp/x/y l; mkfifo f; ln -s /proc/1/mem m") == "t"
    assert client.get(f"{box}/files", params={"root": "/tmp"}).json() == {"root": "/tmp", "files": ["x", "x/y"]}
    assert get(client, box, "l").content == b"t" and get(client, box, "../tmp/x/y").content == b"t"
    for path, status in (("f", 422), ("m", 422), ("/box", 422), ("/no", 404), ("l/z", 422), ("/etc/shadow", 422)):
        assert get(client, box, path).status_code in (status, 404), path
    assert put(client, box, "/usr/x", b"").json()["field"] == "path"
    assert get(client, box, "../../../../../../etc/hostname").status_code in (200, 404)  # the jail's, not the host's


@pytest.mark.parametrize(
    "path", ["", "a\0b", "x" * 300, "a/" * 3000 + "b", "/", ".", "..", "/proc/self/mem", "/dev/null/x"]
)
def test_no_name_leads_out_or_breaks_it(client, where, path):
    for answer in (put(client, where, path, b"x"), get(client, where, path),
                   client.delete(f"{where}/files", params={"path": path, "recursive": path not in ("/", ".", "..")})):  # fmt: skip
        assert answer.status_code in (404, 422), (path, answer.status_code, answer.text)
        assert "Traceback" not in answer.text and "/work" not in answer.text and answer.json()["field"]
    assert shell(client, where, "echo still") == "still\n"


def test_names_that_are_no_text_are_listed(client, where):
    shell(client, where, "touch \"$(printf 'a\\377')\" é")
    assert client.get(f"{where}/files").json()["files"] == ["a�", "é"]


@pytest.mark.parametrize(("asked", "field"), [({"path": "a", "mode": "999"}, "mode"), ({"path": "a", "mode": "4755"}, "mode"),
                                              ({}, "path")])  # fmt: skip
def test_what_is_wrong_is_told_by_its_field(client, where, asked, field):
    answer = client.put(f"{where}/files", content=b"x", params=asked, headers=BINARY)
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    answer = client.put(f"{where}/files", files={"file": b"x"}, params={"path": "a"})
    assert answer.status_code == 415
    assert client.get(f"{where}/files").json()["files"] == []


def test_a_file_is_bounded_and_nothing_of_one_that_is_too_long_stays(client, where, state):
    def endless(size):
        for _ in range(size >> 16):
            yield b"x" * (1 << 16)

    answer = put(client, where, "a", endless(12 << 20))  # in chunks, of no known length
    assert answer.status_code == 413, answer.text
    assert put(client, where, "a", b"x" * (9 << 20)).status_code == 413
    assert client.get(f"{where}/files").json()["files"] == []
    assert put(client, where, "a", b"x" * (7 << 20)).status_code == 201  # more than one of /v1/files may be
    assert put(client, where, "b", b"x" * (7 << 20)).status_code == 201
    answer = put(client, where, "c", b"x" * (7 << 20))  # more than its disk
    assert (answer.status_code, answer.json()["field"]) == (422, "path"), answer.text
    assert client.get(f"{where}/files").json()["files"] == ["a", "b"]
    shell(client, where, "rm b; head -c 9000000 /dev/zero > big")
    answer = get(client, where, "big")
    assert (answer.status_code, answer.json()["field"]) == (413, "path")
    assert not os.listdir(Path(state, "incoming"))


def test_gigabytes_are_refused_before_they_have_come(service, client, box):
    made = socket.create_connection(("127.0.0.1", service.port))
    head = f"PUT {box}/files?path=a HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\n"
    head += f"Authorization: Bearer {SECRETS['a']}\r\nContent-Type: application/octet-stream\r\n"
    made.sendall(f"{head}Content-Length: {8 << 30}\r\n\r\n".encode())
    made.settimeout(PATIENCE)
    assert made.recv(65536).startswith(b"HTTP/1.1 413 ")
    made.close()


def test_who_leaves_in_the_middle_leaves_nothing(service, client, where, state):
    made = socket.create_connection(("127.0.0.1", service.port))
    head = f"PUT {where}/files?path=a HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\n"
    head += f"Authorization: Bearer {SECRETS['a']}\r\nContent-Type: application/octet-stream\r\n"
    made.sendall(f"{head}Content-Length: 1000000\r\n\r\n".encode() + b"x" * 500_000)
    incoming = Path(state, "incoming")
    assert until(lambda: os.listdir(incoming), PATIENCE)
    assert until(lambda: client.get(where).json()["running"], PATIENCE)
    made.close()
    assert until(lambda: not os.listdir(incoming), PATIENCE)
    assert until(lambda: not client.get(where).json()["running"], PATIENCE)
    assert client.get(f"{where}/files").json()["files"] == []
    assert until(lambda: '"status": 499' in service.log(), PATIENCE)
    assert "ClientDisconnect" not in service.log() and '"status": 500' not in service.log()


def test_who_never_reads_holds_a_bounded_number_of_bytes(service, client, box):
    shell(client, box, "head -c 8000000 /dev/zero > a")
    slow, statuses = [], []
    for _ in range(12):
        made = socket.socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        made.connect(("127.0.0.1", service.port))
        head = f"GET {box}/files?path=a HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\n"
        made.sendall(f"{head}Authorization: Bearer {SECRETS['a']}\r\n\r\n".encode())
        slow.append(made)
        made.settimeout(PATIENCE)
        statuses.append(made.recv(12, socket.MSG_PEEK)[9:])
    assert statuses == [b"200"] * 8 + [b"503"] * 4  # 64 MiB are held
    assert get(client, box, "a").status_code == 503
    for made in slow:
        made.close()
    assert until(lambda: get(client, box, "a").status_code == 200, PATIENCE)


def test_nobody_else_sees_them(service, client, where):
    put(client, where, "a", b"secret")
    with client_of(service, "b") as other, client_of(service, "r") as reader:
        for answer in (get(other, where, "a"), put(other, where, "a", b"x"), other.get(where), other.delete(where),
                       other.delete(f"{where}/files", params={"path": "a"}), other.get(f"{where}/files"),
                       other.post(f"{where}/keepalive"), other.post(f"{where}/steps", json={"args": ["ls"]})):  # fmt: skip
            assert answer.status_code == 404, answer.text
        kind = where.split("/")[2]
        assert other.get(f"/v1/{kind}").json() == {kind: []}
        assert [one["id"] for one in client.get(f"/v1/{kind}").json()[kind]] == [where.rpartition("/")[2]]
        for answer in (put(reader, where, "a", b"x"), reader.delete(f"{where}/files", params={"path": "a"}),
                       reader.post(f"{where}/keepalive"), reader.post(f"/v1/{kind}", json={})):  # fmt: skip
            assert answer.status_code == 403, answer.text
    assert get(client, where, "a").content == b"secret"


def test_a_use_of_a_file_keeps_it_open_and_so_does_who_says_so(client):
    where = client.post("/v1/boxes", json={"ttl": 2}).headers["location"]
    for _ in range(4):
        put(client, where, "a", b"x")
        assert client.post(f"{where}/keepalive").json()["expires_in"] > 1.5
    client.delete(where)
    assert client.post(f"{where}/keepalive").status_code == 409
    assert put(client, where, "a", b"x").status_code == 409 and get(client, where, "a").status_code == 409


def test_a_thousand_boxes_of_one_token_are_four(service, client):
    answers = [client.post("/v1/boxes", json={}) for _ in range(1000)]
    assert [a.status_code for a in answers[:4]] == [201] * 4 and {a.status_code for a in answers[4:]} == {429}
    assert answers[5].json()["hint"].endswith("[serve.places]") and "retry-after" in answers[5].headers
    with client_of(service, "b") as other:
        answer = other.post("/v1/boxes", json={})
        assert answer.status_code == 201
        other.delete(answer.headers["location"])
    for answer in answers[:4]:
        client.delete(answer.headers["location"])


def test_one_is_there_for_so_long_only_whoever_uses_it():
    config = Config(places=Places(lifetime=1.0, idle=0.5, longest_idle=0.6), admission=Admission(concurrent=2))
    with served(config) as service, httpx.Client(base_url=service.url, timeout=PATIENCE) as client:
        answer = client.post("/v1/boxes", json={"ttl": 0.7})
        assert (answer.status_code, answer.json()["field"]) == (422, "ttl")
        where = client.post("/v1/boxes", json={}).headers["location"]
        assert client.get(where).json()["ttl"] == 0.5
        answer = client.post(f"{where}/steps", json={"args": ["sleep", "1000"], "limits": {"wall_time": 100}})
        assert answer.status_code == 409 and json.loads(answer.text)["detail"] == "the box is closed"
        assert until(lambda: not service.programs(), PATIENCE)
