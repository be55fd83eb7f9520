"""snekbox: Python's arguments and files; its output, its exit code, and the files that are new."""

from __future__ import annotations

import base64
import binascii
import errno
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import dropwhile
from typing import Any

from pyjail import Jail, Mount, Verdict
from pyjail.serve.face import Answer, Asked, Desk, Endpoint
from pyjail.serve.faces.common import LONGEST_PATH, MOST_SHOWN, bounded, failed, parsed, relative, shown
from pyjail.serve.faces.verdicts import told
from pyjail.serve.job import Job, Outcome
from pyjail.serve.problem import Media, Problem

NAME = "snekbox"
OWN: Mapping[str, Any] = {
    "cpu_time": None, "wall_time": 6, "memory": 73_400_320, "address_space": 700 << 20, "processes": 15,
    "output": 1_000_000, "disk": 48 << 20, "collect_files": 100,
}  # fmt: skip
THREADS = ("OMP", "OPENBLAS", "MKL", "NUMEXPR")
ENV: Mapping[str, str] = {
    "LANG": "en_US.UTF-8", "PYTHONDONTWRITEBYTECODE": "true", "PYTHONIOENCODING": "utf-8:strict",
    "PYTHONUNBUFFERED": "true", "PYTHON_COLORS": "1", "VECLIB_MAXIMUM_THREADS": "15",
    **{f"{library}_NUM_THREADS": "15" for library in THREADS},
}  # fmt: skip
NEW = "**/[!_.]*"  # what comes back, unless it lies in a directory that is hidden
PATTERN = r"^(?!/)(?!.*\\0).*$"
DEFAULT = "python3"
_TYPES = {
    "input": (str, "string"), "args": (list, "array"), "files": (list, "array"), "executable_path": (str, "string"),
}  # fmt: skip
INVALID = "Request data failed validation"


class Refused(Problem):
    """A 400 with a ``title``."""

    def __init__(self, title: str, detail: str) -> None:
        super().__init__(400, title, detail)


class NotRun(Problem):
    """A 200 all the same, whose ``detail`` is what stands for the output."""

    def __init__(self, detail: str) -> None:
        super().__init__(200, "not-run", detail)


class Snekbox:
    """Its interface."""

    name = NAME

    def endpoints(self) -> Sequence[Endpoint]:
        return Endpoint("POST", "/eval", evaluate, runs=True), Endpoint("OPTIONS", "/eval", options)

    def problem(self, problem: Problem) -> Answer:
        if problem.status == 422 and problem.field.startswith("files."):
            problem = NotRun(f"OSError: Failed to create file '{problem.field.removeprefix('files.')}'.")
        if isinstance(problem, NotRun):
            return Answer(_content(problem.detail, None))
        if problem.status == 422:
            problem = Refused(INVALID, problem.detail)
        if isinstance(problem, Refused):
            return Answer({"title": problem.kind, **({"description": problem.detail} if problem.detail else {})}, 400)
        said = {"title": f"{problem.status} {problem.to_dict()['title']}", "description": problem.detail}
        if isinstance(problem, Media):
            said["description"] = f"{shown(problem.given[:MOST_SHOWN])} is an unsupported media type."
        return Answer(said, problem.status, headers=problem.headers)


async def options(asked: Asked, desk: Desk) -> Answer:
    return Answer(body=b"", type="text/plain", headers={"Allow": "POST"})


async def evaluate(asked: Asked, desk: Desk) -> Answer:
    try:
        body = parsed(asked)
    except ValueError as e:
        raise Refused("Invalid JSON", f"Could not parse JSON body - {e}") from None
    args, files, program = request_of(body)
    jail = _jail(desk.config.jail, desk.settings)
    job = Job(
        (program, *args), files=files, cwd="/home", limits=bounded(desk.config, desk.settings, OWN, {}),
        env={**ENV, **jail.env, "HOME": "/home"}, jail=jail, collect=(NEW,), merged=True, label=NAME,
    )  # fmt: skip
    return Answer(content_of(await desk.run(job), files))


def _jail(jail: Jail, settings: Mapping[str, Any]) -> Jail:
    programs = dict(settings.get("executables", {}))
    links = [Mount.link(name, where) for name, where in programs.items()]
    return replace(jail, mounts=(*jail.mounts, Mount.link("/home", "/box"), *links))


