"""A run as events: while it lasts, from any place on, whatever bytes it writes."""

from __future__ import annotations

import base64
import json

import httpx
import pytest

from pyjail.serve import Config
from pyjail.serve.config import Admission
from tests.jail.serve import raw
from tests.jail.serve.served import PATIENCE, served
from tests.scripts import until

STREAM = {"accept": "text/event-stream"}
JSON = {"content-type": "application/json"}
_DETAIL = {"detail": "the queue is full"}
FULL = {
    "/run": {"error": "the queue is full"}, "/boxer/run": {"error": "the queue is full"}, "/codebox/execute": _DETAIL,
    "/execute": _DETAIL, "/execute/": _DETAIL, "/secure-sandbox/execute": _DETAIL, "/sandboxfusion/run_code": _DETAIL,
    "/go-judge/run": "worker queue is full", "/piston/api/v2/execute": {"message": "the queue is full"},
    "/snekbox/eval": {"title": "503 Service Unavailable", "description": "the queue is full"},
}  # fmt: skip


@pytest.fixture(scope="module")
def service():
    with served(Config(admission=Admission(concurrent=2, queue=1, patience=60))) as found:
        yield found


@pytest.fixture
def client(service):
    with httpx.Client(base_url=service.url, timeout=PATIENCE) as made:
        yield made


def parsed(lines):
    """(event, data, id) of each."""
    name = data = id = None
    for line in lines:
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("id: "):
            id = line[4:]
        elif line.startswith("data: "):
            data = json.loads(line[6:])
        elif not line and name:
            yield name, data, id
            name = data = id = None


def followed(client, asked):
    with client.stream("POST", "/v1/runs", json=asked, headers=STREAM) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        return list(parsed(answer.iter_lines()))


def written(events, name="stdout"):
    found = bytearray()
    for event, data, _ in events:
        if event == name:
            assert data["o"] == len(found)
            found += data["t"].encode() if "t" in data else base64.b64decode(data["b64"])
    return bytes(found)


def test_output_comes_while_the_program_runs_and_the_result_last(client):
    code = "echo first; sleep 1; echo 2 >&2; echo last; exit 3"
    with client.stream("POST", "/v1/runs", json={"args": ["sh", "-c", code]}, headers=STREAM) as answer:
        events = parsed(answer.iter_lines())
        seen = []
        for event in events:
            seen.append(event)
            if event[0] == "stdout":
                break
        id = next(data["id"] for name, data, _ in seen if name == "state")
        assert client.get(f"/v1/runs/{id}").json()["state"] == "running"  # there is output, and no end yet
        seen += events
    assert (written(seen), written(seen, "stderr")) == (b"first\nlast\n", b"2\n")
    assert [data["state"] for name, data, _ in seen if name == "state"][-1] == "done"
    name, data, at = seen[-1]
    assert name == "result" and at.endswith(".end")
    assert data["result"]["verdict"] == "runtime_error"
    assert data["result"]["stdout"] == {"bytes": "first\nlast\n"} and data["result"]["stdout_bytes"] == 11
    used = [data for name, data, _ in seen if name == "usage"]
    assert len(used) >= 2 and used[-1]["wall_time"] > 0


def test_what_held_a_program_is_told_where_that_is_asked_for(client):
    where = client.post("/v1/boxes", json={}).headers["location"]
    for path in ("/v1/runs", f"{where}/steps"):
        for query, told in (("?receipt=true", True), ("", False)):
            with client.stream("POST", path + query, json={"args": ["true"]}, headers=STREAM) as answer:
                result = list(parsed(answer.iter_lines()))[-1][1]["result"]
            assert ("receipt" in result) is told
    client.delete(where)


def test_a_run_with_a_key_is_told_as_events_each_time_and_runs_once(client):
    asked = {"args": ["sh", "-c", "echo $$; sleep 0.3; cat /proc/sys/kernel/random/uuid"]}
    seen = []
    for _ in range(2):
        with client.stream("POST", "/v1/runs", json=asked, headers={**STREAM, "idempotency-key": "events"}) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            seen.append(list(parsed(answer.iter_lines())))
    assert seen[0][-1][1]["id"] == seen[1][-1][1]["id"]
    assert written(seen[0]) == written(seen[1]) != b""
    judged = {"language": "bash", "source": "cat", "tests": [{"input": "x", "expected": "x"}]}
    with client.stream("POST", "/v1/judge", json=judged, headers={**STREAM, "idempotency-key": "judged"}) as answer:
        names = [name for name, _, _ in parsed(answer.iter_lines())]
    assert "test" in names and names[-1] == "result"


