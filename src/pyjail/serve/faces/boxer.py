"""Boxer: commands in an image's files, with files that were uploaded before and files that they leave in /output."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from pyjail import File, Jail, Limits, Mount, SpecError, Verdict
from pyjail.serve.face import Answer, Asked, Desk, Endpoint, Hold
from pyjail.serve.faces.common import bounded, failed, parsed, relative, shown, text
from pyjail.serve.faces.verdicts import told
from pyjail.serve.job import Job
from pyjail.serve.problem import Problem

NAME = "boxer"
NOT_FOUND = 127  # what a shell says when there is no such program
OUTPUT_LIMIT = UPLOAD_LIMIT = 10 << 20
MOST_FILES = 256  # of one request
INPUTS = ".boxer"  # below /box, which is seen as /output
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
OWN: Mapping[str, Any] = {
    "cpu_time": None, "wall_time": 30, "memory": 256 << 20, "processes": 64, "open_files": 256, "cpus": 1.0,
}  # fmt: skip
HOST_VIEW = "python:*"  # this machine's own files, which have a Python
_LIMITS = {  # of a request: of pyjail, by which factor
    "cpu_cores": ("cpus", 1.0), "memory_mb": ("memory", 1 << 20), "pids_limit": ("processes", 1),
    "wall_clock_secs": ("wall_time", 1), "nofile": ("open_files", 1),
}  # fmt: skip
_NETWORKS = ("", "none", "sandbox", "host")


@dataclass(frozen=True)
class Request:
    """What ``POST /run`` takes."""

    image: str
    cmd: tuple[str, ...]
    env: tuple[str, ...]
    cwd: str
    limits: Mapping[str, Any]
    files: tuple[str, ...]
    persist: bool
    network: str


def request_of(body: Any) -> Request:
    """As Go reads it: keys in any case, null as if it were not there. Raises `Problem` 400."""
    if not isinstance(body, dict):
        raise _bad("the body is to be an object")
    given = {key.lower(): value for key, value in body.items() if value is not None}
    for name in ("image", "cmd"):
        if not given.get(name):
            raise _bad(f"Key: 'RunRequest.{name.capitalize()}' Error: field '{name}' is required")
    network = _is(given, "network", str, "")
    if network not in _NETWORKS:
        raise _bad("invalid network: must be none, sandbox, or host")
    return Request(
        _is(given, "image", str, ""), _strings(given, "cmd"), _strings(given, "env"),
        _is(given, "cwd", str, "") or "/", _limits(_is(given, "limits", dict, {})), _strings(given, "files"),
        _is(given, "persist", bool, False), network,
    )  # fmt: skip


def _is(given: Mapping[str, Any], name: str, kind: type, usual: Any) -> Any:
    value = given.get(name, usual)
    if not isinstance(value, kind):
        raise _bad(f"field '{name}' is to be {kind.__name__}, not {type(value).__name__}")
    return value


def _strings(given: Mapping[str, Any], name: str) -> tuple[str, ...]:
    values = _is(given, name, list, [])
    if not all(isinstance(value, str) for value in values):
        raise _bad(f"field '{name}' is to be a list of strings")
    return tuple(values)


def _limits(given: Mapping[str, Any]) -> Mapping[str, Any]:
    found: dict[str, Any] = {}
    for name, value in ((key.lower(), value) for key, value in given.items()):
        if name not in _LIMITS or value is None or value == 0:
            continue
        ours, factor = _LIMITS[name]
        whole = name != "cpu_cores"
        if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)) or value < 0:
            raise _bad(f"limits.{name} is to be a{' whole' * whole} number above 0")
        found[ours] = value * factor
    return found


def _bad(detail: str) -> Problem:
    return Problem(400, "field", detail)


def job_of(asked: Request, jail: Jail, limits: Limits, files: Mapping[str, bytes]) -> Job:
    """What is to be run. Raises `Problem` 400. ``files``: by their normalised paths."""
    env = {}
    for pair in asked.env:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise _bad(f"env: NAME=VALUE is needed, not {shown(pair[:100])!r}")
        env[name] = value
    try:
        links = [Mount.link(f"/{path}", f"/box/{INPUTS}/{path}") for path in files]
        jail = replace(jail, mounts=(*jail.mounts, Mount.link("/output", "/box"), *links))
        usual = dict(jail.env) if jail.image is not None else {"PATH": PATH}
        return Job(
            asked.cmd, files={f"{INPUTS}/{path}": File(data, 0o444) for path, data in files.items()},
            env={**usual, **env}, cwd=asked.cwd, limits=limits, jail=jail,
            collect=("**",) if asked.persist else (), label=NAME,
        )  # fmt: skip
    except SpecError as e:
        raise _refused(e) from None


def _refused(e: SpecError) -> Problem:
    return _bad(f"invalid file path: {e.reason}" if e.field in ("dst", "mounts") else f"{e.field}: {e.reason}")


def jail_of(desk: Desk, image: str) -> Jail | str:
    """The jail for an image's name, or the name that it has in the store."""
    names = {**dict(desk.settings.get("images", {})), HOST_VIEW: ""}
    for pattern, name in names.items():
        if fnmatchcase(image, pattern):
            return name or desk.config.jail
    return image


