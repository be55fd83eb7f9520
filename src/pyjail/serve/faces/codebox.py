"""Codebox: source files in /sandbox, and commands that run there one after the other."""

from __future__ import annotations

import posixpath
import re
import shlex
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pyjail import Jail, Limits, Mount, SpecError, Verdict
from pyjail.serve.face import Answer, Asked, Desk, Endpoint
from pyjail.serve.faces.common import LONGEST_PATH, bounded, failed, parsed, relative, shown
from pyjail.serve.faces.verdicts import told
from pyjail.serve.faces.wrong import OBJECT, STRING, Detail, Wrong, detail, missing, no_json, number
from pyjail.serve.job import LATE, Job, Outcome, Script
from pyjail.serve.problem import Problem

NAME = "codebox"
TIMEOUT = 0.2
LONGEST = 3600.0
MOST_SOURCES, MOST_COMMANDS = 1000, 100
MOST_TEXT = 64 << 10  # of all commands: what splits them takes time by the square of it
RUSTC = "/usr/local/cargo/bin/rustc"
OWN: Mapping[str, Any] = {
    "cpu_time": None, "memory": 64_000_000, "processes": 12, "address_space": 4096 << 20, "file_size": 5 << 20,
    "disk": 10 << 20,
}  # fmt: skip
PROGRAMS: Mapping[str, str] = {  # where its examples look for programs: where they are
    "/venv/bin/python": "/usr/bin/python3", "/venv/bin/python3": "/usr/bin/python3", "/venv/bin/pip": "/usr/bin/pip3",
    "/venv/bin/pytest": "/usr/bin/pytest-3", RUSTC: "/usr/bin/rustc",
}  # fmt: skip
_ROOT = "/tmp/sandbox"  # what a path is below, as it is told; nothing is there
_VERSIONS = """for p in python3 rustc sqlite3 bash; do
  command -v $p >/dev/null && printf '%s %s\\n' $p "$($p --version 2>/dev/null | head -n 1)"; done; true"""


@dataclass(frozen=True)
class Command:
    """One of those of a request."""

    command: str
    stdin: str | None
    timeout: float | None


def request_of(body: Any, timeout: float, most: float | None) -> tuple[Mapping[str, str], Sequence[Command]]:
    """The sources, the commands, none of which may take longer than ``most``. Raises `Wrong`."""
    if not isinstance(body, dict):
        raise Wrong(detail([], OBJECT, body))
    found = [*_of_sources(body), *_of_commands(body, most)]
    if found:
        raise Wrong(*found)
    given = body["commands"]
    commands = [Command(c["command"], c.get("stdin"), number(c.get("timeout", timeout))) for c in given]
    return body["sources"], commands


def _of_sources(body: Mapping[str, Any]) -> Iterator[Detail]:
    """What is wrong with them."""
    sources = body.get("sources")
    if "sources" not in body:
        yield missing(["sources"], body)
    elif not isinstance(sources, dict):
        yield detail(["sources"], ("dict_type", "Input should be a valid dictionary"), sources)
    elif len(sources) > MOST_SOURCES:
        yield detail(["sources"], _too_many("Dictionary", MOST_SOURCES, len(sources)), None)
    else:
        yield from (detail(["sources", p], STRING, text) for p, text in sources.items() if not isinstance(text, str))


def _length(command: Any) -> int:
    return len(str(command.get("command", ""))) if isinstance(command, dict) else 0


def _too_many(kind: str, most: int, given: int) -> tuple[str, str]:
    return "too_long", f"{kind} should have at most {most} items after validation, not {given}"


def _of_commands(body: Mapping[str, Any], most: float | None) -> Iterator[Detail]:
    commands = body.get("commands")
    if "commands" not in body:
        yield missing(["commands"], body)
    elif not isinstance(commands, list):
        yield detail(["commands"], ("list_type", "Input should be a valid list"), commands)
    elif sum(map(_length, commands)) > MOST_TEXT:
        yield detail(["commands"], ("too_long", f"Commands should have at most {MOST_TEXT} characters together"), None)
    elif len(commands) > MOST_COMMANDS:
        yield detail(["commands"], _too_many("List", MOST_COMMANDS, len(commands)), None)
    else:
        for i, command in enumerate(commands):
            yield from _of_command(["commands", i], command, most)


