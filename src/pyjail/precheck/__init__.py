"""What a source imports and calls, before it runs: a hint that saves a slot and teaches, and no protection.

>>> from pyjail import precheck
>>> precheck.check("print(6 * 7)")
[]
"""

from __future__ import annotations

from pyjail.precheck._check import CALLS, MODULES, MOST_BYTES, check
from pyjail.precheck._construct import Construct
from pyjail.precheck._jailed import Checker, check_jailed

__all__ = ["CALLS", "MODULES", "MOST_BYTES", "Checker", "Construct", "check", "check_jailed"]


def __dir__() -> list[str]:
    return sorted(__all__)
