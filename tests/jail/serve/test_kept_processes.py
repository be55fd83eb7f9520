"""What runs in a box over HTTP: told, sent signals, ended; and what holds all of it."""

from __future__ import annotations

import threading

import httpx
import pytest

from pyjail.serve import Config
from pyjail.serve.config import Admission
from tests.jail.serve.served import PATIENCE, served
from tests.scripts import until

pytestmark = pytest.mark.needs_cgroups


@pytest.fixture(scope="module")
def service():
    with served(Config(admission=Admission(concurrent=3, patience=60))) as found:
        yield found


@pytest.fixture
def client(service):
    with httpx.Client(base_url=service.url, timeout=PATIENCE) as made:
        yield made


@pytest.fixture
def where(client):
    answer = client.post("/v1/boxes", json={})
    yield answer.headers["location"]
    client.delete(answer.headers["location"])


def run(client, where, *args, **more):
    answer = client.post(f"{where}/steps", json={"args": list(args), **more})
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]


def processes(client, where):
    answer = client.get(f"{where}/processes")
    assert answer.status_code == 200, answer.text
    return answer.json()["processes"]


def left_behind(client, where, script):
    run(client, where, "sh", "-c", f"({script}) > /dev/null 2>&1 &", orphans="keep")


def test_one_that_was_kept_is_told_and_ended_alone(client, where):
    assert processes(client, where) == []
    left_behind(client, where, "exec sleep 1001")
    left_behind(client, where, "exec sleep 1002")
    assert until(
        lambda: [p["args"] for p in processes(client, where)] == [["sleep", "1001"], ["sleep", "1002"]], PATIENCE
    )
    first, second = processes(client, where)
    assert set(first) == {"pid", "args", "command", "kept", "started", "memory"}
    assert first["kept"] and first["command"] == "sleep" and first["pid"] != second["pid"]
    assert client.delete(f"{where}/processes/{first['pid']}").status_code == 204
    assert until(lambda: [p["pid"] for p in processes(client, where)] == [second["pid"]], PATIENCE)
    answer = client.delete(f"{where}/processes/{first['pid']}")
    assert (answer.status_code, answer.json()["field"]) == (404, "pid")
    assert client.delete(f"{where}/processes/1").status_code == 404  # the box's own
    assert client.delete(f"{where}/processes").status_code == 204
    assert processes(client, where) == []


def test_a_signal_is_one_that_it_may_catch(client, where):
    left_behind(client, where, "trap 'echo caught > /tmp/it' TERM; echo > /tmp/ready; while :; do sleep .05; done")
    assert until(lambda: client.get(f"{where}/files", params={"path": "/tmp/ready"}).status_code == 200, PATIENCE)
    shell = next(p for p in processes(client, where) if "trap" in " ".join(p["args"]))
    assert client.delete(f"{where}/processes/{shell['pid']}", params={"signal": 15}).status_code == 204
    caught = lambda: client.get(f"{where}/files", params={"path": "/tmp/it"}).text == "caught\n"  # noqa: E731
    assert until(caught, PATIENCE)
    for wrong in (0, 99, -9, "x"):
        answer = client.delete(f"{where}/processes/{shell['pid']}", params={"signal": wrong})
        assert (answer.status_code, answer.json()["field"]) == (422, "signal")


def test_who_waits_for_a_program_that_is_ended_has_its_result(client, where):
    results = []
    waiting = threading.Thread(target=lambda: results.append(run(client, where, "sleep", "1003")))
    waiting.start()
    assert until(
        lambda: any(p["args"] == ["sleep", "1003"] and not p["kept"] for p in processes(client, where)), PATIENCE
    )
    assert client.delete(f"{where}/processes").status_code == 204
    waiting.join(PATIENCE)
    assert (results[0]["verdict"], results[0]["signal"]) == ("signaled", 9)
    assert run(client, where, "true")["verdict"] == "ok"


def test_names_that_are_no_text_are_told(client, where):
    left_behind(client, where, "exec sleep 1004 $(printf '\\377')")
    run(
        client,
        where,
        "sh",
        "-c",
        "printf 'sleep 1005\\n' > $(printf 's\\377'); sh s* >/dev/null 2>&1 &",
        orphans="keep",
    )
    assert until(lambda: any("\ufffd" in word for p in processes(client, where) for word in p["args"]), PATIENCE)


def test_the_whole_has_a_receipt(client, where):
    rows = {row["name"]: row for row in client.get(f"{where}/receipt").json()["receipt"]}
    assert rows["memory"]["status"] == "enforced" and rows["memory"]["value"]


def test_it_is_its_tenants_and_gone_with_the_box(client, where):
    assert client.get("/v1/boxes/x/processes").status_code == 404
    session = client.post("/v1/sessions", json={}).headers["location"]
    assert client.get(f"{session}/processes").status_code == 404
    client.delete(session)
    client.delete(where)
    for method, path in (("GET", "processes"), ("DELETE", "processes"), ("DELETE", "processes/2"), ("GET", "receipt")):
        answer = client.request(method, f"{where}/{path}")
        assert (answer.status_code, answer.json()["type"]) == (409, "urn:pyjail:problem:state")