def _of_command(at: Sequence[str | int], command: Any, most: float | None) -> Iterator[Detail]:
    if not isinstance(command, dict):
        yield detail(at, OBJECT, command)
        return
    if "command" not in command:
        yield missing([*at, "command"], command)
    for name in ("command", "stdin"):
        given = command.get(name)
        if not isinstance(given, str | None) or (name == "command" in command and given is None):
            yield detail([*at, name], STRING, given)
    seconds = number(command.get("timeout"))
    if seconds is None:
        return
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        yield detail([*at, "timeout"], ("float_type", "Input should be a valid number"), seconds)
    elif not seconds > 0:
        yield detail([*at, "timeout"], ("greater_than", "Input should be greater than 0"), seconds)
    elif most is not None and seconds > most:
        kind = "less_than_equal", f"Input should be less than or equal to {most:g}"
        yield detail([*at, "timeout"], kind, seconds)


def placed(sources: Mapping[str, str]) -> tuple[dict[str, bytes], list[dict[str, Any]]]:
    """The files by their normalised paths; an entry of the answer for each that cannot be."""
    files: dict[str, bytes] = {}
    bad = []
    within = _within(sources)
    for path, content in sources.items():
        try:
            clean = relative(path.lstrip("/"))
            files[clean] = content.encode("utf-8", "replace")  # half of a pair is no character
            if clean in within:
                raise ValueError("a file and a directory")
        except ValueError:
            where = posixpath.normpath(posixpath.join(_ROOT, path.lstrip("/")[:LONGEST_PATH]))
            bad.append(entry(stderr=f"Invalid file path: {shown(where)}", code=-1))
    return files, bad


def _within(paths: Iterable[str]) -> set[str]:
    """Those whose directory another one is."""
    clean = {posixpath.normpath(path.lstrip("/")) for path in paths if len(path) <= LONGEST_PATH}
    found: set[str] = set()
    file = ""
    for path in sorted(clean, key=lambda path: path.replace("/", "\0")):  # what is in a directory comes right behind it
        if file and path.startswith(f"{file}/"):
            found.add(path)
        else:
            file = path
    return found


async def jail_of(desk: Desk) -> Jail:
    """One whose /box is /sandbox, too, whose programs have their other names, and which has no shared memory."""
    plain = await desk.tools("python", desk.config.jail)
    base = await desk.tools("rust", plain)
    own = [m.dst for m in base.mounts if m not in plain.mounts]  # of a toolchain that is not the system's
    programs = {**PROGRAMS, **({RUSTC: f"{own[0]}/bin/rustc"} if own else {})}
    if base.python is not None:
        programs |= dict.fromkeys(("/venv/bin/python", "/venv/bin/python3"), "/python/bin/python3")
    programs = {name: where for name, where in programs.items() if name not in {m.dst for m in base.mounts}}
    programs |= dict(desk.settings.get("programs", {}))
    links = [Mount.link(name, where) for name, where in programs.items() if name != where]
    given = (Mount.link("/sandbox", "/box"), Mount.tmpfs("/dev/shm", 4096, ro=True), *links)
    there = {mount.dst for mount in given}
    path = f"/venv/bin:{dict(base.env).get('PATH', '/usr/bin:/bin')}"
    return replace(
        base, mounts=(*(m for m in base.mounts if m.dst not in there), *given),
        env={"PYTHONIOENCODING": "utf-8:strict", **base.env, "HOME": "/sandbox", "PATH": path},
    )  # fmt: skip


def entry(stdout: str = "", stderr: str = "", code: int | None = 0, elapsed: float = 0.0) -> dict[str, Any]:
    return {"stdout": stdout, "stderr": stderr, "exit_code": code, "elapsed_time": elapsed}


def entry_of(outcome: Outcome, timeout: float) -> dict[str, Any]:
    """What came of a command. Raises `Problem` 500 when the jail failed."""
    result = outcome.result
    if result is None:
        return entry(stderr=f"{outcome.fault}\n", code=-1 if outcome.fault == LATE else 127)
    if result.verdict is Verdict.JAIL_ERROR:
        raise failed("")
    cell, code = told(NAME, result)
    elapsed = result.usage.wall_time or 0.0
    late = cell.text.format(limit=f"{timeout:g}" if timeout != int(timeout) else f"{timeout:.1f}")
    cut = result.verdict is not Verdict.OK and result.verdict is not Verdict.RUNTIME_ERROR
    try:
        stdout, stderr = (
            data.decode("utf-8", "ignore" if cut else "strict") for data in (result.stdout, result.stderr)
        )
    except UnicodeDecodeError as e:
        return entry(stderr=str(e), code=-1, elapsed=elapsed)
    return entry(stdout, stderr or late, code, elapsed)


