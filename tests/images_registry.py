"""A registry that does what it is told to: right, or wrong in each way that a transport can be. Loopback only.

It counts requests and notes every Authorization header that it gets: `Registry.asked`.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from pyjail._images.credentials import Credentials
from pyjail._images.digests import of
from pyjail._images.documents import Descriptor
from pyjail._images.reference import parse
from pyjail._images.registry import RegistrySource
from pyjail._images.transport import Patience

OCI = "application/vnd.oci.image."


def digest(data: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


class Asked(NamedTuple):
    method: str
    path: str
    headers: Any
    body: bytes = b""

    @property
    def authorization(self) -> str | None:
        return self.headers.get("Authorization")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any

    def log_message(self, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        self.answer(b"")

    def do_POST(self) -> None:
        self.answer(self.rfile.read(int(self.headers.get("Content-Length", "0"))))

    def answer(self, body: bytes) -> None:
        registry: Registry = self.server.registry
        asked = Asked(self.command, self.path, self.headers, body)
        registry.asked.append(asked)
        with contextlib.suppress(OSError):
            registry.answer(self, asked)

    def send(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        headers = {"Content-Length": str(len(body)), **(headers or {})}
        self.send_response(status)
        for name, value in headers.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def complain(self, status: int, message: str = "no", headers: dict[str, str] | None = None) -> None:
        self.send(status, json.dumps({"errors": [{"code": "X", "message": message}]}).encode(), headers)

    def end(self) -> None:
        """The connection, in the middle of whatever it was."""
        self.wfile.flush()
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(2)


Fault = Callable[[Handler, Asked], bool]


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # clients that go away are what tests are about


class Registry:
    """``blobs`` by digest and ``manifests`` by tag or digest (type, bytes). ``faults``: the first that returns true has
    answered. ``password``: Basic; ``tokens``: where tokens are (URL), then they are needed."""

    def __init__(self, certificate: Path | None = None) -> None:
        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.registry = self  # type: ignore[attr-defined]
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.server.socket = context.wrap_socket(
                self.server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.scheme = "https" if certificate else "http"
        self.port = self.server.server_address[1]
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"{self.scheme}://{self.host}"
        self.asked: list[Asked] = []
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, tuple[str, bytes]] = {}
        self.faults: list[Fault] = []
        self.password: tuple[str, str] | None = None
        self.realm = ""  # of tokens, where they are needed
        self.token = "a.good-token"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    @property
    def secrets(self) -> list[str]:
        """All Authorization headers that came, in their order."""
        return [asked.authorization for asked in self.asked if asked.authorization is not None]

    def add(self, *layers: bytes, config: dict[str, Any] | None = None, tag: str = "1") -> bytes:
        """A manifest of these layers (tar+gzip); its bytes."""
        text = json.dumps({"os": "linux", "architecture": "amd64", **(config or {})}).encode()
        rows = [self.put(layer, "layer.v1.tar+gzip") for layer in layers]
        document = {
            "schemaVersion": 2,
            "mediaType": f"{OCI}manifest.v1+json",
            "config": self.put(text, "config.v1+json"),
            "layers": rows,
        }
        return self.name(json.dumps(document).encode(), f"{OCI}manifest.v1+json", tag)

    def name(self, raw: bytes, media_type: str, tag: str) -> bytes:
        self.manifests[tag] = self.manifests[digest(raw)] = (media_type, raw)
        return raw

    def put(self, data: bytes, kind: str) -> dict[str, Any]:
        """Its descriptor."""
        self.blobs[digest(data)] = data
        return {"mediaType": OCI + kind, "digest": digest(data), "size": len(data)}

    def answer(self, to: Handler, asked: Asked) -> None:
        for fault in list(self.faults):
            if fault(to, asked):
                return
        if asked.path.startswith("/token"):
            self._give_token(to, asked)
        elif self.realm and asked.authorization != f"Bearer {self.token}":
            challenge = f'Bearer realm="{self.realm}",service="the, \\"service\\"",scope="repository:x:push"'
            to.complain(401, "token", {"WWW-Authenticate": challenge})
        elif not self.realm and self.password and not self._known(asked):
            to.complain(401, "password", {"WWW-Authenticate": 'Basic realm="x"'})
        else:
            self._give(to, asked)

    def _known(self, asked: Asked) -> bool:
        assert self.password
        expected = base64.b64encode(":".join(self.password).encode()).decode()
        return asked.authorization == f"Basic {expected}"

    def _give_token(self, to: Handler, asked: Asked) -> None:
        query = parse_qs(asked.body.decode() if asked.method == "POST" else urlsplit(asked.path).query)
        refreshed = query.get("refresh_token") == ["identity"] and query.get("grant_type") == ["refresh_token"]
        if query.get("scope") != ["repository:team/app:pull"] or query.get("service") != ['the, "service"']:
            to.complain(400, "scope or service")
        elif self.password and not (refreshed or self._known(asked)):
            to.complain(401, "wrong")
        else:
            name = "access_token" if refreshed else "token"
            to.send(200, json.dumps({name: self.token, "expires_in": 60}).encode())

    def _give(self, to: Handler, asked: Asked) -> None:
        _, _, rest = asked.path.partition("/v2/team/app/")
        kind, _, name = rest.partition("/")
        if kind == "manifests" and name in self.manifests:
            media_type, raw = self.manifests[name]
            to.send(200, raw, {"Content-Type": media_type, "Docker-Content-Digest": digest(raw)})
        elif kind == "blobs" and name in self.blobs:
            self.give_blob(to, asked, self.blobs[name])
        else:
            to.complain(404, "unknown")

    def give_blob(self, to: Handler, asked: Asked, data: bytes) -> None:
        start = asked.headers.get("Range", "").removeprefix("bytes=").rstrip("-")
        if start:
            at, last = int(start), len(data) - 1
            to.send(206, data[at:], {"Content-Range": f"bytes {at}-{last}/{len(data)}"})
        else:
            to.send(200, data, {"Content-Type": "application/octet-stream"})


@contextlib.contextmanager
def registry(certificate: Path | None = None) -> Iterator[Registry]:
    made = Registry(certificate)
    try:
        yield made
    finally:
        made.close()


# A key and a certificate for 127.0.0.1, which signed itself and is good for a hundred years.
CERTIFICATE = Path(__file__).with_name("images_registry.pem")

LAYER = bytes(range(256)) * 1000
QUICK = Patience(idle=20.0, answer=20.0, window=20.0, least=1000, tries=3, pause=0.01, longest=1.0)
SHORT = QUICK._replace(idle=0.5, answer=1.0, window=0.5, tries=2)  # where it is waited for
TESTER = Credentials("tester", "s3cret")


def source(there, text="team/app:1", credentials=None, **options):
    options = {"patience": QUICK, **options}
    return RegistrySource(parse(f"{there.host}/{text}"), credentials, **options)


def layer(data=LAYER, size=None, media_type=OCI + "layer.v1.tar+gzip"):
    return Descriptor(media_type, of(data), len(data) if size is None else size, {})


def got(it, descriptor=None):
    with it.blob(descriptor or layer()) as file:
        return b"".join(iter(lambda: file.read(7001), b""))


def once(fault, *paths):
    """A fault of the first request to such a path."""
    done = []

    def answer(to, asked):
        if done or not any(part in asked.path for part in paths or ("/blobs/",)):
            return False
        done.append(True)
        fault(to, asked)
        return True

    return answer


def always(fault, *paths):
    def answer(to, asked):
        if any(part in asked.path for part in paths or ("/blobs/",)):
            fault(to, asked)
            return True
        return False

    return answer


def cut(to, asked):
    """All of its bytes are promised, and half of them sent."""
    to.send(200, LAYER[: len(LAYER) // 2], {"Content-Length": str(len(LAYER))})
    to.end()
