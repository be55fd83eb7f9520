"""Judge0 CE: submissions that are fetched by their tokens, or waited for."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from pyjail.serve.face import Answer, Asked, Desk, Endpoint, Kept
from pyjail.serve.faces.common import parsed
from pyjail.serve.faces.judge0_answers import submission
from pyjail.serve.faces.judge0_body import Invalid, checked, on
from pyjail.serve.faces.judge0_tables import (
    FIELDS,
    LANGUAGES,
    MOST_IN_BATCH,
    NAME,
    NO_VERSION,
    STATUSES,
    USUAL,
    VERSION,
    configuration,
)
from pyjail.serve.job import MOST_UNPACKED
from pyjail.serve.problem import Problem

WAIT = 60.0  # seconds that ``wait=true`` waits at most


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
            Endpoint("POST", "/authenticate", authenticate), Endpoint("POST", "/authorize", authorize),
        )  # fmt: skip

    def problem(self, problem: Problem) -> Answer:
        if isinstance(problem, Invalid):
            return Answer(problem.found, 422)
        detail = {"queue-full": "queue is full"}.get(problem.kind, problem.detail)
        return Answer({"error": detail}, problem.status, headers=problem.headers)


# ---- what it says of itself ----


async def about(asked: Asked, desk: Desk) -> Answer:
    return Answer({"version": VERSION, "homepage": "", "source_code": "", "maintainer": "pyjail"})


async def authenticate(asked: Asked, desk: Desk) -> Answer:
    """Who has no token does not come here."""
    return Answer(body=b"", type="text/plain")


async def authorize(asked: Asked, desk: Desk) -> Answer:
    """As there without an authorization token: nobody may see what others have submitted."""
    return Answer(body=b"", type="text/plain", status=403)


async def version(asked: Asked, desk: Desk) -> Answer:
    return Answer(body=VERSION.encode(), type="text/plain; charset=utf-8")


async def config_info(asked: Asked, desk: Desk) -> Answer:
    return Answer(configuration(desk.config.admission.queue, on(desk), MOST_UNPACKED))


async def statuses(asked: Asked, desk: Desk) -> Answer:
    return Answer([{"id": number, "description": said} for number, said in STATUSES.items()])


async def languages(asked: Asked, desk: Desk) -> Answer:
    return Answer(await _languages(desk))


async def language(asked: Asked, desk: Desk) -> Answer:
    found = [row for row in await _languages(desk) if str(row["id"]) == asked.params["id"]]
    if not found:
        raise Problem(404, "language", f"couldn't find Language with 'id'={asked.params['id'][:20]}")
    return Answer({**found[0], "is_archived": False})


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
    token = await desk.submit(await checked(_object(asked), encoded, desk), uuid.uuid4().hex)
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
            body = await checked(one if isinstance(one, dict) else {}, encoded, desk)
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
    tokens = [token for token in (asked.headers.get("tokens") or asked.query.get("tokens", "")).split(",") if token]
    _in_batch(tokens)
    found: list[Any] = []
    with desk.holding() as hold:
        for token in tokens:
            kept = await desk.fetch(token.replace("-", "").lower(), 0)
            found.append(None if kept is None else submission(kept, fields, encoded))
            hold(sum(len(value) for value in (found[-1] or {}).values() if isinstance(value, str)))
    return Answer({"submissions": found})


async def delete(asked: Asked, desk: Desk) -> Answer:
    if not on(desk)["delete"]:
        raise Problem(400, "delete", "delete not allowed")
    fields, kept = _fields(asked), await _kept(asked.params["token"], 0, desk)
    if kept.state in ("queued", "running") or not await desk.forget(kept.id):
        number = 1 if kept.state == "queued" else 2
        why = f"submission cannot be deleted because its status is {number} ({STATUSES[number]})"
        raise Problem(400, "delete", why)
    return Answer(submission(kept, fields, True))


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
