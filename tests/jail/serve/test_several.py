"""Several services behind one nginx, as deploy/nginx-several.conf has it: a client comes to the one that it came to before."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import shutil
import socket
import ssl

import pytest

from tests import place
from tests.jail.serve.test_nginx import NAME, SERVICE, proxy
from tests.jail.serve.typed import PATIENCE, refused, serving

NEEDS_NGINX = [
    pytest.mark.needs_cgroups,
    pytest.mark.skipif(not shutil.which("nginx"), reason=f"nginx {place.WITHOUT_TOOL}"),
    pytest.mark.skipif(not shutil.which("openssl"), reason=f"openssl {place.WITHOUT_TOOL}"),
]
SECRETS = [f"secret-of-{number}" for number in range(12)]


def config():
    """Of services that know the same tokens."""
    tokens = [
        f'[[serve.tokens]]\nname = "t{n}"\nsha256 = "{hashlib.sha256(secret.encode()).hexdigest()}"\nrole = "run"\n'
        for n, secret in enumerate(SECRETS)
    ]
    return f"[serve.admission]\nconcurrent = 1\n{SERVICE}\n{''.join(tokens)}"


def test_more_than_one_process_is_refused_with_the_way_to_it():
    said = refused("--workers", "4", "--port", "0")
    assert "one process serves" in said and "nginx-several.conf" in said


class Services:
    """Two, and the proxy before them."""

    def __init__(self, port, ports, context):
        self._port, self.ports, self._context = port, ports, context

    def ask(self, secret, method, path, body=None, port=None, header="Authorization", scheme="Bearer "):
        """(status, what it says), by a connection of its own; ``port``: past the proxy."""
        plain = socket.create_connection(("127.0.0.1", port or self._port), PATIENCE)
        made = http.client.HTTPConnection(NAME, timeout=PATIENCE)
        made.sock = plain if port else self._context.wrap_socket(plain, server_hostname=NAME)
        with contextlib.closing(made):
            headers = {"Content-Type": "application/json", header: f"{scheme}{secret}"}
            made.request(method, path, body if body is None else json.dumps(body), headers)
            answer = made.getresponse()
            said = answer.read()
            return answer.status, json.loads(said) if said else None


@pytest.fixture
def services(tmp_path):
    (tmp_path / "serve.toml").write_text(config())
    given = ("--config", str(tmp_path / "serve.toml"))
    with serving(*given, log=tmp_path / "a") as (_, one), serving(*given, log=tmp_path / "b") as (_, two):
        ports = [int(url.rpartition(":")[2]) for url in (one, two)]
        with proxy(tmp_path, *ports) as port:
            context = ssl.create_default_context()
            context.load_verify_locations(tmp_path / "cert.pem")
            yield Services(port, ports, context)


def nginx(test):
    for mark in reversed(NEEDS_NGINX):
        test = mark(test)
    return test


@nginx
def test_sessions_and_runs_are_where_their_client_comes_to(services):
    used = set()
    for secret in SECRETS:
        _, session = services.ask(secret, "POST", "/v1/sessions", {})
        where = f"/v1/sessions/{session['id']}"
        for _ in range(3):
            status, said = services.ask(
                secret, "POST", f"{where}/steps", {"args": ["sh", "-c", "echo 1 >> a; wc -l a"]}
            )
            assert status == 200
        assert said["result"]["stdout"] == {"bytes": "3 a\n"}
        knows = [port for port in services.ports if services.ask(secret, "GET", where, port=port)[0] == 200]
        assert len(knows) == 1
        used.update(knows)
        assert services.ask(secret, "DELETE", where)[0] == 200
        digest = hashlib.sha256(b'"x"').hexdigest()
        assert services.ask(secret, "PUT", f"/v1/files/{digest}", "x")[0] == 201
        asked = {"args": ["cat", "a"], "files": {"a": {"sha256": digest}}}
        assert services.ask(secret, "POST", "/v1/runs", asked)[1]["result"]["stdout"] == {"bytes": '"x"'}
    assert used == set(services.ports)  # one is as likely as the other: twelve would not all come to one


@nginx
def test_who_gives_his_token_as_another_header_comes_to_one_service_too(services):
    for secret in SECRETS[:4]:
        found = []
        for _ in range(2):
            status, said = services.ask(
                secret, "POST", "/judge0/submissions", {"language_id": 46, "source_code": "echo 1"},
                header="X-Auth-Token", scheme="",
            )  # fmt: skip
            assert status == 201
            found.append(said["token"])
        for token in found:
            status, _ = services.ask(secret, "GET", f"/judge0/submissions/{token}", header="X-Auth-Token", scheme="")
            assert status == 200
