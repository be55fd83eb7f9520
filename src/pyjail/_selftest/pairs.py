"""Two runs of one pair of attempts: at the same time, and one after the other in the same keeper."""

from __future__ import annotations

import json
import os
import secrets
import select
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from pyjail import Result, Verdict
from pyjail._selftest import inside
from pyjail._selftest.attacks.toolkit import Attack
from pyjail._selftest.judge import Judged, Outcome, judge
from pyjail._selftest.report import Status
from pyjail._selftest.scene import Scene

PATIENCE_S = 60.0
Run = Callable[..., Result]


def run(attack: Attack, execute: Run, scene: Scene) -> Iterator[tuple[str, Status, str]]:
    """(when, status, detail) of both."""
    yield ("at_once", *_at_once(attack, execute, scene))
    if not attack.options.get("at_once_only"):
        yield ("afterwards", *_afterwards(attack, execute, scene))


IN_WORDS = {"at_once": "both at the same time", "afterwards": "one run after the other"}


def _message() -> str:
    return f"pyjail-message-{secrets.token_hex(16)}"


def _look(attack: Attack, execute: Run, scene: Scene, message: str) -> Outcome:
    token = inside.new_token()
    result = execute(attack.name, attack.module, token, role="look")

    def leaked(data: bytes) -> str:
        return "the other's message" if message.encode() in data else scene.leaked(data)

    return Outcome(result, token, scene.changes(), leaked=leaked)


def _afterwards(attack: Attack, execute: Run, scene: Scene) -> Judged:
    message, token = _message(), inside.new_token()
    first = execute(attack.name, attack.module, token, role="leave", scene={"message": message})
    alive = [*inside.survivors(token), *inside.survivors(message)]
    status, detail = judge(attack, _look(attack, execute, scene, message))
    if alive and status is not Status.ESCAPED:
        return Status.ESCAPED, f"on the host: processes {alive} outlived the run"
    return _with_first(Outcome(first, token), status, detail)


def _at_once(attack: Attack, execute: Run, scene: Scene) -> Judged:
    message, token = _message(), inside.new_token()
    stays, end = os.pipe()
    out, into = os.pipe()
    told = b""
    try:
        with ThreadPoolExecutor(1) as pool:
            first: Future[Result] = pool.submit(
                execute, attack.name, attack.module, token, role="leave", hold=True, scene={"message": message},
                stdin=stays, stdout=into,
            )  # fmt: skip
            try:
                told = _until_left(out, token, first)
                status, detail = judge(attack, _look(attack, execute, scene, message))
            finally:
                os.close(end)
                end = -1
            result = first.result()
    finally:
        for fd in (stays, out, into, end):
            if fd >= 0:
                os.close(fd)
    return _with_first(Outcome(result, token, stdout=told), status, detail)


def _until_left(out: int, token: str, first: Future[Any]) -> bytes:
    """Read what the first one says until it has left its message, or is gone."""
    told = b""
    mark = json.dumps({"done": token}).encode()
    deadline = time.monotonic() + PATIENCE_S
    while mark not in told and not first.done() and time.monotonic() < deadline:
        if select.select([out], [], [], 0.02)[0]:
            told += os.read(out, 65536)
    return told


def _with_first(first: Outcome, status: Status, detail: str) -> Judged:
    """The first one has to have left its message, and to have lived until it was told to end."""
    result = first.result
    if status is not Status.CONTAINED:
        return status, detail
    if result.verdict is Verdict.SECURITY:
        return status, f"the filter ended the first run at {result.syscall}"
    if not first.done:
        last = (result.stderr or b"").decode("utf-8", "replace").strip().rpartition("\n")[2]
        return Status.ERROR, f"the first run left nothing: {result.verdict.value}. {last}"
    if result.verdict is not Verdict.OK:
        return Status.ESCAPED, f"the first run was ended: {result.verdict.value}"
    return status, detail
