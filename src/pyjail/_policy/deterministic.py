"""What two runs of a deterministic jail have in common besides what all runs have."""

from __future__ import annotations

import re

ADDR_NO_RANDOMIZE = 0x0040000
PID = "2"  # of every program: the keeper is 1
_SINCE = (6, 2)  # before, execve does not enter the time namespace that was unshared


def clocks_refusal(kernel: str, time_namespaces: bool, may_write: bool) -> str:
    """Why the program's clocks cannot start at 0 here; "" when they can."""
    version = tuple(int(n) for n in re.findall(r"[0-9]+", kernel)[:2])
    if not time_namespaces:
        return "this kernel gives no time namespaces (CONFIG_TIME_NS, user.max_time_namespaces)"
    if version < _SINCE:
        return f"Linux {kernel}: a time namespace is entered by execve since 6.2"
    return "" if may_write else "the filter refuses write, by which the clock is set just before execve"
