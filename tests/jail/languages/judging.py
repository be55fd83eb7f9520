"""What tests of languages and judges have in common."""

from __future__ import annotations

import pytest

import pyjail
from pyjail import Limits, languages
from pyjail.languages import Language
from tests import place
from tests.conftest import SLOW

QUICK = Limits(cpu_time=5 * SLOW, wall_time=15 * SLOW)
compilers = pytest.mark.skipif(SLOW > 1, reason=place.ELSEWHERE)  # in an emulated guest they take minutes


def needed(name):
    language = languages.find(name)
    if not languages.available(language):
        pytest.skip(f"{' or '.join(language.tools)} {place.WITHOUT_TOOL}")
    return language


def judge(source, tests, limits=QUICK, **options):
    return pyjail.judge_source(options.pop("language", "python"), source, tests, limits, **options)


def verdicts(judged):
    return [row.verdict.value for row in judged.results]


def shell(script, **limits):
    """(a language whose compiler is a shell script, the script as its source)"""
    compile_limits = Limits(**{**languages.COMPILE.to_dict(), **limits})
    made = Language(
        "shell", run=("sh", "{stem}"), source="main.sh", tools={"sh": "-c"}, compile=("sh", "{source}"),
        artefacts=("{stem}",), compile_limits=compile_limits,
    )  # fmt: skip
    return made, script
