"""What the service says of itself: languages, limits, what holds a program, and its interface as a page."""

from __future__ import annotations

import json
import re
import time
from urllib.parse import urljoin

import httpx
import pytest

from pyjail import languages
from pyjail.serve import Config
from tests.conftest import SLOW
from tests.jail.serve.served import PATIENCE, served


@pytest.fixture(scope="module")
def client():
    with served() as service, httpx.Client(base_url=service.url, timeout=PATIENCE) as made:
        yield made


def languages_of(client):
    """{name: row}."""
    return {row["name"]: row for row in client.get("/v1/languages").json()["languages"]}


def test_languages_are_told_with_their_versions_or_what_is_missing(client):
    rows = languages_of(client)
    assert rows["python"]["available"] and len(rows) >= 10
    assert all(row["available"] or row["reason"] for row in rows.values())
    end = time.monotonic() + PATIENCE
    now = rows
    while any(row["version"] is None for row in now.values()):
        assert time.monotonic() < end
        time.sleep(0.1)
        now = languages_of(client)
    assert now["python"]["version"].startswith("3.")
    assert {name: {**row, "version": rows[name]["version"]} for name, row in now.items()} == rows


def test_nobody_waits_for_a_tool_that_is_slow_to_tell_its_version():
    slow = languages.Language("slow", run=("sh", "{source}"), source="a.sh", tools={"sleep": str(50 * SLOW)})
    quick = languages.Language("quick", run=("sh", "{source}"), source="a.sh", tools={"bash": "--version"})
    config = Config(languages={"slow": slow, "quick": quick})
    with served(config) as service, httpx.Client(base_url=service.url, timeout=PATIENCE) as one:
        began = time.monotonic()
        rows = languages_of(one)
        assert rows["slow"]["available"] and rows["slow"]["version"] is None
        while not languages_of(one)["quick"]["version"]:
            time.sleep(0.05)
        assert languages_of(one)["slow"]["version"] is None and time.monotonic() - began < 40 * SLOW


def test_languages_of_the_configuration_are_told_and_run():
    mine = languages.Language("shell", run=("sh", "{source}"), source="a.sh", tools={"sh": "-c"}, title="Mine")
    gone = languages.Language("gone", run=("no-such-tool", "{source}"), source="a", tools={"no-such-tool": "-v"})
    config = Config(languages={"shell": mine, "gone": gone})
    with served(config) as service, httpx.Client(base_url=service.url, timeout=PATIENCE) as one:
        rows = {row["name"]: row for row in one.get("/v1/languages").json()["languages"]}
        assert rows["shell"]["available"] and rows["shell"]["title"] == "Mine"
        assert not rows["gone"]["available"] and "no-such-tool" in rows["gone"]["reason"]
        said = one.post("/v1/runs", json={"language": "shell", "source": "echo hi"}).json()
        assert said["result"]["stdout"] == {"bytes": "hi\n"}
        answer = one.post("/v1/runs", json={"language": "gone", "source": ""})
        assert (answer.status_code, answer.json()["field"]) == (422, "language")
        said = one.post(
            "/v1/judge", json={"language": "shell", "source": "cat", "tests": [{"input": "x", "expected": "x"}]}
        )
        assert said.json()["passed"]


def test_limits_are_those_that_are_enforced(client):
    said = client.get("/v1/limits").json()
    for name, most in said["maxima"].items():
        if isinstance(most, (int, float)) and most:
            answer = client.post("/v1/runs", json={"args": ["true"], "limits": {name: most * 2}})
            assert (answer.status_code, answer.json()["field"]) == (422, f"limits.{name}"), name
    assert said["places"]["share"] >= 1 and said["terminals"]["idle"] > 0
    ran = client.post("/v1/runs", json={"args": ["true"]}).json()["result"]["limits"]
    assert ran == said["defaults"]


def test_the_receipt_says_what_holds_a_program(client):
    rows = {row["name"]: row for row in client.get("/v1/receipt").json()["receipt"]}
    assert rows["memory"]["status"] == "enforced"
    assert not [name for name, row in rows.items() if row["status"] == "not_enforced"]


