"""Terminals in a language and in a box, how many there may be, and what they are told when the service ends."""

from __future__ import annotations

import json
import signal
import socket
import time
from contextlib import contextmanager, suppress

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from pyjail.serve import Config
from pyjail.serve.config import Admission, Edge, Terminals
from tests.jail.serve import raw
from tests.jail.serve.served import PATIENCE, served
from tests.jail.serve.test_terminal import MAXIMA, read
from tests.jail.serve.typed import programs, serving
from tests.scripts import until

pytestmark = pytest.mark.needs_cgroups

DRAIN = 40.0  # what a service that does not look waits for


@pytest.fixture(scope="module")
def service():
    terminals = Terminals(count=3, share=2, idle=50.0, unread=1000, window=2000)
    admission = Admission(concurrent=3, patience=60)
    with served(Config(admission=admission, maxima=MAXIMA, terminals=terminals, edge=Edge(head_time=1.0))) as found:
        yield found


@contextmanager
def terminal(port, **asked):
    with connect(f"ws://127.0.0.1:{port}/v1/terminal", max_size=None) as made:
        made.send(json.dumps(asked))
        yield made


def closed(made):
    """(code, reason, what was said) once it is."""
    said = []
    with suppress(ConnectionClosed):
        while True:
            message = made.recv(PATIENCE)
            said += [json.loads(message)] if isinstance(message, str) else []
    return made.close_code, made.close_reason, said


def test_a_source_is_compiled_and_talked_to(service):
    source = '#include <stdio.h>\nint main(void) { int n; scanf("%d", &n); printf("<%d>\\n", n * 2); return 3; }'
    with terminal(service.port, language="c", source=source) as made:
        made.send(b"21\n")
        shown, said = read(made)
    assert b"<42>" in shown
    assert [one.get("step") for one in said[:3]] == [None, "compile", "run"]
    assert said[-1]["result"]["exit_code"] == 3 and said[-1]["compile"]["verdict"] == "ok"
    with terminal(
        service.port, language="python", source={"main.py": "import sys; print(sys.argv)"}, args=["x"]
    ) as made:
        assert b"x" in read(made)[0]


def test_what_does_not_compile_is_a_result(service):
    with terminal(service.port, language="c", source="int main( {") as made:
        code, _, said = closed(made)
    assert code == 1000 and said[-1]["result"] is None and "error" in said[-1]["compile"]["stderr"]["bytes"]


