"""Python in a jail whose cells remember each other, with rich results: `Interpreter` (docs/interpreter.md).

>>> import pyjail
>>> with pyjail.Interpreter() as python:
...     _ = python.run("x = 20")
...     python.run("x + 1").text
'21'
"""

from __future__ import annotations

from pyjail import records as records  # it says so when the package is not ours
from pyjail.interpreter._context import Context
from pyjail.interpreter._interpreter import Interpreter, with_packages
from pyjail.interpreter._records import Display, Execution, Logs, Raised

__all__ = [
    "Context",
    "Display",
    "Execution",
    "Interpreter",
    "Logs",
    "Raised",
    "with_packages",
]


def __dir__() -> list[str]:
    return sorted(__all__)
