"""``/v1/boxes/{id}/processes`` and ``/receipt``: what runs in a box and how it is ended, and what holds all of it."""

from __future__ import annotations

import asyncio
import os
import select
import signal
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from pyjail import Receipt, aio
from pyjail.serve import answers, leaving
from pyjail.serve.kept import Place
from pyjail.serve.openapi import PROBLEMS, answer
from pyjail.serve.problem import Problem
from pyjail.serve.service import Service

_SIGNALS = frozenset(map(int, signal.valid_signals()))
Signal = Annotated[int, Query(description="its number; 9 ends a process whatever it does")]


def router(service: Service) -> APIRouter:
    """Their routes."""
    made = APIRouter(prefix="/v1/boxes/{id}", tags=["sessions and boxes"])

    def place_of(id: str, request: Request) -> Place:
        return service.places.get("box", id, str(request.scope.get("tenant", "")))

    @made.get("/processes", responses={200: answer("Processes", "those that there are now"), **PROBLEMS},
              summary="What runs in a box", operation_id="list_processes")  # fmt: skip
    async def those(id: str, request: Request) -> Response:
        """Of its programs, and of those that have ended ("kept"), the oldest first. To ask is no use of it."""
        with place_of(id, request).there() as box:
            found = await leaving.while_there(request.scope, _processes(box))
        return await answers.response({"processes": [_told(process) for process in found]})

    @made.delete("/processes", status_code=204, responses=PROBLEMS, summary="End all that runs in a box",
                 operation_id="end_processes")  # fmt: skip
    async def end(id: str, request: Request) -> Response:
        """It stays, with its files. Who waits for a program has its result: signaled, by 9."""
        with place_of(id, request).in_use() as box:
            assert isinstance(box, aio.Box)
            await box.kill()
        return Response(status_code=204)

    @made.delete("/processes/{pid}", status_code=204, responses=PROBLEMS, summary="Send a process of a box a signal",
                 operation_id="signal_process")  # fmt: skip
    async def send(id: str, pid: int, request: Request, signal: Signal = 9) -> Response:
        """To this one alone: not to what it has started."""
        if signal not in _SIGNALS:
            raise Problem(422, "field", "there is no such signal", field="signal")
        with place_of(id, request).in_use() as box:
            await _signal(box, pid, signal)
        return Response(status_code=204)

    @made.get("/receipt", responses={200: answer("Receipt", "row by row"), **PROBLEMS},
              summary="What holds all of a box", operation_id="get_receipt")  # fmt: skip
    async def receipt(id: str, request: Request) -> Response:
        """What the kernel said of the whole when it was read; that of a program is with its result."""
        with place_of(id, request).in_use() as box:
            rows = await asyncio.to_thread(_receipt, box)  # one that is new is made
        return JSONResponse({"receipt": [row.to_dict() for row in rows]})

    return made


async def _processes(box: aio.Session | aio.Box) -> Sequence[Any]:
    assert isinstance(box, aio.Box)
    return await box.processes()


def _receipt(box: aio.Session | aio.Box) -> Receipt:
    assert isinstance(box, aio.Box)
    return box.receipt


def _told(process: Any) -> dict[str, Any]:
    """As JSON, without its number on this machine."""
    return {
        "pid": process.pid, "args": [_text(word) for word in process.args], "command": _text(process.command),
        "kept": process.kept, "started": process.started, "memory": process.memory,
    }  # fmt: skip


def _text(word: str) -> str:
    return os.fsencode(word).decode("utf-8", "replace")


async def _signal(box: aio.Session | aio.Box, pid: int, number: int) -> None:
    """Raises `Problem` 404 where there is no such process (any more)."""
    for process in await _processes(box):
        if process.pid == pid:
            break
    else:
        raise _unknown()
    try:
        fd = os.pidfd_open(process.host_pid)
    except ProcessLookupError:
        raise _unknown() from None
    try:  # its number may be a stranger's by now: one that lives, and is told of again, is in the box
        again = {one.host_pid for one in await _processes(box)}
        if process.host_pid not in again or _ended(fd):
            raise _unknown()
        signal.pidfd_send_signal(fd, number)
    except ProcessLookupError:
        raise _unknown() from None
    finally:
        os.close(fd)


def _ended(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))


def _unknown() -> Problem:
    return Problem(404, "not-found", "there is no such process in this box", field="pid")