def test_bytes_that_are_no_text_come_whole_and_characters_are_never_cut(client):
    code = "import sys, time\nfor c in '\\u20ac\\U0001f600x'.encode(): sys.stdout.buffer.write(bytes([c])); sys.stdout.flush(); time.sleep(.05)"
    events = followed(client, {"language": "python", "source": code})
    assert written(events) == "\u20ac\U0001f600x".encode()
    assert all("t" in data for name, data, _ in events if name == "stdout")
    events = followed(client, {"args": ["printf", "a\\377\\376b\\342\\202"]})
    assert written(events) == b"a\xff\xfeb\xe2\x82"


def test_no_program_writes_an_event_of_its_own(client):
    text = "x\n\nevent: result\ndata: {}\n\n\r\rid: 9\r\r"
    events = followed(client, {"args": ["cat"], "stdin": text})
    assert [name for name, _, _ in events].count("result") == 1
    assert written(events) == text.encode()


def test_a_program_that_floods_is_stopped_at_its_limit_however_slow_the_reader_is(client):
    with client.stream(
        "POST", "/v1/runs", json={"args": ["yes"], "limits": {"output": 4_000_000, "wall_time": 60}}, headers=STREAM
    ) as answer:
        lines = answer.iter_lines()
        id = next(data for _, data, _ in parsed(lines))["id"]
        assert until(lambda: client.get(f"/v1/runs/{id}").json()["state"] == "done", PATIENCE)  # nobody has read
        events = list(parsed(lines))
    assert any(name == "lagging" and data["to"] > data["from"] for name, data, _ in events)
    result = events[-1][1]["result"]
    assert result["verdict"] == "output" and result["limits_hit"] == ["output"]
    assert len(result["stdout"]["bytes"]) == 4_000_000 < result["stdout_bytes"]


def test_verdicts_are_those_of_runs_that_nobody_follows(client):
    for asked in (
        {"args": ["sh", "-c", "exit 3"]},
        {"args": ["sh", "-c", "kill -11 $$"]},
        {"args": ["sleep", "1000"], "limits": {"wall_time": 0.3}},
        {"args": ["yes"], "limits": {"output": 1000}},
        {"args": ["sh", "-c", "yes >&2"], "limits": {"output": 1000}},
        {"args": ["sh", "-c", "echo a; echo b >&2"], "merged": True},
        {"args": ["sh", "-c", "cat; cat a; echo b > b"], "stdin": "x" * 300_000, "files": {"a": "f"}, "collect": ["b"]},
        {"args": ["true"], "stdin": "nobody reads it" * 100_000},
        {"args": ["no-such-program"]},
        {"language": "c", "source": "int main( {"},
    ):
        once = client.post("/v1/runs", json=asked).json()
        live = followed(client, asked)[-1][1]
        assert live["fault"] == once["fault"]
        if once["result"] is None:
            assert live["result"] is None
            continue
        for name in ("verdict", "returncode", "exit_code", "signal", "stdout", "stderr", "files", "limits_hit"):
            assert live["result"][name] == once["result"][name], (asked, name)


def test_what_is_wrong_is_told_by_the_status_where_that_is_known_in_time(client):
    answer = client.post("/v1/runs", json={"args": []}, headers=STREAM)
    assert answer.status_code == 422
    events = followed(client, {"args": ["ls"], "cwd": "/nowhere"})
    assert events[-1][1]["problem"]["field"] == "cwd"


