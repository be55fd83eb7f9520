"""What is wrong with a request that is to be kept for later, and is known without running it: told at once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pyjail
from pyjail import Jail, Subtask, Test, languages
from pyjail.languages import Language
from pyjail.serve.job import Job
from pyjail.serve.problem import Problem


async def check(job: Job, known: Mapping[str, Language] | None) -> None:
    """Raises what running it would, of a job without an archive; nothing of one that names no program."""
    if not job.args and not job.language:
        return
    await asyncio.to_thread(_check, job, known)


def _check(job: Job, known: Mapping[str, Language] | None) -> None:
    files = empty(job.files)
    args = list(job.args)
    if job.language:
        validate(job.language, job.source, job.jail, known, files)
        args = ["program", *args]
    pyjail.plan(args, job.limits, jail=job.jail, env=job.env, cwd=job.cwd, files=files, collect=job.collect)


def validate(
    language: str,
    source: str | Mapping[str, str],
    jail: Jail,
    known: Mapping[str, Language] | None,
    files: Mapping[str, Any],
    tests: Sequence[Test] = (),
    entry: str | None = None,
    subtasks: Sequence[Subtask] = (),
) -> None:
    """The same, of a program that is prepared, or judged; also that its tools are not here. May run something."""
    found = languages.find(language, known)
    languages.validate(found, source, tests, files=files, entry=entry, subtasks=subtasks)
    if not languages.available(found, jail):
        raise Problem(422, "language", f"{language} is not installed here", field="language")


def empty(files: Mapping[str, Any]) -> dict[str, Any]:
    """Files of these names."""
    return dict.fromkeys(files, b"")
