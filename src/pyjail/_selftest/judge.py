"""Evidence -> status. Pure. What the host saw counts first, then what only an escape could have shown, then what the
attempt's own calls returned; an attempt that did not come to its end has proved nothing."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pyjail import Result, Verdict
from pyjail._selftest.attacks.toolkit import Attack
from pyjail._selftest.report import Status

SLACK = 1.05  # the kernel lets those that it kills for memory have a little more, to die with
OVERFLOW = 65534  # how the kernel shows an id that is not mapped
Judged = tuple[Status, str]


@dataclass
class Outcome:
    """One run of an attempt, and what the host looked like after it."""

    result: Result
    token: str
    changes: list[str] = field(default_factory=list)  # on the host
    survivors: list[int] = field(default_factory=list)  # processes of the run that are still there
    leaked: Callable[[bytes], str] = lambda data: ""
    environment: Mapping[bytes, bytes] = field(default_factory=dict)  # the caller's, without what the jail gives
    refusals: Mapping[str, set[str]] = field(default_factory=dict)  # {call: errnos that the user's policy gives it}
    stdout: bytes | None = None  # when it was not captured by the run itself

    def __post_init__(self) -> None:
        self.said: list[dict[str, Any]] = []
        self.raw = self.stdout if self.stdout is not None else self.result.stdout or b""
        for line in self.raw.splitlines():
            try:
                what = json.loads(line)
            except ValueError:
                continue
            if isinstance(what, dict):
                self.said.append(what)

    @property
    def done(self) -> bool:
        """It came to its end."""
        return any(s.get("done") == self.token for s in self.said)

    @property
    def shown(self) -> list[tuple[str, bytes]]:
        """What it found, and where."""
        return [(s["where"], base64.b64decode(s["data"])) for s in self.said if "where" in s]

    @property
    def calls(self) -> list[dict[str, Any]]:
        """What it did, and what came of it."""
        return [s for s in self.said if "call" in s]


def judge(attack: Attack, outcome: Outcome) -> Judged:
    """The status of an attempt, and the evidence."""
    found = on_the_host(outcome) or given_away(outcome) or over_limits(outcome)
    if found:
        return Status.ESCAPED, found
    passed = let_through(attack, outcome)
    if passed and "known_limit" in attack.options:
        return Status.NOT_APPLICABLE, f"a known limit, not promised: {attack.options['known_limit']}"
    if passed:
        return Status.ESCAPED, passed
    result = outcome.result
    if result.verdict is Verdict.JAIL_ERROR:
        return Status.ERROR, f"the jail itself failed: {result.error}"
    if result.verdict is Verdict.SECURITY:
        return Status.CONTAINED, f"the filter ended the run at {result.syscall}"
    for judged in (_program_of_root(attack, outcome), _expected_end(attack, outcome)):
        if judged:
            return judged
    if not outcome.done:
        last = (result.stderr or b"").decode("utf-8", "replace").strip().rpartition("\n")[2]
        return Status.ERROR, f"it did not come to its end: {result.verdict.value}, {result.returncode}. {last}"
    return summary(outcome)


def summary(outcome: Outcome) -> Judged:
    """Contained, by what; not applicable when the machine has none of the calls."""
    calls = [c for c in outcome.calls if not c.get("missing")]
    if outcome.calls and not calls:
        return Status.NOT_APPLICABLE, "this machine has no such system calls"
    errnos: dict[str, int] = {}
    for c in calls:
        if c["errno"]:
            errnos[c["errno"]] = errnos.get(c["errno"], 0) + 1
    parts = [f"{name} x{n}" if n > 1 else name for name, n in sorted(errnos.items(), key=lambda e: -e[1])]
    return Status.CONTAINED, ", ".join(parts) or "nothing found, nothing changed"


def on_the_host(outcome: Outcome) -> str:
    """Something is not as it was."""
    found = list(outcome.changes)
    if outcome.survivors:
        found.append(f"processes {outcome.survivors} outlived the run")
    return "on the host: " + "; ".join(found) if found else ""


def given_away(outcome: Outcome) -> str:
    """Something that only a successful escape can have."""
    for where, data in outcome.shown:
        leak = outcome.leaked(data)
        if leak:
            return f"found {leak} in {where}"
        if "environ" in where:
            names = [n for n, v in outcome.environment.items() if n + b"=" + v in data.split(b"\0")]
            if names:
                return f"found the caller's {b', '.join(names[:5]).decode('utf-8', 'replace')} in {where}"
    others = {"output": outcome.raw, "error output": outcome.result.stderr or b"", **outcome.result.files}
    for where, data in others.items():
        leak = outcome.leaked(data)
        if leak:
            return f"found {leak} in {where}"
    return ""


def let_through(attack: Attack, outcome: Outcome) -> str:
    """Calls that were not refused: they succeeded, or failed with what only the kernel's own code says."""
    found = []
    for c in outcome.calls:
        if c.get("missing"):
            continue
        if c["result"] >= 0:
            found.append(f"{c['call']} succeeded")
        elif attack.errnos is not None and c["errno"] not in {*attack.errnos, *outcome.refusals.get(c["name"], ())}:
            found.append(f"{c['call']}: {c['errno']}, the kernel's own answer")
    more = f" and {len(found) - 4} more" if len(found) > 4 else ""
    return "; ".join(found[:4]) + more if found else ""


def over_limits(outcome: Outcome) -> str:
    """The host counted more than the run may have."""
    result = outcome.result
    usage, limits = result.usage, result.limits
    unlimited = {row.name for row in result.receipt.not_enforced}
    for name, used, slack in (("processes", usage.processes_peak, 1), ("memory", usage.memory_peak, SLACK)):
        limit = getattr(limits, name)
        if used is not None and limit is not None and name not in unlimited and used > limit * slack:
            return f"{used} of {limit} {'bytes of memory' if name == 'memory' else name} were used"
    for kept in (result.stdout, result.stderr):
        if kept is not None and limits.output is not None and len(kept) > int(limits.output):
            return f"{len(kept)} bytes of output were kept, {limits.output} may be"
    return ""


def _program_of_root(attack: Attack, outcome: Outcome) -> Judged | None:
    """Attempts that become a setuid program end with its effective uid."""
    if not attack.options.get("exits_as_user") or outcome.done:
        return None
    result = outcome.result
    uid = next((r.value for r in result.receipt if r.name == "ids"), "uid 0").split()[1]
    if result.exit_code == int(uid) & 0xFF:
        return Status.CONTAINED, f"it ran as uid {uid}"
    if result.exit_code in (0, OVERFLOW & 0xFF):
        return Status.ESCAPED, "it ran as root"
    return None


def _expected_end(attack: Attack, outcome: Outcome) -> Judged | None:
    """Attempts that end by a limit, or by a signal of their own."""
    result = outcome.result
    if attack.options.get("exits_by") is not None and result.signal == attack.options["exits_by"]:
        return Status.CONTAINED, f"it ended by signal {result.signal}"
    expected = attack.options.get("expect", ("ok",))
    if expected == ("ok",):
        return None
    if result.verdict.value in expected and (outcome.done or result.verdict is not Verdict.OK):
        u = result.usage
        peaks = [f"{u.processes_peak} processes"] if u.processes_peak else []
        peaks += [f"{u.memory_peak >> 20} MiB"] if u.memory_peak else []
        return (
            Status.CONTAINED,
            f"{result.verdict.value}; at most {', '.join(peaks)}" if peaks else result.verdict.value,
        )
    return Status.ESCAPED, f"{' or '.join(expected)} should have ended it, not {result.verdict.value}"
