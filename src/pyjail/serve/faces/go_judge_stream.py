"""go-judge's ``/stream``: commands whose input and output go over the WebSocket while they run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pyjail import JailError, SpecError
from pyjail.serve.face import Asked, Desk, Hold, Line, Socket
from pyjail.serve.faces import go_judge_pipes, go_judge_socket
from pyjail.serve.faces.common import parsed
from pyjail.serve.faces.go_judge import asked_for
from pyjail.serve.faces.go_judge_answers import Refused
from pyjail.serve.problem import Problem

REQUEST, RESIZE, INPUT, CANCEL = 1, 2, 3, 4  # from the client: the first byte of a message
RESPONSE, OUTPUT = 1, 2  # to the client
UNREAD = 256 << 10  # bytes of input that programs do not read
UNSENT = 32 << 20  # bytes of output that the client does not take
EOT = b"\x04"  # the end of what is typed on a terminal
_FDS = {"stdout": 1, "stderr": 2}


@dataclass(frozen=True)
class Ends:
    """Which of a command's streams go over the socket: ``typed``, its input; ``shown``, fds of its output."""

    typed: bool
    shown: frozenset[int]
    terminal: bool


class Said:
    """What is to be sent, in order. ``much``: set once the client has not taken `UNSENT` bytes of it."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[bytes] = asyncio.Queue()
        self._size, self.much = 0, asyncio.Event()

    def add(self, data: bytes) -> None:
        """The next."""
        self._queue.put_nowait(data)
        self._size += len(data)
        if self._size > UNSENT and data[0] == OUTPUT:
            self.much.set()

    async def send(self, line: Line) -> None:
        """All of it, to the response."""
        while True:
            data = await self._queue.get()
            await line.send(data)
            self._size -= len(data)
            if data[0] == RESPONSE:
                return


class Shown:
    """One program, as `piped.Watcher`."""

    def __init__(self, at: int, ends: Ends, said: Said) -> None:
        self.at, self.ends, self._said = at, ends, said

    def began(self, step: str) -> None:
        return

    def wrote(self, name: str, data: bytes) -> None:
        fd, shown = _FDS[name], self.ends.shown
        if self.ends.terminal and shown:
            fd = min(shown)  # it has but one stream
        if fd in shown:
            self._said.add(bytes((OUTPUT, self.at << 4 | fd)) + data)

    def used(self, usage: Mapping[str, Any]) -> None:
        return


class Typed(Shown):
    """One whose input comes over the socket, too."""

    def __init__(self, at: int, ends: Ends, said: Said) -> None:
        super().__init__(at, ends, said)
        self.unread = 0
        self._typed: asyncio.Queue[bytes] = asyncio.Queue()
        self._process: Any = None
        self._runs = asyncio.Event()
        self._size: tuple[int, int] | None = None

    def started(self, process: Any) -> None:
        self._process = process
        self._runs.set()
        if self._size is not None:
            process.resize(*self._size)

    def type(self, data: bytes) -> None:
        """It is to read this; nothing is its end."""
        self.unread += len(data) + 2
        self._typed.put_nowait(data)

    def resize(self, rows: int, columns: int) -> None:
        """Of its terminal, now or when it has one. Raises ValueError where it has none."""
        if not self.ends.terminal or not (0 < rows < 1 << 16 and 0 < columns < 1 << 16):
            raise ValueError("no terminal has this size")
        self._size = (rows, columns)
        if self._process is not None and self._process.result is None:
            with suppress(SpecError):  # it is ending
                self._process.resize(rows, columns)

    async def feed(self) -> None:
        """Give the program what is typed."""
        await self._runs.wait()
        while True:
            data = await self._typed.get()
            with suppress(OSError, ValueError):
                if data or self.ends.terminal:
                    self._process.stdin.write(data or EOT)
                    await self._process.stdin.drain()
                else:
                    await self._process.stdin.close()
            self.unread -= len(data) + 2


class Talk:
    """One client and its commands."""

    def __init__(self, line: Line, ends: list[Ends]) -> None:
        self._line = line
        self.said = Said()
        self.watchers = [(Typed if one.typed else Shown)(at, one, self.said) for at, one in enumerate(ends)]
        self._typed = {one.at: one for one in self.watchers if isinstance(one, Typed)}

    async def work(self, request: go_judge_pipes.Request, desk: Desk) -> None:
        """Have it run, and say what comes of it."""
        try:
            self._over({"results": await go_judge_pipes.results(request, desk, self.watchers)})
        except Problem as e:
            self._over({"error": e.detail})
        except SpecError as e:
            self._over({"error": f"{e.field}: {e.reason}"})
        except JailError:
            self._over({"error": "the jail failed, not the program"})

    def _over(self, answer: Mapping[str, Any]) -> None:
        self.said.add(bytes((RESPONSE,)) + json.dumps(answer).encode())

    async def hear(self) -> None:
        """Until the client is gone, cancels, or says what cannot be."""
        with suppress(ValueError, LookupError, TypeError, AttributeError):
            while (message := await self._line.receive()) is not None:
                data = message.encode() if isinstance(message, str) else message
                if data[0] == INPUT and not data[1] & 15:
                    self._typed[data[1] >> 4].type(data[2:])
                    if sum(one.unread for one in self._typed.values()) > UNREAD:
                        return
                elif data[0] == RESIZE:
                    said = parsed(Asked("GET", "/stream", body=data[1:]))
                    self._typed[said.get("index", 0)].resize(said.get("rows", 0), said.get("cols", 0))
                else:
                    return

    async def feed(self) -> None:
        """Give the programs what is typed."""
        await asyncio.gather(*(one.feed() for one in self._typed.values()))


async def talk(line: Line, desk: Desk) -> None:
    """From the request to its response, or until the client is gone."""
    with desk.holding() as hold:
        await _talk(line, desk, hold)


async def _talk(line: Line, desk: Desk, hold: Hold) -> None:
    message = await line.receive() or b""
    data = message.encode() if isinstance(message, str) else message
    try:
        asked, ends = _plain(data)
        request = await asked_for(asked, desk, hold)
    except Problem as e:
        await line.send(bytes((RESPONSE,)) + json.dumps({"error": e.detail}).encode())
        return
    talks = Talk(line, ends)
    work = asyncio.ensure_future(talks.work(request, desk))
    others = (talks.hear(), talks.said.much.wait(), talks.feed(), talks.said.send(line))
    hearing, much, feeding, sending = (asyncio.ensure_future(one) for one in others)
    try:
        await asyncio.wait((work, hearing, much), return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            await sending
    finally:
        for task in (work, hearing, much, feeding, sending):
            task.cancel()
        await asyncio.wait((work, hearing, much, feeding, sending))


def _plain(data: bytes) -> tuple[Asked, list[Ends]]:
    """The request as ``/run`` has it, and which streams go over the socket. Raises `Refused`."""
    if data[:1] != bytes((REQUEST,)):
        raise Refused("the first message is to be a request")
    try:
        body = parsed(Asked("GET", "/stream", body=data[1:]))
        ends = [_ends(command) for command in body["cmd"]]
    except ValueError as e:
        raise Refused(str(e)) from None
    except (LookupError, TypeError, AttributeError):
        raise Refused("a cmd with files is needed") from None
    if not any(one.typed or one.shown for one in ends):
        raise Refused("no stream of a cmd is to be streamed")
    return Asked("GET", "/stream", body=json.dumps(body).encode()), ends


def _ends(command: Any) -> Ends:
    """Those of one command, in which they are replaced. Raises ValueError for an input that is none."""
    files = command.get("files") or []
    typed = [i for i, one in enumerate(files) if isinstance(one, dict) and one.get("streamIn")]
    shown = [i for i, one in enumerate(files) if isinstance(one, dict) and one.get("streamOut")]
    if any(typed[:1]) or len(typed) > 1 or any(i not in _FDS.values() for i in shown):
        raise ValueError("streamIn is of fd 0, streamOut of fd 1 and 2")
    command["files"] = [{"src": "/dev/null"} if i in (*typed, *shown) else one for i, one in enumerate(files)]
    return Ends(bool(typed), frozenset(shown), bool(command.get("tty")))


SOCKETS = (Socket("/ws", go_judge_socket.talk), Socket("/stream", talk))
