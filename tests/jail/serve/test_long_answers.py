"""Runs that give a lot back, while others ask for little."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from pyjail.serve import Config
from tests.conftest import SLOW
from tests.jail.serve.served import PATIENCE, served

SIZE = 60_000_000
TEXT = f"head -c {SIZE} /dev/zero | tr '\\0' x > big"
NONE = f"head -c {SIZE} /dev/zero | tr '\\0' '\\377' > big"


@pytest.fixture(scope="module")
def service():
    with served(Config()) as made:
        yield made


@pytest.fixture
def waits(service):
    """How long others have waited for little, in seconds, while the test lasted."""
    found, over = [], threading.Event()

    def ask():
        with httpx.Client(base_url=service.url, timeout=PATIENCE) as client:
            while not over.is_set():
                began = time.monotonic()
                assert client.get("/healthz").status_code == 200
                found.append(time.monotonic() - began)
                time.sleep(0.005)

    thread = threading.Thread(target=ask)
    thread.start()
    yield found
    over.set()
    thread.join()


@pytest.mark.parametrize("way", ["waits", "later", "step"])
@pytest.mark.parametrize("script", [TEXT, NONE])
def test_60_mb_of_files_come_whole_and_nobody_waits_for_them(service, waits, script, way):
    asked = {"args": ["sh", "-c", script], "collect": ["big"]}
    with httpx.Client(base_url=service.url, timeout=PATIENCE) as client:
        if way == "later":
            where = client.post("/v1/runs", json=asked, headers={"Prefer": "respond-async"}).headers["location"]
            said = client.get(where, params={"wait": 50}).json()
        elif way == "step":
            kept = client.post("/v1/boxes", json={"limits": {"disk": "128M"}}).json()
            said = client.post(f"/v1/boxes/{kept['id']}/steps", json=asked).json()
            client.delete(f"/v1/boxes/{kept['id']}")
        else:
            said = client.post("/v1/runs", json=asked).json()
    big = said["result"]["files"]["big"]
    if script is TEXT:
        assert big == {"bytes": "x" * SIZE}
    else:
        assert base64.b64decode(big["base64"]) == b"\xff" * SIZE
    assert len(waits) > 3 and max(waits) < 5 * SLOW


def status(service, name="Accept", value="*/*"):
    """(connection, the first line of its answer), whose rest nobody reads; of long text that is six times as long as JSON."""
    script = f"head -c {SIZE} /dev/zero > big"
    body = json.dumps({"args": ["sh", "-c", script], "collect": ["big"]})
    head = f"POST /v1/runs HTTP/1.1\r\nHost: localhost\r\n{name}: {value}\r\nContent-Type: application/json\r\n"
    sock = socket.create_connection(("127.0.0.1", service.port), PATIENCE)
    sock.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
    return sock, sock.recv(12).decode()


def memory(service):
    """Bytes of it."""
    lines = Path(f"/proc/{service.pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS:"))) << 10


def test_answers_that_nobody_reads_are_bounded():
    with served(Config()) as service, ExitStack() as stack:
        found = []
        for _ in range(8):
            sock, said = status(service)
            stack.enter_context(sock)
            found.append(said)
        assert found == ["HTTP/1.1 200"] * 4 + ["HTTP/1.1 503"] * 4  # half of `MOST` is one client's
        assert memory(service) < 1 << 30  # 360 MB for each, as JSON
        stack.close()
        end = time.monotonic() + PATIENCE
        while True:
            sock, said = status(service)
            sock.close()
            if said == "HTTP/1.1 200":
                break
            assert time.monotonic() < end


def test_a_long_result_comes_as_an_event_too(service, waits):
    asked = {"args": ["sh", "-c", TEXT], "collect": ["big"]}
    with httpx.Client(base_url=service.url, timeout=PATIENCE) as client:
        events = client.post("/v1/runs", json=asked, headers={"Accept": "text/event-stream"}).text.split("\n\n")
    (last,) = (one for one in events if one.startswith("event: result"))
    assert json.loads(last.partition("data: ")[2])["result"]["files"]["big"] == {"bytes": "x" * SIZE}
    assert len(waits) > 3 and max(waits) < 5 * SLOW
