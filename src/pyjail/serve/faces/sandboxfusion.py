"""SandboxFusion's ``/run_code``: a program in a language, with files, always answered by 200."""

from __future__ import annotations

import base64
import binascii
import glob
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pyjail import Jail, Limits, Mount, Result, SpecError, Verdict
from pyjail.serve.face import Answer, Asked, Desk, Endpoint
from pyjail.serve.faces.common import bounded, compiling, failed, parsed, relative, text
from pyjail.serve.faces.sandboxfusion_languages import LANGUAGES, UNKNOWN, how, source_of
from pyjail.serve.faces.verdicts import told
from pyjail.serve.faces.wrong import OBJECT, STRING, Detail, Wrong, detail, missing, no_json, number
from pyjail.serve.job import Job, Outcome
from pyjail.serve.problem import Problem

NAME = "sandboxfusion"
OWN: Mapping[str, Any] = {"cpu_time": None, "wall_time": 10}
_NUMBERS = ("compile_timeout", "run_timeout", "memory_limit_MB")
IGNORED = "IGNORE_THIS_FILE"  # in the names of those that are not for the program
_NUMBER = "float_type", "Input should be a valid number"


class SandboxFusion:
    """Its interface."""

    name = NAME

    def endpoints(self) -> Sequence[Endpoint]:
        return Endpoint("POST", "/run_code", run_code, runs=True), Endpoint("GET", "/v1/ping", ping)

    def problem(self, problem: Problem) -> Answer:
        if isinstance(problem, Wrong):
            return Answer({"detail": problem.found}, 422)
        return Answer({"detail": problem.detail}, problem.status, headers=problem.headers)


async def ping(asked: Asked, desk: Desk) -> Answer:
    return Answer("pong")


async def run_code(asked: Asked, desk: Desk) -> Answer:
    try:
        body = parsed(asked)
    except ValueError as e:
        raise no_json(e) from None
    if not isinstance(body, dict):
        raise Wrong(detail([], OBJECT, body))
    body |= {name: number(body[name]) for name in _NUMBERS if name in body}
    if found := list(_wrong(body)):
        raise Wrong(*found)
    name, absent = LANGUAGES.get(body["language"], ""), f"language {body['language']} is not installed here"
    if not name or name not in await desk.languages(name):
        return Answer(_answer("Failed", absent))
    try:
        outcome = await desk.run(_job(body, name, desk))
    except Problem as e:
        if (e.status, e.field) != (422, "language"):
            raise
        return Answer(_answer("Failed", absent))
    except SpecError as e:
        raise Wrong(detail([], ("value_error", f"{e.field}: {e.reason}"), None)) from None
    return Answer(content_of(outcome, body))


def _wrong(body: Mapping[str, Any]) -> Iterator[Detail]:
    for name in ("code", "language"):
        if name not in body:
            yield missing([name], body)
        elif not isinstance(body[name], str):
            yield detail([name], STRING, body[name])
    if isinstance(given := body.get("language"), str) and given not in (*LANGUAGES, *UNKNOWN):
        every = ", ".join(map(repr, (*LANGUAGES, *UNKNOWN)))
        yield detail(["language"], ("literal_error", f"Input should be {every}"), given)
    if not isinstance(body.get("stdin"), str | None):
        yield detail(["stdin"], STRING, body["stdin"])
    for name in _NUMBERS:
        value = body.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            yield detail([name], _NUMBER, value)
    files, fetched = body.get("files") or {}, body.get("fetch_files") or []
    if not isinstance(files, dict) or not all(isinstance(data, str | None) for data in files.values()):
        yield detail(["files"], ("dict_type", "Input should be a valid dictionary"), files)
    if not isinstance(fetched, list) or not all(isinstance(one, str) for one in fetched):
        yield detail(["fetch_files"], ("list_type", "Input should be a valid list"), fetched)


def _job(body: Mapping[str, Any], language: str, desk: Desk) -> Job:
    asked: dict[str, Any] = {"wall_time": body.get("run_timeout") or 10}
    memory = body.get("memory_limit_MB") or -1
    if memory > 0:
        asked["memory"] = int(min(memory, 1e15) * (1 << 20))
    files = {}
    for path, data in (body.get("files") or {}).items():
        if data is None or IGNORED in path:
            continue
        try:
            files[inside(path)] = base64.b64decode(data)  # what is no base64 is passed over, as there
        except (binascii.Error, ValueError) as e:
            raise Wrong(detail(["files", path], ("value_error", str(e)), data)) from None
    jail, name = desk.config.jail, body["language"]
    return Job(
        language=language, how=how(name, desk.config, files), source=source_of(name, body["code"]),
        stdin=(body.get("stdin") or "").encode("utf-8", "replace"), files=files,
        limits=_limits(desk, "", asked),
        compile_limits=_limits(desk, language, {"wall_time": body.get("compile_timeout") or 10}),
        jail=_at_mnt(jail), collect=tuple(_fetched(body)), label=NAME,
    )  # fmt: skip


def _at_mnt(jail: Jail) -> Jail:
    return replace(jail, mounts=(*jail.mounts, Mount.link("/mnt", "/box")))


def _limits(desk: Desk, compiled: str, asked: Mapping[str, Any]) -> Limits:
    """Of a run, or of what is ``compiled``."""
    try:
        if compiled:
            return compiling(desk.config, compiled, desk.settings, {}, asked)
        return bounded(desk.config, desk.settings, OWN, asked)
    except Problem as e:
        raise Wrong(detail([e.field.removeprefix("limits.")], ("less_than_equal", e.detail), None)) from None


def inside(path: str) -> str:
    """A path below /box: relative, or of /mnt. Raises ValueError for another one."""
    return relative(path.removeprefix("/mnt/") if path.startswith("/mnt/") else path)


def _fetched(body: Mapping[str, Any]) -> Iterator[str]:
    for path in body.get("fetch_files") or []:
        try:
            yield glob.escape(inside(path))
        except ValueError as e:
            raise Wrong(detail(["fetch_files"], ("value_error", str(e)), path)) from None


def content_of(outcome: Outcome, body: Mapping[str, Any]) -> dict[str, Any]:
    """The answer; a program's fault is never the sandbox's."""
    compiled = None if outcome.compile is None else _stage(outcome.compile)
    result = outcome.result
    for one in (outcome.compile, result):
        if one is not None and one.verdict is Verdict.JAIL_ERROR:
            return _answer("SandboxError", failed("").detail)
    if result is None:
        if compiled is not None:
            return _answer("Failed", outcome.fault, compiled)
        none = {"status": "Finished", "execution_time": 0.0, "return_code": 127, "stdout": "", "stderr": outcome.fault}
        return _answer("Failed", outcome.fault, None, none)
    files = {}
    for path in body.get("fetch_files") or []:
        data = result.files.get(inside(path))
        if data is not None:
            files[path] = base64.b64encode(data).decode()
    return _answer("Success" if result.ok else "Failed", "", compiled, _stage(result), files)


def _stage(result: Result[Any]) -> dict[str, Any]:
    cell, code = told(NAME, result)
    late = cell.word == "TimeLimitExceeded"
    return {
        "status": cell.word, "execution_time": result.usage.wall_time, "return_code": None if late else code,
        "stdout": text(result.stdout), "stderr": text(result.stderr),
    }  # fmt: skip


def _answer(
    status: str, message: str, compiled: Any = None, ran: Any = None, files: Mapping[str, str] | None = None
) -> dict[str, Any]:
    return {
        "status": status, "message": message, "compile_result": compiled, "run_result": ran, "executor_pod_name": None,
        "files": dict(files or {}),
    }  # fmt: skip
