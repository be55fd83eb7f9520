"""What counting and logging cost: ``python -m benchmarks.serve_observer [REQUESTS]``.

CPU time of `pyjail.serve.observer` around an application that does nothing, a request with one run at a time; beside it
the CPU time that the service's own process spends on such a request.
"""

from __future__ import annotations

import asyncio
import http.client
import os
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import pyjail
from benchmarks.serve_client import BODY, served
from pyjail.serve import Config, logs
from pyjail.serve.admission import Turns
from pyjail.serve.config import Admission
from pyjail.serve.job import Job, Outcome
from pyjail.serve.observed import Observed
from pyjail.serve.observer import Observer

ROUTE = SimpleNamespace(path="/v1/runs")


def observed(requests: int) -> float:
    """Seconds of CPU for each request."""
    observer = Observer(Config(), Turns(Admission()))
    job, outcome = Job(("true",)), Outcome(pyjail.run(["true"]))

    async def app(scope, receive, send):
        scope |= {"request_id": "0123456789abcdef", "tenant": "127.0.0.1", "route": ROUTE}
        await receive()
        if scope["observed"]:
            observer.ran(job, outcome)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    async def receive():
        return {"type": "http.request", "body": BODY}

    async def send(message):
        pass

    async def spent(application, watched):
        began = time.process_time()
        for _ in range(requests):
            scope = {"type": "http", "method": "POST", "path": "/v1/runs", "headers": [], "observed": watched}
            await application(scope, receive, send)
        return time.process_time() - began

    with tempfile.TemporaryFile("w") as log:
        observer.log = logs.Log(log)
        with_it, without = asyncio.run(spent(Observed(app, observer), True)), asyncio.run(spent(app, False))
    return (with_it - without) / requests


def whole(requests: int) -> float:
    """Seconds of CPU of the service's own process for each request."""

    def cpu() -> float:
        fields = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    with served() as server:
        client = http.client.HTTPConnection("127.0.0.1", server.port)
        began = 0.0
        for number in range(requests + 20):
            if number == 20:
                began = cpu()
            client.request("POST", "/v1/runs", BODY, {"Content-Type": "application/json"})
            client.getresponse().read()
        spent = cpu() - began
        client.close()
    return spent / requests


def main() -> None:
    requests = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    watching, all_of_it = observed(requests), whole(requests)
    print(
        f"{watching * 1e6:.0f} us of {all_of_it * 1e6:.0f} us: {watching / all_of_it:.1%} of the service's CPU per request"
    )


if __name__ == "__main__":
    main()
