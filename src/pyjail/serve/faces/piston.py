"""Piston v2: a program in a language, compiled where that is needed, and run."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyjail
from pyjail import Limits, Result, languages
from pyjail.serve.face import Answer, Asked, Desk, Endpoint, Socket
from pyjail.serve.faces.common import bounded, compiling, parsed, text
from pyjail.serve.faces.piston_files import Refused, called, sent
from pyjail.serve.faces.piston_versions import matches
from pyjail.serve.faces.verdicts import told
from pyjail.serve.job import Job
from pyjail.serve.problem import Problem

NAME = "piston"
RUN: Mapping[str, Any] = {
    "wall_time": 3, "cpu_time": 3, "processes": 64, "open_files": 2048, "file_size": 10_000_000, "output": 1024,
}  # fmt: skip
COMPILE: Mapping[str, Any] = {"wall_time": 10, "cpu_time": 10}
ALIASES: Mapping[str, tuple[str, ...]] = {  # as there; the first is its name there
    "python": ("python", "py", "py3", "python3", "python3.x"), "c": ("c", "gcc"), "cpp": ("c++", "cpp", "g++"),
    "rust": ("rust", "rs"), "go": ("go", "golang"), "java": ("java",), "kotlin": ("kotlin", "kt"),
    "javascript": ("javascript", "node-javascript", "node-js", "js"), "typescript": ("typescript", "ts", "node-ts"),
    "csharp": ("csharp", "csharp.net", "cs", "c#"), "ruby": ("ruby", "ruby3", "rb"), "perl": ("perl", "pl"),
    "php": ("php", "php8", "html"), "bash": ("bash", "sh"),
}  # fmt: skip
_PACKAGE = ("language", "version")
_TIMES = {"timeout": "wall_time", "cpu_time": "cpu_time"}
_SAYS = {
    "RE": "Exited with error status {code}", "SG": "Caught fatal signal {number}", "TO": "Time limit exceeded",
    "OL": "stdout length exceeded", "EL": "stderr length exceeded", "XX": "the jail failed, not the program",
}  # fmt: skip


class Piston:
    """Its interface."""

    name = NAME

    def __init__(self, sockets: Sequence[Socket] = ()) -> None:
        self._sockets = sockets

    def sockets(self) -> Sequence[Socket]:
        return self._sockets

    def endpoints(self) -> Sequence[Endpoint]:
        kept = [Endpoint(method, "/api/v2/packages", no_packages) for method in ("POST", "DELETE")]
        return (
            Endpoint("GET", "/api/v2/runtimes", runtimes), Endpoint("POST", "/api/v2/execute", execute, runs=True),
            Endpoint("GET", "/api/v2/packages", packages), *kept, Endpoint("GET", "/", greeting),
        )  # fmt: skip

    def problem(self, problem: Problem) -> Answer:
        return Answer({"message": problem.detail}, problem.status, headers=problem.headers)


async def greeting(asked: Asked, desk: Desk) -> Answer:
    return Answer({"message": f"Piston v2, by pyjail {pyjail.__version__}"})


async def runtimes(asked: Asked, desk: Desk) -> Answer:
    known = await desk.languages()
    return Answer([
        {"language": ALIASES.get(name, (name,))[0], "version": version, "aliases": list(ALIASES.get(name, (name,))[1:])}
        for name, version in known.items()
    ])  # fmt: skip


async def packages(asked: Asked, desk: Desk) -> Answer:
    return Answer(await _packages(desk))


async def _packages(desk: Desk) -> list[dict[str, Any]]:
    known = await desk.languages()
    rows = [(ALIASES.get(name, (name,))[0], version) for name, version in known.items()]
    return [{"language": name, "language_version": version, "installed": True} for name, version in rows]


async def no_packages(asked: Asked, desk: Desk) -> Answer:
    """Those that there are stay as they are; for others it says what it says there."""
    try:
        body = parsed(asked)
    except ValueError as e:
        raise Refused(str(e)) from None
    language, version = (str(body.get(name))[:100] if isinstance(body, dict) else "" for name in _PACKAGE)
    here = {row["language"]: row["language_version"] for row in await _packages(desk)}
    if language not in here or not matches(version, here[language]):
        raise Problem(404, "packages", f"Requested package {language}-{version} does not exist")
    why = f"{language}-{version} is what this machine has: nothing is installed or removed over HTTP"
    raise Problem(403, "packages", why)


async def execute(asked: Asked, desk: Desk) -> Answer:
    try:
        body = parsed(asked)
    except ValueError as e:
        raise Refused(str(e)) from None
    job, said = await asked_for(body, desk)
    outcome = await desk.run(replace(job, stdin=_stdin(body.get("stdin"))))
    if outcome.compile is not None:
        said["compile"] = stage(outcome.compile)
    if outcome.result is not None:
        said["run"] = stage(outcome.result)
    else:
        said["run"] = said.get("compile") or _nothing(outcome.fault)
    return Answer(said)


async def asked_for(body: Any, desk: Desk) -> tuple[Job, dict[str, Any]]:
    """The job, but for its input, and what is told of its runtime. Raises `Refused`."""
    if not isinstance(body, dict):
        raise Refused("language is required as a string")
    for name in ("language", "version"):
        if not body.get(name) or not isinstance(body[name], str):
            raise Refused(f"{name} is required as a string")
    main, files = sent(body.get("files"))
    language, version = await _runtime(body["language"], body["version"], desk)
    known = (desk.config.languages or languages.table())[language]
    source, how = called(main, files, known)
    theirs = ALIASES.get(language, (language,))[0]
    job = Job(
        _arguments(body.get("args")), language=language, source=source, files=files,
        limits=_limits("run", language, body, desk), compile_limits=_limits("compile", language, body, desk),
        jail=desk.config.jail, label=NAME, how=how, env={"PISTON_LANGUAGE": theirs},
    )  # fmt: skip
    return job, {"language": theirs, "version": version}


async def _runtime(language: str, version: str, desk: Desk) -> tuple[str, str]:
    name = next((ours for ours, names in ALIASES.items() if language in names), language)
    found = (await desk.languages(name)).get(name)
    if found is None or not matches(version, found):
        raise Refused(f"{language}-{version} runtime is unknown")
    return name, found


def _arguments(given: Any) -> tuple[str, ...]:
    if given is None:
        return ()
    if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
        raise Refused("args is to be an array of strings")
    return tuple(given)


def _stdin(given: Any) -> bytes:
    if not isinstance(given, str | None):
        raise Refused("stdin is to be a string")
    line = given or ""
    return (line if line.endswith("\n") else line + "\n").encode("utf-8", "replace")


def _limits(stage: str, language: str, body: Mapping[str, Any], desk: Desk) -> Limits:
    usual = _usual(stage, language, desk, {})
    asked: dict[str, Any] = {}
    for name, ours in {**_TIMES, "memory_limit": "memory"}.items():
        value, bound = body.get(f"{stage}_{name}"), getattr(usual, ours)
        if not value or (ours == "memory" and value == -1):
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Refused(f"If specified, {stage}_{name} must be a number")
        if value < 0:
            raise Refused(f"{stage}_{name} must be non-negative")
        most = bound if ours == "memory" or bound is None else bound * 1000
        if most is not None and value > most:
            raise Refused(f"{stage}_{name} cannot exceed the configured limit of {most:.0f}")
        asked[ours] = int(value) if ours == "memory" else value / 1000
    return _usual(stage, language, desk, asked)


def _usual(stage: str, language: str, desk: Desk, asked: Mapping[str, Any]) -> Limits:
    if stage == "run":
        return bounded(desk.config, desk.settings, RUN, asked)
    return compiling(desk.config, language, desk.settings, COMPILE, asked)


def stage(result: Result[Any]) -> dict[str, Any]:
    """What is told of a compiler, or of a program."""
    cell, code = told(NAME, result)
    status = str(cell.word)
    if status == "OL" and (result.stderr_bytes or 0) > (result.stdout_bytes or 0):
        status = "EL"
    number = None if code is not None or status == "XX" else result.signal or signal.SIGKILL
    stdout, stderr = text(result.stdout), text(result.stderr)
    message = cell.text or _SAYS.get(status, "").format(code=code, number=int(number or 0))
    usage = result.usage
    return {
        "stdout": stdout, "stderr": stderr, "output": stdout + stderr, "code": code, "signal": number and _name(number),
        "message": message or None, "status": status or None, "cpu_time": round((usage.cpu_time or 0) * 1000),
        "wall_time": round((usage.wall_time or 0) * 1000), "memory": usage.memory_peak or 0,
    }  # fmt: skip


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"


def _nothing(fault: str) -> dict[str, Any]:
    return {
        "stdout": "", "stderr": fault, "output": fault, "code": 127, "signal": None, "message": fault, "status": "RE",
        "cpu_time": 0, "wall_time": 0, "memory": 0,
    }  # fmt: skip
