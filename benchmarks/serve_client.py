"""A `pyjail serve` and its clients, for `benchmarks.serve`: clients that do as little as they can, so that it is the service
that is measured, and the CPU time that each side uses."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import uvloop

import pyjail
from pyjail import aio, testing

ARGS = ["/bin/true"]
LIMITS = pyjail.Limits(
    cpu_time=5, wall_time=15, memory="256M", processes=64, output="1M", disk="64M"
)  # as the service's
BODY = json.dumps({"args": ARGS}).encode()
OK = b'"verdict":"ok"'
_STARTS = 30.0  # seconds that a server has for it
_ENDS = 60.0
_ROOM = 64 << 10  # bytes that may come at once, at least
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_T = TypeVar("_T")


@dataclass(frozen=True)
class Found:
    """One line of what was measured. ``met`` is None where there is no goal, or too little for it was done."""

    what: str
    measured: str
    goal: str = ""
    met: bool | None = None


@dataclass(frozen=True)
class Sizes:
    """How much is measured: seconds of one turn, turns of each, runs of `memory`, go-judge's program."""

    seconds: float = 10.0
    rounds: int = 9
    runs: int = 100_000
    go_judge: str = ""


@dataclass(frozen=True)
class Server:
    """A process that listens on this port of the loopback."""

    port: int
    pid: int


def request(port: int, body: bytes = BODY, path: str = "/v1/runs", more: str = "") -> bytes:
    """A POST."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n{more}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


@contextlib.contextmanager
def served(*options: str, config: str = "") -> Iterator[Server]:
    """`pyjail serve`, with this text as its configuration."""
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(config)
        file.flush()
        command = [sys.executable, "-m", "pyjail", "serve", "--port", "0", "--config", file.name, *options]
        with listening(command) as server:
            yield server


@contextlib.contextmanager
def listening(command: list[str]) -> Iterator[Server]:
    """A server whose first line names the port."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, env=_environment())
        assert process.stdout is not None
        try:
            line = process.stdout.readline().decode()
            found = re.search(r":(\d+)", line)
            if found is None:
                said.seek(0)
                raise SystemExit(f"{command[0]} did not start: {line} {said.read(2000).decode(errors='replace')}")
            yield Server(int(found[1]), process.pid)
        finally:
            _end(process)


def _environment() -> dict[str, str]:
    root = str(Path(__file__).resolve().parents[1])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))}


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_ENDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


@contextlib.contextmanager
def started(command: list[str], port: int) -> Iterator[Server]:
    """A server that says nothing, once something listens there."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            end = time.monotonic() + _STARTS
            while process.poll() is None:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                if time.monotonic() > end:
                    raise SystemExit(f"{command[0]} does not listen")
                time.sleep(0.05)
            else:
                raise SystemExit(f"{command[0]} ended with {process.returncode}")
            yield Server(port, process.pid)
        finally:
            if process.poll() is None:
                _end(process)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Answers:
    """Bytes that come -> answers, which have a length, as all have that are asked for here. They lie in one buffer, which is
    kept: nothing is copied but what is asked for, nor do long answers meet new pages."""

    def __init__(self) -> None:
        self._buffer = bytearray(_ROOM)
        self._have = self._body = self._end = 0  # bytes that are here; where the body begins, and ends; 0: not known

    def room(self) -> memoryview:
        """Where what comes next belongs."""
        return memoryview(self._buffer)[self._have :]

    def came(self, size: int) -> bool:
        """So much has come into `room`: whether there is a whole answer."""
        self._have += size
        if not self._end and (gap := self._buffer.find(b"\r\n\r\n", 0, self._have)) >= 0:
            found = _LENGTH.search(self._buffer, 0, gap)
            self._body = gap + 4
            self._end = self._body + (int(found[1]) if found else 0)
        least = max(self._end, self._have) + _ROOM
        if len(self._buffer) < least:
            self._buffer = self._buffer[: self._have] + bytearray(least - self._have)
        return 0 < self._end <= self._have

    @property
    def status(self) -> int:
        return int(self._buffer[9:12])

    @property
    def body(self) -> bytes:
        return bytes(self._buffer[self._body : self._end])

    def holds(self, text: bytes) -> bool:
        """Whether its body does."""
        return self._buffer.find(text, self._body, self._end) >= 0

    def next(self) -> None:
        """It is not looked at any more."""
        more = self._buffer[self._end : self._have]
        self._buffer[: len(more)] = more
        self._have, self._body, self._end = len(more), 0, 0


class Caller:
    """One connection that is kept, and who waits at it: nothing else runs in this thread."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connect()

    def _connect(self) -> None:
        self._socket = socket.create_connection(("127.0.0.1", self._port), _STARTS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._answers = Answers()

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, data: bytes) -> tuple[int, bytes]:
        self._socket.sendall(data)
        while True:
            came = self._socket.recv_into(self._answers.room())
            if not came:
                raise ConnectionError("the server closed the connection")
            if self._answers.came(came):
                answer = self._answers.status, self._answers.body
                self._answers.next()
                return answer

    def call(self, data: bytes, expected: bytes = OK) -> None:
        """AssertionError for another answer. A connection that was not used during another turn may have been closed."""
        try:
            status, body = self.ask(data)
        except ConnectionError:
            self._socket.close()
            self._connect()
            status, body = self.ask(data)
        assert status == 200 and expected in body, (status, body[:300])


