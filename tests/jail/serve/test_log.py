"""The log of a real service: whoever reads it does not hold it up, and clients cannot fill it."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import urllib.request

from tests.jail.serve.typed import PATIENCE, post, serving


def test_standard_error_that_nobody_reads_holds_up_nothing_and_not_its_end():
    with serving() as (process, url):  # a pipe, and nobody reads it
        client = http.client.HTTPConnection(url.removeprefix("http://"), timeout=PATIENCE)
        for _ in range(1000):  # lines of some 300 bytes: several times what a pipe holds
            client.request("GET", "/healthz")
            assert client.getresponse().read() == b'{"ok":true}'
        client.close()
        assert post(f"{url}/v1/runs", {"args": ["true"]})["result"]["verdict"] == "ok"
        with urllib.request.urlopen(f"{url}/metrics", timeout=PATIENCE) as answer:
            assert b"pyjail_log_dropped_total 0.0" in answer.read()
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
        lines = process.stderr.read().splitlines()
        assert all(json.loads(line)["event"] == "request" for line in lines[:100])


def test_nonsense_is_some_lines_a_second_and_all_of_it_is_counted(tmp_path):
    with serving(log=tmp_path / "log") as (_, url):
        for _ in range(300):
            with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), PATIENCE) as sock:
                sock.sendall(b"hunter2\r\n\r\n")
                assert sock.makefile("rb").readline().startswith(b"HTTP/1.1 400 ")
        with urllib.request.urlopen(f"{url}/metrics", timeout=PATIENCE) as answer:
            assert b'pyjail_rejected_total{reason="http"} 300.0' in answer.read()
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    said = [line for line in lines if line["event"] == "refused"]
    seconds = {int(line["time"]) for line in said}
    assert 10 <= len(said) <= 10 * (len(seconds) + 1)
    assert {line["event"] for line in lines} == {"refused", "request"} and "hunter2" not in str(lines)


def test_refusals_are_some_lines_a_second_and_all_of_them_are_counted(tmp_path):
    body = b'{"args": ["true"]}'
    head = b"POST /v1/runs HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\nContent-Length: 18\r\n\r\n"
    with serving(log=tmp_path / "log") as (_, url):
        for asked, status in (
            (head % (b"evil.test", b"application/json"), b"421"),
            (head % (b"localhost", b"x/y"), b"415"),
        ):
            with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), PATIENCE) as sock:
                with sock.makefile("rb") as read:
                    for _ in range(200):
                        sock.sendall(asked + body)
                        assert read.readline().split()[1] == status
                        headers = dict(line.split(b": ", 1) for line in iter(read.readline, b"\r\n"))
                        read.read(int(headers[b"content-length"]))
        with urllib.request.urlopen(f"{url}/metrics", timeout=PATIENCE) as answer:
            counted = answer.read()
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    for problem in ("host-header", "content-type"):
        assert b'pyjail_rejected_total{reason="%s"} 200.0' % problem.encode() in counted, counted
        said = [line for line in lines if line.get("problem") == problem]
        seconds = {int(line["time"]) for line in said}
        assert 10 <= len(said) <= 10 * (len(seconds) + 1)
        assert all(line["event"] == "request" and line["request_id"] for line in said)
