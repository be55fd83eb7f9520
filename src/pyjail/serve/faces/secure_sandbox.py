"""Secure-Sandbox: one Python program, looked over before it runs, and its output without what a terminal would obey."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from typing import Any

from pyjail import Verdict
from pyjail.serve.face import Answer, Asked, Desk, Endpoint
from pyjail.serve.faces.common import bounded, failed, parsed, text
from pyjail.serve.faces.verdicts import told
from pyjail.serve.faces.window import Window
from pyjail.serve.faces.wrong import OBJECT, STRING, Wrong, detail, missing, no_json
from pyjail.serve.job import Job, Outcome
from pyjail.serve.problem import Problem

NAME = "secure-sandbox"
RATE, WINDOW, CONCURRENT, CODE, OUTPUT = 10, 60.0, 2, 65536, 100 * 1024
OWN: Mapping[str, Any] = {"cpu_time": None, "wall_time": 3, "memory": 100 << 20, "cpus": 1.0, "processes": 64}
FILE = "user_code.py"
CUT = "\n... [output truncated]"


def request_of(body: Any) -> tuple[str, str | None]:
    """The code, the input. Raises `Wrong`."""
    if not isinstance(body, dict):
        raise Wrong(detail([], OBJECT, body))
    code, given = body.get("code"), body.get("input", "")
    if "code" not in body:
        raise Wrong(missing(["code"], body))
    if not isinstance(code, str):
        raise Wrong(detail(["code"], STRING, code))
    if not isinstance(given, str | None):
        raise Wrong(detail(["input"], STRING, given))
    return code, given


def job_of(code: str, given: str | None, desk: Desk) -> Job:
    """What is to be run; the check comes before it, and its output is shown without control sequences."""
    limits = bounded(desk.config, desk.settings, OWN, {})
    line = given if given is None or not given or given.endswith("\n") else given + "\n"
    return Job(
        ("python3", FILE), source=code, stdin=(line or "").encode("utf-8", "replace"),
        files={FILE: code.encode("utf-8", "replace")}, limits=limits, jail=desk.config.jail, check="reject",
        sanitize="strip", label=NAME,
    )  # fmt: skip


def content_of(outcome: Outcome, most: int) -> dict[str, Any]:
    """The answer. Raises `Problem` 500 when the jail failed."""
    if outcome.findings:
        return _content("", _finding(outcome.findings[0]), -1, 0.0)
    result = outcome.result
    if result is None or result.verdict is Verdict.JAIL_ERROR:
        raise failed("")
    cell, code = told(NAME, result)
    if cell.text:
        return _content("", cell.text, code, float(result.limits.wall_time or 0.0))
    return _content(cut(text(result.stdout), most), cut(text(result.stderr), most), code, result.usage.wall_time or 0.0)


def _finding(found: Mapping[str, Any]) -> str:
    return str(found.get("message", ""))


def cut(shown: str, most: int) -> str:
    """So many bytes of it at most, at the border of a character; it says when there was more."""
    data = shown.encode()
    return shown if len(data) <= most else data[:most].decode("utf-8", "ignore") + CUT


def _content(stdout: str, stderr: str, code: int | None, seconds: float) -> dict[str, Any]:
    return {"stdout": stdout, "stderr": stderr, "returncode": code, "execution_time": round(seconds, 4)}


class SecureSandbox:
    """Its interface. ``settings``: of [faces.secure-sandbox]."""

    name = NAME

    def __init__(self, settings: Mapping[str, Any] | None = None) -> None:
        given = dict(settings or {})
        self._window = Window(int(given.get("rate", RATE)), float(given.get("window", WINDOW)))
        self._places = asyncio.Semaphore(int(given.get("concurrent", CONCURRENT)))
        self._code, self._output = int(given.get("code", CODE)), int(given.get("output", OUTPUT))

    def endpoints(self) -> Sequence[Endpoint]:
        return (Endpoint("POST", "/execute", self.execute, runs=True),)

    def problem(self, problem: Problem) -> Answer:
        if isinstance(problem, Wrong):
            return Answer({"detail": problem.found}, 422)
        return Answer({"detail": problem.detail}, problem.status, headers=problem.headers)

    async def execute(self, asked: Asked, desk: Desk) -> Answer:
        """``POST /execute``."""
        wait = self._window.enter(asked.client)
        if wait:
            raise Problem(429, "rate", "Rate limit exceeded", retry=max(1, math.ceil(wait)))
        try:
            code, given = request_of(parsed(asked))
        except ValueError as e:
            raise no_json(e) from None
        if len(code.encode("utf-8", "replace")) > self._code:
            raise Problem(413, "code", f"Code exceeds the limit of {self._code} bytes")
        job = job_of(code, given, desk)
        patience = desk.config.admission.patience
        try:
            async with asyncio.timeout(patience):
                await self._places.acquire()
        except TimeoutError:
            raise Problem(503, "no-turn", f"no place was free for {patience:g} s", retry=5) from None
        try:
            return Answer(content_of(await desk.run(job), self._output))
        finally:
            self._places.release()
