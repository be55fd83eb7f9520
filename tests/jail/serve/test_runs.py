"""What can be said of a run is done, and what is wrong with it is told by its name."""

from __future__ import annotations

import httpx
import pytest

from pyjail import Limits
from pyjail.serve import Config
from tests.jail.serve.served import PATIENCE, served


@pytest.fixture(scope="module")
def service():
    with served(Config(maxima=Limits(memory="512M", wall_time=60, cpu_time=60, output="1M", disk="64M"))) as found:
        yield found


@pytest.fixture
def client(service):
    with httpx.Client(base_url=service.url, timeout=PATIENCE) as made:
        yield made


def run(client, **asked):
    answer = client.post("/v1/runs", json=asked)
    assert answer.status_code == 200, answer.text
    return answer.json()


def out(said):
    return said["result"]["stdout"]["bytes"]


def test_all_that_a_run_can_say_is_done(client):
    said = run(
        client, args=["sh", "-c", "pwd; echo $A; cat; cat a; echo made > b; echo no >&2"], stdin="in\n", cwd="/box",
        env={"A": "1", "PATH": "/bin:/usr/bin"}, files={"a": {"base64": "AAH/"}}, collect=["b"], limits={"wall_time": 30},
    )  # fmt: skip
    result = said["result"]
    assert result["verdict"] == "ok" and said["queue_s"] >= 0 and len(said["id"]) == 32
    assert result["files"] == {"b": {"bytes": "made\n"}}
    assert result["stderr"] == {"bytes": "no\n"}
    assert result["limits"]["wall_time"] == 30
    assert "receipt" not in result
    assert result["stdout"] == {"base64": "L2JveAoxCmluCgAB/w=="}  # /box, 1, in, and three bytes that are no text


def test_one_stream_for_both_and_a_receipt_when_it_is_asked_for(client):
    answer = client.post("/v1/runs?receipt=true", json={"args": ["sh", "-c", "echo a; echo b >&2"], "merged": True})
    result = answer.json()["result"]
    assert result["stdout"] == {"bytes": "a\nb\n"} and result["stderr"] is None
    assert any(row["name"] == "memory" and row["status"] == "enforced" for row in result["receipt"])


def test_a_language_is_compiled_and_what_its_compiler_says_is_told(client):
    said = run(client, language="c", source="#include <stdio.h>\nint main(int n, char **a) { puts(a[1]); }", args=["x"])
    assert out(said) == "x\n" and said["compile"]["verdict"] == "ok" and said["compile"]["files"] == {}
    said = run(client, language="c", source="int main( {")
    assert said["result"] is None and "error" in said["compile"]["stderr"]["bytes"]


def test_a_language_has_its_own_environment_and_more_of_it(client):
    said = run(client, language="python", source="import os; print(os.environ['A'])", env={"A": "b"})
    assert out(said) == "b\n"


@pytest.mark.parametrize(
    ("asked", "verdict"),
    [
        ({"args": ["sh", "-c", "exit 3"]}, "runtime_error"),
        ({"args": ["sh", "-c", "kill -9 $$"]}, "signaled"),
        ({"args": ["sleep", "1000"], "limits": {"wall_time": 0.2}}, "wall_time"),
        ({"args": ["yes"], "limits": {"output": 1000}}, "output"),
    ],
)
def test_a_verdict_is_a_result_and_no_error_of_http(client, asked, verdict):
    assert run(client, **asked)["result"]["verdict"] == verdict


def test_a_program_that_is_not_there_is_its_own_fault(client):
    for program in ("no-such-program", "/etc/passwd"):
        said = run(client, args=[program])
        assert said["result"] is None and program in said["fault"], said


