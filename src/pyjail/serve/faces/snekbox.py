"""snekbox: Python's arguments and files; its output, its exit code, and the files that are new."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pyjail import Jail, Mount, Verdict
from pyjail.serve.face import Answer, Asked, Desk, Endpoint
from pyjail.serve.faces.common import bounded, failed, parsed, relative
from pyjail.serve.faces.verdicts import told
from pyjail.serve.job import Job, Outcome
from pyjail.serve.problem import Problem

NAME = "snekbox"
OWN: Mapping[str, Any] = {
    "cpu_time": None, "wall_time": 6, "memory": 52_428_800, "processes": 6, "output": 1_000_000, "collect_files": 100,
}  # fmt: skip
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


class Snekbox:
    """Its interface."""

    name = NAME

    def endpoints(self) -> Sequence[Endpoint]:
        return Endpoint("POST", "/eval", evaluate), Endpoint("OPTIONS", "/eval", options)

    def problem(self, problem: Problem) -> Answer:
        if problem.status == 422:
            problem = Refused(INVALID, problem.detail)
        if isinstance(problem, Refused):
            return Answer({"title": problem.kind, "description": problem.detail}, 400)
        title = f"{problem.status} {problem.to_dict()['title']}"
        return Answer({"title": title, "description": problem.detail}, problem.status, headers=problem.headers)


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
        env={**jail.env, "HOME": "/home"}, jail=jail, collect=("**/[!_]*",), merged=True, label=NAME,
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
    files = dict(_file(one) for one in _checked(body.get("files", [])))
    if "input" not in body and "args" not in body:
        raise Refused(INVALID, f"{body!r} is not valid under any of the given schemas")
    args = list(body.get("args", ["-c"]))
    if "input" in body:
        args.append(body["input"])
    if "\0" in "".join(args) + body.get("executable_path", ""):
        raise Refused(INVALID, "an argument holds a NUL")
    return tuple(args), files, body.get("executable_path") or DEFAULT


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
        raise Refused("Request file is invalid", f"File path '{one['path']}' may not traverse beyond root") from None
    try:
        return clean, base64.b64decode(one.get("content", ""), validate=True)
    except (binascii.Error, ValueError) as e:
        raise Refused("Request file is invalid", f"Invalid base64 in file '{one['path']}': {e}") from None


def content_of(outcome: Outcome, files: Mapping[str, bytes]) -> dict[str, Any]:
    """The answer. Raises `Problem` 500 when the jail failed, 400 where there is no such program."""
    result = outcome.result
    if result is None:
        raise Refused("executable_path does not exist", outcome.fault)
    if result.verdict is Verdict.JAIL_ERROR:
        raise failed("")
    _, code = told(NAME, result)
    try:
        stdout = result.stdout.decode("utf-8", "ignore" if result.verdict is Verdict.OUTPUT else "strict")
    except UnicodeDecodeError:
        stdout, code = "", None
    new = {path: data for path, data in result.files.items() if files.get(path) != data}
    told_files = [_told(path, data) for path, data in sorted(new.items())]
    return {"stdout": stdout, "returncode": code, "files": told_files}


def _told(path: str, data: bytes) -> dict[str, Any]:
    return {"path": path, "size": len(data), "content": base64.b64encode(data).decode()}
