"""A terminal over a WebSocket: what is typed and shown, its size, signals, and nothing that is left when somebody goes."""

from __future__ import annotations

import contextlib
import hashlib
import json
from contextlib import contextmanager, suppress

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from pyjail import Limits
from pyjail.serve import Config
from pyjail.serve.config import Admission, Edge, Token
from tests.jail.serve.served import PATIENCE, served
from tests.scripts import until

MAXIMA = Limits(wall_time=200, cpu_time=100, memory="256M", output="10M", processes=64, disk="64M")


@pytest.fixture(scope="module")
def service():
    config = Config(admission=Admission(concurrent=2, queue=1, patience=60), maxima=MAXIMA, edge=Edge(stall=3.0))
    with served(config) as found:
        yield found


@contextmanager
def terminal(service, *args, **more):
    with connect(f"ws://127.0.0.1:{service.port}/v1/terminal", max_size=None) as socket:
        socket.send(json.dumps({"args": list(args), **more}))
        yield socket


def read(socket, until=None):
    """(What is shown, what is said), to the end or until that is shown."""
    shown, said = b"", []
    try:
        while until is None or until not in shown:
            message = socket.recv(PATIENCE)
            if isinstance(message, bytes):
                assert len(message) <= 16 << 10
                shown += message
                with contextlib.suppress(ConnectionClosed):  # what came before its end is still to be read
                    socket.send(json.dumps({"credit": len(message)}))
            else:
                said.append(json.loads(message))
    except ConnectionClosed:
        assert until is None, (shown, said)
    return shown, said


def test_what_is_typed_comes_to_the_program_and_what_it_writes_is_shown(service):
    with terminal(
        service, "sh", "-c", "test -t 0 && echo yes; stty size; read x; echo '<'$x'>'; exit 3", size=[30, 100]
    ) as socket:
        shown, said = read(socket, b"30 100")
        assert b"yes" in shown and said == [{"state": "queued"}, {"state": "running"}]
        socket.send("héllo\n".encode())
        shown, said = read(socket)
        assert "<héllo>".encode() in shown
        assert said[-1]["result"]["verdict"] == "runtime_error" and said[-1]["result"]["exit_code"] == 3
        assert "receipt" not in said[-1]["result"]
        assert socket.close_code == 1000


def test_its_size_changes_signals_come_and_the_end_of_input(service):
    wait = "while [ -z $go ]; do sleep .05; done"
    code = f"trap 'stty size' WINCH; trap go=1 USR1; echo ready; {wait}; echo usr1; cat; echo end"
    with terminal(service, "sh", "-c", code) as socket:
        read(socket, b"ready")
        socket.send(json.dumps({"resize": [11, 22]}))
        read(socket, b"11 22")
        socket.send(json.dumps({"signal": 10}))
        read(socket, b"usr1")
        socket.send(json.dumps({"eof": True}))
        shown, said = read(socket)
        assert b"end" in shown and said[-1]["result"]["verdict"] == "ok"


def test_control_c_is_a_signal(service):
    with terminal(service, "sh", "-c", "trap 'exit 9' INT; echo ready; while :; do sleep .05; done") as socket:
        read(socket, b"ready")
        socket.send(b"\x03")
        assert read(socket)[1][-1]["result"]["exit_code"] == 9


def test_who_goes_takes_the_program_along(service):
    for _ in range(3):
        with terminal(service, "sleep", "1000") as socket:
            assert until(lambda: service.programs(), PATIENCE)
            socket.socket.close()
        assert until(lambda: not service.programs(), PATIENCE)
    with terminal(service, "echo", "in") as socket:
        assert read(socket)[1][-1]["result"]["verdict"] == "ok"


def test_output_waits_for_who_has_not_taken_it_and_is_bounded(service):
    code = "head -c 1000000 /dev/zero | tr '\\0' x; echo; echo end; read y"  # (what a terminal still has goes with it)
    with terminal(service, "sh", "-c", code) as socket:
        assert read(socket, b"end")[0].count(b"x") == 1_000_000
        socket.send(b"\n")
        assert read(socket)[1][-1]["result"]["verdict"] == "ok"
    with terminal(service, "yes", limits={"output": 100_000}) as socket:
        shown, said = read(socket)
        assert len(shown) <= 100_000 and said[-1]["result"]["verdict"] == "output"
    with terminal(service, "yes") as socket:  # no credit is ever given
        shown, code = 0, None
        while code is None:
            try:
                message = socket.recv(PATIENCE)
                shown += len(message) if isinstance(message, bytes) else 0
            except ConnectionClosed:
                code = socket.close_code
        assert shown <= 64 << 10 and code == 4408
    assert until(lambda: not service.programs(), PATIENCE)


