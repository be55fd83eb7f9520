"""One client before the terminal of one program: `Talk`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from fastapi import WebSocket, WebSocketDisconnect

from pyjail import Limits, Result, SetupError, Verdict, aio
from pyjail.serve import bounds, engine, errors, faults, leaving, model, strict, within
from pyjail.serve.inputs import held
from pyjail.serve.job import Job, Outcome
from pyjail.serve.piped import Start
from pyjail.serve.problem import Problem
from pyjail.serve.service import Service
from pyjail.serve.terminal_job import Terminal, fits, inside_of, job_of
from pyjail.serve.within import Inside

FRAME = 16 << 10
EOF = b"\x04"
AWAY, GOING = 1001, "the service is being ended"
QUIET = 1.0  # seconds in which nothing is typed, shown or computed, after which one goes with the service
_WORK = 0.02  # seconds of CPU time that are no work: of what looks at a clock
_PROBLEM = 4000  # and its status: the code that the connection is closed by


class Talk:
    """One client and one program."""

    def __init__(self, service: Service, socket: WebSocket) -> None:
        self._service, self._socket, self._bounds = service, socket, service.config.terminals
        self._process: aio.AsyncProcess | None = None
        self._typed: asyncio.Queue[bytes] = asyncio.Queue()
        self._unread = 0
        self._credit, self._more = self._bounds.window, asyncio.Event()
        self._alive = asyncio.Event()
        self._size: tuple[int, int] | None = None
        self._busy, self._seen = False, time.monotonic()
        self._end: tuple[int, dict[str, Any] | None, str] = (1000, None, "")

    async def take(self, first: str) -> None:
        """From the first message to the end of the program, of the client, or of the service."""
        work = asyncio.create_task(self._work(first))
        others = asyncio.create_task(self._hear()), asyncio.create_task(self._leave())
        try:
            await asyncio.wait((work, *others), return_when=asyncio.FIRST_COMPLETED)
        finally:
            await leaving.ended(work, *others)  # its jail is gone then

    # ---- from the client ----

    async def _hear(self) -> None:
        """All that it says, until it is gone or says what cannot be understood."""
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                self._end = (0, None, "")
                return
            self._touch()
            try:
                if message.get("bytes") is not None:
                    self._type(message["bytes"])
                else:
                    self._command(strict.read((message.get("text") or "").encode()))
            except Problem as e:
                self.refuse(e)
                return

    def _type(self, data: bytes) -> None:
        if not data:
            return  # it would be kept without being counted
        self._unread += len(data)
        if self._unread > self._bounds.unread:
            raise Problem(413, "unread", f"the program has not read {self._bounds.unread} bytes of input")
        self._typed.put_nowait(data)

    def _command(self, said: Any) -> None:
        match said:
            case {"credit": int(n)} if len(said) == 1 and not isinstance(n, bool) and 0 <= n <= 1 << 30:
                self._credit = min(self._credit + n, self._bounds.window)
                self._more.set()
            case {"resize": [int(rows), int(columns)]} if len(said) == 1 and fits(rows, columns):
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

    def _touch(self) -> None:
        self._alive.set()
        self._seen = time.monotonic()

    # ---- the program ----

    async def _work(self, first: str) -> None:
        """From the first message to the result."""
        try:
            asked = strict.model(Terminal, first.encode())
            async with inside_of(asked, self._service, self._socket.scope.get("tenant", "")) as inside:
                job = job_of(asked, self._service.config, inside)
                bounds.check(job)
                await self._say({"state": "queued"})
                scope = self._socket.scope
                async with (
                    held(self._service.files, scope.get("tenant", ""), job.files) as here,
                    self._service.turns.slot(scope.get("tenant", ""), scope.get("token")) as queued,
                ):
                    outcome = await self._ran(asked, replace(job, files=here), inside)
            self._service.observer.ran(job, replace(outcome, queued=queued))
        except Exception as e:
            self.refuse(_problem(e))

    async def _ran(self, asked: Terminal, job: Job, inside: Inside | None) -> Outcome:
        self._busy = True
        given: dict[str, Any] = {"pty": tuple(asked.size)} | ({} if job.cwd is None else {"cwd": job.cwd})
        if not job.language:
            given |= {"args": list(job.args), "limits": job.limits, "files": dict(job.files)}
            given |= ({} if job.env is None else {"env": job.env}) | ({"jail": job.jail} if inside is None else {})
            await self._say({"state": "running"})
            return self._ended(Outcome(await self._run(given, asked.idle, inside)))
        await self._say({"state": "running", "step": "compile"})
        known = self._service.config.languages or None
        program = await (engine.prepared(job, known) if inside is None else within.prepared(inside, job, known))
        if not program.ok:
            return self._ended(Outcome(None, program.compile, program.fault))
        with within.command(program, job, inside) as more:
            await self._say({"state": "running", "step": "run"})
            try:
                result = await self._run({**given, **more}, asked.idle, inside)
            except SetupError as e:
                return self._ended(Outcome(None, program.compile, program.blames(e) or faults.fault(e)))
        return self._ended(Outcome(result, program.compile))

    def _ended(self, outcome: Outcome) -> Outcome:
        told = model.told(outcome, False)
        said = {"result": told["result"]}
        if outcome.compile is not None or outcome.result is None:
            said |= {"compile": told["compile"], "fault": told["fault"]}
        self._end = (1000, model.shown(said, False), "")
        return outcome

    async def _run(self, given: dict[str, Any], idle: float | None, inside: Inside | None) -> Result:
        limits: Limits = given["limits"]
        start: Start = aio.start if inside is None else inside.start
        async with await start(**given) as process:
            self._process, self._seen = process, time.monotonic()
            if self._size is not None:
                process.resize(*self._size)
            watching = self._watch(process, self._bounds.idle if idle is None else idle)
            others = [asyncio.create_task(one) for one in (self._feed(process), watching)]
            try:
                over = await self._show(process, limits.output)
                await process.wait()
            finally:
                await leaving.ended(*others)
        if process.result.verdict == Verdict.JAIL_ERROR:  # also of a box that was closed
            raise Problem(500, "jail-error", "the jail failed, not the program")
        return _judged(process.result, over)

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
            self._touch()
            shown += len(data)
            if most is not None and shown > most:
                process.kill()
                return True
            self._credit -= len(data)
            with _taken(stall):
                async with asyncio.timeout(stall):
                    await self._socket.send_bytes(data)

    # ---- its end ----

    async def _leave(self) -> None:
        """When the service is being ended, and this one does nothing: nothing is typed, shown or computed."""
        await self._service.ending.wait()
        with contextlib.suppress(RuntimeError, OSError, WebSocketDisconnect):  # also TimeoutError, of who reads nothing
            async with asyncio.timeout(QUIET):
                await self._say({"state": "ending"})
        self._seen = max(self._seen, time.monotonic() - QUIET / 2)
        while self._busy and await self._works():
            pass
        self.go(GOING)

    async def _works(self) -> bool:
        """Whether it does something in a moment from now on, or has just done."""
        before = self._computed()
        await asyncio.sleep(QUIET)
        if self._process is None or self._process.result is not None:
            return True  # it is compiled; or it has ended, and what came of it is about to be told
        computed = self._computed() - before
        return computed > _WORK or time.monotonic() - self._seen < QUIET

    def _computed(self) -> float:
        process = self._process
        return 0.0 if process is None or process.result is not None else process.used().cpu_time or 0.0

    def go(self, why: str) -> None:
        """It is closed because the service is."""
        self._end = (AWAY, None, why)

    def refuse(self, e: Problem) -> None:
        """It is closed with what is wrong."""
        self._end = (_PROBLEM + e.status, e.to_dict(self._socket.scope.get("request_id", "")), "")

    async def _say(self, said: dict[str, Any]) -> None:
        await self._socket.send_text(json.dumps(said))

    async def close(self) -> None:
        """Tell what came of it, unless nobody is there."""
        code, said, why = self._end
        if not code:
            return
        with contextlib.suppress(RuntimeError, OSError, WebSocketDisconnect):
            if said is not None:
                await self._say(said)
            await self._socket.close(code, why or None)


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


def _problem(e: Exception) -> Problem:
    """What of it is the request's fault is told so."""
    try:
        return Problem(422, "field", faults.fault(e), field="args") if isinstance(e, SetupError) else errors.of(e)
    except Exception as other:
        return errors.of(other)
