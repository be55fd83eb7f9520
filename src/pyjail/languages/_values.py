"""A language's commands, variables and limits for one run: pure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pyjail._spec.jail import (
    DEFAULT_ENV,
    Env,
    Jail,
    Limits,
)
from pyjail._spec.limits import MIB
from pyjail.languages._language import PLACEHOLDERS, SOURCES, Language

# Libraries that start a thread for each CPU of the machine, whichever language calls them.
THREADS = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS", "NUMBA_NUM_THREADS",
)  # fmt: skip
_PLACEHOLDER = re.compile(r"\{(" + "|".join(PLACEHOLDERS) + r")\}")
Values = Mapping[str, str | None]


def visible(cpus: float | frozenset[int] | set[int] | None, machine: int) -> int:
    """How many CPUs a runtime should count on: those it was given, a share of one counting as one.

    >>> visible(1.5, 8), visible({3, 5}, 8), visible(None, 8), visible(64.0, 8)
    (2, 2, 8, 8)
    """
    if cpus is None:
        return machine
    return min(machine, len(cpus) if isinstance(cpus, (set, frozenset)) else math.ceil(cpus))


def fitted(language: Language, limits: Limits) -> Limits:
    """The caller's limits, raised to the least that the runtime starts with."""
    changed = {}
    for field, least in (("memory", language.least_memory), ("processes", language.least_processes)):
        value = getattr(limits, field)
        if value is not None and value < least:
            changed[field] = least
    return replace(limits, **changed) if changed else limits  # type: ignore[arg-type]


def values(language: Language, limits: Limits, cpus: int, source: str, main: str | None = None) -> Values:
    """What the placeholders stand for; None for what there is no limit of."""
    memory, stack, overhead = limits.memory, limits.stack, language.overhead
    assert not isinstance(memory, str) and not isinstance(stack, str) and not isinstance(overhead, str)
    heap = None if memory is None else max(memory - overhead, memory // 2)
    stem = source.rpartition(".")[0] or source
    return {
        "source": source,
        "stem": stem,
        "main": main or stem,
        "cpus": str(cpus),
        "memory_mb": _units(memory, MIB),
        "heap_mb": _units(heap, MIB),
        "stack_mb": _units(stack, MIB),
        "stack_kb": _units(None if stack is None else stack * 7 // 8, 1024),
    }


def _units(size: int | None, unit: int) -> str | None:
    return None if size is None else str(max(1, size // unit))


def fill(text: str, known: Values) -> str | None:
    """The text with its placeholders filled in; None when there is nothing to fill one with.

    >>> fill("-Xmx{heap_mb}m", {"heap_mb": "64"}), fill("-Xmx{heap_mb}m", {"heap_mb": None})
    ('-Xmx64m', None)
    """
    if any(known[name] is None for name in _PLACEHOLDER.findall(text)):
        return None
    return _PLACEHOLDER.sub(lambda match: known[match[1]] or "", text)


def arguments(texts: Sequence[str], known: Values, sources: Sequence[str] = ()) -> tuple[str, ...]:
    """`fill` for each, without those that are None; ``{sources}`` becomes all of ``sources``."""
    found: list[str] = []
    for text in texts:
        if text == SOURCES:
            found += [name if name[0].isalnum() or name[0] in "_$" else f"./{name}" for name in sources]  # no option
        elif (filled := fill(text, known)) is not None:
            found.append(filled)
    return tuple(found)


def environment(given: Mapping[str, str], known: Values, jail: Jail, path: str | None) -> Env:
    """The variables of a run: the defaults, thread counts, the language's own; what the caller's jail has wins.

    ``path``: a directory of tools that PATH lacks.
    """
    env = {**DEFAULT_ENV, **dict.fromkeys(THREADS, known["cpus"] or "1")}
    for name, text in given.items():
        filled = fill(text, known)
        if filled is not None:
            env[name] = filled
    env.update(jail.env)
    if path is not None:
        env["PATH"] = f"{path}:{env['PATH']}"
    return Env(env)


# What no class can be declared in: comments, texts. What is never closed goes on to the end, so all is read but once.
_NO_CODE = re.compile(r'//[^\n]*|/\*.*?(?:\*/|\Z)|""".*?(?:"""|\Z)|"(?:\\.|[^"\\\n])*"?|\'(?:\\.|[^\'\\\n])*\'?', re.S)
MOST_NAME = 255  # bytes of a file's name


def named(language: Language, source: bytes) -> str:
    """The name of the source file: Java wants that of the public class in it. A guess, its compiler knows better."""
    if not language.stem:
        return language.source
    code = _NO_CODE.sub(" ", source.decode("utf-8", "replace"))
    found = re.search(language.stem, code)
    return _file(language, found[1]) if found is not None else language.source


def renamed(language: Language, said: bytes) -> str | None:
    """The name that a compiler which failed wants the source to have; None: it says nothing of that."""
    found = re.search(language.rename, said.decode("utf-8", "replace")) if language.rename else None
    return _file(language, found[1]) if found is not None else None


def _file(language: Language, stem: str) -> str:
    """The source's file with this stem, if a file can be called so."""
    name = f"{stem}.{language.source.rpartition('.')[2]}"
    fine = stem and not set("/\0\ufffd") & set(stem) and len(name.encode("utf-8", "replace")) <= MOST_NAME
    return name if fine else language.source
