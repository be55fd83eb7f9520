"""One connection of a program: what it asks for, whether that is allowed, and the host that it is joined to.

It trusts nothing that comes from a jail and nothing that comes from a host.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import struct
from functools import partial
from typing import Protocol

from pyjail._egress import hello, request
from pyjail._egress.pump import CutError, Pump
from pyjail._egress.request import RefusedError, Request
from pyjail._egress.rules import address_allowed, allows
from pyjail._result.contact import Contact
from pyjail._spec.egress import literal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pyjail._spec.egress import Address, Egress

CONNECT_S = 10.0
LOOKUP_S = 10.0
LINGER_S = 1.0
MOST_WHY = 2000  # characters
_RESET, _ORDERLY = struct.pack("ii", 1, 0), struct.pack("ii", 0, 0)
_OPTIONS = (
    (socket.TCP_NODELAY, 1),
    (socket.TCP_WINDOW_CLAMP, 1 << 21),  # the kernel's own bound is 6 MiB or more
    (getattr(socket, "TCP_NOTSENT_LOWAT", 25), 1 << 20),
)


class Everybodys(Protocol):
    """What all runs have together."""

    loop: asyncio.AbstractEventLoop
    own: Callable[[Address], bool]
    resolve: Callable[[str], Awaitable[list[Address]]]


class Run(Protocol):
    """Whose connection it is."""

    egress: Egress
    lookups: asyncio.Semaphore  # at once

    @property
    def proxy(self) -> Everybodys: ...

    def spend(self, bytes_in: int, bytes_out: int) -> str: ...

    def over(self, connection: Connection, row: Contact) -> None: ...


def _how_closed(sock: socket.socket, how: bytes) -> None:
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, how)


def _over(lookups: asyncio.Semaphore, looked: asyncio.Future[list[Address]]) -> None:
    lookups.release()
    if not looked.cancelled():
        looked.exception()  # else the loop tells of one that nobody has seen, when nobody waits any more


def _bounded(sock: socket.socket) -> None:
    """What is sent goes at once; of what nobody takes the kernel keeps a bounded part."""
    for name, value in _OPTIONS:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, name, value)


class Connection:
    """One connection of a program."""

    def __init__(self, run: Run, client: socket.socket) -> None:
        self.run, self.loop = run, run.proxy.loop
        self.client = client
        self.server: socket.socket | None = None
        self.pump: Pump | None = None
        self.began = self.loop.time()
        self.host, self.port, self.rule, self.allowed = "", 0, "", False
        self.bytes_in = self.bytes_out = 0
        self.closed = False
        client.setblocking(False)
        # Whatever ends us, the program sees a reset and no end of data, until all of it is there.
        _how_closed(client, _RESET)
        self.task = self.loop.create_task(self._serve())

    async def _serve(self) -> None:
        why = "cancelled"
        try:
            why = await self._answered()
        except CutError as e:
            why = str(e)
        except TimeoutError:
            why = f"idle for {self.run.egress.idle:g} s"
        except (OSError, MemoryError) as e:
            why = f"the connection broke: {e}"
        except Exception as e:  # whatever it is, it is this connection's alone
            why = f"the proxy failed: {e!r}"
        finally:
            self.close(why)

    async def _answered(self) -> str:
        """Serve it, or tell the client why not."""
        try:
            async with asyncio.timeout(self.run.egress.idle):
                asked, rest = await self._request()
            self.host, self.port = asked.host, asked.port
            await self._reach(asked)
            await (self._tunnel(rest) if asked.tunnel else self._forward(asked, rest))
        except RefusedError as e:
            await self._tell(request.answer(e.status, e.why))
            return e.why
        await self._linger()
        return ""

    async def _request(self) -> tuple[Request, bytes]:
        data = b""
        while request.END not in data:
            if len(data) >= request.MOST_HEAD:
                raise RefusedError(431, f"a head of more than {request.MOST_HEAD} bytes")
            part = await self.loop.sock_recv(self.client, request.MOST_HEAD - len(data))
            if not part:
                raise CutError("ended before its request")
            data += part
        head, _, rest = data.partition(request.END)
        return request.parse(head + request.END), rest

    async def _reach(self, asked: Request) -> None:
        """Connect to the host that is asked for, when the rules let it."""
        host, port, egress = asked.host, asked.port, self.run.egress
        rule = allows(egress, host, port)
        if rule is None:
            listed = ", ".join(egress.rules)[:1000] or "none: nothing is allowed"
            raise RefusedError(403, f"{host}:{port} is refused: no rule names it (rules: {listed})")
        self.rule = rule.text
        addresses = await self._addresses(host)
        if why := address_allowed(egress, addresses, port, self.run.proxy.own):
            raise RefusedError(403, f"{host}:{port} (rule {rule.text}) is refused: {why}")
        self.allowed = True
        self.server = await self._connect(addresses, port)

    async def _addresses(self, host: str) -> list[Address]:
        if (address := literal(host)) is not None:
            return [address]
        lookups = self.run.lookups
        try:
            async with asyncio.timeout(LOOKUP_S):
                await lookups.acquire()
                looked = asyncio.ensure_future(self.run.proxy.resolve(host))
                # Until it has its answer, however long we wait: its thread is busy.
                looked.add_done_callback(partial(_over, lookups))
                return await asyncio.shield(looked)
        except TimeoutError:
            raise RefusedError(504, f"{host}: no answer of the resolver in {LOOKUP_S:g} s") from None
        except (OSError, UnicodeError, RuntimeError) as e:  # the last: there can be no thread for it
            raise RefusedError(502, f"{host} has no address: {e}") from None

    async def _connect(self, addresses: list[Address], port: int) -> socket.socket:
        """To the first of these very addresses that answers."""
        failure = OSError(errno.ETIMEDOUT, "")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CONNECT_S):
                for address in addresses:
                    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
                    sock = socket.socket(family, socket.SOCK_STREAM)
                    try:
                        sock.setblocking(False)
                        _how_closed(sock, _RESET)
                        await self.loop.sock_connect(sock, (str(address), port))
                        _bounded(sock)
                        _bounded(self.client)
                        return sock
                    except OSError as e:
                        sock.close()
                        failure = e
                    except BaseException:
                        sock.close()
                        raise
        raise RefusedError(502, f"{self.host}:{port} cannot be connected to: {os.strerror(failure.errno or 0)}")

    async def _tunnel(self, first: bytes) -> None:
        """After CONNECT. A name is spoken to by TLS for that name alone, or the same address serves another host."""
        await self.loop.sock_sendall(self.client, request.CONNECTED)
        if not self.rule_is_network:
            async with asyncio.timeout(self.run.egress.idle):
                first = await self._hello(first)
        await self._join(first)

    @property
    def rule_is_network(self) -> bool:
        """Whether it was allowed by its address."""
        return "/" in self.rule

    async def _hello(self, data: bytes) -> bytes:
        try:
            while (name := hello.server_name(data)) is None:
                part = await self.loop.sock_recv(self.client, hello.MOST - len(data))
                if not part:
                    raise CutError("ended before its ClientHello")
                data += part
        except hello.NotTlsError as e:
            self.allowed = False
            raise CutError(str(e)) from None
        if name != self.host:
            self.allowed = False
            raise CutError(f"the ClientHello names {name[:253]!r}")
        return data

    async def _forward(self, asked: Request, rest: bytes) -> None:
        """Plain http: one request of our own writing, and its answer."""
        body = rest[: asked.body]
        await self._join(asked.head + body, asked.body - len(body))

    async def _join(self, first: bytes, body: int | None = None) -> None:
        assert self.server is not None
        self.pump = Pump(self.loop, self.client, self.server, self._spend_out, self._spend_in)
        if first:
            if why := self._spend_out(len(first)):
                raise CutError(why)
            async with asyncio.timeout(self.run.egress.idle):
                await self.loop.sock_sendall(self.server, first)
        await self.pump.run(body)

    def _spend_out(self, count: int) -> str:
        self.bytes_out += count
        return self.run.spend(0, count)

    def _spend_in(self, count: int) -> str:
        self.bytes_in += count
        return self.run.spend(count, 0)

    async def _tell(self, answer: bytes) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(LINGER_S):
                await self.loop.sock_sendall(self.client, answer)
            self.client.shutdown(socket.SHUT_WR)
            await self._linger()

    async def _linger(self) -> None:
        """Wait for the client's end: to close with bytes that nobody has read takes away what was sent."""
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(LINGER_S):
                for _ in range(64):
                    if not await self.loop.sock_recv(self.client, 1 << 14):
                        break
        for sock in (self.client, self.server):
            if sock is not None:
                _how_closed(sock, _ORDERLY)

    def close(self, why: str) -> None:
        """Close both sides, once: by a reset, unless it has ended in order."""
        if self.closed:
            return
        self.closed = True
        for sock in (self.client, self.server):
            if sock is not None:
                self.loop.remove_reader(sock.fileno())
                self.loop.remove_writer(sock.fileno())
                sock.close()
        self.task.cancel()
        self.run.over(self, self.row(why))

    def row(self, why: str) -> Contact:
        """What came of it."""
        seconds = round(self.loop.time() - self.began, 6)
        return Contact(
            self.host, self.port, self.allowed, self.bytes_in, self.bytes_out, seconds, self.rule, why[:MOST_WHY]
        )
