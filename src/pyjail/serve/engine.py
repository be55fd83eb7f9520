"""A `Job` -> its `Outcome`: the one place in which programs are started."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from pyjail import STDOUT, aio, languages
from pyjail.serve.admission import Turns
from pyjail.serve.config import Token
from pyjail.serve.job import Job, Outcome, Script


class Engine:
    """Runs what has its turn. A task that is cancelled ends when its jail is gone, and its slot is free then."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns

    async def run(self, job: Job, tenant: str = "", token: Token | None = None) -> Outcome:
        """What comes of it. Raises `Problem` for want of a slot, and what `pyjail.run` raises."""
        async with self.turns.slot(tenant, token) as queued:
            if not job.language:
                return Outcome(await aio.run(**_parameters(job), args=list(job.args), limits=job.limits), queued=queued)
            program = await asyncio.to_thread(
                languages.prepare,
                job.language,
                job.source,
                jail=job.jail,
                limits=job.compile_limits,
                files=dict(job.files),
            )
            if not program.ok:
                return Outcome(None, program.compile, program.fault, queued)
            with program.command(job.limits, job.args) as given:
                result = await aio.run(**{**_parameters(job), "jail": program.jail, **given})
            return Outcome(result, program.compile, queued=queued)

    async def steps(self, script: Script, tenant: str = "", token: Token | None = None) -> Sequence[Outcome]:
        """What comes of each."""
        async with self.turns.slot(tenant, token) as queued, aio.Session(script.jail, limits=script.limits) as session:
            for name, data in script.files.items():
                await session.write(name, data)
            found = []
            for step in script.steps:
                given = {name: value for name, value in (("env", step.env), ("cwd", step.cwd)) if value is not None}
                found.append(
                    Outcome(await session.run(list(step.args), step.limits, input=step.stdin, **given), queued=queued)
                )
            return found


def _parameters(job: Job) -> dict[str, Any]:
    given: dict[str, Any] = {"jail": job.jail, "input": job.stdin, "collect": job.collect}
    if job.files and not job.language:
        given["files"] = dict(job.files)
    if job.env is not None:
        given["env"] = job.env
    if job.cwd is not None:
        given["cwd"] = job.cwd
    if job.merged:
        given["stderr"] = STDOUT
    return given
