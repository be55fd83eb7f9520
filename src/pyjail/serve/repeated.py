"""Programs that are fetched later, run as often as they are to be: `run`."""

from __future__ import annotations

from statistics import fmean
from typing import Any

from pyjail import Usage
from pyjail.serve import answers
from pyjail.serve.config import Token
from pyjail.serve.engine import Engine
from pyjail.serve.job import Job
from pyjail.serve.live import Live


async def run(engine: Engine, job: Job, tenant: str, token: Token | None, live: Live | None) -> dict[str, Any]:
    """What came of its last run, in types of JSON; of one that is run several times with the ``means`` of all runs.
    Each has a turn of its own: who waits meanwhile comes in between. ``live``: what is
    seen of it meanwhile; None: nothing is, and nobody asks what held it."""
    used: list[Usage] = []
    while True:
        outcome = await engine.run(job, tenant, token, watcher=live, patient=True)
        if outcome.result is not None:
            used.append(outcome.result.usage)
        if outcome.result is None or len(used) >= job.times or (job.good and not job.good(outcome.result)):
            break
        if live is not None:
            live.waits()
    said = await answers.told(outcome, receipt=live is not None)
    return said if job.times == 1 or outcome.result is None else {**said, "means": _means(used)}


def _means(used: list[Usage]) -> dict[str, Any]:
    times, sizes = [u.cpu_time or 0.0 for u in used], [u.memory_peak or 0 for u in used]
    return {"runs": len(used), "cpu_time": fmean(times), "memory_peak": round(fmean(sizes))}
