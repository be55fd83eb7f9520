"""``python -m benchmarks.serve_steps [--seconds S]``: where the time of one POST /v1/runs goes in the service, step by step.

A service whose steps are timed is asked by one client that comes again at once; told are the medians of the time from each
step to the next, in us, and what is left of the client's own median: the loopback, and both ends' wake-ups.
"""

from __future__ import annotations

import argparse
import functools
import json
import runpy
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.serve_client import Caller, listening, quantile, repeated, request

_steps: dict[str, list[float]] = defaultdict(list)
_last: list[float] = []


def _mark(step: str) -> None:
    """What came before this was ``step``."""
    now = time.perf_counter()
    if _last:
        _steps[step].append(now - _last[0])
    _last[:] = [now]


def _around(owner: Any, name: str, before: str, after: str = "") -> None:
    """Have a function of the service mark its begin and its end."""
    function: Callable[..., Any] = getattr(owner, name)

    @functools.wraps(function)
    def timed(*args: Any, **kwargs: Any) -> Any:
        if before:
            _mark(before)
        found = function(*args, **kwargs)
        if after:
            _mark(after)
        return found

    @functools.wraps(function)
    async def awaited(*args: Any, **kwargs: Any) -> Any:
        if before:
            _mark(before)
        found = await function(*args, **kwargs)
        if after:
            _mark(after)
        return found

    setattr(owner, name, awaited if function.__code__.co_flags & 0x80 else timed)  # CO_COROUTINE


def serve(told: str) -> None:
    """Be the service; its steps go to this file when it ends."""
    from pyjail.serve import connections, direct, edge, engine, entrance, leaving, model, observed, protocol, strict

    received = protocol.Http.data_received

    def begin(self: Any, data: bytes) -> None:
        _last[:] = [time.perf_counter()]
        received(self, data)
        _mark("the parser, the body")

    protocol.Http.data_received = begin  # type: ignore[method-assign]
    _around(entrance.Entrance, "enter", "the parser", "host, origin, token, rate, the queue")
    _around(observed.Observed, "__call__", "a task is begun")
    _around(edge.Edge, "_http", "the observer")
    _around(direct.Direct, "__call__", "who answers it")
    _around(strict, "model", "the way to the endpoint, its body", "JSON, strictly")
    _around(leaving, "while_there", "the job", "the way back to the request")
    _around(engine.Engine, "run", "who asks", "the slot is given back")
    _around(engine, "_run", "files, slot, bounds", "`aio.run`")
    _around(model, "told", "", "usage, and the result as plain data")
    _around(connections.Line, "write", "JSON and the response", "what is written")
    sys.argv = ["pyjail", "serve", "--port", "0"]
    try:
        runpy.run_module("pyjail", run_name="__main__")
    finally:
        Path(told).write_text(json.dumps(_steps))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5, help="of asking (default 5)")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    with tempfile.NamedTemporaryFile("r") as told:
        with listening([sys.executable, "-m", "benchmarks.serve_steps", "--serve", told.name]) as server:
            with Caller(server.port) as caller:
                data = request(server.port)
                repeated(lambda: caller.call(data), 0.5)
                took = quantile(repeated(lambda: caller.call(data), options.seconds), 0.5) * 1e6
        found = {step: statistics.median(times) * 1e6 for step, times in json.load(told).items() if len(times) > 100}
    for step, us in found.items():
        print(f"{us:7.0f}  {step}")
    print(f"{took - sum(found.values()):7.0f}  the loopback, the client, and what wakes both\n{took:7.0f}  all of it")


if __name__ == "__main__":
    main()
