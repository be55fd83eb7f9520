"""Facts of a finished run -> its `Result`."""

from __future__ import annotations

import codecs
import contextlib
import errno
import functools
import os
from collections.abc import Callable

from pyjail._core.native import lib

from pyjail._base import errors as base_errors
from pyjail._base import lazy
from pyjail._base.errors import KeeperError
from pyjail._host.machine import Above
from pyjail._plan.compile import RunLimits, Template
from pyjail._plan.report import Facts, parse_report
from pyjail._plan.report import not_started as not_started
from pyjail._plan.wire import Failure, parse_reply
from pyjail._result.result import Result
from pyjail._result.sums import SUMS
from pyjail._result.verdict import Verdict
from pyjail._spec.commands import Command, Decode
from pyjail._spec.jail import CAPTURED
from pyjail._verdict import verdict as verdict_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyjail._result.contact import Contacts
    from pyjail._result.subprocess_errors import TimeoutExpired
    from pyjail._result.undecoded import OutputDecodeError
    from pyjail._result.usage import Receipt, Usage

Collected = tuple[dict[str, bytes], dict[str, str]]  # files, and why others are not among them
# What the keeper of a run has made for it: template, ids outside, what is above; `Keeper.ready`, `Keeper.crowded`.
Made = tuple[Template, tuple[int, int], tuple[Above, ...], tuple[bytes, bytes], Callable[[], bool]]


def facts(raw: bytes) -> Facts:
    """What the keeper's last message says of a run. Without ``raw`` in it: it failed before there was a program."""
    if raw[0] == lib.REPLY_REPORT:
        return parse_report(raw)
    kind, failure = parse_reply(raw)
    if failure is None:
        raise KeeperError(f"the keeper answered {kind} where a report was due")
    return not_started(failure)


def result(
    made: Made,
    command: Command,
    run_part: RunLimits,
    facts: Facts,
    out: bytes,
    err: bytes,
    collected: Collected | None,
    egress: Contacts | None,
) -> Result | BaseException:
    """The `Result`, or what is raised in its place: a failure is MEMORY when memory was the reason, else an error."""
    template, ids, above, ready, crowded = made
    failure = facts.failure
    starved = (failure is not None or facts.status != 0) and verdict_module.starved(facts, run_part, memory_total())
    if failure is not None and not starved:
        return failed(failure, template, run_part, command)
    limits = command.limits
    kills = outside_kills = 0
    lost: dict[str, int] = {}
    if not facts.plain:
        kills, outside_kills = verdict_module.oom_kills(verdict_module.Reading(facts, run_part), limits.memory)
        if outside_kills and crowded():
            kills, outside_kills = outside_kills, 0
        lost = verdict_module.lost_files(facts, run_part)
    evidence = verdict_module.evidence(facts, limits, starved, kills, outside_kills, bool(lost))
    verdict = verdict_module.decide(evidence)
    error = _LEFT if facts.left else None
    if verdict is Verdict.JAIL_ERROR:
        error = _jail_error(outside_kills, lost, above)
    if facts.out_kept != facts.out_total:
        for kept, total in zip(facts.out_kept, facts.out_total, strict=True):
            if kept < total and (limits.output is None or kept < limits.output):
                verdict = Verdict.JAIL_ERROR
                error = "captured output was lost: no memory left here, or beyond the RLIMIT_FSIZE of the caller"
    _, stdout, stderr = command.stdio
    captured = [stdout == CAPTURED, stderr == CAPTURED]
    undecodable: Exception | None = None
    if command.decode is not None:
        try:
            texts = [decode(d, command.decode, len(d) < n) for d, n in zip((out, err), facts.out_total, strict=True)]
        except Exception as e:  # what a codec raises, or an error handler of the caller's
            undecodable = e
        else:
            out, err = texts

    code, sig = evidence.exit_code, evidence.signal
    told = Result.later(
        # No closure: a box, or a session, keeps thousands of results, and the collector looks at each cell of them.
        functools.partial(_look, (template, run_part, facts, ids, ready, captured, command.env, kills)),
        {
            "args": command.args,
            "returncode": -(sig or 0) if code is None else code,
            "verdict": verdict,
            "stdout": out if captured[0] else None,
            "stderr": err if captured[1] else None,
            "exit_code": code,
            "signal": sig,
            "limits": limits,
            "files": collected[0] if collected else {},
            "uncollected": collected[1] if collected else {},
            "stdout_bytes": facts.out_total[0] if captured[0] else None,
            "stderr_bytes": facts.out_total[1] if captured[1] else None,
            "oom_kills": kills,
            "syscall": verdict_module.syscall_name(facts) if facts.trip == "security" else None,
            "error": error,
            "egress": egress,
        },
    )
    return told if undecodable is None else undecoded(told, undecodable)