@pytest.mark.parametrize(
    ("asked", "code", "field"),
    [
        ({"language": "pythn", "source": ""}, 4422, "language"), ({"language": "c"}, 4422, "source"),
        ({"source": "x"}, 4422, "language"), ({}, 4422, "args"), ({"args": ["sh"], "langauge": "c"}, 4422, "langauge"),
        ({"args": ["sh"], "idle": 51}, 4422, "idle"), ({"args": ["sh"], "box": "0" * 32}, 4404, "box"),
        ({"args": ["sh"], "session": "0" * 32}, 4404, "session"), ({"args": ["sh"], "session": "x", "box": "x"}, 4422, "session"),
        ({"args": ["sh"], "limits": {"wall_time": 201}}, 4422, "limits.wall_time"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_as_of_a_run(service, asked, code, field):
    with terminal(service.port, **asked) as made:
        status, _, said = closed(made)
    assert (status, said[-1]["field"]) == (code, field)


def test_who_leaves_while_it_is_compiled_takes_the_compiler_along(service):
    with terminal(service.port, language="cpp", source='#include "/dev/zero"\nint main() {}') as made:
        assert until(lambda: any(b"cc1plus" in line for line in service.programs()), PATIENCE)
        made.socket.close()
    assert until(lambda: not service.programs(), PATIENCE)


def test_a_box_has_terminals_too(service):
    with httpx.Client(base_url=service.url, timeout=PATIENCE) as client:
        where = client.post("/v1/boxes", json={}).headers["location"]
        with terminal(service.port, args=["sh"], box=where.rpartition("/")[2]) as made:
            made.send(b"stty size; echo left > here; exit 4\n")
            shown, said = read(made)
        assert b"24 80" in shown and said[-1]["result"]["exit_code"] == 4
        assert client.get(f"{where}/files", params={"path": "here"}).content == b"left\n"
        with terminal(
            service.port, language="c", source="int main(void) { return 5; }", box=where.rpartition("/")[2]
        ) as made:
            assert closed(made)[2][-1]["result"]["exit_code"] == 5
        with terminal(service.port, args=["sleep", "1000"], box=where.rpartition("/")[2]) as made:
            assert until(lambda: service.programs(), PATIENCE)
            client.delete(where)
            assert closed(made)[0] in (4409, 4500)
    assert until(lambda: not service.programs(), PATIENCE)


def test_a_session_has_one_at_a_time_and_outlives_it(service):
    with httpx.Client(base_url=service.url, timeout=PATIENCE) as client:
        where = client.post("/v1/sessions", json={}).headers["location"]
        id = where.rpartition("/")[2]
        with terminal(service.port, args=["sh"], session=id, files={"given": "x"}) as made:
            made.send(b"stty size; cat given; echo left > here; exit 4\n")
            shown, said = read(made)
        assert b"24 80" in shown and said[-1]["result"]["exit_code"] == 4
        with terminal(service.port, args=["sleep", "1000"], session=id) as made:
            assert until(lambda: service.programs(), PATIENCE)
            assert client.get(f"{where}/files", params={"path": "here"}).content == b"left\n"
            made.socket.close()
        answer = client.post(f"{where}/steps", json={"args": ["cat", "here"]})
        assert answer.json()["result"]["stdout"]["bytes"] == "left\n"
        with terminal(service.port, language="c", source="int main(void) { return 5; }", session=id) as made:
            assert closed(made)[2][-1]["result"]["exit_code"] == 5
        with terminal(service.port, args=["sleep", "1000"], session=id) as made:
            assert until(lambda: service.programs(), PATIENCE)
            client.delete(where)
            assert closed(made)[0] in (4409, 4500)
    assert until(lambda: not service.programs(), PATIENCE)


def test_there_are_not_more_than_the_configuration_says(service):
    with terminal(service.port, args=["sleep", "100"]) as one, terminal(service.port, args=["sleep", "100"]) as two:
        for made in (one, two):
            made.recv(PATIENCE)
        with terminal(service.port, args=["true"]) as three:
            code, _, said = closed(three)
        assert code == 4429 and said[-1]["type"].endswith(":share-full") and said[-1]["retry"]
        one.send(b"x" * 1001)
        assert closed(one)[0] == 4413
    assert until(lambda: not service.programs(), PATIENCE)
    with terminal(service.port, args=["sh", "-c", "yes | head -c 5000; read x"]) as made:
        shown = b""
        with suppress(TimeoutError):
            while True:
                message = made.recv(2)
                shown += message if isinstance(message, bytes) else b""
        assert 0 < len(shown) <= 2000


def test_who_says_nothing_and_who_is_half_there_is_closed(service):
    with connect(f"ws://127.0.0.1:{service.port}/v1/terminal") as made:
        assert closed(made)[0] == 4408
    half = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(20)]
    head = (
        f"GET /v1/terminal HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    )
    head += "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    for made in half:
        made.sendall(head.encode() + b"\x81\xfe\x00\x7e")  # a frame's head, and no more of it
        made.settimeout(PATIENCE)
    for made in half:
        said = b""
        while piece := made.recv(4096):
            said += piece
        assert said.startswith(b"HTTP/1.1 101 ")
        made.close()


def port_of(url):
    return int(url.rpartition(":")[2])


def test_an_idle_terminal_is_told_and_does_not_hold_the_service_up():
    with serving(env={"PYJAIL_SERVE_DRAIN": str(DRAIN)}) as (process, url), terminal(port_of(url), args=["sh"]) as made:
        with connect(f"ws://127.0.0.1:{port_of(url)}/v1/terminal") as silent:
            until(lambda: programs(process.pid))
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert closed(silent)[:2] == (1001, "the service is being ended")
        code, reason, said = closed(made)
        assert (code, reason) == (1001, "the service is being ended") and {"state": "ending"} in said
        assert process.wait(PATIENCE) == 0 and time.monotonic() - began < DRAIN / 2


def test_a_terminal_that_works_has_the_time_of_what_runs():
    code = "i=0; while [ $i -lt 5 ]; do sleep .5; echo $i; i=$((i+1)); done; echo done; exit 7"
    with serving(env={"PYJAIL_SERVE_DRAIN": str(DRAIN)}) as (process, url):
        with terminal(port_of(url), args=["sh", "-c", code]) as made:
            read(made, b"0")
            process.send_signal(signal.SIGTERM)
            assert closed(made)[2][-1]["result"]["exit_code"] == 7
        assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize("seconds", [0.4, 1.4, 3])  # it ends while it is looked at, too
def test_a_terminal_that_computes_silently_works(seconds):
    code = f"import time\nend = time.process_time() + {seconds}\nwhile time.process_time() < end: pass\nraise SystemExit(8)"
    with serving(env={"PYJAIL_SERVE_DRAIN": str(DRAIN)}) as (process, url):
        with terminal(port_of(url), args=["python3", "-c", code]) as made:
            until(lambda: programs(process.pid))
            process.send_signal(signal.SIGTERM)
            assert closed(made)[2][-1]["result"]["exit_code"] == 8
        assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize("kind", ["sessions", "boxes"])
def test_what_nobody_uses_is_closed_and_what_runs_in_one_has_its_time(kind):
    with (
        serving(env={"PYJAIL_SERVE_DRAIN": str(DRAIN)}) as (process, url),
        httpx.Client(base_url=url, timeout=PATIENCE) as client,
    ):
        idle, used = (client.post(f"/v1/{kind}", json={}).headers["location"] for _ in range(2))
        client.post(f"{idle}/steps", json={"args": ["true"]})
        request = json.dumps({"args": ["sleep", "3"]})
        head = f"POST {used}/steps HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        with socket.create_connection(("127.0.0.1", port_of(url)), PATIENCE) as made:
            made.sendall(f"{head}Content-Length: {len(request)}\r\n\r\n{request}".encode())
            until(lambda: any(b"sleep" in line for line in programs(process.pid)))
            process.send_signal(signal.SIGTERM)
            until(lambda: client.get(idle).json()["state"] == "closed")
            said = made.makefile("rb").read()
            assert said.startswith(b"HTTP/1.1 200 ") and b'"verdict":"ok"' in said.replace(b" ", b"")
        assert process.wait(PATIENCE) == 0


def test_who_leaves_or_is_refused_before_the_first_message_is_no_error_of_the_service(service):
    upgrade = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
               "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==")  # fmt: skip
    before = service.log().count('"level": "error"')

    def head(*more, path="/v1/terminal"):
        return raw.head(*upgrade, *more, method="GET", path=path)

    with raw.connect(service.port) as sock:
        sock.sendall(head())
        assert raw.statuses(sock.recv(1 << 16)) == [101]
        seen = service.log().count('"WEBSOCKET"')
    assert until(lambda: service.log().count('"WEBSOCKET"') > seen, PATIENCE)
    assert raw.statuses(raw.said(service.port, head("Origin: http://elsewhere"))) == [403]
    assert raw.statuses(raw.said(service.port, head(path="/nowhere"))) == [403]
    assert until(lambda: service.log().count('"WEBSOCKET"') > seen + 2, PATIENCE)
    assert service.log().count('"level": "error"') == before
