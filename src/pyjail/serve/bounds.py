"""How many things one request may name: what is made of them is made while all others wait."""

from __future__ import annotations

from collections.abc import Mapping

from pyjail.serve.job import Job, Script
from pyjail.serve.problem import Problem

MOST = {"args": 32768, "env": 4096, "files": 8192, "collect": 256, "source": 8192}
STEPS = 1024


def check(job: Job) -> None:
    """Raises `Problem` 422 for more."""
    sources = job.source if isinstance(job.source, Mapping) else ()
    for field, given in (("args", job.args), ("env", job.env or ()), ("files", job.files), ("collect", job.collect),
                         ("source", sources)):  # fmt: skip
        if len(given) > MOST[field]:
            raise Problem(422, "field", f"at most {MOST[field]} are taken, not {len(given)}", field=field)


def check_script(script: Script) -> None:
    """The same, for each step."""
    if len(script.steps) > STEPS:
        raise Problem(422, "field", f"at most {STEPS} programs are taken, not {len(script.steps)}", field="commands")
    check(Job(files=script.files))
    for job in script.steps:
        check(job)
