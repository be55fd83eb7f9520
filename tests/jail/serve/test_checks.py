"""``precheck`` and ``sanitize`` of a run: what is asked for is done, and no source crashes or stalls the service."""

from __future__ import annotations

import json
import time

import httpx
import pytest

from pyjail.serve import Config
from tests.jail.serve.served import PATIENCE, served

HOSTILE = [
    "-" * 60000,
    "a" + ".a" * 30000,
    "1" + "+1" * 30000,
    "f'" + "{1}" * 21000 + "'",
    "x=" * 30000 + "1",
    "import os\0",
    "\ufeffimport os",
]
COLOURS = r"printf '\033]0;title\007\033[31mred\033[2J\033[0m\n'"


@pytest.fixture(scope="module")
def service():
    with served(Config()) as found:
        yield found


@pytest.fixture
def client(service):
    with httpx.Client(base_url=service.url, timeout=PATIENCE) as made:
        yield made


def run(client, **asked):
    answer = client.post("/v1/runs", json=asked)
    assert answer.status_code == 200, answer.text
    return answer.json()


def python(client, source, **asked):
    return run(client, language="python", source=source, **asked)


def test_what_is_found_is_told_and_the_program_runs_or_is_not_run(client):
    source = "import os\nprint(eval('6 * 7'))"
    assert "findings" not in python(client, source)
    assert "findings" not in python(client, source, precheck="off")
    said = python(client, source, precheck="warn")
    assert said["result"]["stdout"] == {"bytes": "42\n"}
    assert [(f["line"], f["rule"], f["text"]) for f in said["findings"]] == [
        (1, "import", "import of os"), (2, "call", "call of eval"),
    ]  # fmt: skip
    said = python(client, source, precheck="reject")
    assert said["result"] is None and said["fault"] == "rejected: import of os"
    assert said["findings"][0]["message"] == "Forbidden construct detected: Import(names=[alias(name='os')])"
    said = python(client, "print(6 * 7)", precheck="reject")
    assert said["result"]["stdout"] == {"bytes": "42\n"} and "findings" not in said


def test_each_file_of_a_source_is_checked(client):
    said = python(client, {"main.py": "import a", "a.py": "import os"}, precheck="reject")
    assert [(f["file"], f["rule"]) for f in said["findings"]] == [("a.py", "import")]


def test_many_sources_have_so_many_findings_and_so_much_time(client):
    said = python(client, {f"f{i}.py": "import os" for i in range(900)} | {"main.py": "1"}, precheck="warn")
    assert len(said["findings"]) == 100
    began = time.monotonic()
    said = python(client, {f"f{i}.py": HOSTILE[3] for i in range(200)} | {"main.py": "1"}, precheck="reject")
    assert said["findings"][-1]["text"] == "too much to check" and said["result"] is None
    assert time.monotonic() - began < PATIENCE


def test_what_cannot_be_checked_is_refused_and_not_passed_over(client):
    for asked in ({"language": "c", "source": "int main() {}"}, {"args": ["true"]}):
        answer = client.post("/v1/runs", json={**asked, "precheck": "warn"})
        assert (answer.status_code, answer.json()["field"]) == (422, "precheck")
    answer = client.post("/v1/runs", json={"args": ["true"], "precheck": "on"})
    assert (answer.status_code, answer.json()["field"]) == (422, "precheck")


@pytest.mark.parametrize("source", HOSTILE, ids=lambda s: ascii(s[:8]))
def test_no_source_crashes_the_service_and_its_answer_comes(client, source):
    said = python(client, source, precheck="reject")
    assert "queue_s" in said
    assert said["result"] is not None or said["findings"]


def test_the_service_answers_others_while_a_source_is_checked(service, client):
    import threading

    slow = threading.Thread(target=python, args=(client, HOSTILE[3]), kwargs={"precheck": "warn"})
    slow.start()
    slowest = 0.0
    with httpx.Client(base_url=service.url, timeout=PATIENCE) as other:
        while slow.is_alive():
            began = time.monotonic()
            assert other.get("/healthz").status_code == 200
            slowest = max(slowest, time.monotonic() - began)
    slow.join()
    assert slowest < PATIENCE / 10


