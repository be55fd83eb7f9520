"""`used_files`: what of its root a language needs, by watching its own test program."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyjail._base import lazy
from pyjail._base.errors import HostError, SpecError
from pyjail._spec.jail import Jail, Limits
from pyjail.languages._check import ASKED, LIMITS
from pyjail.languages._language import Language
from pyjail.languages._program import compiling, prepare, reading
from pyjail.languages._submission import submission
from pyjail.languages._tools import LOOKING, Tools, compiler_of, places, runner_of, showing

if TYPE_CHECKING:
    from pyjail._learn.used import Used

SLOWER = 4  # times: a watched run, which stops at each call


def used_files(language: Language, *, jail: Jail | None = None, run_only: bool = False) -> Used:
    """What a language's own test program uses of the jail's root while it is compiled and run: `check` passes in a
    root with nothing else.

    Every file is told by itself; of a directory that was listed, such as those that Python looks for modules in, only
    what was used.

    Args:
        language: `Language`; it needs a ``check`` program.
        jail: default `Jail()`.
        run_only: leave out what only the compiler uses. Default False.

    Returns: {path: what is there}: a Path of this host to copy the file from, the target of a symlink (str), content
        (bytes), or None for a directory.

    Raises:
        SpecError: there is no such program. HostError: a tool is missing, it does not compile here, or ptrace(2) is
        forbidden.

    >>> from pyjail import languages
    >>> "/usr/bin/bash" in languages.used_files(languages.find("bash"))
    True
    """
    with lazy.lock:  # with ptrace(2), which nothing else here needs
        from pyjail._learn.used import used
    if not language.check:
        raise SpecError("check", language.name, "this language has no program for it")
    jail = replace(Jail() if jail is None else jail, fresh=True)
    runs: list[dict[str, Any]] = []
    found: Used = {}
    (compile_jail, compile_tools), (run_jail, run_tools) = places(language, jail)
    source = Path(language.check)
    if language.compile and not run_only:
        runs = _shown(compiler_of(language), compile_tools, compile_jail)
        parts = submission(language, source, {})
        limits = _patient(language.compile_limits)
        runs.append(compiling(language, next(iter(parts)), parts, compile_tools, compile_jail, limits))
    runner = runner_of(language) if language.compile else language
    if runner is not None:
        runs += _shown(runner, run_tools, run_jail)
    program = prepare(language, source, jail=jail)
    if not program.ok:
        said = (
            "" if program.compile is None else " ".join(program.compile.stderr[:300].decode(errors="replace").split())
        )
        raise HostError("language", f"the test program of {language.title} does not compile: {program.fault or said}",
                        f"pyjail languages --check {language.name}")  # fmt: skip
    if language.syntax:
        runs.append(reading(program, _patient(language.compile_limits)))
    for parameters in runs:
        found |= used(**parameters)
    for name, (asked, _) in ASKED.items():
        # Only a limit ends what takes memory without end: without one it is not tried.
        where = replace(program.jail, strict=True) if name == "memory" else program.jail
        with program.command(_patient(LIMITS)) as parameters:
            try:
                found |= used(jail=where, input=asked.encode(), **parameters)
            except HostError:
                if where is program.jail or program.jail.strict:
                    raise
    return found


def _shown(language: Language, found: Tools, jail: Jail) -> list[dict[str, Any]]:
    """The parameters of what tells the versions."""
    rows = [showing(name, argument, language, found, jail) for name, argument in language.tools.items()]
    return [{**row, "limits": _patient(LOOKING)} for row in rows]


def _patient(limits: Limits) -> Limits:
    longer = {n: None if (t := getattr(limits, n)) is None else t * SLOWER for n in ("cpu_time", "wall_time")}
    return replace(limits, **longer)
