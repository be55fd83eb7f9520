"""What ``POST /v1/runs`` is asked in, and the `Job` that it means."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pyjail import Limits, SpecError
from pyjail.languages import find
from pyjail.serve import strict
from pyjail.serve.config import Config
from pyjail.serve.files import is_digest
from pyjail.serve.job import Job, Kept, Outcome
from pyjail.serve.problem import Problem

_LIMITS = tuple(f.name for f in fields(Limits))
_made: dict[Any, Limits] = {}
_MOST_MADE = 256
CONTENT = 'text, or {"base64": "..."} for bytes'
FILE = CONTENT + ', or {"sha256": "..."} for what /v1/files has'


class Asked(BaseModel):
    """A body in which no name is unknown, and no value is taken for one of another type."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Program(Asked):
    """A program: ``args``, or ``source`` in a ``language`` with ``args`` for it."""

    args: list[str] = Field(default_factory=list, description="the program and its arguments, as of pyjail.run")
    language: str = Field("", description="a name of /v1/languages")
    source: str | dict[str, str] | None = Field(None, description="its text, or {name: text} of several files")
    env: dict[str, str] | None = Field(None, description="the whole environment; in a language, more of it")
    cwd: str | None = Field(None, description="an absolute path inside; /box when it is not given")
    limits: dict[str, Any] = Field(default_factory=dict, description="limits of /v1/limits, never above their maxima")
    files: dict[str, str | dict[str, str]] = Field(default_factory=dict, description=f"path below /box: {FILE}")


class Run(Program):
    """A program to run."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"args": ["sh", "-c", "echo hello"]},
                {
                    "language": "python",
                    "source": "print(int(input()) ** 2)",
                    "stdin": "12\n",
                    "limits": {"cpu_time": 2},
                },
                {"args": ["sh", "-c", "cat a > b"], "files": {"a": "text"}, "collect": ["b"]},
            ]
        }
    )
    stdin: str | dict[str, str] = Field("", description=CONTENT)
    collect: list[str] = Field(default_factory=list, description="patterns of files that come back")
    merged: bool = Field(False, description="stderr goes where stdout goes")
    precheck: Literal["off", "warn", "reject"] | None = Field(
        None, description="of a Python source: tell what it imports and calls, or do not run it then; no protection"
    )
    sanitize: Literal["", "strip", "keep-colour", "escape"] = Field(
        "", description="stdout and stderr without control sequences of terminals, with colours kept, or shown"
    )


def program(asked: Program) -> None:
    """Nothing, where it says what is to be run. Raises `Problem` 422."""
    if asked.language and asked.source is None:
        raise Problem(422, "field", "a language needs a source", field="source")
    if asked.source is not None and not asked.language:
        raise Problem(422, "field", "a source needs a language", field="language")
    if not asked.language and not asked.args:
        raise Problem(422, "field", "there is nothing to run", field="args", hint="or give language and source")


def job_of(asked: Run, config: Config, usual: Limits | None = None) -> Job:
    """What is asked for; ``usual``: limits where it names none, the service's unless given. Raises `Problem` 422."""
    program(asked)
    files = {path: file(f"files.{path}", data) for path, data in asked.files.items()}
    return Job(
        tuple(asked.args), asked.language, asked.source or "", content("stdin", asked.stdin), files, asked.env,
        asked.cwd, limits(asked.limits, usual or config.limits, config.maxima), jail=config.jail,
        collect=tuple(asked.collect), merged=asked.merged, check=_check(asked, config),
        sanitize=asked.sanitize,
    )  # fmt: skip


def _check(asked: Run, config: Config) -> str:
    python = bool(asked.language) and _is_python(asked.language)
    if asked.precheck is None:
        return config.precheck if python else "off"
    if asked.precheck != "off" and not python:
        raise Problem(422, "field", "only a source in python can be checked", field="precheck")
    return asked.precheck


def _is_python(language: str) -> bool:
    try:
        return find(language).name == "python"
    except SpecError:
        return False  # one of the service's own, or none


def file(field: str, given: str | Mapping[str, str]) -> bytes | Kept:
    """As `content`, or {"sha256": ...} of a file that was sent before."""
    if isinstance(given, str) or set(given) != {"sha256"}:
        return content(field, given, FILE)
    if not is_digest(given["sha256"]):
        raise Problem(422, "field", "a SHA-256 has 64 hex digits in small letters", field=field)
    return Kept(given["sha256"])


def content(field: str, given: str | Mapping[str, str], taken: str = CONTENT) -> bytes:
    """Text, or {"base64": ...}."""
    if isinstance(given, str):
        return given.encode()
    if set(given) != {"base64"}:
        raise Problem(422, "field", f"{taken} is needed", field=field)
    try:
        return base64.b64decode(given["base64"], validate=True)
    except ValueError as e:
        raise Problem(422, "field", f"no base64: {e}", field=field) from None


def limits(asked: Mapping[str, Any], usual: Limits, most: Limits, field: str = "limits") -> Limits:
    """``usual`` with what is asked for, never above ``most``. The same object for the same question: what a command
    compiles to is kept by the objects that it was asked with."""
    if not asked:
        return usual
    key = usual, most, field, *sorted((name, type(value).__name__, value) for name, value in asked.items())
    try:
        known = _made.get(key)
    except TypeError:  # not hashable, as a list
        return _limits(asked, usual, most, field)
    if known is None:
        known = _limits(asked, usual, most, field)
        if len(_made) >= _MOST_MADE:
            _made.clear()
        _made[key] = known
    return known


def _limits(asked: Mapping[str, Any], usual: Limits, most: Limits, field: str) -> Limits:
    for name in asked:
        if name not in _LIMITS:
            raise strict.unknown(name, _LIMITS, f"{field}.{name}")
    try:
        wanted = replace(usual, **asked)
    except SpecError as e:
        raise Problem(422, "field", e.reason, field=f"{field}.{e.field}") from None
    for name in asked:
        value, bound = getattr(wanted, name), getattr(most, name)
        if bound is None:
            continue
        if not isinstance(bound, (int, float)):
            if value != bound:
                raise Problem(422, "limit", "it cannot be changed here", field=f"{field}.{name}")
        elif not isinstance(value, (int, float)) or value > bound:
            given = "no limit" if value is None else value if isinstance(value, (int, float)) else "a set"
            raise Problem(422, "limit", f"at most {bound} is given here, not {given}", field=f"{field}.{name}")
    return wanted


def told(outcome: Outcome, receipt: bool) -> dict[str, Any]:
    """As JSON."""
    said: dict[str, Any] = {"queue_s": round(outcome.queued, 6), "fault": outcome.fault or None}
    for name, result in (("compile", outcome.compile), ("result", outcome.result)):
        said[name] = None if result is None else result.to_dict(receipt)
    if said["compile"] is not None:
        said["compile"]["files"] = {}  # what a compiler made is no answer
    if outcome.findings:
        said["findings"] = [dict(finding) for finding in outcome.findings]
    return said


def shown(said: Mapping[str, Any], receipt: bool, output: bool = True) -> dict[str, Any]:
    """The same, without what nobody has asked for: what held the program; or what it wrote, which events have told."""
    held, wrote = () if receipt else ("receipt", "image"), () if output else ("stdout", "stderr")
    made = dict(said)
    for name, out in (("compile", held), ("result", held + wrote)):
        if out and made.get(name) is not None:
            made[name] = {key: value for key, value in made[name].items() if key not in out}
    return made
