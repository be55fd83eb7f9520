"""The server's process: it says when it serves, and ends in order when a signal asks for it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn
from fastapi import FastAPI

from pyjail.serve import heap, protocol
from pyjail.serve.config import Config
from pyjail.serve.listen import where
from pyjail.serve.notify import notify
from pyjail.serve.problem import Problem
from pyjail.serve.signals import Early, ending
from pyjail.serve.trial import Refused

_ANSWERS = 5  # seconds in which answers have to be taken when nothing runs any more
_KILLED = 10  # seconds in which jails that are ended are gone; whatever holds one up holds the service up no longer
_OPTIONS: dict[str, Any] = {
    "loop": "uvloop", "lifespan": "on", "log_config": None, "timeout_graceful_shutdown": _ANSWERS,
}  # fmt: skip


def serve(app: FastAPI, config: Config, sockets: list[socket.socket], early: Early, learn: bool) -> None:
    """Until SIGTERM or SIGINT, and the end of what runs then. Raises `Refused` when it cannot start."""
    logging.getLogger().addHandler(logging.NullHandler())  # or tracebacks would go to standard error
    heap.keep()
    try:
        _Server(app, config, sockets, early, learn).run(sockets)
    except SystemExit:  # what uvicorn says of a lifespan that failed
        failed = getattr(app.state, "failed", None)
        if failed is None:
            raise
        raise Refused(_why(failed)) from None


def _why(e: BaseException) -> str:
    if isinstance(e, OSError) and e.filename is not None:
        return f"{os.fsdecode(e.filename)}: {e.strerror}"
    if isinstance(e, Problem):
        return e.detail
    return str(e) or type(e).__name__


class _Server(uvicorn.Server):
    """On the first signal nothing new is run, and what runs has ``config.drain`` seconds; on the second it has none."""

    def __init__(self, app: FastAPI, config: Config, sockets: list[socket.socket], early: Early, learn: bool) -> None:
        spoken = protocol.options(config.edge, app.state.service.observer.refused, app.state.at_once)
        super().__init__(uvicorn.Config(app, **_OPTIONS, **spoken))
        self._drain, self._service, self._sockets, self._early = config.drain, app.state.service, sockets, early
        self._learn = learn
        self._end: asyncio.Task[None] | None = None
        self._now = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        numbers = ending()
        for number in numbers:
            loop.add_signal_handler(number, self._asked)
        if self._early.number:
            self._asked()
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        gc.collect()
        gc.freeze()  # what is here now stays: to look at all of it takes the collector 40 ms each time
        gc.collect()  # it looks at the oldest once a quarter of what this has left is new
        if not self.should_exit:
            print("pyjail serves on", ", ".join(map(where, self._sockets)), flush=True)
            notify("READY=1")
            if self._learn:
                self._service.learn()

    def _asked(self) -> None:
        if self._end is None:
            self._end = asyncio.ensure_future(self._drained())
        else:
            self._now.set()

    async def _drained(self) -> None:
        """`uvicorn.Server` closes its connections after this."""
        turns = self._service.turns
        self._service.drain()
        notify(f"STOPPING=1\nSTATUS={turns.running} programs run")
        if turns.running:
            said = f"ending: {turns.running} programs have {self._drain:g} s; a second signal ends them at once"
            self._service.observer.outlet.put(f"pyjail serve: {said}")
        waits = [asyncio.ensure_future(turns.idle()), asyncio.ensure_future(self._now.wait())]
        await asyncio.wait(waits, timeout=self._drain, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        turns.end()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_KILLED):
                await turns.idle()
        self._service.observer.hurry()
        self.should_exit = True
