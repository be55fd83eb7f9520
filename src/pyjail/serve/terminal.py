"""``WS /v1/terminal``: a program that has a terminal, and somebody before it.

The first message is JSON: ``token``, which the edge takes out, and a `Terminal`. Then binary messages are what is typed
and what is shown; JSON says the rest: ``{"resize": [rows, columns]}``, ``{"signal": 2}``, ``{"eof": true}``,
``{"credit": n}`` from the client, ``{"state": ...}``, ``{"result": ...}`` or a problem to it. Not more than `CREDIT`
bytes are shown before the client says by ``credit`` that it has taken so many.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, WebSocket
from pydantic import Field

from pyjail import Limits, Result, SetupError, Verdict, aio
from pyjail.serve import bounds, errors, faults, leaving, model, strict
from pyjail.serve.inputs import held
from pyjail.serve.job import Job, Outcome
from pyjail.serve.problem import Problem
from pyjail.serve.service import Service

CREDIT = 64 << 10
FRAME = 16 << 10
UNREAD = 256 << 10  # bytes of input that a program does not read
IDLE = 120.0  # seconds in which nothing is typed or shown
EOF = b"\x04"
_PROBLEM = 4000  # and its status: the code that the connection is closed by


class Terminal(model.Asked):
    """A program to talk to."""

    args: list[str] = Field(min_length=1)
    env: dict[str, str] | None = None
    cwd: str | None = None
    limits: dict[str, Any] = Field(default_factory=dict)
    files: dict[str, str | dict[str, str]] = Field(default_factory=dict)
    size: list[int] = Field(default=[24, 80], min_length=2, max_length=2)
    idle: float = Field(IDLE, gt=0, le=IDLE)


def router(service: Service) -> APIRouter:
    """Its route."""
    made = APIRouter()

    @made.websocket("/v1/terminal")
    async def terminal(socket: WebSocket) -> None:
        await socket.accept()
        talk = Talk(service, socket)
        first = await socket.receive()
        if first["type"] == "websocket.disconnect":
            return
        work = asyncio.create_task(talk.work(first.get("text") or ""))
        hearing = asyncio.create_task(talk.hear())
        try:
            await asyncio.wait((work, hearing), return_when=asyncio.FIRST_COMPLETED)
        finally:
            await leaving.ended(work, hearing)  # its jail is gone then
        await talk.close()

    return made


class Talk:
    """One client and one program."""

    def __init__(self, service: Service, socket: WebSocket) -> None:
        self._service, self._socket = service, socket
        self._process: aio.AsyncProcess | None = None
        self._typed: asyncio.Queue[bytes] = asyncio.Queue()
        self._unread = 0
        self._credit, self._more = CREDIT, asyncio.Event()
        self._alive = asyncio.Event()
        self._size: tuple[int, int] | None = None
        self._close: tuple[int, dict[str, Any] | None] = (1000, None)

    # ---- from the client ----

    async def hear(self) -> None:
        """All that it says, until it is gone or says what cannot be understood."""
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                self._close = (0, None)
                return
            self._alive.set()
            try:
                if message.get("bytes") is not None:
                    self._type(message["bytes"])
                else:
                    self._command(strict.read((message.get("text") or "").encode()))
            except Problem as e:
                self._refuse(e)
                return

    def _type(self, data: bytes) -> None:
        if not data:
            return  # it would be kept without being counted
        self._unread += len(data)
        if self._unread > UNREAD:
            raise Problem(413, "unread", f"the program has not read {UNREAD} bytes of input")
        self._typed.put_nowait(data)

    def _command(self, said: Any) -> None:
        match said:
            case {"credit": int(n)} if len(said) == 1 and not isinstance(n, bool) and 0 <= n <= 1 << 30:
                self._credit = min(self._credit + n, CREDIT)
                self._more.set()
            case {"resize": [int(rows), int(columns)]} if len(said) == 1 and _fits(rows, columns):
                self._size = (rows, columns)
                if self._process is not None and self._process.result is None:
                    self._process.resize(rows, columns)
            case {"signal": int(n)} if len(said) == 1 and n in signal.valid_signals() and not isinstance(n, bool):
                if self._process is not None:
                    self._process.send_signal(n)
            case {"eof": True} if len(said) == 1:
                self._type(EOF)
            case _:
                raise Problem(400, "malformed", "resize, signal, eof or credit is needed")

    # ---- the program ----

    async def work(self, first: str) -> None:
        """From the first message to the result."""
        try:
            asked = strict.model(Terminal, first.encode())
            parameters, files = (
                self._parameters(asked),
                {path: model.file(f"files.{path}", data) for path, data in asked.files.items()},
            )
            bounds.check(Job(tuple(asked.args), env=asked.env, files=files))
            scope = self._socket.scope
            await self._say({"state": "queued"})
            async with (
                held(self._service.files, scope.get("tenant", ""), files) as here,
                self._service.turns.slot(scope.get("tenant", ""), scope.get("token")) as queued,
            ):
                result = await self._run({**parameters, "files": here}, asked.idle)
            self._service.observer.ran(Job(label="terminal"), Outcome(result, queued=queued))
        except Exception as e:
            self._refuse(_problem(e))

    def _parameters(self, asked: Terminal) -> dict[str, Any]:
        config = self._service.config
        if not _fits(*asked.size):
            raise Problem(422, "field", "[rows, columns], each from 1 to 65535", field="size")
        most = config.maxima
        usual = replace(config.limits, wall_time=most.wall_time, cpu_time=most.cpu_time, output=most.output)
        given: dict[str, Any] = {"args": asked.args, "limits": model.limits(asked.limits, usual, most)}
        given |= {"jail": config.jail, "pty": tuple(asked.size)}
        return given | {k: v for k, v in (("env", asked.env), ("cwd", asked.cwd)) if v is not None}

    async def _run(self, parameters: dict[str, Any], idle: float) -> Result:
        limits: Limits = parameters["limits"]
        async with await aio.start(**parameters) as process:
            self._process = process
            await self._say({"state": "running"})
            if self._size is not None:
                process.resize(*self._size)
            others = [asyncio.create_task(one) for one in (self._feed(process), self._watch(process, idle))]
            try:
                over = await self._show(process, limits.output)
                await process.wait()
            finally:
                await leaving.ended(*others)
        result = _judged(process.result, over)
        self._close = (1000, {"result": _told(result)})
        return result

    async def _feed(self, process: aio.AsyncProcess) -> None:
        with contextlib.suppress(OSError):
            while True:
                data = await self._typed.get()
                process.stdin.write(data)
                await process.stdin.drain()
                self._unread -= len(data)

    async def _watch(self, process: aio.AsyncProcess, idle: float) -> None:
        """End it when nobody has typed anything, and it has shown nothing, for long."""
        while True:
            self._alive.clear()
            try:
                async with asyncio.timeout(idle):
                    await self._alive.wait()
            except TimeoutError:
                process.kill()
                return

    async def _show(self, process: aio.AsyncProcess, most: int | None) -> bool:
        """What it writes, until it has ended; whether it was killed for too much. Raises `Problem` when the client
        takes nothing for long."""
        shown, stall = 0, self._service.config.edge.stall
        while True:
            with _taken(stall):
                async with asyncio.timeout(stall):
                    while self._credit <= 0:
                        self._more.clear()
                        await self._more.wait()
            data = await process.stdout.read(min(FRAME, self._credit))
            if not data:
                return False
            self._alive.set()
            shown += len(data)
            if most is not None and shown > most:
                process.kill()
                return True
            self._credit -= len(data)
            with _taken(stall):
                async with asyncio.timeout(stall):
                    await self._socket.send_bytes(data)

    # ---- its end ----

    def _refuse(self, e: Problem) -> None:
        self._close = (_PROBLEM + e.status, e.to_dict(self._socket.scope.get("request_id", "")))

    async def _say(self, said: dict[str, Any]) -> None:
        await self._socket.send_text(json.dumps(said))

    async def close(self) -> None:
        """Tell what came of it, unless nobody is there."""
        code, said = self._close
        if not code:
            return
        with contextlib.suppress(RuntimeError, OSError):
            if said is not None:
                await self._say(said)
            await self._socket.close(code)


@contextlib.contextmanager
def _taken(seconds: float) -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        raise Problem(408, "stall", f"nothing was taken for {seconds:g} s") from None


def _judged(result: Result, over: bool) -> Result:
    if over and result.verdict in (Verdict.OK, Verdict.RUNTIME_ERROR, Verdict.SIGNALED):
        return replace(result, verdict=Verdict.OUTPUT, limits_hit=result.limits_hit | {"output"})
    return result


def _told(result: Result) -> dict[str, Any]:
    return {name: value for name, value in result.to_dict().items() if name != "receipt"}


def _problem(e: Exception) -> Problem:
    """What of it is the request's fault is told so."""
    try:
        return Problem(422, "field", faults.fault(e), field="args") if isinstance(e, SetupError) else errors.of(e)
    except Exception as other:
        return errors.of(other)


def _fits(rows: int, columns: int) -> bool:
    return 0 < rows < 65536 and 0 < columns < 65536
