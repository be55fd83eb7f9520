"""What of a submission is wrong whatever becomes of it: `validate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from pyjail._base.errors import SpecError
from pyjail.languages._judge import check_subtasks
from pyjail.languages._judgement import Subtask
from pyjail.languages._language import Language
from pyjail.languages._program import chosen, given
from pyjail.languages._submission import NotAProgram, Source
from pyjail.languages._table import find
from pyjail.languages._test import AnyTest, make_test


def validate(
    language: Language | str,
    source: Source,
    tests: Sequence[AnyTest] = (),
    *,
    files: Mapping[str, Any] | None = None,
    entry: str | None = None,
    subtasks: Sequence[Subtask] = (),
) -> None:
    """Nothing, where `prepare` and `judge_source` would take these arguments; nothing is run.

    What is not there, a tool of the language say, shows only when it is asked for: see `available`. A source that is no
    program is a verdict, and is taken.

    Args:
        language, source, tests, files, entry, subtasks: of `judge_source`; without ``tests``, of `prepare`.

    Raises:
        SpecError: an argument makes no sense. OSError: the source cannot be read.

    >>> from pyjail import languages
    >>> languages.validate("pythn", "print(1)")
    Traceback (most recent call last):
    ...
    pyjail.SpecError: language='pythn': there is no such language; did you mean 'python'?
    """
    language = language if isinstance(language, Language) else find(language)
    theirs = given(files)
    if entry is not None and not isinstance(entry, str):
        raise SpecError("entry", entry, "a file's name is needed")
    with suppress(NotAProgram):
        chosen(language, source, theirs, entry)
    check_subtasks(subtasks, [make_test(test, number) for number, test in enumerate(tests)])
