"""Judge0 CE: submissions that are fetched by their tokens, or waited for."""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from pyjail.serve.face import Answer, Asked, Desk, Endpoint, Kept
from pyjail.serve.faces.common import parsed
from pyjail.serve.faces.judge0_answers import submission
from pyjail.serve.faces.judge0_job import archive_of, job_of, language_of, options_of
from pyjail.serve.faces.judge0_tables import (
    FIELDS,
    LANGUAGES,
    LIMITS,
    MOST_EXTRA_TIME,
    MOST_IN_BATCH,
    NAME,
    NO_VERSION,
    PROJECT,
    REFUSED,
    STATUSES,
    USUAL,
    VERSION,
    configuration,
)
from pyjail.serve.job import MOST_UNPACKED
from pyjail.serve.problem import Problem

MOST_ARGUMENTS = 512  # characters; to split them takes time by the square of it
_WORDS = ("compiler_options", "command_line_arguments")
_ENCODED = ("source_code", "stdin", "expected_output")
WAIT = 60.0  # seconds that ``wait=true`` waits at most


class Invalid(Problem):
    """A 422: what is wrong with which field."""

    def __init__(self, found: Mapping[str, Sequence[str]]) -> None:
        super().__init__(422, "field", "; ".join(f"{name} {', '.join(said)}" for name, said in found.items()))
        self.found = dict(found)


class Judge0:
    """Its interface."""

    name = NAME

    def endpoints(self) -> Sequence[Endpoint]:
        return (
            Endpoint("POST", "/submissions/batch", create_batch), Endpoint("GET", "/submissions/batch", fetch_batch),
            Endpoint("POST", "/submissions", create), Endpoint("GET", "/submissions/{token}", fetch),
            Endpoint("DELETE", "/submissions/{token}", delete), Endpoint("GET", "/languages", languages),
            Endpoint("GET", "/languages/all", languages), Endpoint("GET", "/languages/{id}", language),
            Endpoint("GET", "/statuses", statuses), Endpoint("GET", "/config_info", config_info),
            Endpoint("GET", "/about", about), Endpoint("GET", "/version", version),
        )  # fmt: skip

    def problem(self, problem: Problem) -> Answer:
        if isinstance(problem, Invalid):
            return Answer(problem.found, 422)
        detail = {"queue-full": "queue is full"}.get(problem.kind, problem.detail)
        return Answer({"error": detail}, problem.status, headers=problem.headers)


# ---- what it says of itself ----


async def about(asked: Asked, desk: Desk) -> Answer:
    return Answer({"version": VERSION, "homepage": "", "source_code": "", "maintainer": "pyjail"})


async def version(asked: Asked, desk: Desk) -> Answer:
    return Answer(body=VERSION.encode(), type="text/plain; charset=utf-8")


async def config_info(asked: Asked, desk: Desk) -> Answer:
    return Answer(configuration(desk.config.admission.queue, _deletes(desk), MOST_UNPACKED))


async def statuses(asked: Asked, desk: Desk) -> Answer:
    return Answer([{"id": number, "description": said} for number, said in STATUSES.items()])


async def languages(asked: Asked, desk: Desk) -> Answer:
    return Answer(await _languages(desk))


async def language(asked: Asked, desk: Desk) -> Answer:
    found = [row for row in await _languages(desk) if str(row["id"]) == asked.params["id"]]
    if not found:
        raise Problem(404, "language", f"couldn't find Language with 'id'={asked.params['id'][:20]}")
    return Answer({**found[0], "is_archived": False})


async def _known(number: int, desk: Desk) -> Mapping[str, str]:
    return await desk.languages(LANGUAGES[number][0]) if number in LANGUAGES else {}


async def _languages(desk: Desk) -> list[dict[str, Any]]:
    known = await desk.languages()
    return [
        {"id": number, "name": name if number in NO_VERSION else f"{name} ({known[ours]})"}
        for number, (ours, name) in LANGUAGES.items()
        if ours in known
    ]


# ---- submissions ----


async def create(asked: Asked, desk: Desk) -> Answer:
    fields, encoded = _fields(asked), _is(asked, "base64_encoded")
    token = await desk.submit(await _checked(_object(asked), encoded, desk), uuid.uuid4().hex)
    if not _is(asked, "wait"):
        return Answer({"token": _shown(token)}, 201)
    try:
        return Answer(submission(await _kept(token, WAIT, desk), fields, encoded), 201)
    except Problem as e:
        if e.kind != "text":
            raise
        return Answer({"error": e.detail, "token": _shown(token)}, 201)


