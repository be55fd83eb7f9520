"""Debian's docker-registry on loopback: open, with a password, or with a token server of ours. Images are pushed to it."""

from __future__ import annotations

import base64
import contextlib
import http.client
import http.server
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.images_registry import OCI, Asked, Handler, Server, digest

WITHOUT = "docker-registry, htpasswd or openssl is not installed: apt-get install docker-registry apache2-utils openssl"
HERE = all(map(shutil.which, ("docker-registry", "htpasswd", "openssl")))
USER, PASSWORD = "tester", "s3cret"


class Running:
    """``host``; ``tokens``: what the token server was asked."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.tokens: list[Asked] = []

    def push(self, name: str, tag: str, config: dict[str, Any], *layers: bytes) -> str:
        """An image of these layers, tar+gzip; the digest of its manifest."""
        rows = [self._blob(name, layer, "layer.v1.tar+gzip") for layer in layers]
        own = self._blob(name, json.dumps(config).encode(), "config.v1+json")
        kind = f"{OCI}manifest.v1+json"
        raw = json.dumps({"schemaVersion": 2, "mediaType": kind, "config": own, "layers": rows}).encode()
        self._ask("PUT", f"/v2/{name}/manifests/{tag}", raw, {"Content-Type": kind}, 201)
        return digest(raw)

    def _blob(self, name: str, data: bytes, kind: str) -> dict[str, Any]:
        place = self._ask("POST", f"/v2/{name}/blobs/uploads/", b"", {}, 202)
        parts = urlsplit(place)
        self._ask(
            "PUT",
            f"{parts.path}?{parts.query}&digest={digest(data)}",
            data,
            {"Content-Type": "application/octet-stream"},
            201,
        )
        return {"mediaType": OCI + kind, "digest": digest(data), "size": len(data)}

    def _ask(self, method: str, path: str, body: bytes, headers: dict[str, str], expected: int) -> str:
        connection = http.client.HTTPConnection(self.host)
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        assert answer.status == expected, (answer.status, answer.read())
        connection.close()
        return answer.headers["Location"]


@contextlib.contextmanager
def docker_registry(directory: Path, auth: str = "", port: int = 0) -> Iterator[Running]:
    """One that keeps its blobs in ``directory``/data; ``auth``: "", "password" or "token"."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", port))
        port = found.getsockname()[1]
    running = Running(f"127.0.0.1:{port}")
    with contextlib.ExitStack() as stack:
        config: dict[str, Any] = {
            "version": 0.1, "log": {"level": "error", "accesslog": {"disabled": True}}, "http": {"addr": running.host},
            "storage": {"filesystem": {"rootdirectory": str(directory / "data")}},
        }  # fmt: skip
        if auth == "password":
            line = subprocess.run(["htpasswd", "-Bbn", USER, PASSWORD], check=True, capture_output=True).stdout
            (directory / "htpasswd").write_bytes(line)
            config["auth"] = {"htpasswd": {"realm": "tests", "path": str(directory / "htpasswd")}}
        elif auth == "token":
            realm = stack.enter_context(_token_server(directory, running))
            config["auth"] = {
                "token": {
                    "realm": realm,
                    "service": "tests",
                    "issuer": "us",
                    "rootcertbundle": str(directory / "token.crt"),
                }
            }
        (directory / "config.json").write_text(json.dumps(config))  # which is YAML, too
        process = subprocess.Popen(
            ["docker-registry", "serve", str(directory / "config.json")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        stack.callback(process.wait)
        stack.callback(process.kill)
        for _ in range(600):
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
                break
            assert process.poll() is None
            time.sleep(0.1)
        yield running


@contextlib.contextmanager
def _token_server(directory: Path, running: Running) -> Iterator[str]:
    """The URL of one that signs who may pull what; who says a password has to say the right one."""
    key, crt = str(directory / "token.key"), str(directory / "token.crt")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=us", "-keyout", key, "-out", crt], check=True, capture_output=True)  # fmt: skip
    der = "".join(Path(crt).read_text().strip().splitlines()[1:-1])

    def coded(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    def token(scope: str) -> str:
        kind, name, actions = scope.split(":")
        now = int(time.time())
        head = {"typ": "JWT", "alg": "RS256", "x5c": [der]}
        claims = {
            "iss": "us", "sub": USER, "aud": "tests", "iat": now, "nbf": now - 60, "exp": now + 300, "jti": str(now),
            "access": [{"type": kind, "name": name, "actions": actions.split(",")}],
        }  # fmt: skip
        text = f"{coded(json.dumps(head).encode())}.{coded(json.dumps(claims).encode())}"
        signed = subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", key], input=text.encode(), check=True, capture_output=True
        )
        return f"{text}.{coded(signed.stdout)}"

    class Tokens(Handler):
        def answer(self, body: bytes) -> None:
            asked = Asked(self.command, self.path, self.headers, body)
            running.tokens.append(asked)
            expected = f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"
            if asked.authorization not in (None, expected):
                self.complain(401, "unknown user")
            else:
                scope = parse_qs(urlsplit(self.path).query)["scope"][0]
                self.send(200, json.dumps({"token": token(scope)}).encode())

    server = Server(("127.0.0.1", 0), Tokens)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/auth"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