@pytest.mark.parametrize(
    "path",
    ["/docs", "/swagger", "/boxer/swagger", "/boxer/swagger/", "/boxer/swagger/index.html", "/codebox/docs", "/secure-sandbox/docs", "/sandboxfusion/docs"],
)  # fmt: skip
def test_the_interface_is_a_page_that_asks_nobody_else(client, path):
    page = client.get(path)
    assert page.status_code == 200 and "default-src 'none'" in page.headers["content-security-policy"]
    parts = re.findall(r'(?:src|href|data-url)="([^"]+)"', page.text)
    assert len(parts) == 5
    for part in parts:
        if part != "data:,":
            assert client.get(urljoin(path, part)).status_code == 200, part
    assert "://" not in page.text
    for bad in ("x", "README.md", "..%2fabout.py", "%2e%2e/about.py"):
        assert client.get(f"/swagger/{bad}").status_code == 404
    assert "Apache License" in client.get("/swagger/LICENSE").text


@pytest.mark.parametrize("base", ["", "/boxer"])
def test_boxer_s_interface_is_described_where_its_clients_look(client, base):
    said = client.get(f"{base}/swagger/doc.json").json()
    assert (said["swagger"], said["basePath"]) == ("2.0", base or "/")
    asked = {path: set(methods) for path, methods in said["paths"].items()}
    assert asked == {"/run": {"post"}, "/files": {"get", "post"}, "/healthz": {"get"}}


@pytest.mark.parametrize(
    ("face", "paths"),
    [("codebox", {"/execute", "/languages"}), ("secure-sandbox", {"/execute"}), ("sandboxfusion", {"/run_code", "/v1/ping"})],
)  # fmt: skip
def test_what_faces_of_fastapi_describe_is_there_and_an_example_of_it_runs(client, face, paths):
    said = client.get(f"/{face}/openapi.json").json()
    assert (said["openapi"][:3], said["servers"], set(said["paths"])) == ("3.1", [{"url": f"/{face}"}], paths)
    for path, methods in said["paths"].items():
        for method, operation in methods.items():
            body = None
            if "requestBody" in operation:
                schema = operation["requestBody"]["content"]["application/json"]["schema"]
                fields = schema["properties"]
                given = {"language": "python", "commands": []}
                body = {
                    name: given.get(name) if name in given else fields[name]["examples"][0]
                    for name in schema["required"]
                }
            answer = client.request(method, f"/{face}{path}", json=body)
            assert answer.status_code == 200, answer.text
            told = operation["responses"]["200"]["content"]["application/json"]["schema"]
            assert isinstance(answer.json(), {"array": list, "object": dict, "string": str}[told["type"]])
            assert set(told.get("properties", ())) <= set(answer.json()) or told["type"] != "object"


def test_the_interface_is_told_whole(client):
    said = client.get("/v1/openapi.json").json()
    assert said["openapi"].startswith("3.1")
    schemas = said["components"]["schemas"]
    named = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(said)))
    assert named <= set(schemas) and "HTTPValidationError" not in schemas
    for path, methods in said["paths"].items():
        assert path.startswith("/v1/")
        for method, operation in methods.items():
            for status, answer in operation["responses"].items():
                if status == "default" or int(status) >= 400:
                    assert list(answer["content"]) == ["application/problem+json"], (path, method, status)
            sent = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if sent:
                name = sent["schema"]["$ref"].rpartition("/")[2]
                assert schemas[name]["examples"] and schemas[name]["additionalProperties"] is False
                for example in schemas[name]["examples"]:
                    where = path.replace("/{id}", "")
                    answer = client.post(where, json=example) if where == path else None
                    assert answer is None or answer.status_code in (200, 201), (path, answer.text)


@pytest.mark.parametrize(
    ("method", "path", "known"),
    [
        ("POST", "/v1/runs", "receipt"), ("GET", f"/v1/runs/{'0' * 32}", "wait"), ("POST", "/v1/judge", "receipt"),
        ("GET", f"/v1/sessions/{'0' * 32}/files", "pattern"), ("GET", "/v1/limits", ""),
        ("DELETE", f"/v1/boxes/{'0' * 32}/processes/2", "signal"), ("GET", f"/v1/files/{'0' * 64}", "name"),
    ],
)  # fmt: skip
def test_an_unknown_name_in_a_query_is_told_with_the_nearest(client, method, path, known):
    body = {"json": {"args": ["true"]}} if method == "POST" else {}
    answer = client.request(method, path, params={f"{known}s": "1"}, **body)
    assert (answer.status_code, answer.json()["field"]) == (422, f"{known}s"), answer.text
    assert repr(known) in answer.json().get("hint", "") or not known
