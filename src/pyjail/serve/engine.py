"""A `Job` -> its `Outcome`: the one place in which programs are started."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from pyjail import STDOUT, HostError, Result, SetupError, SpecError, aio
from pyjail.languages import Language, Program, find
from pyjail.serve import archives, beforehand, bounds, joined, piped, within
from pyjail.serve.admission import Turns
from pyjail.serve.checks import Checks
from pyjail.serve.config import Token
from pyjail.serve.faults import fault, missing, no_room
from pyjail.serve.files import FileStore
from pyjail.serve.inputs import held
from pyjail.serve.job import LATE, Group, Job, Outcome, Script
from pyjail.serve.piped import Watcher
from pyjail.serve.shown import Shown, cleaned
from pyjail.serve.within import Inside

Call = Callable[[Job, Watcher | None, float], Awaitable[Outcome]]
LEAST = 0.001  # seconds that a program can start in


class Seen(Protocol):
    """Who is told of runs."""

    def ran(self, job: Job, outcome: Outcome) -> None:
        """It has ended."""

    def failed(self, job: Job, e: BaseException) -> None:
        """It was refused, was cancelled, or went wrong in a way that is not its own."""


class Engine:
    """Runs what has its turn. A task that is cancelled ends when its jail is gone, and its slot is free then."""

    def __init__(self, turns: Turns, seen: Seen, known: Mapping[str, Language] | None = None) -> None:
        self.turns, self._seen, self._known = turns, seen, known or None
        self.checks = Checks()
        self.files: FileStore | None = None  # what runs name by digest

    async def run(
        self,
        job: Job,
        tenant: str = "",
        token: Token | None = None,
        *,
        watcher: Watcher | None = None,
        patient: bool = False,
    ) -> Outcome:
        """What comes of it. ``watcher`` sees it while it runs; ``patient``: it waits as long as it takes.

        Raises `Problem` for want of a slot, or where the request is wrong in a way that shows only now; else what
        `pyjail.run` raises.
        """
        try:
            bounds.check(job)
            async with (
                held(self.files, tenant, job.files) as files,
                self.turns.slot(tenant, token, patient=patient) as queued,
            ):
                outcome = await self._run(_with(job, files), watcher, queued)
        except BaseException as e:
            self._seen.failed(job, e)
            raise
        self._seen.ran(job, outcome)
        return outcome

    @contextmanager
    def _told(self, job: Job) -> Iterator[None]:
        try:
            yield
        except BaseException as e:
            self._seen.failed(job, e)
            raise

    async def _run(self, job: Job, watcher: Watcher | None, queued: float, call: Call | None = None) -> Outcome:
        findings = await self.checks.of(job)
        if findings and job.check == "reject":
            return Outcome(None, fault=f"rejected: {findings[0]['text']}", queued=queued, findings=findings)
        run = call or self._ran
        if watcher is not None and job.sanitize:
            async with Shown(watcher, job.sanitize) as shown:
                outcome = await run(job, shown, queued)
                await shown.end()
        else:
            outcome = await run(job, watcher, queued)
        if job.sanitize:
            outcome = await cleaned(outcome, job.sanitize)
        return replace(outcome, findings=findings) if findings else outcome

    async def _ran(self, job: Job, watcher: Watcher | None, queued: float) -> Outcome:
        if not job.archive:
            return await self._started(job, watcher, queued)
        try:
            unpacked = await archives.unpacked(job.archive, job.jail)
            return await self._started(replace(job, files={**unpacked, **job.files}), watcher, queued)
        except archives.Unfit as e:
            return Outcome(None, fault=str(e), queued=queued)
        except SpecError as e:
            if e.field != "files":
                raise
            return Outcome(None, fault=f"the archive: {e.reason}", queued=queued)

    async def _started(self, job: Job, watcher: Watcher | None, queued: float) -> Outcome:
        if job.build is not None:
            return await _built(job, job.build, watcher, queued)
        if not job.language:
            return await _program(job, watcher, queued)
        if watcher is not None:
            watcher.began("compile")
        program = await _prepared(job, self._known)
        if not program.ok:
            return Outcome(None, program.compile, program.fault, queued)
        return await _compiled(job, program, watcher, queued)

    async def step(
        self, inside: Inside, job: Job, tenant: str, token: Token | None = None, *, watcher: Watcher | None = None
    ) -> Outcome:
        """What comes of it in a session or a box, which stays."""

        async def call(job: Job, watcher: Watcher | None, queued: float) -> Outcome:
            return await within.ran(inside, job, self._known, watcher, queued)

        with self._told(job):
            bounds.check(job)
            async with held(self.files, tenant, job.files) as files, self.turns.slot(tenant, token) as queued:
                outcome = await self._run(_with(job, files), watcher, queued, call)
        self._seen.ran(job, outcome)
        return outcome

    async def together(
        self, group: Group, watchers: Sequence[Watcher | None], tenant: str = "", token: Token | None = None
    ) -> Sequence[Outcome]:
        """What comes of each, when all have ended. Cancelled, or where one cannot be run, it ends when all are gone."""
        with self._told(group.jobs[0]):
            async with AsyncExitStack() as stack:
                jobs = []
                for job in group.jobs:
                    bounds.check(job)
                    files = await stack.enter_async_context(held(self.files, tenant, job.files))
                    jobs.append(_with(job, files))
                queued = await stack.enter_async_context(self.turns.slot(tenant, token, count=len(jobs)))
                outcomes = await joined.run(jobs, group.pipes, watchers, partial(_program, queued=queued))
        for job, outcome in zip(group.jobs, outcomes, strict=True):
            self._seen.ran(job, outcome)
        return outcomes

    async def check(self, job: Job, tenant: str) -> None:
        """Whether it can wait: raises `Problem` 507 where the disk is full, 422 where a file is missing that it names
        by digest, or something is wrong whatever comes of it; else each of the files has been used now."""
        if self.files is not None:
            self.files.room()
        bounds.check(job)
        await beforehand.check(job, self._known)
        async with held(self.files, tenant, job.files):
            pass

    async def steps(self, script: Script, tenant: str = "", token: Token | None = None) -> Sequence[Outcome]:
        """What comes of each."""
        with self._told(Job(label=script.label)):
            bounds.check_script(script)
            outcomes = await self._steps(script, tenant, token)
        for job, outcome in zip(script.steps, outcomes, strict=True):
            self._seen.ran(replace(job, label=script.label), outcome)
        return outcomes

    async def _steps(self, script: Script, tenant: str, token: Token | None) -> Sequence[Outcome]:
        async with (
            held(self.files, tenant, script.files) as files,
            self.turns.slot(tenant, token) as queued,
            aio.Session(script.jail, limits=script.limits) as session,
        ):
            for name, data in files.items():
                try:
                    await session.write(
                        name, await asyncio.to_thread(data.read_bytes) if isinstance(data, Path) else data
                    )
                except OSError as e:
                    raise no_room(f"files.{name}", e) from None
            return [outcome async for outcome in _in_time(session, script, queued)]


def _with(job: Job, files: Mapping[str, Any]) -> Job:
    return job if files is job.files else replace(job, files=files)


async def _in_time(session: aio.Session, script: Script, queued: float) -> AsyncIterator[Outcome]:
    end = math.inf if script.seconds is None else time.monotonic() + script.seconds
    for job in script.steps:
        left = end - time.monotonic()
        if left < LEAST:
            yield Outcome(None, fault=LATE, queued=queued)
            continue
        usual = job.limits.wall_time
        if left < (math.inf if usual is None else usual):
            job = replace(job, limits=replace(job.limits, wall_time=left))
        yield await _step(session, job, queued)


async def _step(session: aio.Session, job: Job, queued: float) -> Outcome:
    return await within.ran(Inside(session, job.jail, job.limits), job, None, None, queued)


async def _built(job: Job, build: Job, watcher: Watcher | None, queued: float) -> Outcome:
    """Both in one /box; of one that cannot be built, `Outcome.compile` alone."""
    async with aio.Session(job.jail, limits=job.limits) as session:
        if watcher is not None:
            watcher.began("compile")
        made = await _step(session, replace(build, files=job.files), queued)
        if made.result is None or not made.result.ok:
            return replace(made, result=None, compile=made.result)
        if watcher is not None:
            watcher.began("run")
        return replace(await _step(session, replace(job, files={}), queued), compile=made.result)


async def _prepared(job: Job, known: Mapping[str, Language] | None) -> Program:
    """As `prepared`; a file of an archive that is called as the source is gives way to it."""
    try:
        return await prepared(job, known)
    except SpecError as e:
        if not job.archive or e.field != "files" or e.value not in job.files:
            raise
        return await prepared(replace(job, files={n: d for n, d in job.files.items() if n != e.value}), known)


async def prepared(job: Job, known: Mapping[str, Language] | None = None) -> Program:
    """Its program, compiled. Raises `Problem` 422 where this server has no tools for the language."""
    try:
        return await aio.prepare(
            job.how or find(job.language, known), job.source, jail=job.jail, limits=job.compile_limits,
            files=dict(job.files),
        )  # fmt: skip
    except HostError as e:
        raise missing(e, job.language) from None
    except SetupError as e:
        fault(e)  # raises what is about the request
        raise


async def _compiled(job: Job, program: Program, watcher: Watcher | None, queued: float) -> Outcome:
    given = _parameters(job)
    with within.command(program, job) as more:
        try:
            result = await _run({**given, **more}, job.stdin, watcher)
        except SetupError as e:
            return Outcome(None, program.compile, program.blames(e) or fault(e), queued)
    return Outcome(result, program.compile, queued=queued)


async def _program(job: Job, watcher: Watcher | None, queued: float, ends: joined.Ends | None = None) -> Outcome:
    given = _parameters(job) | {"args": list(job.args), "limits": job.limits}
    if job.files:
        given["files"] = dict(job.files)
    if job.terminal is not None:
        given["pty"] = job.terminal
    try:
        return Outcome(await _run(given, job.stdin, watcher, ends), queued=queued)
    except SetupError as e:
        return Outcome(None, fault=fault(e), queued=queued)


async def _run(
    given: Mapping[str, Any], data: bytes, watcher: Watcher | None, ends: joined.Ends | None = None
) -> Result:
    if ends is not None:
        return await piped.run({**given, **ends.streams}, data, watcher or piped.Nobody(), ends.close)
    if watcher is None and "pty" in given:
        watcher = piped.Nobody()
    if watcher is None:
        if data:  # none is an empty one, and needs no file in memory
            given = {**given, "input": data}
        result: Result = await aio.run(**given)
        return result
    watcher.began("run")
    return await piped.run(given, data, watcher)


def _parameters(job: Job) -> dict[str, Any]:
    given: dict[str, Any] = {"jail": job.jail, "collect": job.collect}
    if job.env is not None:
        given["env"] = job.env
    if job.cwd is not None:
        given["cwd"] = job.cwd
    if job.merged:
        given["stderr"] = STDOUT
    return given
