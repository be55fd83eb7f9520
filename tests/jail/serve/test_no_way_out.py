"""The service asks nobody for anything: in a network of its own, nothing it is asked makes it connect to anything."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from pyjail.serve.config import Config
from tests import place
from tests.jail.serve.served import PATIENCE, Served, served

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.skipif(not shutil.which("ip"), reason=f"ip {place.WITHOUT_TOOL}"),
]

# A network whose only way out leads back to itself: whoever is asked for, a packet is sent and counted.
NETWORK = ["unshare", "-n", "sh", "-c", 'ip link set lo up && ip route add default dev lo && exec "$@"', "sh"]
ELSEWHERE = "http://192.0.2.1/x"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, httpx.Client]]:
    path = str(tmp_path_factory.mktemp("unix") / "socket")
    with (
        served(Config(unix=path), within=NETWORK) as running,
        httpx.Client(transport=httpx.HTTPTransport(uds=path), base_url="http://localhost", timeout=PATIENCE) as client,
    ):
        yield running, client


def sent(pid: int) -> tuple[int, int]:
    """(connections of TCP that were begun, datagrams that were sent) in the network of a process."""
    rows: dict[str, list[str]] = {}
    found: dict[str, int] = {}
    for line in Path(f"/proc/{pid}/net/snmp").read_text().splitlines():
        name, *words = line.split()
        if name in rows:
            found.update(
                {f"{name}{word}": int(value) for word, value in zip(rows[name], words, strict=True) if value.isdigit()}
            )
        rows[name] = words
    return found["Tcp:ActiveOpens"], found["Udp:OutDatagrams"]


ASKED: list[tuple[str, dict[str, Any]]] = [
    ("/v1/runs", {"args": ["true"], "callback_url": ELSEWHERE}),
    ("/v1/runs", {"args": ["cat"], "stdin": {"url": ELSEWHERE}}),
    ("/v1/runs", {"args": ["true"], "files": {"a": {"url": ELSEWHERE}}}),
    ("/v1/runs", {"args": ["true"], "enable_network": True}),
    ("/v1/runs", {"args": ["true"], "network": "host"}),
    ("/v1/runs", {"args": ["true"], "jail": {"network": "host"}}),
    ("/run", {"image": "192.0.2.1/library/x:latest", "cmd": ["true"]}),
    ("/run", {"image": ELSEWHERE, "cmd": ["true"]}),
    ("/run", {"image": "python:3.12-slim", "cmd": ["true"], "network": "host"}),
    ("/run", {"image": "python:3.12-slim", "cmd": ["true"], "network": "sandbox"}),
]


def test_what_would_have_it_connect_is_refused_and_nothing_is_sent(service: tuple[Served, httpx.Client]):
    running, client = service
    before = sent(running.pid)
    for path, body in ASKED:
        answer = client.post(path, json=body)
        assert answer.status_code in (400, 422), (path, body, answer.text)
    assert sent(running.pid) == before


def test_what_it_does_needs_no_network(service: tuple[Served, httpx.Client]):
    running, client = service
    before = sent(running.pid)
    for path, body in [
        ("/v1/runs", {"args": ["echo", "hello"]}),
        ("/run", {"image": "python:3.12-slim", "cmd": ["echo", "hello"]}),
        ("/execute", {"code": "print('hello')"}),
        ("/execute", {"sources": {}, "commands": [{"command": "echo hello"}]}),
    ]:
        answer = client.post(path, json=body)
        assert answer.status_code == 200 and "hello" in answer.text, answer.text
    assert sent(running.pid) == before


def test_a_program_reaches_nothing_either(service: tuple[Served, httpx.Client]):
    running, client = service
    before = sent(running.pid)
    program = "import socket; s = socket.socket(); s.settimeout(2); s.connect(('192.0.2.1', 80))"
    answer = client.post("/v1/runs", json={"args": ["python3", "-c", program]})
    assert answer.json()["result"]["verdict"] == "runtime_error", answer.text
    assert "Error: [Errno" in answer.text
    assert sent(running.pid) == before


def test_a_connection_would_have_been_seen(service: tuple[Served, httpx.Client]):
    running, _ = service
    before = sent(running.pid)
    program = "import socket; s = socket.socket(); s.settimeout(0.3); s.connect_ex(('192.0.2.1', 80))"
    command = ["nsenter", f"--net=/proc/{running.pid}/ns/net", sys.executable, "-c", program]
    subprocess.run(command, check=True, timeout=PATIENCE)
    assert sent(running.pid) != before