async def create_batch(asked: Asked, desk: Desk) -> Answer:
    sent, encoded = _object(asked).get("submissions"), _is(asked, "base64_encoded")
    given = sent if isinstance(sent, list) else []
    _in_batch(given)
    found: list[Any] = []
    for one in given:
        try:
            body = await _checked(one if isinstance(one, dict) else {}, encoded, desk)
            found.append({"token": _shown(await desk.submit(body, uuid.uuid4().hex))})
        except Invalid as e:
            found.append(e.found)
    return Answer(found, 201 if any("token" in one for one in found) else 422)


def _in_batch(given: Sequence[Any]) -> None:
    if not given:
        raise Problem(400, "batch", "there should be at least one submission in a batch")
    if len(given) > MOST_IN_BATCH:
        most = f"number of submissions in a batch should be less than or equal to {MOST_IN_BATCH}"
        raise Problem(400, "batch", most)


async def fetch(asked: Asked, desk: Desk) -> Answer:
    return Answer(submission(await _kept(asked.params["token"], 0, desk), _fields(asked), _is(asked, "base64_encoded")))


async def fetch_batch(asked: Asked, desk: Desk) -> Answer:
    fields, encoded = _fields(asked), _is(asked, "base64_encoded")
    tokens = [token for token in asked.query.get("tokens", "").split(",") if token]
    _in_batch(tokens)
    found: list[Any] = []
    with desk.holding() as hold:
        for token in tokens:
            kept = await desk.fetch(token.replace("-", "").lower(), 0)
            found.append(None if kept is None else submission(kept, fields, encoded))
            hold(sum(len(value) for value in (found[-1] or {}).values() if isinstance(value, str)))
    return Answer({"submissions": found})


async def delete(asked: Asked, desk: Desk) -> Answer:
    if not _deletes(desk):
        raise Problem(400, "delete", "delete not allowed")
    fields, kept = _fields(asked), await _kept(asked.params["token"], 0, desk)
    if kept.state in ("queued", "running") or not await desk.forget(kept.id):
        number = 1 if kept.state == "queued" else 2
        why = f"submission cannot be deleted because its status is {number} ({STATUSES[number]})"
        raise Problem(400, "delete", why)
    return Answer(submission(kept, fields, True))


def _deletes(desk: Desk) -> bool:
    return bool(desk.settings.get("delete", False))


async def _kept(token: str, seconds: float, desk: Desk) -> Kept:
    kept = await desk.fetch(token.replace("-", "").lower(), seconds)
    if kept is None:
        raise Problem(404, "submission", f"couldn't find Submission with 'token'={token[:40]}")
    return kept


def _shown(token: str) -> str:
    return str(uuid.UUID(token))


def _is(asked: Asked, name: str) -> bool:
    return asked.query.get(name, "false") == "true"


def _fields(asked: Asked) -> Sequence[str]:
    given = asked.query.get("fields", "")
    wanted = [name.strip() for name in given.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in (*FIELDS, "*")]
    if unknown:
        raise Problem(400, "fields", f"invalid fields: [{', '.join(unknown)[:200]}]")
    return FIELDS if "*" in wanted else wanted or USUAL


def _object(asked: Asked) -> Mapping[str, Any]:
    try:
        body = parsed(asked)
    except ValueError as e:
        raise Problem(400, "json", str(e)) from None
    if not isinstance(body, dict):
        raise Problem(400, "json", "an object is needed")
    return body


async def _checked(given: Mapping[str, Any], encoded: bool, desk: Desk) -> dict[str, Any]:
    """What is kept of a submission, its texts decoded. Raises `Invalid`."""
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
    wrong |= {name: [why] for name, why in REFUSED.items() if given.get(name)}
    body |= _numbers(given, wrong)
    if given.get("number_of_runs") not in (None, 1):
        wrong["number_of_runs"] = ["must be less than or equal to 1"]
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
    for name, (least, most) in {**bounds, "cpu_extra_time": (0, MOST_EXTRA_TIME)}.items():
        value = given.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            wrong[name] = ["is not a number"]
        elif not least <= value <= most:
            which, bound = ("less", most) if value > most else ("greater", least)
            wrong[name] = [f"must be {which} than or equal to {bound:g}"]
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
