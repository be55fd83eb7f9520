"""Two services on one database: what one takes on the other does when the first one dies."""

from __future__ import annotations

import signal

import httpx

from pyjail.serve.config import Config, Files, Jobs
from tests.integrations.serve_postgres.test_store import address, server  # noqa: F401
from tests.jail.serve.served import PATIENCE, served
from tests.scripts import until

LATER = {"Prefer": "respond-async"}


def test_what_a_service_had_when_it_died_is_done_by_another_one(tmp_path, address):  # noqa: F811
    def config(name: str) -> Config:
        return Config(state=str(tmp_path / name), files=Files(floor=0), jobs=Jobs(lease=3, postgres=address))

    def submit(url: str, script: str) -> str:
        asked = {"args": ["sh", "-c", script]}
        return httpx.post(f"{url}/v1/runs", json=asked, headers=LATER, timeout=PATIENCE).json()["id"]

    with served(config("b")) as second:
        with served(config("a"), end=signal.SIGKILL) as first:
            kept = {submit(first.url, f"sleep 1; echo {n}"): n for n in range(6)}
            assert until(first.programs, PATIENCE)
        for id, n in kept.items():
            found = httpx.get(f"{second.url}/v1/runs/{id}", params={"wait": 50}, timeout=PATIENCE).json()
            assert (found["state"], found["result"]["stdout"]["bytes"]) == ("done", f"{n}\n")
    assert not (tmp_path / "a/jobs.sqlite3").exists()


def test_a_service_whose_database_goes_is_not_ready_until_it_is_back(tmp_path, address, server):  # noqa: F811
    with served(Config(state=str(tmp_path), files=Files(floor=0), jobs=Jobs(lease=2, postgres=address))) as service:

        def ready() -> bool:
            return httpx.get(f"{service.url}/readyz", timeout=PATIENCE).status_code == 200

        def submit(**headers: str) -> int:
            asked = {"args": ["true"]}
            return httpx.post(f"{service.url}/v1/runs", json=asked, headers=headers, timeout=PATIENCE).status_code

        assert ready()
        server.stop()
        assert until(lambda: not ready(), PATIENCE)
        assert (submit(**LATER), submit()) == (503, 200)
        server.start()
        assert until(ready, PATIENCE)
        assert submit(**LATER) == 202


def test_a_service_whose_database_does_not_answer_does_not_start(tmp_path):
    try:
        with served(Config(state=str(tmp_path), jobs=Jobs(postgres=f"host={tmp_path} connect_timeout=1"))):
            raise RuntimeError("it was started")
    except AssertionError as e:
        assert "the database of runs does not answer" in str(e)
