"""Languages: how programs of each are found, compiled and run, and what its runtime needs to behave under limits.

>>> from pyjail import languages
>>> languages.judge_source("python", "print(input()[::-1])", [("abc", "cba")]).passed
True
"""

from __future__ import annotations

from pyjail.languages._check import Check, check
from pyjail.languages._judge import judge_source
from pyjail.languages._judgement import Judgement, JudgeVerdict, Subtask, SubtaskResult, TestResult
from pyjail.languages._language import COMPILE, Language
from pyjail.languages._machine import Watch, held_up, patiently
from pyjail.languages._program import Program, prepare, preparing
from pyjail.languages._table import find, load, table
from pyjail.languages._test import Checker, Test
from pyjail.languages._tools import available, jail_for, version
from pyjail.languages._used import used_files
from pyjail.languages._validate import validate

__all__ = [
    "COMPILE",
    "Check",
    "Checker",
    "JudgeVerdict",
    "Judgement",
    "Language",
    "Program",
    "Subtask",
    "SubtaskResult",
    "Test",
    "TestResult",
    "Watch",
    "available",
    "check",
    "find",
    "held_up",
    "jail_for",
    "judge_source",
    "load",
    "patiently",
    "prepare",
    "preparing",
    "table",
    "used_files",
    "validate",
    "version",
]


def __dir__() -> list[str]:
    return sorted(__all__)