def request_of(body: Any) -> tuple[tuple[str, ...], dict[str, bytes], str]:
    """The arguments, the files, the program. Raises `Refused`, in the words of its JSON schema."""
    if not isinstance(body, dict):
        raise Refused(INVALID, f"{body!r} is not of type 'object'")
    for name, (kind, word) in _TYPES.items():
        if name in body and not isinstance(body[name], kind):
            raise Refused(INVALID, f"{body[name]!r} is not of type {word!r}")
    for one in body.get("args", []):
        if not isinstance(one, str):
            raise Refused(INVALID, f"{one!r} is not of type 'string'")
    files = _written([_file(one) for one in _checked(body.get("files", []))])
    if "input" not in body and "args" not in body:
        raise Refused(INVALID, f"{body!r} is not valid under any of the given schemas")
    args = list(body.get("args", ["-c"]))
    if "input" in body:
        args.append(body["input"])
    if "\0" in "".join(args) + body.get("executable_path", ""):
        raise NotRun("ValueError: embedded null byte")
    return tuple(dropwhile(lambda arg: not arg, args)), files, body.get("executable_path") or DEFAULT


def _checked(files: Sequence[Any]) -> Sequence[Mapping[str, Any]]:
    for one in files:
        if not isinstance(one, dict):
            raise Refused(INVALID, f"{one!r} is not of type 'object'")
        if "path" not in one:
            raise Refused(INVALID, "'path' is a required property")
        for name in ("path", "content"):
            if not isinstance(one.get(name, ""), str):
                raise Refused(INVALID, f"{one[name]!r} is not of type 'string'")
        if not re.match(PATTERN, one["path"], re.DOTALL):
            raise Refused(INVALID, f"{one['path']!r} does not match {PATTERN!r}")
    return files


def _file(one: Mapping[str, Any]) -> tuple[str, bytes]:
    try:
        clean = relative(one["path"])
    except ValueError:
        raise Refused(
            "Request file is invalid", f"File path '{one['path'][:LONGEST_PATH]}' may not traverse beyond root"
        ) from None
    try:
        return clean, base64.b64decode(one.get("content", ""))  # what is no base64 is passed over, as there
    except (binascii.Error, ValueError):
        raise Refused("Request file is invalid", f"Invalid base64 encoding for file '{one['path']}'") from None


def _written(files: Sequence[tuple[str, bytes]]) -> dict[str, bytes]:
    """By their paths, the last one of each. Raises `NotRun` for one that is where a directory is, or below a file."""
    written: dict[str, bytes] = {}
    directories: set[str] = set()
    for path, data in files:
        parts = path.split("/")
        above = ["/".join(parts[:i]) for i in range(len(parts) - 1, 0, -1)]  # the nearest first
        for error, wrong in (
            ("FileExistsError", above[:1] and above[0] in written),
            ("NotADirectoryError", any(directory in written for directory in above)),
            ("IsADirectoryError", path in directories),
        ):
            if wrong:
                raise NotRun(f"{error}: Failed to create file '{shown(path)}'.")
        written[path] = data
        directories.update(above)
    return written


def content_of(outcome: Outcome, files: Mapping[str, bytes]) -> dict[str, Any]:
    """The answer. Raises `Problem` 500 when the jail failed, 400 where there is no such program, or it is none."""
    result = outcome.result
    if result is None:
        there = outcome.fault.endswith(os.strerror(errno.EACCES))
        raise Refused(f"executable_path {'is not executable' if there else 'does not exist'}", "")
    if result.verdict is Verdict.JAIL_ERROR:
        raise failed("")
    _, code = told(NAME, result)
    try:
        stdout = result.stdout.decode("utf-8", "ignore" if result.verdict is Verdict.OUTPUT else "strict")
    except UnicodeDecodeError:
        return _content("UnicodeDecodeError: invalid Unicode in output pipe", None)
    found = {path: data for path, data in result.files.items() if files.get(path) != data}
    new = {path: data for path, data in found.items() if not any(part.startswith(".") for part in path.split("/"))}
    if any(not _is_text(path) for path in new):
        return _content("FileParsingError: invalid bytes in filename while parsing attachments", None)
    return _content(stdout, code, [_told(path, data) for path, data in sorted(new.items())])


def _content(stdout: str, code: int | None, files: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    return {"stdout": stdout, "returncode": code, "files": list(files)}


def _is_text(path: str) -> bool:
    return not any("\ud800" <= c <= "\udfff" for c in path)


def _told(path: str, data: bytes) -> dict[str, Any]:
    return {"path": path, "size": len(data), "content": base64.b64encode(data).decode()}
