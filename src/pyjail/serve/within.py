"""A program in a session or a box that stays, also one of a language, also while somebody watches: `ran`."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from pyjail import STDOUT, HostError, Jail, Limits, Result, SetupError, SpecError, aio
from pyjail import languages as all_languages
from pyjail.languages import Language, Program
from pyjail.serve import faults, piped
from pyjail.serve.job import Job, Outcome
from pyjail.serve.piped import Watcher
from pyjail.serve.problem import Problem

Making = Generator[dict[str, Any], Result, Program]


@dataclass(frozen=True)
class Inside:
    """Where a program is to run.

    Attributes:
        made: the session or box. jail: that it was made of. limits: whose disk and inodes are those of the whole.
        orphans: of a box: whether what a program leaves behind is ended ("kill") or kept ("keep").
    """

    made: aio.Session | aio.Box
    jail: Jail
    limits: Limits
    orphans: str = "kill"

    def of_whole(self, limits: Limits) -> Limits:
        """The same, of a program that runs in it. CPUs are a set for all programs of one, or for none."""
        cpus = limits.cpus
        if isinstance(cpus, frozenset) or isinstance(self.limits.cpus, frozenset):
            cpus = self.limits.cpus
        return replace(limits, disk=self.limits.disk, inodes=self.limits.inodes, cpus=cpus)

    async def start(self, **given: Any) -> aio.AsyncProcess:
        """One program, with its streams."""
        process: aio.AsyncProcess = await self.made.start(**given)
        return process

    async def run(self, given: Mapping[str, Any], data: bytes, watcher: Watcher | None) -> Result:
        """One program, with these parameters of `pyjail.run`. Raises what that does."""
        if isinstance(self.made, aio.Box):
            given = {**given, "orphans": self.orphans}
        elif watcher is None:
            watcher = piped.Nobody()  # a session outlasts a program that was started, and is ended with its client
        if watcher is not None:
            return await piped.run(given, data, watcher, start=self.start)
        made: Result = await self.made.run(**given, input=data)
        return made


async def ran(
    inside: Inside, job: Job, known: Mapping[str, Language] | None, watcher: Watcher | None, queued: float = 0.0
) -> Outcome:
    """What comes of it. A compiler runs in there, too, and leaves there what it made."""
    if not job.language:
        return await _started(
            inside, job, {"args": list(job.args), "limits": job.limits, **_files(job)}, watcher, queued
        )
    if watcher is not None:
        watcher.began("compile")
    program = await prepared(inside, job, known)
    if not program.ok:
        return Outcome(None, program.compile, program.fault, queued)
    with command(program, job, inside) as more:
        outcome = await _started(inside, replace(job, env=None), more, watcher, queued, program)
    return replace(outcome, compile=program.compile)


@contextmanager
def command(program: Program, job: Job, inside: Inside | None = None) -> Iterator[dict[str, Any]]:
    """The parameters of one run of it, as `Program.command` has them, in a jail of its own unless it is ``inside``."""
    with program.command(job.limits, job.args) as more:
        if job.env is not None:
            more["env"] = {**more["env"], **job.env}
        if inside is None:
            more["jail"] = program.jail
        else:
            if program.compile is not None:
                del more["files"]  # they are there, where the compiler was given them, and made them
            more["limits"] = inside.of_whole(more["limits"])
        yield more


async def _started(
    inside: Inside, job: Job, given: dict[str, Any], watcher: Watcher | None, queued: float,
    program: Program | None = None,
) -> Outcome:  # fmt: skip
    given |= {name: value for name, value in (("env", job.env), ("cwd", job.cwd)) if value is not None}
    if job.merged:
        given["stderr"] = STDOUT
    if job.collect:
        given["collect"] = job.collect
    if watcher is not None:
        watcher.began("run")
    try:
        return Outcome(await inside.run(given, job.stdin, watcher), queued=queued)
    except SetupError as e:
        return Outcome(None, fault=(program.blames(e) if program is not None else "") or faults.fault(e), queued=queued)
    except SpecError as e:
        raise _named(e) from None
    except OSError as e:
        raise _unwritten(job, e) from None


async def prepared(inside: Inside, job: Job, known: Mapping[str, Language] | None) -> Program:
    """Its program, compiled in there. Raises `Problem` 422 where the language's tools are not."""
    language = all_languages.find(job.language, known)
    limits = inside.of_whole(job.compile_limits or language.compile_limits)
    making = all_languages.preparing(language, job.source, jail=inside.jail, limits=limits, files=dict(job.files))
    try:
        asked = await asyncio.to_thread(_next, making, None)  # it looks for tools, by a run where none has looked yet
    except HostError as e:
        raise faults.missing(e, job.language) from None
    while not isinstance(asked, Program):
        _check_jail(asked.pop("jail"), inside, job)
        said: Result | SetupError
        try:
            said = await inside.run(asked, b"", None)
        except SetupError as e:
            said = e
        except SpecError as e:
            raise _named(e) from None
        except OSError as e:
            raise _unwritten(job, e) from None
        try:
            asked = await asyncio.to_thread(_next, making, said)
        except SetupError as e:
            faults.fault(e)  # raises what is about the request
            raise
    if asked.ok and asked.jail != inside.jail:
        raise _other_jail(job)
    return asked


def _check_jail(jail: Jail, inside: Inside, job: Job) -> None:
    if replace(jail, seccomp=inside.jail.seccomp) != inside.jail:
        raise _other_jail(job)


def _other_jail(job: Job) -> Problem:
    hint = f'open one with "languages": ["{job.language}"]'
    return Problem(422, "language", f"the tools of {job.language[:80]} are not in here", field="language", hint=hint)


def _next(making: Making, said: Result | SetupError | None) -> dict[str, Any] | Program:
    """What is to be run for it, or what came of it."""
    try:
        if said is None:
            return next(making)
        return making.throw(said) if isinstance(said, SetupError) else making.send(said)
    except StopIteration as done:
        program: Program = done.value
        return program


def _files(job: Job) -> dict[str, Any]:
    return {"files": dict(job.files)} if job.files else {}


def _named(e: SpecError) -> Exception:
    """As it is told of a run: a session says of one of ``files`` that it is a path."""
    return SpecError("files", e.value, e.reason) if e.field == "path" else e


def _unwritten(job: Job, e: OSError) -> Exception:
    """What it is told as that a file could not be written: of the request, or its source."""
    if e.filename in job.files:
        return faults.no_room(f"files.{e.filename}", e)
    return faults.no_room("source", e) if job.language and e.filename else e
