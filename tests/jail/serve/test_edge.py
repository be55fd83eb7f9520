"""The edge of the real service: tokens and logs, other names and pages, limits that are none, what answers tell."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from pyjail.serve.config import Config, Token
from tests.jail.serve import raw
from tests.jail.serve.served import PATIENCE, Served, served

SECRET = "kept-secret-7f3a91"
ENVIRONMENT = {"PYJAIL_TEST_KEPT": "environment-7f3a91"}
PASS = {"Authorization": f"Bearer {SECRET}"}


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, Path]]:
    """A service with a token, and its directory."""
    state = tmp_path_factory.mktemp("state")
    (state / "pyjail.toml").write_text(f'[[serve.tokens]]\nname = "team"\nsecret-note = "{SECRET}"\n')
    os.chmod(state / "pyjail.toml", 0o600)
    config = Config(state=str(state), tokens=(Token("team", hashlib.sha256(SECRET.encode()).hexdigest()),))
    with served(config, env=ENVIRONMENT) as running:
        yield running, state


@pytest.fixture(scope="module")
def service() -> Iterator[Served]:
    with served() as running:
        yield running


def run(service: Served, *args: str, **more: Any) -> httpx.Response:
    return httpx.post(f"{service.url}/v1/runs", json={"args": list(args), **more}, headers=PASS, timeout=PATIENCE)


def test_a_run_needs_a_token_that_no_log_has_ever_seen(tokens: tuple[Served, Path]):
    service, state = tokens
    assert run(service, "true").status_code == 200
    for headers in (
        {},
        {"Authorization": f"Basic {SECRET}"},
        {"Authorization": f"Bearer {SECRET}x"},
        {"Cookie": f"token={SECRET}"},
    ):
        answer = httpx.post(
            f"{service.url}/v1/runs?token={SECRET}", json={"args": ["true"]}, headers=headers, timeout=PATIENCE
        )
        assert answer.status_code == 401 and SECRET not in answer.text
    came = raw.said(service.port, f"GET /healthz HTTP/1.1\r\nHost: x\r\nAuthorization Bearer {SECRET}\r\n\r\n".encode())
    assert raw.statuses(came) == [400]
    assert SECRET not in service.log()
    for path in state.rglob("*"):
        if path.is_file() and path.name != "pyjail.toml":
            assert SECRET.encode() not in path.read_bytes(), path


def test_programs_see_nothing_of_the_service(tokens: tuple[Served, Path]):
    """Neither its environment nor its files, its fds, or its processes."""
    service, state = tokens
    seen = run(
        service,
        "sh",
        "-c",
        f"env; ls /proc; ls -l /proc/self/fd; cat {state}/pyjail.toml; ls {state}; cat /proc/*/environ",
    ).text
    said = run(service, "sh", "-c", "ls /proc/self/fd | wc -l; ls -d /proc/[0-9]* | wc -l").json()["result"]["stdout"][
        "bytes"
    ]
    assert ENVIRONMENT["PYJAIL_TEST_KEPT"] not in seen and SECRET not in seen and "No such file" in seen
    assert "socket:" not in seen.replace("/dev/null", "")
    fds, processes = map(int, said.split())
    assert fds <= 4 and processes <= 4  # 0, 1, 2 and the directory that is listed; its own processes


def test_another_name_of_the_service_is_misdirected(service: Served):
    """A page whose own name was rebound to our address still sends that name."""
    for host in ("evil.example", "evil.example:8000", f"localhost.evil.example:{service.port}"):
        assert httpx.get(f"{service.url}/healthz", headers={"Host": host}).status_code == 421
    for host in ("localhost", f"localhost:{service.port}", f"127.0.0.1:{service.port}", "[::1]:8000"):
        assert httpx.get(f"{service.url}/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("path", ["/v1/runs", "/run", "/execute", "/codebox/execute"])
def test_a_page_of_another_site_runs_nothing(service: Served, path: str):
    body = json.dumps({"args": ["true"], "image": "x", "cmd": ["true"], "code": "1", "sources": {}, "commands": []})
    for headers in (
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "multipart/form-data; boundary=x"},
        {"Content-Type": "application/json", "Origin": "http://evil.example"},
        {"Content-Type": "application/json", "Origin": "null"},
        {"Content-Type": "application/json", "Sec-Fetch-Site": "cross-site"},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
    ):
        answer = httpx.post(f"{service.url}{path}", content=body, headers=headers)
        assert answer.status_code in (403, 415), (headers, answer.text)
        assert not [name for name in answer.headers if name.startswith("access-control")]


NONE = [
    -1,
    -0.5,
    "NaN",
    float("nan"),
    float("inf"),
    1e308,
    10**30,
    True,
    "x",
    "",
    "-1M",
    "1e309",
    [],
    {},
    None,
    "9E",
    "\0",
]
LIMITS = [
    "cpu_time", "wall_time", "memory", "processes", "output", "disk", "inodes", "file_size", "open_files", "stack", "collect",
]  # fmt: skip


@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_that_is_none_or_above_the_maximum_is_refused(service: Served, name: str):
    for value in NONE:
        body = json.dumps({"args": ["true"], "limits": {name: value}})
        answer = httpx.post(
            f"{service.url}/v1/runs", content=body, headers={"Content-Type": "application/json"}, timeout=PATIENCE
        )  # fmt: skip
        assert answer.status_code in (400, 422), (value, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("name", ["cpu_time", "wall_time", "memory", "processes", "output"])
def test_a_limit_of_nothing_is_refused(service: Served, name: str):
    assert run(service, "true", limits={name: 0}).status_code == 422


def test_answers_tell_nothing_of_this_machine(service: Served):
    told = []
    for method, path, body in [
        ("GET", "/nowhere", None), ("PATCH", "/v1/runs", "{}"), ("POST", "/v1/runs", "{"), ("POST", "/v1/runs", "[" * 5000),
        ("POST", "/v1/runs", '{"args": ["/no/such"]}'), ("POST", "/v1/runs", '{"language": "x", "source": ""}'),
        ("POST", "/v1/runs", '{"args": 5}'), ("POST", "/v1/runs", '{"args": ["a\\u0000b"]}'),
        ("POST", "/v1/runs", '{"args": ["true"], "files": {"../x": ""}}'), ("POST", "/v1/runs", '{"args": ["true"], "cwd": "\\ud800"}'),
        ("POST", "/run", "{"), ("POST", "/run", '{"image": "x", "cmd": ["true"]}'), ("POST", "/execute", "{}"),
        ("POST", "/execute", '{"code": 5}'), ("GET", "/v1/runs/../../etc/passwd", None), ("GET", "/static/../../etc/passwd", None),
        ("GET", "/files?path=../../etc/passwd", None), ("GET", "/v1/files/" + "0" * 64, None), ("GET", "/v1/runs/" + "f" * 32, None),
        ("POST", "/v1/runs", '{"args": ["true"], "limits": {"memory": "' + "9" * 5000 + '"}}'),
    ]:  # fmt: skip
        answer = httpx.request(
            method, f"{service.url}{path}", content=body, headers={"Content-Type": "application/json"}, timeout=PATIENCE
        )  # fmt: skip
        assert answer.status_code != 500, (path, body, answer.text)
        told.append(answer.text)
    for text in told:
        for leak in (
            "Traceback",
            'File "',
            str(Path(__file__).parents[3]),
            "site-packages",
            os.environ["PATH"],
            "/tmp/",
        ):
            assert leak not in text, text
    assert "Traceback" not in service.log()


def test_a_part_of_a_file_is_given_to_nobody(service: Served):
    data = b"0123456789" * 100
    digest = hashlib.sha256(data).hexdigest()
    put = httpx.put(
        f"{service.url}/v1/files/{digest}", content=data, headers={"Content-Type": "application/octet-stream"}
    )
    assert put.status_code in (200, 201, 204), put.text
    found = re.search(r"static/[\w.-]+", httpx.get(service.url).text)
    assert found
    for path in (f"v1/files/{digest}", found[0], ""):
        plain = httpx.get(f"{service.url}/{path}")
        for wanted in ("bytes=0-0", "bytes=" + ",".join(f"{n}-{n}" for n in range(0, 900, 2)), "bytes=-1"):
            answer = httpx.get(f"{service.url}/{path}", headers={"Range": wanted})
            assert (answer.status_code, len(answer.content) > 900) == (200, len(plain.content) > 900)
            assert "content-range" not in answer.headers


@pytest.mark.parametrize("name", ["a\r\nX-Evil: 1", "a\nb", 'a"; x="', "\u202egnp.exe", "a\x1b]0;x\x07", "\xe9\u4e2d"])
def test_a_name_of_a_client_becomes_no_header(service: Served, name: str):
    sent = httpx.post(f"{service.url}/files", files={"file": ("f", b"x")}, data={"path": name})
    answers = [
        sent,
        httpx.get(f"{service.url}/files", params={"path": name}),
        httpx.get(f"{service.url}/v1/runs/{name.encode().hex()}"),
    ]
    for answer in answers:
        assert "x-evil" not in answer.headers
        assert answer.status_code != 500, answer.text
        for value in answer.headers.values():
            assert value.isascii() and value.isprintable()


def test_an_id_that_is_no_plain_word_is_not_given_back(service: Served):
    for given in ("x" * 65, "a b", "<script>", "\xe9"):
        answer = httpx.get(f"{service.url}/healthz", headers=[(b"X-Request-ID", given.encode("latin-1"))])
        assert answer.headers["x-request-id"] != given
    assert httpx.get(f"{service.url}/healthz", headers={"X-Request-ID": "abc.1"}).headers["x-request-id"] == "abc.1"


def test_it_does_not_say_what_it_is_made_of(service: Served):
    assert "server" not in httpx.get(f"{service.url}/healthz").headers


def test_no_line_of_the_log_is_a_clients(service: Served):
    for path in ("/x%0aevil-7f3a", "/x%1b[2Jevil-7f3a", "/v1/runs?evil-7f3a", "/%0d%0aevil-7f3a", "/v1/runs/evil-7f3a"):
        httpx.get(f"{service.url}{path}", headers={"User-Agent": "evil-7f3a", "Referer": "evil-7f3a"})
    raw.said(service.port, b"GET /evil-7f3a HTTP/1.1\r\nevil-7f3a\r\n\r\n")
    run(service, "evil-7f3a", stdin="evil-7f3a", env={"X": "evil-7f3a"})
    assert "evil-7f3a" not in service.log()


def test_a_websocket_is_neither_compressed_nor_takes_long_messages(service: Served):
    with connect(f"ws://127.0.0.1:{service.port}/v1/terminal", compression="deflate") as socket:
        assert socket.response is not None and "Sec-WebSocket-Extensions" not in socket.response.headers
        socket.send(json.dumps({"args": ["true"], "env": {"X": "y" * (300 << 10)}}))
        with pytest.raises(ConnectionClosed) as e:
            while True:
                socket.recv(PATIENCE)
    assert e.value.rcvd is not None and e.value.rcvd.code == 1009


def test_a_crowd_of_websockets_that_say_nothing_is_bounded(service: Served):
    upgrade = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
               "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==")  # fmt: skip
    said = []
    with contextlib.ExitStack() as stack:
        for _ in range(80):
            sock = stack.enter_context(raw.connect(service.port))
            with contextlib.suppress(ConnectionError):  # who is refused may not even be heard
                sock.sendall(raw.head(*upgrade, method="GET", path="/v1/terminal"))
                said.append(sock.recv(12)[9:])
    assert said[0] == b"101" and b"429" in said and set(said) <= {b"101", b"429", b""}
    end = time.monotonic() + PATIENCE
    while True:
        with contextlib.suppress(httpx.HTTPError):
            if run(service, "true").status_code == 200:
                break
        assert time.monotonic() < end
