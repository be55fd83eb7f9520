"""Files over HTTP: kept whole and under their own name or not at all, given to nobody else, sent so that no browser opens them."""

from __future__ import annotations

import hashlib
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from pyjail.serve.config import Config, Edge, Files, Token
from tests.jail.serve import small_disk
from tests.jail.serve.served import PATIENCE, served
from tests.scripts import until

MIB = 1 << 20
ROOMY = Files(floor=0)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def config(tmp_path: Path, **more) -> Config:
    return Config(state=str(tmp_path / "state"), **{"files": ROOMY, **more})


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def service(directory):
    with served(config(directory)) as made:
        yield made


@pytest.fixture
def client(service, directory):
    """Of a service that has no files."""
    with httpx.Client(base_url=service.url, timeout=PATIENCE) as made:
        yield made
        for path in directory.glob("state/files/*/*"):
            assert made.delete(f"/v1/files/{path.parent.name}{path.name}").status_code == 204
    assert kept(directory) == []


def kept(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "state").rglob("*") if path.is_file() and path.parent.name not in ("state",)]


RAW = {"Content-Type": "application/octet-stream"}


def test_a_file_is_put_found_read_and_forgotten(client, directory):
    data = os.urandom(300_000)
    where = f"/v1/files/{digest(data)}"
    assert client.head(where).status_code == client.get(where).status_code == 404
    answer = client.put(where, content=data)
    assert (answer.status_code, answer.json()) == (201, {"sha256": digest(data), "size": len(data)})
    assert client.put(where, content=data).status_code == 201
    head, got = client.head(where), client.get(where)
    assert got.content == data
    for found in (head, got):
        assert found.status_code == 200
        assert found.headers["content-type"] == "application/octet-stream"
        assert found.headers["content-length"] == str(len(data))
        assert found.headers["content-disposition"] == f'attachment; filename="{digest(data)}"'
        assert found.headers["x-content-type-options"] == "nosniff"
        assert found.headers["content-security-policy"] == "sandbox"
        assert found.headers["accept-ranges"] == "none"
    assert client.delete(where).status_code == 204
    assert client.delete(where).status_code == client.get(where).status_code == 404
    assert kept(directory) == []


def test_a_part_of_a_file_is_not_to_be_had(client):
    data = b"0123456789"
    where = client.post("/v1/files", content=data, headers=RAW).headers["location"]
    for ranges in ("bytes=2-3", "bytes=0-0,1-1", ",".join(["bytes=0-"] * 500)):
        got = client.get(where, headers={"Range": ranges, "If-Range": "x"})
        assert (got.status_code, got.content) == (200, data)


def test_a_wrong_digest_is_told_and_nothing_is_kept(client, directory):
    answer = client.put(f"/v1/files/{digest(b'x')}", content=b"y")
    assert answer.status_code == 422
    assert answer.json()["field"] == "sha256" and digest(b"y") in answer.json()["detail"]
    form = {"file": ("x", b"y"), "sha256": (None, digest(b"x"))}
    assert client.post("/v1/files", files=form).status_code == 422
    for odd in ("x", digest(b"x").upper(), "..%2f..%2fetc%2fpasswd", "a" * 65):
        assert client.put(f"/v1/files/{odd}", content=b"x").status_code in (404, 422)
        assert client.get(f"/v1/files/{odd}").status_code == 404
    assert kept(directory) == []


def test_forms_and_raw_bodies_are_taken(client):
    for given in ({"files": {"file": ('a"b\r\n.txt', b"form")}}, {"content": b"form", "headers": RAW}):
        answer = client.post("/v1/files", **given)
        assert (answer.status_code, answer.json()["sha256"]) == (201, digest(b"form"))
    big = os.urandom(2 * MIB)
    answer = client.post("/v1/files", files={"file": ("f", big), "sha256": (None, digest(big))})
    assert answer.json() == {"sha256": digest(big), "size": len(big)}
    assert client.get(f"/v1/files/{digest(big)}").content == big


def form(*parts: bytes, end: bytes = b"--b--\r\n") -> dict:
    return {
        "content": b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + end,
        "headers": {"Content-Type": "multipart/form-data; boundary=b"},
    }