def test_a_program_that_nobody_talks_to_ends_and_one_that_is_talked_to_stays(service):
    with terminal(service, "sleep", "1000", idle=0.5) as socket:
        assert read(socket)[1][-1]["result"]["signal"] == 9
    with terminal(service, "sh", "-c", "for i in 1 2 3 4 5 6; do echo $i; sleep .3; done", idle=3) as socket:
        assert read(socket)[1][-1]["result"]["verdict"] == "ok"


def test_its_files_are_there_also_those_that_were_sent_before(service):
    digest = hashlib.sha256(b"kept").hexdigest()
    binary = {"content-type": "application/octet-stream"}
    assert httpx.put(f"{service.url}/v1/files/{digest}", content=b"kept", headers=binary).is_success
    with terminal(service, "cat", "a", "b", files={"a": "sent ", "b": {"sha256": digest}}) as socket:
        assert read(socket)[0] == b"sent kept"
    with terminal(service, "cat", "a", files={"a": {"sha256": "0" * 64}}) as socket:
        read(socket)
        assert socket.close_code == 4422


def test_input_that_nobody_reads_is_bounded(service):
    with terminal(service, "sh", "-c", "stty -icanon; echo ready; sleep 1000") as socket:
        read(socket, b"ready")
        with suppress(ConnectionClosed):
            for _ in range(100):
                socket.send(b"x" * 10_000)
        read(socket)
        assert socket.close_code == 4413
    assert until(lambda: not service.programs(), PATIENCE)


@pytest.mark.parametrize(
    ("first", "code", "field"),
    [
        ("{", 4400, None), ("", 4400, None), ("[]", 4422, None), ('{"args": []}', 4422, "args"),
        ('{"args": ["ls"], "argz": 1}', 4422, "argz"), ('{"args": ["ls"], "size": [0, 1]}', 4422, "size"),
        ('{"args": ["ls"], "size": [true, 1]}', 4422, "size.0"), ('{"args": ["ls"], "size": [1, 99999]}', 4422, "size"),
        ('{"args": ["no-such-program"]}', 4422, "args"), ('{"args": ["ls"], "cwd": "/no"}', 4422, "cwd"),
        ('{"args": ["ls"], "idle": 1e9}', 4422, "idle"),
        ('{"args": ["ls"], "limits": {"memory": "1T"}}', 4422, "limits.memory"), ('{"args": ["a\\u0000"]}', 4422, "args"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_before_it_is_closed(service, first, code, field):
    with connect(f"ws://127.0.0.1:{service.port}/v1/terminal") as socket:
        socket.send(first)
        _, said = read(socket)
        assert socket.close_code == code and said[-1].get("field") == field, said
        assert "Traceback" not in json.dumps(said)


@pytest.mark.parametrize("said", ['{"resize": [0, 1]}', '{"resize": 1}', '{"signal": 99}', '{"signal": true}', '{"x": 1}',
                                  '{"credit": -1}', '{"credit": 1e9}', "[]", "1", "x", '{"eof": false}'])  # fmt: skip
def test_what_cannot_be_understood_ends_it(service, said):
    with terminal(service, "sleep", "1000") as socket:
        socket.send(said)
        read(socket)
        assert socket.close_code == 4400
    assert until(lambda: not service.programs(), PATIENCE)


def test_it_counts_as_a_program_and_waits_for_its_turn(service):
    with terminal(service, "sleep", "1000") as one, terminal(service, "sleep", "1000") as two:
        assert until(lambda: len(service.programs()) == 2, PATIENCE)
        with terminal(service, "echo", "mine") as three:
            assert json.loads(three.recv(PATIENCE)) == {"state": "queued"}
            answer = httpx.post(f"{service.url}/v1/runs", json={"args": ["true"]}, timeout=PATIENCE)
            assert answer.status_code == 503
            with terminal(service, "true") as four:
                assert read(four)[1][-1]["type"] == "urn:pyjail:problem:queue-full" and four.close_code == 4503
            two.socket.close()
            assert read(three)[1][-1]["result"]["verdict"] == "ok"
        one.socket.close()
    assert until(lambda: not service.programs(), PATIENCE)


def test_no_page_of_another_origin_and_nobody_without_a_token_comes_in():
    secret = "s" * 43
    token = Token("ci", hashlib.sha256(secret.encode()).hexdigest())
    with served(Config(tokens=(token,))) as service:
        url = f"ws://127.0.0.1:{service.port}/v1/terminal"
        with pytest.raises(InvalidStatus) as e, connect(url, origin="https://elsewhere.example"):
            pass
        assert e.value.response.status_code == 403
        for first in ({"args": ["echo", "in"]}, {"args": ["echo", "in"], "token": "x"}):
            with connect(url) as socket:
                socket.send(json.dumps(first))
                shown, said = read(socket)
                assert (shown, socket.close_code) == (b"", 1008), said
        with connect(url, origin=service.url) as socket:
            socket.send(json.dumps({"args": ["echo", "in"], "token": secret}))
            assert b"in" in read(socket)[0]