class Codebox:
    """Its interface."""

    name = NAME

    def endpoints(self) -> Sequence[Endpoint]:
        return Endpoint("POST", "/execute", execute, runs=True), Endpoint("GET", "/languages", languages)

    def problem(self, problem: Problem) -> Answer:
        if isinstance(problem, Wrong):
            return Answer({"detail": problem.found}, 422)
        if problem.status == 500:
            return Answer(body=b"Internal Server Error", status=500, type="text/plain; charset=utf-8")
        return Answer({"detail": problem.detail}, problem.status, headers=problem.headers)


async def execute(asked: Asked, desk: Desk) -> Answer:
    """With the seconds that it took, in a header."""
    began = time.monotonic()
    answer = await _executed(asked, desk)
    return replace(answer, headers={"X-Processed-Time": f"{time.monotonic() - began:.6f}"})


async def _executed(asked: Asked, desk: Desk) -> Answer:
    try:
        body = parsed(asked)
    except ValueError as e:
        raise no_json(e) from None
    usual = float(desk.settings.get("timeout", TIMEOUT))
    sources, commands = request_of(body, usual, desk.config.maxima.wall_time)
    files, bad = placed(sources)
    if bad:
        return Answer(bad)
    limits = bounded(desk.config, desk.settings, OWN, {})
    return Answer(await _ran(files, commands, await jail_of(desk), limits, desk))


async def _ran(
    files: Mapping[str, bytes], commands: Sequence[Command], jail: Jail, limits: Limits, desk: Desk
) -> list[dict[str, Any]]:
    answers: list[dict[str, Any] | None] = []
    jobs: list[Job] = []
    waits: list[float] = []
    most = desk.config.maxima.wall_time or LONGEST
    for command in commands:
        try:
            args = tuple(shlex.split(command.command))
        except ValueError as e:
            answers.append(entry(stderr=str(e), code=-1))
            continue
        if not args:
            answers.append(entry(stderr="empty command", code=-1))
            continue
        answers.append(None)
        waits.append(most if command.timeout is None else command.timeout)
        own = replace(limits, wall_time=waits[-1])
        stdin = (command.stdin or "").encode("utf-8", "replace")
        jobs.append(Job(args, stdin=stdin, cwd="/sandbox", env=dict(jail.env), limits=own, jail=jail, label=NAME))
    outcomes = await _outcomes(jobs, files, jail, limits, desk)
    made = iter([entry_of(outcome, wait) for outcome, wait in zip(outcomes, waits, strict=True)])
    return [next(made) if answer is None else answer for answer in answers]


async def _outcomes(
    jobs: Sequence[Job], files: Mapping[str, bytes], jail: Jail, limits: Limits, desk: Desk
) -> Sequence[Outcome]:
    try:
        if not jobs:
            return []
        if len(jobs) == 1:  # no session is needed for one
            return [await desk.run(replace(jobs[0], files=files))]
        seconds = desk.config.maxima.wall_time or LONGEST
        return await desk.steps(Script(tuple(jobs), files, jail, limits, NAME, seconds))
    except SpecError as e:
        raise Wrong(detail(["commands"], ("value_error", f"{e.field}: {e.reason}"), None)) from None


async def languages(asked: Asked, desk: Desk) -> Answer:
    limits = replace(bounded(desk.config, desk.settings, {}, {}), wall_time=10)
    jail = await jail_of(desk)
    outcome = await desk.run(
        Job(("/bin/sh", "-c", _VERSIONS), limits=limits, jail=jail, env=dict(jail.env), label=NAME)
    )
    if outcome.result is None or not outcome.result.ok:
        raise failed("")
    said = outcome.result.stdout.decode("utf-8", "replace")
    names = {"python3": "python", "rustc": "rust", "sqlite3": "sqlite3", "bash": "bash"}
    lines = (line.split(" ", 1) for line in said.splitlines())
    found = {names[name]: re.search(r"\d[\w.()-]*", rest) for name, rest in lines if name in names}
    return Answer({name: version[0] for name, version in found.items() if version})