class Client(asyncio.BufferedProtocol):
    """One connection that is kept, beside others. ``told`` is called with each answer, which it may look at until it
    returns, or with None when the connection is lost."""

    def __init__(self) -> None:
        self.told: Callable[[Answers | None], None] = lambda _: None
        self._answers = Answers()
        self.transport: Any = None

    @classmethod
    async def connect(cls, port: int) -> Client:
        _, client = await asyncio.get_running_loop().create_connection(cls, "127.0.0.1", port)
        return client

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._answers.room()

    def buffer_updated(self, nbytes: int) -> None:
        if self._answers.came(nbytes):
            self.told(self._answers)
            self._answers.next()

    def connection_lost(self, exc: Exception | None) -> None:
        self.told(None)

    async def ask(self, data: bytes, look: Callable[[Answers], _T]) -> _T:
        """What ``look`` sees in the answer."""
        seen: asyncio.Future[_T] = asyncio.get_running_loop().create_future()

        def told(answer: Answers | None) -> None:
            if seen.done():
                return
            if answer is None:
                seen.set_exception(ConnectionError("the server closed the connection"))
            else:
                seen.set_result(look(answer))

        self.told = told
        self.transport.write(data)
        return await seen


def looped(main: Coroutine[Any, Any, _T]) -> _T:
    """Under the loop that the service has."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


async def closed(
    count: int, one: Callable[[int], Awaitable[object]], seconds: float = float("inf"), calls: float = float("inf")
) -> list[float]:
    """Seconds that each call took, of so many callers who come again at once, for so long or so often."""
    took: list[float] = []
    end, left = time.perf_counter() + seconds, calls

    async def caller(number: int) -> None:
        nonlocal left
        while left > 0 and (began := time.perf_counter()) < end:
            left -= 1
            await one(number)
            took.append(time.perf_counter() - began)

    await asyncio.gather(*(caller(n) for n in range(count)))
    return took


async def by_http(
    port: int, count: int, seconds: float = float("inf"), calls: float = float("inf"), data: bytes = b"",
    expected: bytes = OK,
) -> list[float]:  # fmt: skip
    """`closed`, by so many clients."""
    data = data or request(port)
    clients = [await Client.connect(port) for _ in range(count)]

    def wrong(answer: Answers) -> tuple[int, bytes] | None:
        return None if answer.status == 200 and answer.holds(expected) else (answer.status, answer.body[:300])

    async def one(number: int) -> None:
        found = await clients[number].ask(data, wrong)
        assert found is None, found

    try:
        return await closed(count, one, seconds, calls)
    finally:
        for client in clients:
            client.transport.close()


async def in_process(count: int, seconds: float) -> list[float]:
    """`closed`, by `pyjail.aio.run`."""

    async def one(_: int) -> None:
        assert (await aio.run(ARGS, LIMITS)).ok

    return await closed(count, one, seconds)


def repeated(call: Callable[[], object], seconds: float) -> list[float]:
    """Seconds that each call took, one after the other, for so long."""
    took, end = [], time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        call()
        took.append(time.perf_counter() - began)
    return took


def quantile(took: list[float], part: float) -> float:
    return sorted(took)[min(len(took) - 1, int(len(took) * part))]


def cpu(pid: int) -> float:
    """Seconds of CPU that a process, all below it, and all that have ended there have used."""
    return sum(map(_cpu, (pid, *testing.below(pid))))


def _cpu(pid: int) -> float:
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return 0.0