def test_a_server_can_check_all_of_them():
    with served(Config(precheck="reject")) as found, httpx.Client(base_url=found.url, timeout=PATIENCE) as client:
        assert python(client, "import os")["fault"] == "rejected: import of os"
        assert run(client, language=".py", source="import os")["fault"] == "rejected: import of os"
        assert python(client, "import os", precheck="off")["result"]["verdict"] == "ok"
        assert run(client, args=["true"])["result"]["verdict"] == "ok"  # no source, and nobody has asked


def test_output_as_it_is_asked_for(client):
    def shown(**asked):
        return run(client, args=["sh", "-c", f"{COLOURS}; {COLOURS} >&2"], **asked)["result"]

    assert shown()["stdout"]["bytes"] == "\x1b]0;title\x07\x1b[31mred\x1b[2J\x1b[0m\n"
    for name in ("stdout", "stderr"):
        assert shown(sanitize="strip")[name] == {"bytes": "red\n"}
        assert shown(sanitize="keep-colour")[name] == {"bytes": "\x1b[31mred\x1b[0m\n"}
        assert shown(sanitize="escape")[name] == {"bytes": "^[]0;title^G^[[31mred^[[2J^[[0m\n"}
    answer = client.post("/v1/runs", json={"args": ["true"], "sanitize": "html"})
    assert (answer.status_code, answer.json()["field"]) == (422, "sanitize")


def test_a_compiler_and_events_are_shown_so_too(client):
    said = run(client, language="c", source="int main( { // \x1b[2J\n", sanitize="strip")
    assert "\x1b" not in json.dumps(said["compile"]) and "\\u001b" not in json.dumps(said["compile"])
    script = r"printf 'a\033[2'; sleep 0.2; printf 'Jb\033[31'"
    body = {"args": ["sh", "-c", script], "sanitize": "strip"}
    with client.stream("POST", "/v1/runs", json=body, headers={"Accept": "text/event-stream"}) as answer:
        said = "".join(answer.iter_text())
    texts = [json.loads(line[6:]) for line in said.splitlines() if line.startswith("data: ")]
    assert "".join(t["t"] for t in texts if "t" in t) == "ab"
    assert texts[-1]["result"]["stdout"] == {"bytes": "ab"}


def test_a_run_that_is_fetched_later_is_checked_and_shown_so_too(client):
    later = {"Prefer": "respond-async"}
    asked = {"language": "python", "source": "import os", "precheck": "reject"}
    where = client.post("/v1/runs", json=asked, headers=later).headers["Location"]
    said = client.get(f"{where}?wait=60").json()
    assert said["fault"] == "rejected: import of os" and said["findings"][0]["rule"] == "import"
    asked = {"args": ["sh", "-c", COLOURS], "sanitize": "keep-colour"}
    where = client.post("/v1/runs", json=asked, headers=later).headers["Location"]
    assert client.get(f"{where}?wait=60").json()["result"]["stdout"] == {"bytes": "\x1b[31mred\x1b[0m\n"}
    events = [
        json.loads(line[6:]) for line in client.get(f"{where}/events").text.splitlines() if line.startswith("data: ")
    ]
    assert "".join(e["t"] for e in events if "t" in e) == "\x1b[31mred\x1b[0m\n"
    asked = {"language": "python", "source": "import os", "precheck": "reject"}
    events = client.post("/v1/runs", json=asked, headers={"Accept": "text/event-stream"}).text
    assert "rejected: import of os" in events


@pytest.mark.parametrize("byte", [0x9B, 0x1B, 0x9D])
def test_much_hostile_output_has_its_answer(client, byte):
    source = f"import sys; sys.stdout.buffer.write(bytes([{byte}]) * 2000000)"
    said = python(client, source, sanitize="strip", limits={"output": "1M"})
    assert (said["result"]["verdict"], said["result"]["stdout"]) == ("output", {"bytes": ""})


def test_secure_sandbox_rejects_in_its_own_words(client):
    answer = client.post("/execute", json={"code": "from os import *"})
    assert answer.json() == {
        "stdout": "", "returncode": -1, "execution_time": 0.0,
        "stderr": "Forbidden construct detected: ImportFrom(module='os', names=[alias(name='*')], level=0)",
    }  # fmt: skip
    answer = client.post("/execute", json={"code": "x = ="})
    assert answer.json()["stderr"] == "Syntax error: invalid syntax (line 1)"
    answer = client.post("/execute", json={"code": "print('\\033[31mred\\033[0m')"})
    assert answer.json()["stdout"] == "red\n"
