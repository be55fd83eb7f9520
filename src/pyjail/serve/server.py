"""``pyjail serve``: the machine is tried, sockets are bound, and requests are served until a signal comes."""

from __future__ import annotations

import contextlib
import sys
from concurrent.futures import ThreadPoolExecutor

import pyjail
from pyjail.serve import listen, room, trial
from pyjail.serve.config import Config
from pyjail.serve.signals import Early


def main(config: Config, *, learn: bool = False) -> int:
    """Serve until a signal says otherwise; the exit code. ``learn``: see `Service.learn`. Raises `trial.Refused` when
    it does not start, ImportError where the extra ``serve`` is not installed."""
    early = Early()
    with early.heard():
        return _served(config, early, learn)


def _served(config: Config, early: Early, learn: bool) -> int:
    sockets = listen.sockets(config)
    try:
        with ThreadPoolExecutor(1) as threads:
            tried = threads.submit(_tried, config)  # while the web framework is imported
            from pyjail.serve import application, process

            early.check()
            made = application.make(config)
            for said in tried.result():
                warn(said)
        early.check()
        if config.open and not config.tokens:
            warn(f"--open: whoever reaches {', '.join(map(listen.where, sockets))} may run programs, without a token")
        process.serve(made, config, sockets, early, learn)
    finally:
        for sock in sockets:
            sock.close()
        if config.unix:
            with contextlib.suppress(OSError):
                listen.remove(config.unix)
        pyjail.close()
    return 0


def _tried(config: Config) -> list[str]:
    if config.jail.strict:
        trial.strict()
    return [*trial.of(config), *filter(None, [room.lacking(config)])]


def warn(text: str) -> None:
    """Say it on stderr."""
    print(f"pyjail serve: {text}", file=sys.stderr, flush=True)
