"""go-judge's ``/stream``: one command, whose input and output go over the WebSocket while it runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from pyjail import JailError
from pyjail.serve.face import Asked, Desk, Hold, Line, Socket
from pyjail.serve.faces import go_judge_socket
from pyjail.serve.faces.common import parsed
from pyjail.serve.faces.go_judge import asked_for
from pyjail.serve.faces.go_judge_answers import Refused, told_of
from pyjail.serve.problem import Problem

REQUEST, RESIZE, INPUT, CANCEL = 1, 2, 3, 4  # from the client: the first byte of a message
RESPONSE, OUTPUT = 1, 2  # to the client
UNREAD = 256 << 10  # bytes of input that the program does not read
_FDS = {"stdout": 1, "stderr": 2}


class Stream:
    """One program, as `piped.Watcher`; what it writes is sent in order by `pump`."""

    def __init__(self, line: Line, shown: frozenset[int]) -> None:
        self._line, self._shown = line, shown
        self._said: asyncio.Queue[bytes] = asyncio.Queue()
        self._typed: asyncio.Queue[bytes] = asyncio.Queue()
        self._process: Any = None
        self._unread = 0

    def began(self, step: str) -> None:
        return

    def wrote(self, name: str, data: bytes) -> None:
        if _FDS[name] in self._shown:
            self._said.put_nowait(bytes((OUTPUT, _FDS[name])) + data)

    def used(self, usage: Mapping[str, Any]) -> None:
        return

    def started(self, process: Any) -> None:
        self._process = process

    def over(self, answer: Mapping[str, Any]) -> None:
        """Say its end."""
        self._said.put_nowait(bytes((RESPONSE,)) + json.dumps(answer).encode())

    async def pump(self) -> None:
        """Send what is said, to its end."""
        while True:
            said = await self._said.get()
            await self._line.send(said)
            if said[0] == RESPONSE:
                return

    async def hear(self) -> None:
        """Until the client is gone, cancels, or says what cannot be."""
        while (message := await self._line.receive()) is not None:
            data = message.encode() if isinstance(message, str) else message
            if data[:1] == bytes((INPUT,)) and len(data) > 1 and data[1] == 0:
                self._unread += len(data)
                self._typed.put_nowait(data[2:])
                if self._unread > UNREAD:
                    return
            elif data[:1] != bytes((RESIZE,)):
                return

    async def feed(self) -> None:
        """Give the program what is typed; nothing is its end."""
        while True:
            data = await self._typed.get()
            while self._process is None:
                await asyncio.sleep(0.01)
            with suppress(OSError):
                if data:
                    self._process.stdin.write(data)
                    await self._process.stdin.drain()
                else:
                    await self._process.stdin.close()
            self._unread -= len(data) + 2


async def talk(line: Line, desk: Desk) -> None:
    """From the request to its response, or until the client is gone."""
    with desk.holding() as hold:
        await _talk(line, desk, hold)


async def _talk(line: Line, desk: Desk, hold: Hold) -> None:
    message = await line.receive() or b""
    data = message.encode() if isinstance(message, str) else message
    try:
        asked, shown = _plain(data)
        request = await asked_for(asked, desk, hold)
        if len(request.commands) != 1 or request.pipes:
            raise Refused("one cmd is streamed")
    except Problem as e:
        await line.send(bytes((RESPONSE,)) + json.dumps({"error": e.detail}).encode())
        return
    stream = Stream(line, shown)
    job, wanted = request.commands[0]
    work = asyncio.ensure_future(_work(stream, job, wanted, desk))
    hearing, feeding, pump = (asyncio.ensure_future(one) for one in (stream.hear(), stream.feed(), stream.pump()))
    try:
        await asyncio.wait((work, hearing), return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            await pump
    finally:
        for task in (work, hearing, feeding, pump):
            task.cancel()
        await asyncio.wait((work, hearing, feeding, pump))


async def _work(stream: Stream, job: Any, wanted: Any, desk: Desk) -> None:
    try:
        stream.over({"results": [await told_of(await desk.run(job, stream), wanted, desk, {})]})
    except Problem as e:
        stream.over({"error": e.detail})
    except JailError:
        stream.over({"error": "the jail failed, not the program"})


def _plain(data: bytes) -> tuple[Asked, frozenset[int]]:
    """The request as ``/run`` has it, and which of its streams are shown. Raises `Refused`."""
    if data[:1] != bytes((REQUEST,)):
        raise Refused("the first message is to be a request")
    try:
        body = parsed(Asked("GET", "/stream", body=data[1:]))
        files = body["cmd"][0]["files"]
        shown = frozenset(i for i, one in enumerate(files) if isinstance(one, dict) and one.get("streamOut"))
        streams = [{"src": "/dev/null"} if isinstance(one, dict) and _streamed(one) else one for one in files]
        body["cmd"][0]["files"] = streams
    except ValueError as e:
        raise Refused(str(e)) from None
    except (LookupError, TypeError):
        raise Refused("a cmd with files is needed") from None
    return Asked("GET", "/stream", body=json.dumps(body).encode()), shown


def _streamed(one: Mapping[str, Any]) -> bool:
    return bool(one.get("streamIn") or one.get("streamOut"))


SOCKETS = (Socket("/ws", go_judge_socket.talk), Socket("/stream", talk))
