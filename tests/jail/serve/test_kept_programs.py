"""Programs of languages in sessions and boxes: compiled in there, seen while they run, refused as runs are."""

from __future__ import annotations

import json
import socket

import httpx
import pytest

from pyjail.serve import Config
from pyjail.serve.config import Admission
from tests import place
from tests.jail.serve.served import PATIENCE, served
from tests.jail.serve.test_events import parsed
from tests.scripts import until

pytestmark = pytest.mark.needs_cgroups

C = '#include <stdio.h>\n#include "n.h"\nint main(void) { printf("%d\\n", N); return 0; }\n'


@pytest.fixture(scope="module")
def service():
    with served(Config(admission=Admission(concurrent=3, patience=60))) as found:
        yield found


@pytest.fixture
def client(service):
    with httpx.Client(base_url=service.url, timeout=PATIENCE) as made:
        yield made


@pytest.fixture(params=["sessions", "boxes"])
def where(request, client):
    answer = client.post(f"/v1/{request.param}", json={})
    assert answer.status_code == 201, answer.text
    yield answer.headers["location"]
    client.delete(answer.headers["location"])


def step(client, where, **asked):
    answer = client.post(f"{where}/steps", json=asked)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_source_runs_in_there_and_what_it_leaves_stays(client, where):
    source = "import sys; open('log', 'a').write(input()); print(sys.argv[1:])"
    said = step(client, where, language="python", source=source, args=["x"], stdin="one\n", env={"A": "1"})
    assert said["result"]["stdout"]["bytes"] == "['x']\n" and said["compile"] is None
    assert step(client, where, args=["cat", "log"])["result"]["stdout"]["bytes"] == "one"


def test_a_compiler_sees_the_files_that_are_there_and_leaves_what_it_made(client, where):
    step(client, where, args=["sh", "-c", "echo '#define N 42' > n.h"])
    said = step(client, where, language="c", source=C)
    assert said["compile"]["verdict"] == "ok" and said["compile"]["files"] == {}
    assert said["result"]["stdout"]["bytes"] == "42\n"
    names = step(client, where, args=["ls"])["result"]["stdout"]["bytes"].split()
    assert {"n.h", "main.c"} <= set(names) and len(names) == 3  # and what was made
    said = step(client, where, language="c", source="int main( {")
    assert said["result"] is None and "error" in said["compile"]["stderr"]["bytes"]
    said = step(client, where, language="c", source={"main.c": C, "n.h": "#define N 7\n"})
    assert said["result"]["stdout"]["bytes"] == "7\n"


def test_a_language_whose_tools_lie_elsewhere_is_named_when_it_is_opened(client):
    known = {row["name"]: row for row in client.get("/v1/languages").json()["languages"]}
    if not known["rust"]["available"]:
        pytest.skip(f"rustc {place.WITHOUT_TOOL}")
    where = client.post("/v1/boxes", json={"languages": ["rust"]}).headers["location"]
    said = step(client, where, language="rust", source='fn main() { println!("{}", 6 * 7); }')
    assert said["result"]["stdout"]["bytes"] == "42\n", said
    client.delete(where)


