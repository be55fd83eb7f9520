"""The end of a run whose caller's patience has ended."""

from __future__ import annotations

from pyjail import _outcome, _run
from pyjail._command import CAPTURED, Command
from pyjail._keeper import Keeper
from pyjail._native import lib
from pyjail._subprocess_errors import TimeoutExpired
from pyjail._talk import Gone, Late
from pyjail._wire import parse_reply, parse_report


def expired(keeper: Keeper, command: Command) -> _run.Outcome:
    """End the run in progress, wait for its end; what it wrote goes with the exception."""
    raw = _stop(keeper)
    out = err = b""
    if raw is not None and parse_reply(raw)[0] == lib.REPLY_REPORT:
        facts = parse_report(raw)
        out, err = keeper.output(0, facts.out_kept[0]), keeper.output(1, facts.out_kept[1])
        keeper.holds = bool(command.collect)
    captured = [
        _outcome.part(data, command.decode) if mode == CAPTURED else None
        for data, mode in zip((out, err), command.stdio[1:], strict=True)
    ]
    return TimeoutExpired(command.args, command.timeout or 0.0, *captured), raw is not None


def _stop(keeper: Keeper) -> bytes | None:
    """End the run in progress and wait for it: its last report, or None when the keeper went with it."""
    try:
        keeper.wake()
        keeper.send(lib.OP_KILL)
        return keeper.receive(_run.KILL_PATIENCE_S)
    except (Gone, Late):
        return None