def test_who_was_cut_off_goes_on_where_he_was(client):
    where = client.post(
        "/v1/runs", json={"args": ["sh", "-c", "echo one; echo two >&2; sleep 1; echo \u20ac three"]},
        headers={"prefer": "respond-async"},
    ).headers["location"]  # fmt: skip
    all_of_it = []
    with client.stream("GET", f"{where}/events") as answer:
        for event in parsed(answer.iter_lines()):
            all_of_it.append(event)
            if written(all_of_it) and written(all_of_it, "stderr"):
                break  # the connection is cut
    at = all_of_it[-1][2]
    with client.stream("GET", f"{where}/events", headers={"last-event-id": at}) as answer:
        rest = list(parsed(answer.iter_lines()))
    assert [data["t"] for name, data, _ in rest if name == "stdout"] == ["\u20ac three\n"]
    assert rest[-1][1]["result"]["stdout"]["bytes"] == "one\n\u20ac three\n"
    with client.stream("GET", f"{where}/events") as answer:  # once more, from the beginning, after its end
        again = list(parsed(answer.iter_lines()))
    assert written(again) == "one\n\u20ac three\n".encode()
    assert client.get(f"{where}/events", headers={"last-event-id": again[-1][2]}).status_code == 204
    for nonsense in ("x", "1", "-1.2", "99999999999.5"):
        with client.stream("GET", f"{where}/events", headers={"last-event-id": nonsense}) as answer:
            assert list(parsed(answer.iter_lines()))[-1][0] == "result"


def test_a_stream_can_be_stopped_by_its_id(service, client):
    with client.stream(
        "POST", "/v1/runs", json={"args": ["sleep", "1000"], "limits": {"wall_time": 100}}, headers=STREAM
    ) as answer:
        events = parsed(answer.iter_lines())
        id = next(events)[1]["id"]
        assert until(lambda: service.programs(), PATIENCE)
        assert client.delete(f"/v1/runs/{id}").json()["state"] == "cancelled"
        assert not service.programs()
        assert list(events)[-1][1]["state"] == "cancelled"


def test_who_finds_the_queue_full_is_told_by_the_status(service, client):
    asked = {"args": ["sleep", "1000"], "limits": {"wall_time": 100}}
    later = {"prefer": "respond-async"}
    wheres = [client.post("/v1/runs", json=asked, headers=later).headers["location"] for _ in range(2)]
    assert until(lambda: len(service.programs()) == 2, PATIENCE)
    with client.stream("POST", "/v1/runs", json={"args": ["true"]}, headers=STREAM) as waiting:
        events = parsed(waiting.iter_lines())  # (who drops it hangs up)
        assert next(events)[1]["state"] == "queued"
        for headers in ({}, STREAM):
            answer = client.post("/v1/runs", json={"args": ["true"]}, headers=headers)
            assert (answer.status_code, answer.json()["type"]) == (503, "urn:pyjail:problem:queue-full")
            assert 1 <= int(answer.headers["retry-after"]) <= 60
        for path, said in FULL.items():
            answer = client.post(path, content=b"{", headers=JSON)  # nobody has looked into it
            assert (answer.status_code, answer.json()) == (503, said), path
        assert client.post("/v1/runs", content=b"{", headers=JSON | later).status_code == 400
        wheres.append(client.post("/v1/runs", json={"args": ["true"]}, headers=later).headers["location"])
        with raw.connect(service.port) as sock:  # no part of the body comes
            sock.sendall(b"POST /v1/runs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n")
            sock.sendall(b"Content-Length: 1000000\r\n\r\n")
            assert sock.recv(12) == b"HTTP/1.1 503"
    for where in wheres:
        client.delete(where)


def test_a_run_of_an_earlier_service_is_followed_from_what_was_kept(tmp_path):
    config = Config(state=str(tmp_path / "state"))
    with served(config) as service, httpx.Client(base_url=service.url, timeout=PATIENCE) as client:
        asked = {"args": ["sh", "-c", "echo one; printf '\\377' >&2"]}
        where = client.post("/v1/runs", json=asked, headers={"prefer": "respond-async"}).headers["location"]
        assert client.get(f"{where}?wait=60").json()["state"] == "done"
    with served(config) as service, httpx.Client(base_url=service.url, timeout=PATIENCE) as client:
        for at, expected in (("", b"one\n"), ("2.0", b"e\n")):
            with client.stream("GET", f"{where}/events", headers={"last-event-id": at}) as answer:
                events = list(parsed(answer.iter_lines()))
            assert events[-1][1]["result"]["stdout"] == {"bytes": "one\n"}
            assert "".join(data["t"] for name, data, _ in events if name == "stdout").encode() == expected
            assert written(events, "stderr") == b"\xff"