def _look(known: tuple[Any, ...], name: str) -> Any:
    """One of the fields of a result that are made when somebody looks at them."""
    template, run_part, facts, ids, ready, captured, env, kills = known
    receipt, measured, Receipt, Usage = load_results()
    if name == "receipt":
        return Receipt(receipt.receipt(template, run_part, facts, ids, ready, captured, env))
    if name == SUMS:
        return measured.sums(facts, run_part)
    reading = facts.reading
    if reading is None:
        reading = facts.reading = verdict_module.Reading(facts, run_part)
    if name == "limits_hit":
        return measured.limits_hit(facts, run_part, reading, kills)
    return measured.usage(facts, reading) if facts.status is not None or facts.started else Usage()


def undecoded(result: Result, error: Exception) -> OutputDecodeError:
    """What to raise instead of a result whose output is not what the caller said that it is; it has the result."""
    with lazy.lock:
        from pyjail._result.undecoded import OutputDecodeError

    if isinstance(error, UnicodeDecodeError):
        return OutputDecodeError(result, error.encoding, error.object, error.start, error.end, error.reason)
    return OutputDecodeError(result, "text", b"", 0, 0, str(error))


@functools.cache
def load_results() -> tuple[Any, Any, type[Receipt], type[Usage]]:
    """What results are looked at with, and files: for who runs more than one program, before it is needed, for then
    there may be no fd left to load it with. It takes as long as a run, so a run is under way meanwhile."""
    with lazy.lock:
        from pyjail._keeper import files
        from pyjail._result.usage import Receipt, Usage
        from pyjail._verdict import measured, receipt

    del files
    memory_total()  # read once, and now: when a run ends this process may be out of fds
    return receipt, measured, Receipt, Usage


_LEFT = (
    "a process of the run could not be killed within 8 s, in a box 32 (a file system that hangs, a frozen cgroup?): "
    "nobody waits for it any more, its cgroup is left until it ends"
)


def _jail_error(outside_kills: int, lost: dict[str, int], limits_above: tuple[Above, ...]) -> str:
    if outside_kills:
        above = [f"{a.file} = {a.value}" for a in limits_above if a.controller == "memory"]
        where = f"a cgroup above ({', '.join(above)}) or the machine" if above else "the machine or a container"
        return (
            f"the kernel's out-of-memory killer took {outside_kills} of its processes while the run was within its own "
            f"memory limit: {where} has run out of memory"
        )
    if lost:
        files = [f"{file} ({os.strerror(e) if e else 'no room in the report'})" for file, e in lost.items()]
        gone = not {*lost.values()} - {errno.ENODEV, errno.ENOENT}
        cause = ": a controller was taken away during the run" if gone else ""
        return f"{', '.join(files)} could not be read at the end{cause}"
    return "the program's process was killed before it could execute, by no limit of the run"


def lost(command: Command, how: str) -> Result:
    """The keeper died so while the program ran: everything in the jail died with it."""
    return Result(
        args=command.args,
        returncode=-9,
        verdict=Verdict.JAIL_ERROR,
        signal=9,
        limits=command.limits,
        error=f"the keeper died during the run ({how}); the jail died with it",
    )


def decode(data: bytes, how: Decode, cut: bool) -> Any:
    """As subprocess does; a character that our own cap cut in two is no error of the program's."""
    encoding, errors, _ = how
    text = codecs.getincrementaldecoder(encoding)(errors).decode(data) if cut else data.decode(encoding, errors)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def failed(
    failure: Failure, template: Template, run_part: RunLimits, command: Command
) -> base_errors.SetupError | base_errors.HostError:
    """The exception for a step of this command's that failed."""

    def missing() -> str:
        with lazy.lock:
            from pyjail._verdict import not_found

        return not_found.hint(template, command)

    with lazy.lock:
        from pyjail._plan import explain

    return explain.error(failure, template, run_part, program=command.args[0], cwd=command.cwd, missing=missing)


def expired(command: Command, out: bytes, err: bytes) -> TimeoutExpired:
    """What is raised when the caller's patience has ended, with what was captured until then."""
    with lazy.lock:
        from pyjail._result.subprocess_errors import TimeoutExpired

    captured = [
        part(data, command.decode) if mode == CAPTURED else None
        for data, mode in zip((out, err), command.stdio[1:], strict=True)
    ]
    return TimeoutExpired(command.args, command.timeout or 0.0, *captured)


def part(data: bytes, how: Decode | None) -> Any:
    """A part of an output, that goes with an exception: decoded so that this raises no other."""
    if how is None:
        return data
    for encoding, cut in ((how[0], True), (how[0], False), ("ascii", False)):  # what a codec cannot, the next one can
        with contextlib.suppress(UnicodeError):
            return decode(data, (encoding, "replace", ""), cut)
    raise AssertionError("ASCII takes everything")


@functools.cache
def memory_total() -> int:
    """RAM and swap: what an executable's segments are refused for when they are more (vm.overcommit_memory=0)."""
    total = 0
    try:
        with open("/proc/meminfo") as f:
            for line in f:
                if line.startswith(("MemTotal:", "SwapTotal:")):
                    total += int(line.split()[1]) * 1024
    except OSError:  # a /proc with processes only, or no fd left: no reason to lose a run
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return total
