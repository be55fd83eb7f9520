"""Piston's ``/api/v2/connect``: a program that is talked to while it runs."""

from __future__ import annotations

import asyncio
import codecs
import json
import signal
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from pyjail import JailError, SpecError, languages
from pyjail.serve.face import Asked, Desk, Line, Socket
from pyjail.serve.faces.common import parsed
from pyjail.serve.faces.piston import asked_for, stage
from pyjail.serve.job import Job, Outcome
from pyjail.serve.problem import Problem

PATIENCE = 1.0  # seconds until the first message
LATE = 4001, "Initialization Timeout"
UNREAD = 256 << 10  # bytes of input that the program does not read
SIGNALS = frozenset(one.name for one in signal.Signals)


class Talk:
    """One program and its client: what it writes is said, in order, by `pump`."""

    def __init__(self, line: Line, compiled: bool) -> None:
        self._line, self._compiled = line, compiled
        self._said: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._typed: asyncio.Queue[bytes] = asyncio.Queue()
        self._decoders = {name: codecs.getincrementaldecoder("utf-8")("replace") for name in ("stdout", "stderr")}
        self._process: Any = None
        self._stage, self._unread = "", 0

    # ---- what `piped.Watcher` is told ----

    def began(self, step: str) -> None:
        if step == "compile" and not self._compiled:
            return
        if self._stage == "compile":
            self.say({"type": "exit", "stage": "compile", "code": 0, "signal": None})
        self._stage = step
        self.say({"type": "stage", "stage": step})

    def wrote(self, name: str, data: bytes) -> None:
        if text := self._decoders[name].decode(data):
            self.say({"type": "data", "stream": name, "data": text})

    def used(self, usage: Mapping[str, Any]) -> None:
        return

    def started(self, process: Any) -> None:
        self._process = process

    # ---- to the client ----

    def say(self, said: dict[str, Any] | None) -> None:
        """In its turn; None: that was all."""
        self._said.put_nowait(said)

    async def pump(self) -> None:
        """Send what is said, until that was all."""
        while (said := await self._said.get()) is not None:
            await self._line.send(json.dumps(said))

    def over(self, outcome: Outcome) -> None:
        """Tell its end."""
        result = outcome.result if outcome.result is not None else outcome.compile
        for name, decoder in self._decoders.items():
            if rest := decoder.decode(b"", True):
                self.say({"type": "data", "stream": name, "data": rest})
        if result is None:
            self.say({"type": "error", "message": outcome.fault})
            return
        told = stage(result)
        if outcome.result is None:
            self.say({"type": "data", "stream": "stderr", "data": told["output"]})
        name = self._stage or "run"
        self.say(
            {"type": "exit", "stage": name, "code": told["code"], "signal": told["signal"], "status": told["status"]}
        )

    # ---- from the client ----

    async def hear(self) -> None:
        """Until the client is gone, or says what cannot be."""
        while (message := await self._line.receive()) is not None:
            said = _read(message)
            if said.get("type") == "init":
                await self._line.close(4000, "Already Initialized")
                return
            if said.get("type") == "data":
                data = str(said.get("data", "")).encode("utf-8", "replace")
                self._unread += len(data)
                if said.get("stream") != "stdin" or self._unread > UNREAD:
                    await self._line.close(4004, "Can only write to stdin")
                    return
                if data:  # what is nothing would be kept without being counted
                    self._typed.put_nowait(data)
            elif said.get("type") == "signal":
                if not isinstance(said.get("signal"), str) or said["signal"] not in SIGNALS:
                    await self._line.close(4005, "Invalid signal")
                    return
                if self._process is not None:
                    self._process.send_signal(signal.Signals[said["signal"]])

    async def feed(self) -> None:
        """Give the program what is typed."""
        while True:
            data = await self._typed.get()
            while self._process is None:
                await asyncio.sleep(0.01)
            with suppress(OSError):
                self._process.stdin.write(data)
                await self._process.stdin.drain()
            self._unread -= len(data)


def _read(message: str | bytes) -> dict[str, Any]:
    data = message.encode("utf-8", "replace") if isinstance(message, str) else message
    try:
        said = parsed(Asked("GET", "/api/v2/connect", body=data))
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


async def talk(line: Line, desk: Desk) -> None:
    """From the first message to the program's end, or the client's."""
    first = _read(await line.receive() or b"")
    if first.get("type") != "init":
        await line.close(4003, "Not yet initialized")
        return
    try:
        job, told = await asked_for(first, desk)
    except Problem as e:
        await _failed(line, e.detail)
        return
    await line.send(json.dumps({"type": "runtime", **told}))
    known = desk.config.languages.get(job.language) or languages.table().get(job.language)
    talked = Talk(line, known is not None and bool(known.compile))
    work = asyncio.ensure_future(_work(talked, job, desk))
    others = [asyncio.ensure_future(one) for one in (talked.hear(), talked.feed(), talked.pump())]
    try:
        await asyncio.wait((work, others[0]), return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            return
        talked.say(None)
        await others[2]
        failure = work.result()
    finally:
        for task in (work, *others):
            task.cancel()
        await asyncio.wait((work, *others))
    if failure:
        await _failed(line, failure)
    else:
        await line.close(4999, "Job Completed")


async def _work(talked: Talk, job: Job, desk: Desk) -> str:
    """What went wrong that is not the program's; "" for nothing."""
    try:
        talked.over(await desk.run(job, talked))
        return ""
    except Problem as e:
        return e.detail
    except SpecError as e:
        return f"{e.field}: {e.reason}"
    except JailError:
        return "the jail failed, not the program"


async def _failed(line: Line, message: str) -> None:
    await line.send(json.dumps({"type": "error", "message": message}))
    await line.close(4002, "Notified Error")


SOCKETS = (Socket("/api/v2/connect", talk, PATIENCE, LATE),)