class Boxer:
    """Its interface."""

    name = NAME

    def endpoints(self) -> Sequence[Endpoint]:
        return (
            Endpoint("POST", "/run", run, runs=True), Endpoint("POST", "/files", upload, forms=True),
            Endpoint("GET", "/files", download), Endpoint("GET", "/healthz", health),
        )  # fmt: skip

    def problem(self, problem: Problem) -> Answer:
        detail = "request exceeds limit" if problem.status == 413 and problem.kind != "upload" else problem.detail
        return Answer({"error": detail}, problem.status, headers=problem.headers)


async def health(asked: Asked, desk: Desk) -> Answer:
    return Answer({"ok": True})


async def run(asked: Asked, desk: Desk) -> Answer:
    try:
        wanted = request_of(parsed(asked))
    except ValueError as e:
        raise _bad(f"invalid JSON: {e}") from None
    output = int(desk.settings.get("output", OUTPUT_LIMIT))
    own = {**OWN, "output": max(1, output - 1)}  # what is exactly as long counts as too long, as there
    limits = bounded(desk.config, desk.settings, own, wanted.limits)
    if wanted.network in ("sandbox", "host"):
        raise _bad(f"network={wanted.network} is not offered by this server")
    jail = jail_of(desk, wanted.image)
    if isinstance(jail, str):
        jail = await desk.image(jail)
    with desk.holding() as hold:
        files = await _inputs(wanted.files, desk, limits.disk or math.inf, hold)
        name = f"boxer-{uuid.uuid4()}"
        try:
            return await _ran(job_of(wanted, jail, limits, files), name, output, desk)
        finally:
            if not wanted.persist:
                for path in files:
                    await desk.drop(path)


async def _inputs(paths: Sequence[str], desk: Desk, room: float, hold: Hold) -> dict[str, bytes]:
    """Their contents. No more is read than a program can be given: they are held while it waits for its turn."""
    found: dict[str, bytes] = {}
    if len(paths) > MOST_FILES:
        raise _bad(f"at most {MOST_FILES} files are given to a program")
    for path in dict.fromkeys(paths):
        try:
            clean = relative(path.lstrip("/"))
        except ValueError as e:
            raise _bad(f"invalid file path: {e}") from None
        data = await desk.get(clean)
        if data is None:
            raise _bad(f"file not found: {shown(path[:4096])}")
        hold(len(data))
        found[clean] = data
        if sum(map(len, found.values())) > room:
            raise _bad(f"files: more than the {room} bytes that /box has")
    return found


async def _ran(job: Job, name: str, output: int, desk: Desk) -> Answer:
    try:
        outcome = await desk.run(job)
    except SpecError as e:
        raise _refused(e) from None
    result = outcome.result
    if result is None:
        return _result(name, NOT_FOUND, "", f"{outcome.fault}\n", 0.0)
    cell, code = told(NAME, result)
    wall = result.usage.wall_time or 0.0
    if result.verdict is Verdict.JAIL_ERROR:
        raise failed("")
    if cell.http == 408:
        raise Problem(408, "time", f"execution timed out after {wall * 1000:.0f}ms")
    if cell.http == 507:
        raise Problem(507, "output", f"output limit exceeded: limit={output} bytes")
    for path, data in result.files.items():
        if not path.startswith(f"{INPUTS}/"):
            await desk.put(f"output/{name}/{path}", data)
    return _result(name, code, text(result.stdout), text(result.stderr), wall)


def _result(name: str, code: int | None, stdout: str, stderr: str, wall: float) -> Answer:
    return Answer(
        {"exec_id": name, "exit_code": code, "stdout": stdout, "stderr": stderr, "wall_ms": round(wall * 1000)}
    )


async def upload(asked: Asked, desk: Desk) -> Answer:
    form = asked.form
    if form is None or "file" not in form:
        raise _bad("form field 'file' is required: request has no such part")
    if not form.get("path"):
        raise _bad("form field 'path' is required")
    path = text(form["path"])
    if len(form["file"]) > int(desk.settings.get("upload", UPLOAD_LIMIT)):
        raise Problem(413, "upload", "upload exceeds limit")
    clean = _clean(path)
    if f"{clean}/".startswith("output/"):
        raise _bad(f"path uses reserved prefix 'output/': {json.dumps(path)}")
    await desk.put(clean, form["file"])
    return Answer({"path": path})


async def download(asked: Asked, desk: Desk) -> Answer:
    path = asked.query.get("path", "")
    if not path:
        raise _bad("query parameter 'path' is required")
    data = await desk.get(_clean(path))
    if data is None:
        raise Problem(404, "file", "file not found")
    return Answer(body=data, type="application/octet-stream")


def _clean(path: str) -> str:
    try:
        return relative(path.lstrip("/"))
    except ValueError as e:
        raise _bad(str(e)) from None
