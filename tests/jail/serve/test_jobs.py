"""Runs that are fetched later: accepted is kept, whatever becomes of the service meanwhile."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from pyjail.serve.config import Admission, Config, Files, Jobs
from tests.jail.serve import small_disk
from tests.jail.serve.served import PATIENCE, Served, served
from tests.scripts import until

LATER = {"Prefer": "respond-async"}


def config(tmp_path: Path, **more) -> Config:
    return Config(state=str(tmp_path / "state"), files=Files(floor=0), **more)


def shell(script: str) -> dict:
    return {"args": ["sh", "-c", script]}


def submit(service: Served, asked: dict, **headers: str) -> httpx.Response:
    return httpx.post(f"{service.url}/v1/runs", json=asked, headers={**LATER, **headers}, timeout=PATIENCE)


def fetch(service: Served, id: str, wait: float = 50) -> dict:
    answer = httpx.get(f"{service.url}/v1/runs/{id}", params={"wait": wait}, timeout=PATIENCE)
    assert answer.status_code == 200, answer.text
    return answer.json()


def stdout(found: dict) -> str:
    assert found["state"] == "done", found
    return found["result"]["stdout"]["bytes"]


def unfinished(tmp_path: Path) -> list[Path]:
    """What was being written."""
    return [path for path in (tmp_path / "state").rglob("*") if path.parent.name == "incoming"]


class Load:
    """Clients that submit, run and upload until the service is gone. ``kept``: {id: what its run prints}."""

    def __init__(self, service: Served, clients: int = 4) -> None:
        self.service, self.kept, self.ran = service, {}, 0
        self.threads = [threading.Thread(target=self._work, args=(n,)) for n in range(clients)]
        self.threads.append(threading.Thread(target=self._upload))
        for thread in self.threads:
            thread.start()

    def _work(self, n: int) -> None:
        with suppress(httpx.HTTPError):
            for i in range(100_000):
                word = f"{n}-{i}"
                answer = submit(self.service, shell(f"sleep 0.05; echo {word}"), **{"Idempotency-Key": word})
                if answer.status_code == 202:
                    self.kept[answer.json()["id"]] = word
                run = httpx.post(f"{self.service.url}/v1/runs", json=shell("sleep 0.05"), timeout=PATIENCE)
                self.ran += run.status_code == 200

    def _upload(self) -> None:
        head = "POST /v1/files HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\nContent-Length: 1000000\r\n\r\n"
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.service.port)) as s:
            s.sendall(head.encode() + b"x" * 500_000)
            s.settimeout(PATIENCE)
            s.recv(1)

    def end(self) -> dict[str, str]:
        for thread in self.threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        return self.kept


def test_a_service_that_is_killed_under_load_leaves_nothing_and_loses_no_run(tmp_path):
    with served(config(tmp_path), end=signal.SIGKILL) as service:
        load = Load(service)
        assert until(lambda: len(load.kept) >= 12 and load.ran >= 4 and unfinished(tmp_path), PATIENCE)
    kept = load.end()  # `served` has looked: no process, no cgroup
    with served(config(tmp_path)) as service:
        assert unfinished(tmp_path) == []
        for id, word in kept.items():
            assert stdout(fetch(service, id)) == f"{word}\n"
        word = next(iter(kept.values()))
        again = submit(service, shell(f"sleep 0.05; echo {word}"), **{"Idempotency-Key": word})
        assert kept[again.json()["id"]] == word


def test_what_was_running_twice_when_the_service_died_is_lost_and_says_why(tmp_path):
    for n in range(2):
        with served(config(tmp_path), end=signal.SIGKILL) as service:
            if not n:
                id = submit(service, shell("sleep 100")).json()["id"]
                other = submit(service, shell("echo x")).json()["id"]
                assert stdout(fetch(service, other)) == "x\n"
            assert until(lambda: any(b"100" in line for line in service.programs()), PATIENCE)
    with served(config(tmp_path)) as service:
        found = fetch(service, id, 0)
        assert found["state"] == "lost" and "2 times" in found["reason"]
        assert stdout(fetch(service, other)) == "x\n"
        assert service.programs() == []


def test_what_runs_when_the_service_is_ended_waits_and_runs_again(tmp_path):
    for n in range(2):  # more often than it may be tried
        with served(config(tmp_path, drain=0.1, jobs=Jobs(attempts=1))) as service:
            if not n:
                id = submit(service, shell("sleep 4; echo x")).json()["id"]
            assert until(lambda: any(b"sleep" in line for line in service.programs()), PATIENCE)
    with served(config(tmp_path)) as service:
        assert stdout(fetch(service, id)) == "x\n"


def test_what_is_cancelled_stays_so_and_its_jail_is_gone(tmp_path):
    with served(config(tmp_path, admission=Admission(concurrent=1)), end=signal.SIGKILL) as service:
        running, waiting = (submit(service, shell("sleep 100")).json()["id"] for _ in range(2))
        assert until(service.programs, PATIENCE)
        for id in (waiting, running):
            answer = httpx.delete(f"{service.url}/v1/runs/{id}", timeout=PATIENCE)
            assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
        assert service.programs() == []
    with served(config(tmp_path)) as service:
        assert [fetch(service, id, 0)["state"] for id in (waiting, running)] == ["cancelled"] * 2
        assert stdout(fetch(service, submit(service, shell("echo x")).json()["id"])) == "x\n"


def test_a_long_result_outlives_the_service(tmp_path):
    script = "head -c 300000 /dev/zero | tr '\\0' x"
    with served(config(tmp_path), end=signal.SIGKILL) as service:
        id = submit(service, shell(script)).json()["id"]
        assert stdout(fetch(service, id)) == "x" * 300_000
    with served(config(tmp_path)) as service:
        assert stdout(fetch(service, id)) == "x" * 300_000


def test_the_same_key_is_the_same_run_while_it_runs_and_afterwards_and_another_request_is_refused(tmp_path):
    with served(config(tmp_path)) as service:
        first, second = (submit(service, shell("sleep 0.5; echo x"), **{"Idempotency-Key": "k"}) for _ in range(2))
        assert first.json()["id"] == second.json()["id"]
        waited = httpx.post(
            f"{service.url}/v1/runs",
            json=shell("sleep 0.5; echo x"),
            headers={"Idempotency-Key": "k"},
            timeout=PATIENCE,
        )
        assert waited.json()["id"] == first.json()["id"]
        assert waited.json()["result"]["stdout"]["bytes"] == "x\n"
        other = submit(service, shell("echo y"), **{"Idempotency-Key": "k"})
        assert (other.status_code, other.json()["field"]) == (422, "Idempotency-Key")


def test_a_service_without_a_state_directory_leaves_none(tmp_path):
    def directories() -> set[str]:
        return {name for name in os.listdir(tmp_path) if name.startswith("pyjail-serve-")}

    with served(Config(files=Files(floor=0)), env={"TMPDIR": str(tmp_path)}) as service:
        assert stdout(fetch(service, submit(service, shell("echo x")).json()["id"])) == "x\n"
        assert len(directories()) == 1
    assert directories() == set()
    assert tempfile.gettempdir() != str(tmp_path)


def test_two_services_do_not_share_a_state_directory(tmp_path):
    with served(config(tmp_path)) as service:
        try:
            with served(config(tmp_path)):
                raise RuntimeError("it was started")
        except AssertionError as e:
            assert "another service uses this state directory" in str(e)
        assert submit(service, shell("true")).status_code == 202


FULL = """
import os, sys, httpx
from pathlib import Path
from pyjail.serve.config import Config, Files
from tests.jail.serve.served import PATIENCE, served
state = Path(sys.argv[1])
with served(Config(state=str(state), files=Files(floor=0))) as service:
    def submit(script, stdin=""):
        return httpx.post(service.url + "/v1/runs", json={"args": ["sh", "-c", script], "stdin": stdin},
                          headers={"Prefer": "respond-async"}, timeout=PATIENCE)
    def fetch(answer):
        return httpx.get(service.url + answer.headers["location"], params={"wait": 50}, timeout=PATIENCE).json()
    early = submit("sleep 3; echo x")
    long = submit("sleep 3; head -c 300000 /dev/zero | tr '\\\\0' x")
    assert early.status_code == long.status_code == 202
    with (state / "ballast").open("wb") as f:
        free = os.statvfs(state).f_bavail * 4096
        f.write(b"x" * (free - (200 << 10)))
    told = submit("true", "x" * 500_000)
    assert (told.status_code, told.json()["type"]) == (507, "urn:pyjail:problem:disk-full"), told.text
    assert str(state) not in told.text
    assert fetch(early)["result"]["stdout"]["bytes"] == "x\\n"
    assert fetch(long)["problem"]["status"] == 507, fetch(long)
    (state / "ballast").unlink()
    assert fetch(submit("cat", "x" * 500_000))["state"] == "done"
"""


@pytest.mark.needs_root
def test_a_full_disk_refuses_a_run_and_keeps_those_that_it_has(tmp_path):
    small_disk.script(tmp_path, FULL)
