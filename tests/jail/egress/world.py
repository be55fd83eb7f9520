"""Servers on this machine's loopback, programs that speak to a proxy, and a proxy in a thread with a resolver of ours."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pyjail import Contacts
from pyjail._egress import connection
from pyjail._egress.proxy import Proxy
from tests.conftest import SLOW
from tests.inside import Egress

CERTIFICATE = Path(__file__).with_name("server.pem")  # of allowed.test, other.test, localhost; for tests alone
PATIENCE = 15 * SLOW
CONNECTED = b"HTTP/1.1 200 Connection established\r\n\r\n"


class Server:
    """Listens on 127.0.0.1; each connection is ``talk(sock)`` in a thread. ``got``: bytes that reached it, as they are."""

    def __init__(self, talk: Callable[[Any], object] | None = None, tls: bool = False) -> None:
        self.talk = talk or echo
        self.got: list[bytes] = []
        self.connections = 0
        self.context = None
        if tls:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(CERTIFICATE)
        self.sock = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self.sock.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.sock.accept()
                self.connections += 1
                threading.Thread(target=self._one, args=(client,), daemon=True).start()

    def _one(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            client.settimeout(PATIENCE)
            if self.context is None:
                self.talk(Noting(client, self.got))
                return
            with self.context.wrap_socket(client, server_side=True) as inner:
                self.talk(Noting(inner, self.got))
                inner.unwrap()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()


class Noting:
    """A socket, and a list of what was received by it."""

    def __init__(self, sock: Any, got: list[bytes]) -> None:
        self.sock, self.got = sock, got

    def recv(self, size: int) -> bytes:
        data: bytes = self.sock.recv(size)
        self.got.append(data)
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sock, name)


def echo(sock: Any) -> None:
    while data := sock.recv(1 << 16):
        sock.sendall(data)


def http(body: bytes = b"hello", head: bytes = b"HTTP/1.1 200 OK\r\n") -> Callable[[Any], None]:
    """One answer to one head, and the body that it tells of."""

    def talk(sock: Any) -> None:
        data = b""
        while b"\r\n\r\n" not in data and (part := sock.recv(4096)):
            data += part
        sock.sendall(head + b"Content-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body))
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(4096):
            pass

    return talk


class World:
    """A proxy in a thread, with one run. ``answers``: of the resolver, which keeps what it was asked in ``asked``."""

    def __init__(self, egress: Egress, answers: dict[str, Any] | None = None, **given: Any) -> None:
        self.egress, self.answers, self.given = egress, answers or {}, given
        self.asked: list[str] = []
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.address = self.listening.getsockname()
        self.loop = asyncio.new_event_loop()
        self.ready = threading.Event()
        self.thread = threading.Thread(target=self.loop.run_until_complete, args=(self._main(),), daemon=True)

    async def _resolve(self, host: str) -> list[Any]:
        self.asked.append(host)
        found = self.answers.get(host, OSError("Name or service not known"))
        if isinstance(found, Exception):
            raise found
        if isinstance(found, float):
            await asyncio.sleep(found)
            found = ["127.0.0.1"]
        return [ipaddress.ip_address(text) for text in found]

    async def _main(self) -> None:
        self.over = asyncio.Event()
        self.proxy = Proxy(**{"resolve": self._resolve, "own": lambda _: False, **self.given})
        self.proxy.serve(1, self.listening, self.egress)
        self.ready.set()
        await self.over.wait()
        self.proxy.close()
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in others:  # lookups: connections are closed
                task.cancel()
            await asyncio.wait(others)

    def __enter__(self) -> World:
        self.thread.start()
        assert self.ready.wait(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        self.call(self.over.set)
        self.thread.join(PATIENCE)
        self.loop.close()
        self.listening.close()

    def call(self, what: Callable[..., Any], *args: Any) -> Any:
        """In the proxy's thread."""

        async def inner() -> Any:
            return what(*args)

        return asyncio.run_coroutine_threadsafe(inner(), self.loop).result(PATIENCE)

    def end(self) -> Contacts:
        report: Contacts = self.call(self.proxy.end, 1)
        return report

    def rows(self, count: int = 1) -> list[Any]:
        """Of connections that are over, once there are so many."""
        run = self.proxy.runs[1]
        assert until(lambda: len(run.rows) >= count), run.rows
        return list(run.rows)

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, PATIENCE)


def local(port: int, *rules: str, **bounds: object) -> Egress:
    """These rules, and what lets a name lead to a server of ours."""
    return Egress([*rules, f"127.0.0.0/8:{port}"], **bounds)


def open_fds() -> set[str]:
    """Of this process, but the one that they are listed with."""
    return {name for name in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{name}")}


def until(true: Callable[[], object]) -> bool:
    end = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


def tunnel(sock: socket.socket, target: str) -> bytes:
    """The head of the answer to CONNECT."""
    sock.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
    return head(sock)


def head(sock: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data and (part := sock.recv(1)):
        data += part
    return data


def everything(sock: Any) -> bytes:
    """Until the end; of a reset, what came before it and b"RESET"."""
    data = b""
    try:
        while part := sock.recv(1 << 16):
            data += part
    except ConnectionError:
        data += b"RESET"
    return data


def client_context() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(CERTIFICATE))


@contextlib.contextmanager
def tls(sock: socket.socket, host: str) -> Iterator[ssl.SSLSocket]:
    with client_context().wrap_socket(sock, server_hostname=host, suppress_ragged_eofs=False) as inner:
        yield inner


def careless(patch: pytest.MonkeyPatch, rule: object) -> None:
    """Proxies of this process take every host for listed, and every address for public."""
    patch.setattr(connection, "allows", lambda *_: rule)
    patch.setattr(connection, "address_allowed", lambda *_: "")
