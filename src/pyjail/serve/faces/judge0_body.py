"""What is kept of a submission of Judge0's, or what is wrong with it, by field."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pyjail.serve.face import Desk
from pyjail.serve.faces.judge0_job import archive_of, job_of, language_of, options_of
from pyjail.serve.faces.judge0_tables import (
    LANGUAGES,
    LIMITS,
    MOST_EXTRA_TIME,
    MOST_RUNS,
    OFF,
    OPTIONAL,
    PROJECT,
    REFUSED,
)
from pyjail.serve.problem import Problem

MOST_ARGUMENTS = 512  # characters; to split them takes time by the square of it
_ENCODED = ("source_code", "stdin", "expected_output")
_SWITCHES = (*OFF, "redirect_stderr_to_stdout")
_NO = (0, "", "0", "f", "F", "false", "FALSE", "off", "OFF")
_NUMBERS = ("language_id", "cpu_extra_time", "number_of_runs", *LIMITS)
_NUMBER = re.compile(r"[+-]?\d{1,15}(\.\d{1,15})?")
_WORDS = ("compiler_options", "command_line_arguments")


class Invalid(Problem):
    """A 422: what is wrong with which field."""

    def __init__(self, found: Mapping[str, Sequence[str]]) -> None:
        super().__init__(422, "field", "; ".join(f"{name} {', '.join(said)}" for name, said in found.items()))
        self.found = dict(found)


def on(desk: Desk) -> Mapping[str, bool]:
    """What the settings turn on and off."""
    usual = {"delete": False, **dict.fromkeys(OPTIONAL, True)}
    return {name: bool(desk.settings.get(name, given)) for name, given in usual.items()}


async def checked(sent: Mapping[str, Any], encoded: bool, desk: Desk) -> dict[str, Any]:
    """What is kept of a submission, its texts decoded. Raises `Invalid`."""
    given = {name: _cast(name, value) for name, value in sent.items()}
    wrong: dict[str, list[str]] = {}
    body = {**_texts(given, encoded, wrong), "language_id": given.get("language_id")}
    number = given.get("language_id")
    if isinstance(number, bool) or not isinstance(number, int):
        wrong["language_id"] = ["can't be blank"]
    elif LANGUAGES.get(number, ("", ""))[0] not in await _known(number, desk):
        wrong["language_id"] = [f"language with id {number} doesn't exist"]
    elif body.get("compiler_options"):
        try:
            options_of(body["compiler_options"], language_of(number, desk.config))
        except ValueError as e:
            wrong["compiler_options"] = [str(e)]
    needed, unwanted = ("additional_files", "source_code") if number == PROJECT else ("source_code", "")
    if not body.get(needed):
        wrong[needed] = ["can't be blank"]
    if body.get(unwanted):
        wrong[unwanted] = ["must be blank"]
    off = {name: why for name, why in OPTIONAL.items() if not on(desk)[name]}
    wrong |= {name: [why] for name, why in {**REFUSED, **off}.items() if given.get(name)}
    body |= _numbers(given, wrong)
    body["redirect_stderr_to_stdout"] = given.get("redirect_stderr_to_stdout") is True
    if wrong:
        raise Invalid(wrong)
    try:
        job_of({**body, "additional_files": None}, desk.config)  # which has been looked at
    except ValueError as e:
        raise Invalid({"command_line_arguments": [str(e)]}) from None
    except Problem as e:
        raise Invalid({e.field.removeprefix("limits.") or "limits": [e.detail]}) from None
    return body


def _cast(name: str, value: Any) -> Any:
    """As Rails takes what is text, as it is of a form, for a number or for true or false."""
    if name in _SWITCHES:
        return value not in _NO if isinstance(value, str | int | float) else value is not None
    if name in _NUMBERS and isinstance(value, str) and _NUMBER.fullmatch(value):
        return float(value) if "." in value else int(value)
    return value


def _texts(given: Mapping[str, Any], encoded: bool, wrong: dict[str, list[str]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in ("source_code", "stdin", "expected_output", *_WORDS, "additional_files"):
        value = given.get(name)
        if value is None:
            continue
        if not isinstance(value, str):
            wrong[name] = ["is not a string"]
            continue
        found[name] = _decoded(value) if encoded and name in _ENCODED else _whole(value)
    for name in _WORDS:
        if len(found.get(name, "")) > MOST_ARGUMENTS:
            wrong[name] = [f"is too long (maximum is {MOST_ARGUMENTS} characters)"]
            del found[name]
    try:
        if found.get("additional_files"):
            found["additional_files"] = base64.b64encode(archive_of(found["additional_files"])).decode()
    except ValueError as e:
        wrong["additional_files"] = [str(e)]
    return found


def _numbers(given: Mapping[str, Any], wrong: dict[str, list[str]]) -> dict[str, Any]:
    bounds = {name: (least, most) for name, (_, _, _, least, most) in LIMITS.items()}
    found = {}
    more = {"cpu_extra_time": (0, MOST_EXTRA_TIME), "number_of_runs": (1, MOST_RUNS)}
    for name, (least, most) in {**bounds, **more}.items():
        value = given.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            wrong[name] = ["is not a number"]
        elif not least <= value <= most:
            which, bound = ("less", most) if value > most else ("greater", least)
            wrong[name] = [f"must be {which} than or equal to {bound:.15g}"]
        found[name] = value
    return found


def _whole(value: str) -> str:
    """Without halves of surrogate pairs, which are no characters, and which no file could have."""
    return value.encode("utf-8", "replace").decode()


def _decoded(value: str) -> str:
    try:
        return base64.b64decode(value, validate=False).decode("utf-8", "surrogateescape")
    except (binascii.Error, ValueError):
        return _whole(value)


async def _known(number: int, desk: Desk) -> Mapping[str, str]:
    return await desk.languages(LANGUAGES[number][0]) if number in LANGUAGES else {}