WRONG = [
    ({"args": ["ls"], "cwd": "/nowhere"}, 422, "cwd", ""),
    ({"args": ["ls"], "cwd": "box"}, 422, "cwd", ""),
    ({"args": []}, 422, "args", ""),
    ({"args": ["a\0b"]}, 422, "args", ""),
    ({"args": [""]}, 422, "args", ""),
    ({"args": ["ls"], "env": {"A=B": "c"}}, 422, "env", ""),
    ({"args": ["ls"], "files": {"../a": "x"}}, 422, "files", ""),
    ({"args": ["ls"], "files": {"a": {"base64": "!"}}}, 422, "files.a", ""),
    ({"args": ["ls"], "files": {"a": {"hex": "00"}}}, 422, "files.a", ""),
    ({"args": ["ls"], "files": {"a": "x" * 2_000_000}, "limits": {"disk": "1M"}}, 422, "files.a", "disk"),
    ({"args": ["ls"], "collect": ["/etc/passwd"]}, 422, "collect", ""),
    ({"args": ["ls"], "limits": {"memroy": 1}}, 422, "limits.memroy", "memory"),
    ({"args": ["ls"], "limits": {"memory": "2G"}}, 422, "limits.memory", ""),
    ({"args": ["ls"], "limits": {"memory": None}}, 422, "limits.memory", ""),
    ({"args": ["ls"], "limits": {"memory": 0}}, 422, "limits.memory", ""),
    ({"args": ["ls"], "limits": {"memory": True}}, 422, "limits.memory", ""),
    ({"args": ["ls"], "limits": {"memory": []}}, 422, "limits.memory", ""),
    ({"args": ["ls"], "limits": {"memory": {}}}, 422, "limits.memory", ""),
    ({"args": ["ls"], "limits": {"wall_time": -1}}, 422, "limits.wall_time", ""),
    ({"args": ["ls"], "limits": {"wall_time": 1e308}}, 422, "limits.wall_time", ""),
    ({"args": ["ls"], "limits": {"processes": 10**30}}, 422, "limits.processes", ""),
    ({"args": ["ls"], "limits": {"output": "999999999999G"}}, 422, "limits.output", ""),
    ({"argz": ["ls"]}, 422, "argz", "args"),
    ({"args": "ls"}, 422, "args", ""),
    ({"args": [1]}, 422, "args.0", ""),
    ({"args": ["ls"], "merged": 1}, 422, "merged", ""),
    ({"language": "pyhton", "source": "x"}, 422, "language", ""),
    ({"language": "python"}, 422, "source", ""),
    ({"source": "x"}, 422, "language", ""),
    ({"args": ["ls"], "collect": ["a"] * 1000}, 422, "collect", ""),
    ({"args": ["ls"], "env": {f"A{i}": "" for i in range(5000)}}, 422, "env", ""),
    ({"args": ["ls"], "files": {f"a{i}": "" for i in range(9000)}}, 422, "files", ""),
    ({"args": ["ls"] * 40_000}, 422, "args", ""),
    ({"language": "python", "source": {f"a{i}.py": "" for i in range(9000)}}, 422, "source", ""),
    ([], 422, "", ""),
]


@pytest.mark.parametrize(("asked", "status", "field", "hint"), WRONG, ids=range(len(WRONG)))
def test_what_is_wrong_is_told_by_the_field_and_the_nearest_name(client, asked, status, field, hint):
    answer = client.post("/v1/runs", json=asked)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    said = answer.json()
    assert said.get("field", "") == field and hint in said.get("hint", ""), said
    assert "Traceback" not in answer.text and "/src/" not in answer.text


MALFORMED = [
    b"", b"{", b'{"args": ["ls"], "args": ["id"]}', b'{"args": ["ls"], "limits": {"wall_time": NaN}}',
    b'{"args": ["ls"], "limits": {"wall_time": Infinity}}', b"[" * 100_000, b'{"a":' * 40 + b"1" + b"}" * 40,
    b'{"args": ["\\ud800"]}', b'{"args": ["\xff"]}', b'{"limits": {"memory": ' + b"9" * 5000 + b"}}",
]  # fmt: skip


