"""What Judge0 says of itself: its languages, its configuration, how busy it is; and what of that is not told here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pyjail
from pyjail.serve.face import Answer, Asked, Desk, Endpoint
from pyjail.serve.faces.judge0_answers import named
from pyjail.serve.faces.judge0_body import on
from pyjail.serve.faces.judge0_job import language_of
from pyjail.serve.faces.judge0_tables import LANGUAGES, STATUSES, VERSION, configuration
from pyjail.serve.job import MOST_UNPACKED
from pyjail.serve.problem import Problem

TEXT = "text/plain; charset=utf-8"
UNTOLD = {
    "/system_info": "what this machine is is not told; /v1/limits says what programs may use",
    "/statistics": "what others submit is not told; /submissions lists what is yours, /metrics counts all runs",
}


async def about(asked: Asked, desk: Desk) -> Answer:
    return Answer({"version": VERSION, "homepage": "", "source_code": "", "maintainer": "pyjail"})


async def authenticate(asked: Asked, desk: Desk) -> Answer:
    """Who has no token does not come here."""
    return Answer(body=b"", type="text/plain")


async def authorize(asked: Asked, desk: Desk) -> Answer:
    """Whether what was submitted is listed."""
    return Answer(body=b"", type="text/plain", status=200 if desk.config.tokens else 403)


def listing(desk: Desk) -> None:
    """Nothing. Raises `Problem` 403 where there are no tokens: whose a submission is is not known then, and who knows
    its id may see it."""
    if not desk.config.tokens:
        raise Problem(403, "list", "submissions are listed to those who have a token alone, and there are none here")


async def version(asked: Asked, desk: Desk) -> Answer:
    return Answer(body=VERSION.encode(), type=TEXT)


async def isolate(asked: Asked, desk: Desk) -> Answer:
    """What holds programs in its place."""
    return Answer(body=f"pyjail {pyjail.__version__}\n".encode(), type=TEXT)


async def license(asked: Asked, desk: Desk) -> Answer:
    return Answer(body=f"pyjail {pyjail.__version__}, under the MIT License\n".encode(), type=TEXT)


async def config_info(asked: Asked, desk: Desk) -> Answer:
    return Answer(configuration(desk.config.admission.queue, on(desk), MOST_UNPACKED))


async def statuses(asked: Asked, desk: Desk) -> Answer:
    return Answer([{"id": number, "description": said} for number, said in STATUSES.items()])


async def workers(asked: Asked, desk: Desk) -> Answer:
    """Its workers are our slots."""
    load = desk.load()
    working = min(load.running, load.slots)
    idle, paused = (0, load.slots - working) if load.ending else (load.slots - working, 0)
    return Answer([
        {
            "queue": "default", "size": load.waiting, "available": load.slots, "idle": idle, "working": working,
            "paused": paused, "failed": load.lost,
        }
    ])  # fmt: skip


async def languages(asked: Asked, desk: Desk) -> Answer:
    return Answer(await _languages(desk))


async def languages_all(asked: Asked, desk: Desk) -> Answer:
    found = sorted(await _languages(desk), key=lambda row: str(row["name"]).lower())
    return Answer([{**row, "is_archived": False} for row in found])


async def language(asked: Asked, desk: Desk) -> Answer:
    found = [row for row in await _languages(desk) if str(row["id"]) == asked.params["id"]]
    if not found:
        raise Problem(404, "language", f"couldn't find Language with 'id'={asked.params['id'][:20]}")
    how = language_of(found[0]["id"], desk.config)
    commands = (" ".join(how.compile) or None, " ".join(how.run)) if how else (None, None)
    said = {"source_file": how.source if how else None, "compile_cmd": commands[0], "run_cmd": commands[1]}
    return Answer({**found[0], "is_archived": False, **said})


async def _languages(desk: Desk) -> list[dict[str, Any]]:
    known = await desk.languages()
    return [
        {"id": number, "name": named(number, known[ours])} for number, (ours, _) in LANGUAGES.items() if ours in known
    ]


def _untold(why: str) -> Callable[[Asked, Desk], Awaitable[Answer]]:
    async def refused(asked: Asked, desk: Desk) -> Answer:
        raise Problem(403, "untold", why)

    return refused


ABOUT = (
    Endpoint("GET", "/languages", languages), Endpoint("GET", "/languages/all", languages_all),
    Endpoint("GET", "/languages/{id}", language), Endpoint("GET", "/statuses", statuses),
    Endpoint("GET", "/config_info", config_info), Endpoint("GET", "/about", about),
    Endpoint("GET", "/version", version), Endpoint("GET", "/isolate", isolate), Endpoint("GET", "/license", license),
    Endpoint("GET", "/workers", workers), Endpoint("POST", "/authenticate", authenticate),
    Endpoint("POST", "/authorize", authorize), Endpoint("GET", "/", authenticate),
    *(Endpoint("GET", path, _untold(why)) for path, why in UNTOLD.items()),
)  # fmt: skip
