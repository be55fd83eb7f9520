"""Judge0 CE: submissions that are fetched by their tokens, or waited for."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from pyjail.serve.face import Answer, Asked, Desk, Endpoint, Kept
from pyjail.serve.faces.common import parsed
from pyjail.serve.faces.judge0_about import ABOUT, listing
from pyjail.serve.faces.judge0_answers import submission
from pyjail.serve.faces.judge0_body import Invalid, checked, on
from pyjail.serve.faces.judge0_tables import FIELDS, LANGUAGES, LATER, MOST_IN_BATCH, NAME, STATUSES, USUAL
from pyjail.serve.problem import Problem

WAIT = 60.0  # seconds that ``wait=true`` waits at most
PAGE, MOST_OF_PAGE, MOST_PAGES = 20, 100, 1_000_000  # submissions that are listed at once
_WHOLE = re.compile(r"\s*([+-]?\d{1,9})")


class Judge0:
    """Its interface."""

    name = NAME

    def endpoints(self) -> Sequence[Endpoint]:
        return (
            Endpoint("POST", "/submissions/batch", create_batch), Endpoint("GET", "/submissions/batch", fetch_batch),
            Endpoint("POST", "/submissions", create), Endpoint("GET", "/submissions", listed),
            Endpoint("GET", "/submissions/{token}", fetch), Endpoint("DELETE", "/submissions/{token}", delete),
            *ABOUT,
        )  # fmt: skip

    def problem(self, problem: Problem) -> Answer:
        if isinstance(problem, Invalid):
            return Answer(problem.found, 422)
        detail = {"queue-full": "queue is full"}.get(problem.kind, problem.detail)
        return Answer({"error": detail}, problem.status, headers=problem.headers)


async def create(asked: Asked, desk: Desk) -> Answer:
    fields, encoded = _fields(asked), _is(asked, "base64_encoded")
    waits = _is(asked, "wait")
    token = await desk.submit(await checked(_object(asked), encoded, desk), uuid.uuid4().hex, awaited=waits)
    if not waits:
        return Answer({"token": _shown(token)}, 201)
    try:
        return Answer(await _told(await _kept(token, WAIT, desk), fields, encoded, desk), 201)
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
    kept = await _kept(asked.params["token"], 0, desk)
    return Answer(await _told(kept, _fields(asked), _is(asked, "base64_encoded"), desk))


async def listed(asked: Asked, desk: Desk) -> Answer:
    """The caller's own, the newest first."""
    listing(desk)
    fields, encoded = _fields(asked), _is(asked, "base64_encoded")
    page, count = _counted(asked, "page", 1, MOST_PAGES), _counted(asked, "per_page", PAGE, MOST_OF_PAGE)
    ids, total = await desk.submitted((page - 1) * count, count)
    found = [one for one in await _each(ids, fields, encoded, desk) if one is not None]
    pages = max(1, -(-total // count))
    after, before = page + 1 if page < pages else None, page - 1 if page > 1 else None
    meta = {
        "current_page": page, "next_page": after, "prev_page": before, "total_pages": pages, "total_count": total,
    }  # fmt: skip
    return Answer({"submissions": found, "meta": meta})


def _counted(asked: Asked, name: str, usual: int, most: int) -> int:
    given = asked.query.get(name)
    if given is None:
        return usual
    found = _WHOLE.match(given)
    number = int(found[1]) if found else 0
    if not 0 < number <= most:
        raise Problem(400, "page", f"invalid {name}: {given[:20]}" + (f", at most {most}" if number > most else ""))
    return number


async def fetch_batch(asked: Asked, desk: Desk) -> Answer:
    fields, encoded = _fields(asked), _is(asked, "base64_encoded")
    tokens = [token for token in (asked.headers.get("tokens") or asked.query.get("tokens", "")).split(",") if token]
    _in_batch(tokens)
    ids = [token.replace("-", "").lower() for token in tokens]
    return Answer({"submissions": await _each(ids, fields, encoded, desk)})


async def _each(ids: Sequence[str], fields: Sequence[str], encoded: bool, desk: Desk) -> list[dict[str, Any] | None]:
    """Of those that there are; what is told counts as held until all of it is."""
    found: list[dict[str, Any] | None] = []
    with desk.holding() as hold:
        for id in ids:
            kept = await desk.fetch(id, 0)
            found.append(None if kept is None else await _told(kept, fields, encoded, desk))
            hold(sum(len(value) for value in (found[-1] or {}).values() if isinstance(value, str)))
    return found


async def delete(asked: Asked, desk: Desk) -> Answer:
    if not on(desk)["delete"]:
        raise Problem(400, "delete", "delete not allowed")
    fields, kept = _fields(asked), await _kept(asked.params["token"], 0, desk)
    if kept.state in ("queued", "running") or not await desk.forget(kept.id):
        number = 1 if kept.state == "queued" else 2
        why = f"submission cannot be deleted because its status is {number} ({STATUSES[number]})"
        raise Problem(400, "delete", why)
    return Answer(await _told(kept, fields, True, desk))


async def _told(kept: Kept, fields: Sequence[str], encoded: bool, desk: Desk) -> dict[str, Any]:
    ours = LANGUAGES[kept.body["language_id"]][0]
    known = await desk.languages(ours) if "language" in fields else {}
    return submission(kept, fields, encoded, known.get(ours, ""))


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
    unknown = [name for name in wanted if name not in (*FIELDS, *LATER, "*")]
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