@pytest.mark.parametrize(
    ("asked", "status", "field"),
    [
        ({"language": "pythn", "source": ""}, 422, "language"), ({"language": "python"}, 422, "source"),
        ({"source": "x"}, 422, "language"), ({}, 422, "args"), ({"args": ["ls"], "langauge": "c"}, 422, "langauge"),
        ({"language": "c", "source": "x", "precheck": "warn"}, 422, "precheck"),
        ({"args": ["ls"], "limits": {"memory": "1T"}}, 422, "limits.memory"),
        ({"args": ["ls"], "files": {"../x": ""}}, 422, "files"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_as_of_a_run(client, where, asked, status, field):
    answer, run = client.post(f"{where}/steps", json=asked), client.post("/v1/runs", json=asked)
    assert (answer.status_code, answer.json()["field"]) == (status, field) == (run.status_code, run.json()["field"])
    assert answer.json().get("hint") == run.json().get("hint") or field == "langauge"


def test_the_nearest_name_is_told(client, where):
    said = client.post(f"{where}/steps", json={"args": ["ls"], "langauge": "c"}).json()
    assert "'language'" in said["hint"]
    assert "python" in client.post(f"{where}/steps", json={"language": "pythn", "source": ""}).text
    answer = client.post("/v1/boxes", json={"languages": ["pythn"]})
    assert (answer.status_code, answer.json()["field"]) == (422, "languages.0")


def test_output_is_looked_at_and_sanitized_as_of_a_run(client, where):
    said = step(client, where, args=["printf", "\\033[31mx"], sanitize="strip")
    assert said["result"]["stdout"]["bytes"] == "x"
    said = step(client, where, language="python", source="import os", precheck="reject")
    assert said["result"] is None and "rejected" in said["fault"]


def test_what_is_written_is_told_while_it_is(client, where):
    asked = {"language": "python", "source": "import time\nprint(input(), flush=True)\ntime.sleep(2)", "stdin": "one\n"}
    with client.stream("POST", f"{where}/steps", json=asked, headers={"accept": "text/event-stream"}) as answer:
        events = [*parsed(answer.iter_lines())]
    names = [name for name, _, _ in events]
    assert names.index("stdout") < names.index("result") and "usage" in names[names.index("stdout") :]
    assert max(data["processes"] or 0 for name, data, _ in events if name == "usage") >= 1
    assert events[-1][1]["result"]["stdout"]["bytes"] == "one\n"


def test_a_step_that_is_watched_has_files_and_limits_as_every_other(client, where):
    asked = {"args": ["sh", "-c", "cat a > b; cat b; exec yes"], "files": {"a": "given\n"}, "collect": ["b"]}
    asked |= {"limits": {"output": 5000}}
    with client.stream("POST", f"{where}/steps", json=asked, headers={"accept": "text/event-stream"}) as answer:
        events = [*parsed(answer.iter_lines())]
    result = events[-1][1]["result"]
    assert (result["verdict"], result["files"]) == ("output", {"b": {"bytes": "given\n"}})
    assert result["stdout"]["bytes"].startswith("given\ny\n") and len(result["stdout"]["bytes"]) == 5000
    assert step(client, where, args=["cat", "b"])["result"]["stdout"]["bytes"] == "given\n"
    for wrong, field in (
        ({"files": {"a/b": ""}}, "files.a/b"),
        ({"files": {"../a": ""}}, "files"),
        ({"cwd": "/no"}, "cwd"),
    ):
        asked = {"args": ["true"], **wrong}
        with client.stream("POST", f"{where}/steps", json=asked, headers={"accept": "text/event-stream"}) as answer:
            early = json.loads(answer.read()) if answer.status_code == 422 else None
            said = early or [*parsed(answer.iter_lines())][-1][1]["problem"]
        assert (said["status"], said["field"]) == (422, field)


def test_what_a_program_of_a_box_leaves_behind_is_kept_where_that_is_asked_for(service, client):
    where = client.post("/v1/boxes", json={}).headers["location"]
    step(client, where, args=["sh", "-c", "sleep 1000 > /dev/null 2>&1 &"], orphans="keep")
    assert until(lambda: any(line.startswith(b"sleep") for line in service.programs()), PATIENCE)
    client.delete(where)
    assert not any(line.startswith(b"sleep") for line in service.programs())
    where = client.post("/v1/sessions", json={}).headers["location"]
    answer = client.post(f"{where}/steps", json={"args": ["true"], "orphans": "keep"})
    assert (answer.status_code, answer.json()["field"]) == (422, "orphans")
    client.delete(where)


def test_who_leaves_while_it_is_compiled_takes_the_compiler_along(service, client):
    where = client.post("/v1/boxes", json={}).headers["location"]
    many = "template<int a, int b> struct F { enum { v = F<a - 1, b>::v + F<a, b - 1>::v }; };\n"
    many += "template<int a> struct F<a, 0> { enum { v = 1 }; };\ntemplate<int b> struct F<0, b> { enum { v = 1 }; };\n"
    source = f"{many}int main() {{ return F<12000, 12000>::v; }}"
    body = json.dumps({"language": "cpp", "source": '#include "/dev/zero"\n' + source}).encode()
    compiling = lambda: [line for line in service.programs() if b"cc1plus" in line or b"g++" in line]  # noqa: E731
    made = socket.create_connection(("127.0.0.1", service.port))
    head = f"POST {where}/steps HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\nContent-Type: application/json\r\n"
    made.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    assert until(compiling, PATIENCE)
    made.close()
    assert until(lambda: not compiling(), PATIENCE)
    assert step(client, where, args=["true"])["result"]["verdict"] == "ok"
    client.delete(where)
