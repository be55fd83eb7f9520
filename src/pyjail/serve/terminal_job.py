"""What ``WS /v1/terminal`` is asked in, the `Job` that it means, and where that is to run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from pydantic import Field

from pyjail.serve import model
from pyjail.serve.config import Config
from pyjail.serve.job import Job
from pyjail.serve.problem import Problem
from pyjail.serve.service import Service
from pyjail.serve.within import Inside


class Terminal(model.Program):
    """A program to talk to."""

    size: list[int] = Field(default=[24, 80], min_length=2, max_length=2)
    idle: float | None = Field(None, gt=0, description="seconds in which nothing is typed or shown")
    box: str = Field("", description="the id of a box that it runs in; else it has a jail of its own")
    session: str = Field("", description="the same, of a session")


@asynccontextmanager
async def inside_of(asked: Terminal, service: Service, tenant: str) -> AsyncIterator[Inside | None]:
    """The box or session that is meant, which is used while the block lasts; None: none is. Raises `Problem` 404, or
    409 where it is there no more, or another program of a session runs for too long."""
    kind, id = ("session", asked.session) if asked.session else ("box", asked.box)
    if not id:
        yield None
        return
    if asked.session and asked.box:
        raise Problem(422, "field", "a program runs in one of them", field="session", hint="name a box or a session")
    try:
        place = service.places.get(kind, id, tenant)
    except Problem as e:
        raise Problem(404, e.kind, e.detail, field=kind) from None
    with place.in_use() as made:
        async with place.alone(service.places.patience):
            place.steps += 1
            yield Inside(made, place.jail, place.limits)


def job_of(asked: Terminal, config: Config, inside: Inside | None) -> Job:
    """What is asked for. Raises `Problem` 422."""
    model.program(asked)
    bounds, most = config.terminals, config.maxima
    if not fits(*asked.size):
        raise Problem(422, "field", "[rows, columns], each from 1 to 65535", field="size")
    if asked.idle is not None and asked.idle > bounds.idle:
        raise Problem(422, "limit", f"at most {bounds.idle:g} s are given here", field="idle")
    if bounds.lifetime:
        most = replace(most, wall_time=bounds.lifetime)
    usual = config.limits if inside is None else inside.limits
    usual = replace(usual, wall_time=most.wall_time, cpu_time=most.cpu_time, output=most.output)
    limits = model.limits(asked.limits, usual, most)
    return Job(
        tuple(asked.args), asked.language, asked.source or "",
        files={path: model.file(f"files.{path}", data) for path, data in asked.files.items()}, env=asked.env,
        cwd=asked.cwd, limits=limits if inside is None else inside.of_whole(limits),
        jail=config.jail if inside is None else inside.jail, label="terminal",
    )  # fmt: skip


def fits(rows: int, columns: int) -> bool:
    """Whether a terminal can be so large."""
    return 0 < rows < 65536 and 0 < columns < 65536
