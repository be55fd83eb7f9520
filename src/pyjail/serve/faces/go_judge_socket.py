"""go-judge's ``/ws``: requests with ids, several at once, each of which may be cancelled."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from pyjail import JailError, SpecError
from pyjail.serve.face import Asked, Desk, Line
from pyjail.serve.faces.common import parsed
from pyjail.serve.faces.go_judge import run
from pyjail.serve.problem import Problem

AT_ONCE = 64  # requests of one connection


async def talk(line: Line, desk: Desk) -> None:
    """Answer until the client is gone; what it asked for ends with it."""
    running: dict[str, asyncio.Task[None]] = {}
    async with asyncio.TaskGroup() as group:
        while (message := await line.receive()) is not None:
            body, error = _request(message)
            name = str(body.get("requestId", ""))
            if cancelled := body.get("cancelRequestId"):
                if isinstance(cancelled, str) and cancelled in running:
                    running[cancelled].cancel()
            elif error or len(running) >= AT_ONCE or name in running:
                why = "worker queue is full" if name not in running else "requestId is in use"
                await _say(line, name, error=error or why)
            else:
                running[name] = group.create_task(_answer(line, name, message, desk), name=name)
                running[name].add_done_callback(lambda task: running.pop(task.get_name(), None) and None)
                await asyncio.sleep(0)  # it begins: one that is cancelled before that would say nothing
        for task in list(running.values()):
            task.cancel()


def _request(message: str | bytes) -> tuple[dict[str, Any], str]:
    """What it says, or why it says nothing."""
    try:
        body = parsed(Asked("GET", "/ws", body=_bytes(message)))
    except ValueError as e:
        return {}, str(e)
    return (body, "") if isinstance(body, dict) else ({}, "an object is needed")


def _bytes(message: str | bytes) -> bytes:
    return message.encode("utf-8", "replace") if isinstance(message, str) else message


async def _answer(line: Line, name: str, message: str | bytes, desk: Desk) -> None:
    try:
        answer = await run(Asked("GET", "/ws", body=_bytes(message)), desk)
    except asyncio.CancelledError:
        await _say(line, name, error="cancelled")
        raise
    except Problem as e:
        await _say(line, name, error="worker queue is full" if e.kind == "queue-full" else e.detail)
    except SpecError as e:
        await _say(line, name, error=f"{e.field}: {e.reason}")
    except JailError:
        await _say(line, name, error="the jail failed, not the program")
    else:
        await _say(line, name, results=answer.content)


async def _say(line: Line, name: str, **said: Any) -> None:
    await line.send(json.dumps({"requestId": name, **said}))
