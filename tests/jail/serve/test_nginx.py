"""nginx, as deploy/nginx.conf has it, in front of the real service."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import shutil
import socket
import ssl
import subprocess
import time

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests import place
from tests.jail.serve import raw
from tests.jail.serve.test_smuggling import AMBIGUOUS
from tests.jail.serve.typed import PATIENCE, ROOT, serving, until

pytestmark = [
    pytest.mark.needs_cgroups,
    pytest.mark.skipif(not shutil.which("nginx"), reason=f"nginx {place.WITHOUT_TOOL}"),
    pytest.mark.skipif(not shutil.which("openssl"), reason=f"openssl {place.WITHOUT_TOOL}"),
]
NAME = "run.example.org"
SERVICE = f"""
[serve.edge]
hosts = ["{NAME}"]
proxies = ["127.0.0.1"]
body = "16M"
"""
MAIN = """daemon off;
pid {directory}/pid;
error_log {directory}/error.log;
worker_processes 1;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    include {directory}/pyjail.conf;
}}
"""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


@contextlib.contextmanager
def proxy(directory, *upstreams):
    """The port of an nginx that is there while the block lasts, before one service or two."""
    port, key, certificate = free_port(), directory / "key.pem", directory / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}", "-keyout", key, "-out", certificate],
        check=True, capture_output=True, timeout=PATIENCE,
    )  # fmt: skip
    text = (ROOT / "deploy/nginx.conf").read_text()
    if len(upstreams) > 1:
        (one,) = re.findall(r"^upstream pyjail \{.*?^\}$", text, re.MULTILINE | re.DOTALL)
        text = text.replace(one, (ROOT / "deploy/nginx-several.conf").read_text())
    for old, new in (
        *((f"127.0.0.1:{8000 + n}", f"127.0.0.1:{port}") for n, port in enumerate(upstreams)), ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("/etc/ssl/certs/run.example.org.pem", str(certificate)), ("/etc/ssl/private/run.example.org.key", str(key)),
    ):  # fmt: skip
        assert text.count(old) == 1
        text = text.replace(old, new)
    (directory / "pyjail.conf").write_text(text)
    (directory / "nginx.conf").write_text(MAIN.format(directory=directory))
    command = ["nginx", "-p", str(directory), "-c", str(directory / "nginx.conf"), "-g", "user root;"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        end = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None, process.stderr.read()
                assert time.monotonic() < end
                time.sleep(0.02)
        yield port
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE)


@pytest.fixture(scope="module")
def behind(tmp_path_factory):
    """(connect to it, the service's own port, what its log has)."""
    directory = tmp_path_factory.mktemp("nginx")
    (directory / "serve.toml").write_text(SERVICE)
    context = ssl.create_default_context()
    with serving("--config", str(directory / "serve.toml"), log=directory / "log") as (_, url):
        with proxy(directory, url.rpartition(":")[2]) as port:
            context.load_verify_locations(directory / "cert.pem")

            def connect():
                plain = socket.create_connection(("127.0.0.1", port), PATIENCE)
                made = http.client.HTTPSConnection(NAME, port, timeout=PATIENCE)
                made.sock = context.wrap_socket(plain, server_hostname=NAME)
                return made

            yield connect, lambda: (directory / "log").read_text()


def ask(behind, method, path, body=None, **headers):
    """(status, body)."""
    with contextlib.closing(behind[0]()) as connection:
        given = {"Content-Type": "application/json", **headers}
        connection.request(method, path, json.dumps(body) if isinstance(body, dict) else body, given)
        answer = connection.getresponse()
        return answer.status, answer.read()


def test_a_program_is_run(behind):
    status, said = ask(behind, "POST", "/v1/runs", {"args": ["true"]})
    assert status == 200 and json.loads(said)["result"]["verdict"] == "ok"


def test_a_page_of_its_own_name_may_ask_and_no_other(behind):
    with contextlib.closing(behind[0]()) as connection:
        own = f"https://{NAME}:{connection.port}"
    body = {"args": ["true"]}
    assert ask(behind, "POST", "/v1/runs", body, Origin=own)[0] == 200
    assert ask(behind, "POST", "/v1/runs", body, Origin="https://evil.example")[0] == 403


def test_the_client_is_who_connects_whatever_it_claims(behind):
    headers = {"X-Forwarded-For": "203.0.113.7", "X-Request-ID": "claims"}
    assert ask(behind, "POST", "/v1/runs", {"args": ["true"]}, **headers)[0] == 200
    (line,) = until(lambda: requests(behind, "claims"))
    assert line["tenant"] == "127.0.0.1"


def requests(behind, id):
    """The lines of the log about this one; they come when its answer has gone."""
    lines = [json.loads(line) for line in behind[1]().splitlines() if line.startswith("{")]
    return [line for line in lines if line.get("request_id") == id and line["event"] == "request"]


def test_metrics_are_not_for_everybody(behind):
    assert ask(behind, "GET", "/metrics")[0] == 404


def test_a_terminal_is_one_through_the_proxy(behind):
    with contextlib.closing(behind[0]()) as connection:
        where = f"ws://{NAME}:{connection.port}/v1/terminal"
        with connect(where, sock=connection.sock, open_timeout=PATIENCE) as terminal:
            terminal.send(json.dumps({"args": ["sh", "-c", "read x; echo got $x"]}))
            terminal.send(b"it\n")
            shown = b""
            with contextlib.suppress(ConnectionClosed):
                while True:
                    message = terminal.recv(PATIENCE)
                    shown += message if isinstance(message, bytes) else b""
    assert b"got it" in shown


@pytest.mark.parametrize("what", sorted(set(AMBIGUOUS) - {"a TLS hello"}))
def test_what_is_ambiguous_never_makes_an_answer_go_to_somebody_else(behind, what):
    """nginx refuses it, or makes it clear; either way its connections to the service stay in step."""
    asked = AMBIGUOUS[what].replace(b"Host: localhost", f"Host: {NAME}".encode())
    second = f"GET /healthz HTTP/1.1\r\nHost: {NAME}\r\nX-Request-ID: smuggled\r\nConnection: close\r\n\r\n".encode()
    with contextlib.closing(behind[0]()) as connection, contextlib.suppress(ConnectionError, ssl.SSLError):
        connection.sock.sendall(asked + second)
        raw.until_closed(connection.sock)
    for n in range(6):
        with contextlib.closing(behind[0]()) as connection:
            connection.request("GET", "/healthz", headers={"X-Request-ID": f"own-{n}"})
            answer = connection.getresponse()
            assert (answer.status, answer.headers["X-Request-ID"]) == (200, f"own-{n}")
            assert json.loads(answer.read()) == {"ok": True}


def test_events_come_as_they_happen(behind):
    """Without a proxy in between that waits for more of them."""
    body = {"args": ["/bin/sh", "-c", "echo first; sleep 2; echo second"]}
    with contextlib.closing(behind[0]()) as connection:
        connection.request(
            "POST", "/v1/runs", json.dumps(body),
            {"Content-Type": "application/json", "Accept": "text/event-stream"},
        )  # fmt: skip
        answer, when = connection.getresponse(), {}
        for line in answer:
            for word in (b"first", b"second"):
                if word in line and line.startswith(b"data:"):
                    when.setdefault(word, time.monotonic())
    assert when[b"second"] - when[b"first"] > 1


def test_the_bound_of_a_body_is_the_same_here_and_there(behind):
    text = (ROOT / "deploy/nginx.conf").read_text()
    from pyjail.serve import Config

    assert f"client_max_body_size {Config().edge.body >> 20}m;" in text
    large = json.dumps({"args": ["true"], "stdin": "x" * (17 << 20)}).encode()
    assert ask(behind, "POST", "/v1/runs", large)[0] == 413
    fits = json.dumps({"args": ["wc", "-c"], "stdin": "x" * (15 << 20)}).encode()
    status, said = ask(behind, "POST", "/v1/runs", fits)
    assert status == 200 and str(15 << 20) in str(json.loads(said)["result"]["stdout"])


def test_a_client_that_leaves_takes_its_program_with_it_through_the_proxy(behind):
    connection = behind[0]()
    body = {"args": ["sleep", "1000"], "limits": {"wall_time": 100}}
    connection.request(
        "POST", "/v1/runs", json.dumps(body), {"Content-Type": "application/json", "X-Request-ID": "gone"}
    )
    time.sleep(0.5)
    connection.sock.close()
    until(lambda: requests(behind, "gone"))