@pytest.mark.parametrize("body", MALFORMED, ids=range(len(MALFORMED)))
def test_json_that_parsers_disagree_about_is_refused(client, body):
    answer = client.post("/v1/runs", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400, answer.text
    assert answer.json()["type"] == "urn:pyjail:problem:malformed"


def test_errors_of_the_framework_are_told_in_the_same_way(client):
    for method, path, status in (("GET", "/v1/no", 404), ("PUT", "/v1/runs", 405)):
        answer = client.request(method, path)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    answer = client.get(f"/v1/runs/{'0' * 32}?wait=100")
    assert answer.status_code == 422 and answer.json()["field"] == "wait", answer.text
    assert client.get(f"/v1/runs/{'0' * 32}").status_code == 404


def without_output(result):
    """What it wrote is gone, how much that was is not."""
    assert "stdout_bytes" in result
    return {name: value for name, value in result.items() if name not in ("stdout", "stderr")}


def test_a_run_is_fetched_later(client):
    answer = client.post("/v1/runs", json={"args": ["echo", "hello"]}, headers={"prefer": "respond-async"})
    assert answer.status_code == 202
    where = answer.headers["location"]
    said = client.get(f"{where}?wait=60").json()
    assert said["state"] == "done" and out(said) == "hello\n"
    assert client.get(where).json() == said
    assert "receipt" in client.get(f"{where}?receipt=true").json()["result"]
    assert client.get(f"{where}?output=false").json()["result"] == without_output(said["result"])
    assert client.delete(f"{where}?output=false").json()["result"] == without_output(said["result"])
    assert client.delete(where).json()["state"] == "done"


def test_a_receipt_says_that_the_service_holds_the_output_where_it_reads_it(client):
    asked = {"args": ["yes"], "limits": {"output": 5000}}
    later = client.post("/v1/runs", json=asked, headers={"prefer": "respond-async"}).headers["location"]
    result = client.get(f"{later}?wait=30&receipt=true").json()["result"]
    assert result["verdict"] == "output"
    (row,) = [row for row in result["receipt"] if row["name"] == "output"]
    assert (row["status"], row["value"]) == ("enforced", "5000 bytes per stream") and "service" in row["enforced_by"]


def test_what_turns_out_to_be_wrong_later_is_told_later(client):
    answer = client.post("/v1/runs", json={"args": ["ls"], "cwd": "/no"}, headers={"prefer": "respond-async"})
    said = client.get(f"{answer.headers['location']}?wait=60").json()
    assert said["state"] == "done" and said["problem"]["field"] == "cwd"


def test_the_same_key_is_the_same_run(client):
    asked = {"args": ["sh", "-c", "head -c 9 /dev/urandom | base64"]}
    first, again = (client.post("/v1/runs", json=asked, headers={"idempotency-key": "k1"}).json() for _ in range(2))
    assert out(first) == out(again)
    assert client.post("/v1/runs", json=asked).json()["result"]["stdout"] != first["result"]["stdout"]
    other = client.post("/v1/runs", json={"args": ["true"]}, headers={"idempotency-key": "k1"})
    assert (other.status_code, other.json()["field"]) == (422, "Idempotency-Key")


def test_the_interface_describes_itself(client):
    said = client.get("/v1/openapi.json").json()
    assert said["openapi"].startswith("3.1")
    assert "requestBody" in said["paths"]["/v1/runs"]["post"]
    assert said["components"]["schemas"]["Run"]["additionalProperties"] is False


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"language": "pythn", "source": ""}, "language"), ({"language": "python", "source": "", "files": {"main.py": ""}}, "files"),
        ({"language": "python", "source": "", "args": ["a\0"]}, "args"), ({"args": ["true"], "files": {"../x": ""}}, "files"),
        ({"args": ["true"], "cwd": "box"}, "cwd"), ({"args": ["tr\0ue"]}, "args"), ({"args": ["ls"], "collect": ["../x"]}, "collect"),
        ({"args": ["true"], "env": {"A=B": ""}}, "env"), ({"args": ["true"], "env": {"A": "\0"}}, "env"),
        ({"args": ["true"], "files": {"a": {"sha256": "0" * 64}}}, "files.a"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_run_for_later_is_told_at_once(client, asked, field):
    now = client.post("/v1/runs", json=asked)
    for headers in ({"prefer": "respond-async"}, {"idempotency-key": f"wrong {asked}".replace("\0", "")}):
        later = client.post("/v1/runs", json=asked, headers=headers)
        assert (later.status_code, later.json()["field"]) == (422, field) == (now.status_code, now.json()["field"])
        assert later.json()["detail"] == now.json()["detail"]
