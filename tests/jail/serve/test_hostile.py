"""What is sent to hurt a service: every request has an answer that is no 5xx and tells nothing, and the next one is served."""

from __future__ import annotations

import json
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from pyjail import Limits
from pyjail.serve import Config
from pyjail.serve.config import Admission
from tests.conftest import SLOW
from tests.jail.serve.served import PATIENCE, ROOT, served

JSON = {"Content-Type": "application/json"}
HUGE = "9" * 400
WORDS = [
    "a\0b", "", "x" * 200_000, "a\r\nb: c", "\x1b[2J", "\u202e", "../x", "/etc/passwd", ".", "..", "a//b", "a/" * 3000 + "b", "[", "**/" * 200 + "*",
    "{a,b}" * 50, "?" * 5000, "/proc/self/environ", "a" * 256, "base64:!", "\uffff", "-" * 60000,
]  # fmt: skip
NUMBERS = [
    -1,
    0,
    "nan",
    "inf",
    1e308,
    True,
    [1],
    {"a": 1},
    10**400,
    -(10**400),
    "1e999",
    "1Q",
    5e-324,
    "\u00b2",
    "9" * 5000,
]
RAW = {
    "depth": b'{"args":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "objects": b'{"a":' * 50_000 + b"1" + b"}" * 50_000, "twice": b'{"args":["a"],"args":["b"]}',
    "half a pair": b'{"args":["\\ud800"]}', "half a key": b'{"args":["true"],"env":{"\\ud800":"x"}}', "half a file": b'{"args":["true"],"files":{"\\udc80":"x"}}',
    "half a code": b'{"code":"\\ud800"}', "half a command": b'{"sources":{},"commands":"\\ud800"}', "half an image": b'{"image":"\\ud800","cmd":["x"]}',
    "digits": b'{"args":["true"],"limits":{"memory":' + b"9" * 100_000 + b"}}", "NaN": b'{"args":["true"],"limits":{"cpu_time":NaN}}', "infinite": b'{"code":1e999}',
    "no UTF-8": b'{"args":["\xff"]}', "mark": b'\xef\xbb\xbf{"args":["true"]}', "UTF-16": '{"args":["true"]}'.encode("utf-16"), "nothing": b"", "null": b"null",
    "list": b"[]", "more": b'{"args":["true"]}x', "keys": b"{" + b",".join(b'"k%d":1' % i for i in range(200_000)) + b"}",
    "arguments": json.dumps({"args": ["true"] + ["a"] * 500_000}).encode(), "environment": json.dumps({"args": ["true"], "env": {f"A{i}": "x" * 1000 for i in range(5000)}}).encode(),
    "files": json.dumps({"args": ["true"], "files": {f"f{i}": "" for i in range(30_000)}}).encode(), "patterns": json.dumps({"args": ["true"], "collect": ["*"] * 50_000}).encode(),
    "quotes": b'{"args":["' + b'\\"' * 1_000_000 + b'"]}', "sources": json.dumps({"sources": {f"f{i}": "" for i in range(20_000)}, "commands": []}).encode(),
    "one command": json.dumps({"sources": {}, "commands": [{"command": "a" * 3_000_000}]}).encode(),
    "commands": json.dumps({"sources": {}, "commands": [{"command": "true"}] * 5000}).encode(),
}  # fmt: skip


@pytest.fixture(scope="module")
def service():
    with served(Config(faces={"secure-sandbox": {"rate": 1_000_000}})) as found:
        yield found
        log = found.log()
        assert "Traceback" not in log and '"problem": "internal"' not in log


@pytest.fixture
def client(service):
    with httpx.Client(base_url=service.url, timeout=PATIENCE) as made:
        yield made


def send(client, path, body):
    began = time.monotonic()
    answer = client.post(path, content=body if isinstance(body, bytes) else json.dumps(body).encode(), headers=JSON)
    assert answer.status_code < 500, (path, body if len(str(body)) < 500 else str(body)[:500], answer.text[:500])
    assert str(ROOT) not in answer.text
    if answer.status_code >= 400:
        assert "Traceback" not in answer.text
    assert time.monotonic() - began < PATIENCE / 3
    return answer


@pytest.mark.parametrize("limit", sorted(Limits().to_dict()))
def test_a_limit_that_is_none_is_refused(client, limit):
    for value in NUMBERS:
        answer = send(client, "/v1/runs", {"args": ["true"], "limits": {limit: value}})
        if answer.status_code == 200:
            assert (limit, value) in (("core", 0), ("collect", 0), ("cpus", [1])) and value is not True, (limit, value)
        else:
            assert answer.json()["field"] == f"limits.{limit}" or answer.status_code == 400


@pytest.mark.parametrize("word", WORDS, ids=lambda w: ascii(w[:12]))
def test_a_word_in_any_place_has_an_answer(client, word):
    for asked in (
        {"args": [word]}, {"args": ["echo", word]}, {"args": ["true"], "cwd": word}, {"args": ["true"], "env": {word: "x"}},
        {"args": ["true"], "env": {"x": word}}, {"args": ["true"], "files": {word: "x"}}, {"args": ["sh", "-c", "mkdir -p d/d; echo a > a"], "collect": [word]},
        {"language": word, "source": "x"}, {"language": "python", "source": word, "precheck": "warn"}, {"language": "python", "source": {word: "1"}},
        {"args": ["cat"], "stdin": word}, {"args": ["cat"], "stdin": {"base64": word}}, {"args": ["cat"], "files": {"a": {"sha256": word}}},
        {"args": ["cat"], "files": {"a": {word: "x"}}}, {"args": ["true"], word: 1}, {"args": ["true"], "sanitize": word}, {"args": ["true"], "limits": {word: 1}},
    ):  # fmt: skip
        answer = send(client, "/v1/runs", asked)
        if answer.status_code == 200 and answer.json()["result"] is not None:
            assert set(answer.json()["result"]["files"]) <= {"a", "d"}
    for path, asked in (
        ("/run", {"image": word, "cmd": ["true"]}), ("/run", {"image": "python:3", "cmd": [word]}), ("/run", {"image": "python:3", "cmd": ["true"], "cwd": word}),
        ("/run", {"image": "python:3", "cmd": ["true"], "env": [word]}), ("/run", {"image": "python:3", "cmd": ["true"], "files": [word]}),
        ("/codebox/execute", {"sources": {word: "x"}, "commands": [{"command": "ls"}]}), ("/codebox/execute", {"sources": {}, "commands": [{"command": word}]}),
        ("/secure-sandbox/execute", {"code": word}), ("/secure-sandbox/execute", {"code": "1", "input": word}), ("/execute", {word: word}),
    ):  # fmt: skip
        send(client, path, asked)


def test_files_in_each_others_way_are_told(client):
    for names in (("a", "a/b"), ("a/b", "a"), ("a", "./a"), ("a/b/c", "a/b")):
        send(client, "/v1/runs", {"args": ["ls"], "files": dict.fromkeys(names, "x")})
        send(client, "/v1/runs", {"language": "python", "source": "1", "files": dict.fromkeys(names, "x")})
        send(client, "/codebox/execute", {"sources": dict.fromkeys(names, "x"), "commands": [{"command": "ls"}] * 2})


@pytest.mark.parametrize("name", RAW)
def test_a_body_that_is_none_has_an_answer(client, name):
    for path in ("/v1/runs", "/run", "/execute", "/codebox/execute", "/secure-sandbox/execute"):
        send(client, path, RAW[name])


def test_what_is_sent_for_long_work_holds_nobody_up(service):
    """Each of these kept the event loop for half a minute and more, or would have."""
    ended = threading.Event()

    def attack():
        with httpx.Client(base_url=service.url, timeout=PATIENCE) as client:
            for name in ("one command", "commands", "sources", "quotes", "keys", "depth", "environment"):
                for path in ("/codebox/execute", "/execute", "/v1/runs", "/run"):
                    send(client, path, RAW[name])
        ended.set()

    thread = threading.Thread(target=attack)
    thread.start()
    slowest = 0.0
    with httpx.Client(base_url=service.url, timeout=PATIENCE) as client:
        while not ended.is_set() and thread.is_alive():
            began = time.monotonic()
            assert client.get("/healthz").status_code == 200
            slowest = max(slowest, time.monotonic() - began)
            time.sleep(0.01)
    thread.join()
    assert ended.is_set()
    assert slowest < 5 * SLOW


@pytest.mark.parametrize(
    "path",
    [
        "/v1/runs/{}",
        "/v1/runs/{}/events",
        "/v1/files/{}",
        "/static/{}",
        "/docs/{}",
        "/files?path={}",
        "/{}",
        "/v1/{}",
        "/boxer/files?path={}",
    ],
)
@pytest.mark.parametrize(
    "word",
    [
        "x",
        "%00",
        "..%2f..%2fetc%2fpasswd",
        "%2e%2e/%2e%2e/etc/passwd",
        "A" * 32,
        "0" * 5000,
        "%ff",
        "%F0%9F%98%80",
        "%0d%0aX:%20y",
        "\\..\\x",
    ],
)
def test_no_path_leads_out(client, path, word):
    for method in ("GET", "DELETE", "HEAD", "PUT"):
        content = b"x" if method == "PUT" else None
        answer = client.request(
            method,
            path.format(word),
            content=content,
            headers={"Content-Type": "application/octet-stream"} if content else {},
        )
        assert 400 <= answer.status_code < 500, (method, answer.status_code, answer.text[:200])
        assert "root:" not in answer.text and "X" not in answer.headers


@pytest.mark.parametrize(
    "query",
    ["wait=nan", "wait=inf", "wait=-1", "wait=1e400", "wait=61", "receipt=zork", "%00=%00", "zork=1", f"wait={HUGE}"],
)
def test_a_query_that_is_none_has_an_answer(client, query):
    assert 400 <= client.get(f"/v1/runs/{'0' * 32}?{query}").status_code < 500
    assert client.post(f"/v1/runs?{query}", json={"args": ["true"]}).status_code < 500


BOMB = "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass"


def test_fork_bombs_side_by_side_end_and_others_are_served():
    with (
        served(Config(admission=Admission(concurrent=4))) as found,
        httpx.Client(base_url=found.url, timeout=PATIENCE) as client,
    ):
        results: list[httpx.Response] = []

        def bomb():
            asked = {"language": "python", "source": BOMB, "limits": {"cpu_time": 2, "wall_time": 4, "processes": 32}}
            results.append(httpx.post(f"{found.url}/v1/runs", json=asked, timeout=PATIENCE))

        threads = [threading.Thread(target=bomb) for _ in range(3)]
        for thread in threads:
            thread.start()
        said = client.post("/v1/runs", json={"args": ["echo", "served"]}).json()
        assert said["result"]["stdout"] == {"bytes": "served\n"}
        for thread in threads:
            thread.join()
        ended = [answer.json()["result"] for answer in results]
        assert len(ended) == 3 and {r["verdict"] for r in ended} <= {"cpu_time", "wall_time"}
        assert all(r["usage"]["processes_peak"] is None or r["usage"]["processes_peak"] <= 33 for r in ended)
        assert found.programs() == []


def test_four_times_as_many_as_there_is_room_for_are_served_or_told_to_come_again():
    config = Config(admission=Admission(concurrent=2, queue=4, patience=PATIENCE))
    with served(config) as found:
        statuses: list[int] = []
        lock = threading.Lock()

        def ask():
            with httpx.Client(base_url=found.url, timeout=PATIENCE) as client:
                for _ in range(4):
                    answer = client.post("/v1/runs", json={"args": ["sleep", "0.2"]})
                    if answer.status_code != 200:
                        assert answer.status_code == 503 and 1 <= int(answer.headers["Retry-After"]) <= 60
                        assert answer.json()["type"] == "urn:pyjail:problem:queue-full"
                    with lock:
                        statuses.append(answer.status_code)

        threads = [threading.Thread(target=ask) for _ in range(24)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(statuses) == 96
        assert statuses.count(200) >= 6 and statuses.count(503) >= 1
        answer = httpx.post(f"{found.url}/v1/runs", json={"args": ["echo", "still"]}, timeout=PATIENCE)
        assert answer.json()["result"]["stdout"] == {"bytes": "still\n"}


@pytest.mark.parametrize("last", ["a", "\U0001f600"], ids=["narrow", "wide"])
def test_bodies_that_wait_take_no_more_than_three_times_their_length(last):
    """A character beyond the first 65,536 makes four bytes of each other one, in a text of Python."""
    held = 128 << 20
    text = "a" * ((16 << 20) - 1000) + last
    asked = {"language": "bash", "source": "sleep 3", "tests": [{"input": text}]}
    body = json.dumps(asked, ensure_ascii=False).encode()

    def memory(pid: int) -> int:
        return int(re.findall(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[0]) << 10

    with served(Config(admission=Admission(concurrent=8, inflight=held))) as found:
        before = memory(found.pid)

        def send(_: int) -> int:
            return httpx.post(f"{found.url}/v1/judge", content=body, headers=JSON, timeout=PATIENCE).status_code

        with ThreadPoolExecutor(8) as pool:
            statuses = [*pool.map(send, range(8))]
        assert set(statuses) <= {200, 503} and statuses.count(200) >= 1
        assert memory(found.pid) - before < 3 * held + (128 << 20)