FILE = b'Content-Disposition: form-data; name="file"; filename="f"\r\n\r\nx'


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (form(FILE, FILE.replace(b'"file"', b'"a"'), FILE.replace(b'"file"', b'"b"')), 413),  # parts
        (form(b"".join(b"X-%d: x\r\n" % n for n in range(50)) + FILE), 400),  # headers of a part
        (form(b"X: " + b"x" * 10_000 + b"\r\n" + FILE), 400),
        (form(FILE, FILE), 422),
        (form(FILE, FILE.replace(b'"file"', b'"a"') + b"y" * 5000), 413),
        (form(FILE.replace(b'"file"', b'"other"')), 422),
        (form(b"X: y\r\n\r\nx"), 400),
        (form(FILE, end=b""), 400),
        (form(b""), 400),
        ({"content": b"nothing", "headers": {"Content-Type": "multipart/form-data; boundary=b"}}, 400),
        ({"content": b"", "headers": {"Content-Type": "multipart/form-data; boundary=b"}}, 400),
        ({"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}, 400),
        ({"content": b"x", "headers": {"Content-Type": "multipart/form-data; boundary=" + "b" * 1000}}, 400),
        ({"content": b"x", "headers": {"Content-Type": "text/plain"}}, 415),
    ],
)  # fmt: skip
def test_a_form_that_is_none_is_told_so_and_nothing_is_kept(given, status, client, directory):
    answer = client.post("/v1/files", **given)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert kept(directory) == []
    assert client.post("/v1/files", content=b"x", headers=RAW).status_code == 201


def test_the_name_of_a_download_cannot_say_more_than_a_name(client):
    where = client.post("/v1/files", content=b"x", headers=RAW).headers["location"]
    for name, told in (
        ("a.txt", 'attachment; filename="a.txt"'),
        ("../../etc/passwd", 'attachment; filename="passwd"'),
        (
            'a"; x="\r\nSet-Cookie: a=b',
            "attachment; filename=\"a___x____Set-Cookie__a_b\"; filename*=UTF-8''a%22%3B%20x%3D%22%0D%0ASet-Cookie%3A%20a%3Db",
        ),
        ("\u202egpj.exe", "attachment; filename=\"_gpj.exe\"; filename*=UTF-8''%E2%80%AEgpj.exe"),
    ):
        got = client.get(where, params={"name": name})
        assert got.headers["content-disposition"] == told
        assert "set-cookie" not in got.headers


def test_files_are_their_tenants_alone(tmp_path):
    tokens = tuple(Token(name, digest(name.encode())) for name in ("ann", "bob"))
    with served(config(tmp_path, tokens=tokens)) as service:
        ann, bob = ({"Authorization": f"Bearer {name}"} for name in ("ann", "bob"))
        where = f"{service.url}/v1/files/{digest(b'x')}"
        assert httpx.put(where, content=b"x").status_code == 401
        assert httpx.put(where, content=b"x", headers=ann).status_code == 201
        for call in (httpx.get, httpx.head, httpx.delete):
            assert call(where, headers=bob).status_code == 404
        asked = {"args": ["cat", "a"], "files": {"a": {"sha256": digest(b"x")}}}
        for who, status in ((ann, 200), (bob, 422)):
            assert httpx.post(f"{service.url}/v1/runs", json=asked, headers=who, timeout=PATIENCE).status_code == status
        assert httpx.get(where, headers=ann).content == b"x"


def test_a_run_has_the_files_that_it_names_by_digest(client, directory):
    data = os.urandom(100_000)
    client.put(f"/v1/files/{digest(data)}", content=data)
    runs = [
        ({"args": ["sh", "-c", "sha256sum < a/b; cat c"]}, f"{digest(data)}  -\ntext"),
        ({"language": "python", "source": "print(open('/box/a/b', 'rb').read().__len__())"}, "100000\n"),
    ]
    for asked, told in runs:
        asked["files"] = {"a/b": {"sha256": digest(data)}, "c": "text"}
        answer = client.post("/v1/runs", json=asked)
        assert answer.status_code == 200, answer.text
        assert answer.json()["result"]["stdout"]["bytes"] == told
        later = client.post("/v1/runs", json=asked, headers={"Prefer": "respond-async"})
        found = client.get(later.headers["location"], params={"wait": 60}).json()
        assert found["result"]["stdout"]["bytes"] == told
    assert client.delete(f"/v1/files/{digest(data)}").status_code == 204
    for more in ({}, {"Prefer": "respond-async"}, {"Idempotency-Key": "k"}):
        answer = client.post("/v1/runs", json=asked, headers=more)
        assert (answer.status_code, answer.json()["field"]) == (422, "files.a/b")
    for odd in (
        {"sha256": "x"},
        {"sha256": digest(data).upper()},
        {"sha256": "../../x"},
        {"sha256": digest(data), "base64": ""},
        {},
    ):
        answer = client.post("/v1/runs", json={"args": ["true"], "files": {"a": odd}})
        assert (answer.status_code, answer.json()["field"]) == (422, "files.a")


