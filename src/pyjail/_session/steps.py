"""`Session.steps`: a list of commands in, a list of answers out."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pyjail._base import units
from pyjail._base.errors import SpecError
from pyjail._base.rare_errors import ExecError
from pyjail._result.result import Result
from pyjail._spec.jail import (
    Env,
    Limits,
    inside,
    text,
)

if TYPE_CHECKING:
    from pyjail._session.workspace import Workspace

KEYS = ("command", "timeout", "stdin", "env", "cwd", "read_only")
# What others call them, and no letters say.
_MEANT = {
    **dict.fromkeys(("cmd", "args", "argv", "run", "program", "shell", "script"), "command"),
    **dict.fromkeys(("wall_time", "time_limit", "seconds"), "timeout"), "input": "stdin", "environment": "env",
    **dict.fromkeys(("dir", "directory", "workdir", "working_directory"), "cwd"),
}  # fmt: skip
NOT_FOUND, NOT_EXECUTABLE = 127, 126  # as a shell has it


def run_steps(
    session: Workspace, steps: Iterable[Mapping[str, Any]], stop: bool, limits: Limits
) -> list[dict[str, Any]]:
    """See `Session.steps`."""
    # All of them are checked before any is started.
    checked = [check(step, f"steps[{i}].") for i, step in enumerate(steps)]
    answers = []
    for step in checked:
        answer = one(session, step, limits)
        answers.append(answer)
        if stop and answer["exit_code"] != 0:
            break
    return answers


def check(step: Any, where: str) -> dict[str, Any]:
    """One step, validated; its command as a list. SpecError names what is wrong: ``where`` and the key."""
    if not isinstance(step, Mapping):
        raise SpecError(where.rstrip(". :"), step, 'a mapping with "command" is needed')
    for key, value in step.items():
        if key not in KEYS:
            name = str(key)
            near = _MEANT.get(name.lower()) or next(iter(difflib.get_close_matches(name, KEYS, 1)), None)
            hint = f"; did you mean {near!r}?" if near else ""
            raise SpecError(f"{where}{key}", value, f"a step has {', '.join(KEYS)}{hint}")
    command = step.get("command")
    if not command:
        raise SpecError(f"{where}command", command, "is missing: a list of arguments, or text for sh -c")
    if not isinstance(command, Sequence) or isinstance(command, bytes):
        raise SpecError(f"{where}command", command, "a list of arguments is needed, or text for sh -c")
    timeout = units.seconds(f"{where}timeout", step.get("timeout"))
    if not isinstance(step.get("stdin"), (str, bytes, bytearray, memoryview, type(None))):
        raise SpecError(f"{where}stdin", step["stdin"], "str or bytes is needed")
    if not isinstance(step.get("read_only", False), bool):
        raise SpecError(f"{where}read_only", step["read_only"], "true or false is needed")
    if step.get("env") is not None:
        Env(step["env"], f"{where}env")
    if step.get("cwd") is not None:
        inside(f"{where}cwd", step["cwd"])
    command = ["sh", "-c", command] if isinstance(command, str) else [text(f"{where}command", c) for c in command]
    return {**step, "command": command, "timeout": timeout}


def one(session: Workspace, step: dict[str, Any], limits: Limits) -> dict[str, Any]:
    """Run a checked step: its answer."""
    if step.get("timeout") is not None:
        limits = replace(limits, wall_time=step["timeout"])
    given = step.get("stdin")
    try:
        result = session.run(
            step["command"],
            limits,
            input=given.encode("utf-8", "surrogateescape") if isinstance(given, str) else given,
            env=step.get("env"),
            cwd=step.get("cwd"),
            read_only=step.get("read_only", False),
        )
    except ExecError as e:
        code = NOT_FOUND if isinstance(e, FileNotFoundError) else NOT_EXECUTABLE
        return {"stdout": "", "stderr": f"{e}\n", "exit_code": code, "verdict": "runtime_error", "result": None}
    return _answer(result)


def _answer(result: Result) -> dict[str, Any]:
    return {
        "stdout": result.stdout.decode("utf-8", "replace"),
        "stderr": result.stderr.decode("utf-8", "replace"),
        "exit_code": result.exit_code,
        "verdict": str(result.verdict),
        "result": result,
    }


def load_steps(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The steps of a file, for `Session.steps`: validated, each command as a list.

    Args:
        path: of a file, TOML (``[[steps]]`` tables) or JSON (a list, or {"steps": [...]}); "-": standard input.

    Raises:
        SpecError: what is wrong in it, with file, number of the step and key. OSError: it cannot be read.

    >>> import tempfile, pyjail
    >>> with tempfile.NamedTemporaryFile("w", suffix=".json") as f:
    ...     _ = f.write('[{"command": "echo x"}]')
    ...     f.flush()
    ...     steps = pyjail.load_steps(f.name)
    >>> steps[0]["command"]
    ['sh', '-c', 'echo x']
    """
    path = os.fsdecode(path)
    file = "standard input" if path == "-" else path
    found = _parse(_read(path), path)
    if isinstance(found, Mapping):
        for key, value in found.items():
            if key not in ("steps", "step"):
                near = "; did you mean 'steps'?" if difflib.get_close_matches(key, ("steps",)) else ""
                raise SpecError(f"{file}: {key}", value, f"there is no such key; [[steps]] tables are needed{near}")
        found = [s for key in ("steps", "step") for s in _listed(file, found.get(key, []))]
    steps = enumerate(_listed(file, found), 1)
    return [check(step, f"{file}: step {n}: ") for n, step in steps]


def _listed(file: str, found: Any) -> list[Any]:
    if not isinstance(found, list):
        raise SpecError(f"{file}: steps", found, "a list of steps is needed")
    return found


def _read(path: str) -> bytes:
    if path == "-":
        return sys.stdin.buffer.read()
    with open(path, "rb") as f:
        return f.read()


def _parse(raw: bytes, path: str) -> Any:
    import json
    import tomllib

    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as e:
        raise SpecError("STEPS", path, f"is not UTF-8: {e}") from None
    wrong = []
    if not path.endswith(".toml"):
        try:
            return json.loads(text)
        except ValueError as e:
            wrong.append(f"is not JSON: {e}")
    if not path.endswith(".json"):
        try:
            return tomllib.loads(text)
        except tomllib.TOMLDecodeError as e:
            wrong.append(f"is not TOML: {e}")
    raise SpecError("STEPS", path, "; ".join(wrong))
