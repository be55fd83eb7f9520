"""`Verdict`: what the facts of a run mean."""

from __future__ import annotations

from enum import StrEnum


class Verdict(StrEnum):
    """What the facts of a run mean; the first of these that holds (docs/run.md).

    JAIL_ERROR: pyjail or something outside decided how it ended, ``Result.error`` says what. SECURITY: the filter ended
    it, for ``Result.syscall``. MEMORY, CPU_TIME, WALL_TIME, OUTPUT: the limit of that name. SIGNALED: by a signal,
    one of its own too. RUNTIME_ERROR: another exit code than 0. OK: 0, within all limits.

    >>> Verdict("ok") is Verdict.OK, f"{Verdict.CPU_TIME}"
    (True, 'cpu_time')
    """

    OK = "ok"
    RUNTIME_ERROR = "runtime_error"
    SIGNALED = "signaled"
    CPU_TIME = "cpu_time"
    WALL_TIME = "wall_time"
    MEMORY = "memory"
    OUTPUT = "output"
    SECURITY = "security"
    JAIL_ERROR = "jail_error"