def test_bounds_have_their_own_answers_and_a_restart_keeps_the_files(tmp_path):
    limits = Files(file=1000, total=2500, count=3, floor=0)
    bodies = [bytes([n]) * 1000 for n in range(3)]
    with served(config(tmp_path, files=limits)) as service:
        post = lambda data: httpx.post(f"{service.url}/v1/files", content=data, headers=RAW, timeout=PATIENCE)  # noqa: E731
        assert post(b"x" * 1001).status_code == 413
        assert post(iter([b"x" * 600] * 2)).status_code == 413
        assert [post(data).status_code for data in bodies] == [201, 201, 507]
    with served(config(tmp_path, files=limits)) as service:
        assert httpx.get(f"{service.url}/v1/files/{digest(bodies[0])}", timeout=PATIENCE).content == bodies[0]
        assert post(bodies[2]).status_code == 507
    with served(config(tmp_path, files=replace(limits, floor=1 << 60))) as service:
        answer = httpx.post(f"{service.url}/v1/files", content=b"x", headers=RAW, timeout=PATIENCE)
        assert (answer.status_code, answer.json()["type"]) == (507, "urn:pyjail:problem:disk-full")


def test_an_upload_that_breaks_off_leaves_nothing(tmp_path):
    with served(config(tmp_path)) as service:
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", service.port)) as s:
                head = "POST /v1/files HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\nContent-Length: 1000000\r\n\r\n"
                s.sendall(head.encode() + b"x" * 500_000)
                assert until(lambda: any(path.parent.name == "incoming" for path in kept(tmp_path)), PATIENCE)
        assert until(lambda: kept(tmp_path) == [], PATIENCE), kept(tmp_path)


def rss(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmRSS"))


def test_an_upload_is_never_in_memory(tmp_path):
    """Ten MiB, and no more than two of memory for each of those that are on their way."""
    number, size = 8, 10 * MIB
    with served(config(tmp_path, edge=Edge(body_time=600, rate=1))) as service:
        head = f"POST /v1/files HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\nContent-Length: {size}\r\n\r\n"

        def upload(n: int, most: int) -> socket.socket:
            s = socket.create_connection(("127.0.0.1", service.port))
            s.sendall(head.encode())
            for at in range(0, most, MIB):
                s.sendall(bytes([n]) * min(MIB, most - at))
            return s

        upload(99, MIB).close()  # what the first one costs once
        before = rss(service.pid)
        with ThreadPoolExecutor(number) as pool:
            open_ = list(pool.map(lambda n: upload(n, size - 1), range(number)))
        during = rss(service.pid)
        for n, s in enumerate(open_):
            s.sendall(bytes([n]))
            assert s.recv(100).startswith(b"HTTP/1.1 201")
            s.close()
        assert (during - before) / number <= 2 * MIB, (before, during)


FULL = """
import sys, httpx
from pathlib import Path
from pyjail.serve.config import Config, Files
from tests.jail.serve import small_disk
from tests.jail.serve.served import PATIENCE, served
state = sys.argv[1]
with served(Config(state=state, files=Files(floor=0))) as service:
    post = lambda data: httpx.post(service.url + "/v1/files", content=data, timeout=PATIENCE,
                                   headers={"Content-Type": "application/octet-stream"})
    assert post(b"x" * 100_000).status_code == 201
    told = [post(bytes([n]) * 900_000) for n in range(8)]
    assert {answer.status_code for answer in told} == {201, 507}, told
    last = told[-1]
    assert last.json()["type"] == "urn:pyjail:problem:disk-full" and last.headers["retry-after"], last.text
    assert state not in last.text
    assert not list(Path(state, "incoming").iterdir())
    run = httpx.post(service.url + "/v1/runs", json={"args": ["echo", "still here"]}, timeout=PATIENCE)
    assert run.status_code == 200 and "still here" in run.text
    gone = next(a for a in told if a.status_code == 201).headers["location"]
    assert httpx.delete(service.url + gone).status_code == 204
    assert post(b"y" * 500_000).status_code == 201
"""


@pytest.mark.needs_root
def test_a_full_disk_is_told_and_everything_else_goes_on(tmp_path):
    small_disk.script(tmp_path, FULL)
