"""SIGTERM: what runs has its time, nothing new is run, and nothing is left."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import pytest

from tests import host_side
from tests.jail.serve.typed import PATIENCE, post, programs, serving, until

pytestmark = pytest.mark.needs_cgroups

LONG = {"args": ["sleep", "1000"], "limits": {"wall_time": 100}}


class Answer(threading.Thread):
    """What comes of a request: ``body`` as JSON, ``status``."""

    def __init__(self, url, body):
        super().__init__()
        self.url, self.asked, self.status, self.body, self.headers = url, body, 0, None, {}
        self.start()

    def run(self):
        try:
            self.body, self.status = post(f"{self.url}/v1/runs", self.asked), 200
        except urllib.error.HTTPError as e:
            with e:
                self.body, self.status, self.headers = json.load(e), e.code, dict(e.headers)

    def end(self):
        self.join(PATIENCE)
        assert not self.is_alive()
        return self.status


def refused(url, path="/readyz"):
    """(status, kind) where it is refused, else None."""
    try:
        with urllib.request.urlopen(url + path, timeout=PATIENCE):
            return None
    except urllib.error.HTTPError as e:
        with e:
            assert int(e.headers["Retry-After"]) >= 1
            assert e.headers["Connection"] == "close"
            return e.code, json.load(e)["type"].rpartition(":")[2]


def test_what_runs_is_answered_and_nothing_new_is_run():
    with serving() as (process, url):
        running = Answer(url, {"args": ["sleep", "2"]})
        until(lambda: b"sleep\x002\0" in programs(process.pid))
        process.send_signal(signal.SIGTERM)
        until(lambda: refused(url) == (503, "not-ready"))
        late = Answer(url, {"args": ["true"]})
        assert late.end() == 503 and late.body["type"].endswith(":draining")
        assert running.end() == 200 and running.body["result"]["verdict"] == "ok"
        process.wait(PATIENCE)


def test_a_second_signal_ends_what_runs():
    with serving() as (process, url):
        running = Answer(url, LONG)
        until(lambda: programs(process.pid))
        process.send_signal(signal.SIGTERM)
        until(lambda: refused(url) == (503, "not-ready"))
        process.send_signal(signal.SIGTERM)
        assert running.end() == 503 and running.body["type"].endswith(":ended")
        process.wait(PATIENCE)


def test_the_time_to_end_is_that_of_the_configuration():
    with serving(env={"PYJAIL_SERVE_DRAIN": "0.5"}) as (process, url):
        running = Answer(url, LONG)
        until(lambda: programs(process.pid))
        process.send_signal(signal.SIGTERM)
        assert running.end() == 503 and running.body["type"].endswith(":ended")
        process.wait(PATIENCE)


def test_what_waits_for_its_turn_is_done_in_that_time_too():
    with serving(env={"PYJAIL_SERVE_ADMISSION_CONCURRENT": "1"}) as (process, url):
        first = Answer(url, {"args": ["sleep", "1"]})
        until(lambda: programs(process.pid))
        second = Answer(url, {"args": ["true"]})
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        assert first.end() == 200 and second.end() == 200
        process.wait(PATIENCE)


def test_a_durable_run_is_queued_again_and_done_by_the_next_service(tmp_path):
    env = {"PYJAIL_SERVE_STATE": str(tmp_path), "PYJAIL_SERVE_DRAIN": "0.1"}
    asked = {"args": ["/bin/sh", "-c", "sleep 2; echo done"]}
    with serving(env=env) as (process, url):
        kept = later(url, asked)
        until(lambda: programs(process.pid))
    with serving(env=env) as (_, url):
        until(lambda: fetched(url, kept["id"])["state"] == "done")
        assert "done" in str(fetched(url, kept["id"])["result"]["stdout"])


def test_who_waits_for_something_else_is_told_that_the_service_ends():
    """For the end of a run that is fetched later, and with half a body."""
    with serving(env={"PYJAIL_SERVE_DRAIN": "0.5"}) as (process, url):
        kept = later(url, LONG)
        until(lambda: programs(process.pid))
        with contextlib.closing(http.client.HTTPConnection(url.removeprefix("http://"), timeout=PATIENCE)) as waits:
            waits.request("GET", f"/v1/runs/{kept['id']}?wait=60")
            with socket.create_connection(waits.sock.getpeername(), PATIENCE) as half:
                head = b"POST /v1/runs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                half.sendall(head + b"Content-Length: 10\r\n\r\n{")
                time.sleep(0.3)
                process.send_signal(signal.SIGTERM)
                answer = waits.getresponse()
                assert answer.status == 503 and json.load(answer)["type"].endswith(":ended")
                assert half.makefile("rb").readline().startswith(b"HTTP/1.1 503 ")
        process.wait(PATIENCE)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_the_other_signals_that_end_a_process_end_it_as_well(number):
    command = [
        "env",
        "--default-signal",
        sys.executable,
        "-m",
        "pyjail",
        "serve",
        "--port",
        "0",
    ]  # a shell may ignore some
    with serving(command=command) as (process, url):
        running = Answer(url, {"args": ["sleep", "1"]})
        until(lambda: programs(process.pid))
        process.send_signal(number)
        assert running.end() == 200
        assert process.wait(PATIENCE) == 0


def test_what_nohup_has_it_ignore_ends_nothing():
    with serving(command=["nohup", sys.executable, "-m", "pyjail", "serve", "--port", "0"]) as (process, url):
        process.send_signal(signal.SIGHUP)
        assert post(f"{url}/v1/runs", {"args": ["true"]})["result"]["verdict"] == "ok"


def test_what_finds_out_versions_runs_unasked_and_is_ended_with_the_service(tmp_path):
    file = tmp_path / "slow.toml"
    file.write_text('[languages.slow]\nrun = ["sleep"]\nsource = "x"\ntools = {sleep = "1000"}\n')
    with serving("--config", str(file)) as (process, url):
        until(lambda: any(b"1000" in line for line in programs(process.pid)))
        assert post(f"{url}/v1/runs", {"args": ["true"]})["result"]["verdict"] == "ok"


def test_a_signal_while_it_starts_ends_it():
    for after in (0.1, 0.4):
        process = subprocess.Popen([sys.executable, "-m", "pyjail", "serve", "--port", "0"], stdout=subprocess.DEVNULL)
        time.sleep(after)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) in (0, 128 + signal.SIGTERM, -signal.SIGTERM)
        until(lambda: not host_side.cgroups_of(process.pid))  # noqa: B023  # it is asked at once


def later(url, body):
    """What is told of a run that is fetched later."""
    headers = {"Content-Type": "application/json", "Prefer": "respond-async"}
    request = urllib.request.Request(f"{url}/v1/runs", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return json.load(answer)


def fetched(url, id):
    with urllib.request.urlopen(f"{url}/v1/runs/{id}", timeout=PATIENCE) as answer:
        return json.load(answer)
