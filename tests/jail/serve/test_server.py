"""``pyjail serve`` as it is typed: it says where it serves, or why it does not."""

from __future__ import annotations

import json
import signal
import socket
import urllib.request

import pytest

from tests.jail.serve.typed import PATIENCE, post, refused, serving

pytestmark = pytest.mark.needs_cgroups


def test_it_says_its_address_in_one_line_and_serves_there():
    with serving() as (_, url):
        assert url.startswith("http://127.0.0.1:")
        for path in ("/healthz", "/readyz"):
            with urllib.request.urlopen(url + path, timeout=PATIENCE) as answer:
                assert json.load(answer) == {"ok": True}
                assert "server" not in answer.headers
        assert post(f"{url}/v1/runs", {"args": ["true"]})["result"]["verdict"] == "ok"


def test_a_port_that_is_taken_is_said():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"port {port} of 127.0.0.1 is taken by another program" in refused("--port", port)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_an_address_that_others_reach_needs_tokens_or_open(host):
    said = refused("--host", host, "--port", "0")
    assert "without tokens anybody there could run programs" in said
    assert "--open" in said


def test_open_is_warned_of_at_each_start():
    with serving("--host", "0.0.0.0", "--open") as (process, url):
        process.send_signal(signal.SIGTERM)
        assert f"--open: whoever reaches {url} may run programs, without a token" in process.stderr.read()


def test_a_socket_of_a_path_is_replaced_when_it_is_dead_and_gone_afterwards(tmp_path):
    path = tmp_path / "serve.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with serving("--unix", str(path), port=()) as (_, url):
        assert url == f"unix:{path}"
        assert path.stat().st_mode & 0o777 == 0o660
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert b'{"ok":true}' in client.makefile("rb").read()
        assert "another program listens there" in refused("--unix", str(path))
    assert not path.exists()


def test_a_file_where_a_socket_is_to_be_stays(tmp_path):
    path = tmp_path / "file"
    path.write_text("precious")
    assert "it is no socket" in refused("--unix", str(path))
    assert path.read_text() == "precious"
