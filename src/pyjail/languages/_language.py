"""What is known of one language: `Language`, frozen and validated. No I/O here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from pyjail._base import units
from pyjail._base.errors import SpecError
from pyjail._base.shown import Shown
from pyjail._result.verdict import Verdict
from pyjail._spec.jail import (
    Env,
    Limits,
    inside,
    text,
)
from pyjail._spec.toml import known

COMPILE = Limits(
    cpu_time=60, wall_time=180, memory="1G", processes=256, output="1M", disk="256M", inodes=20000, file_size="256M",
    open_files=1024, collect="128M", collect_files=20000, cpus=None,
)  # fmt: skip
PLACEHOLDERS = ("source", "stem", "main", "cpus", "memory_mb", "heap_mb", "stack_mb", "stack_kb")
SOURCES = "{sources}"  # an argument of a compiler that becomes several
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
_NONE = Env({})
_TEXTS = (
    "name", "source", "title", "package", "stem", "rename", "out_of_memory", "check", "image", "compile_image",
    "run_image",
)  # fmt: skip


@dataclass(frozen=True, repr=False)
class Language(Shown):
    """How programs of one language are found, compiled and run, and what its runtime needs to behave under limits.

    Arguments and values of variables may hold ``{source}`` and ``{stem}`` (the file's name and its name without the
    suffix), ``{main}`` (the class that Java starts, as its compiler made it; else as ``{stem}``), ``{cpus}`` (CPUs that
    the run may use), ``{memory_mb}``, ``{heap_mb}`` (what is left of the memory limit for the program's own data),
    ``{stack_mb}`` and ``{stack_kb}`` (seven eighths of the stack limit). One whose limit there is not is left out. In
    ``compile``, an argument ``{sources}`` becomes all source files, the first of which is ``{source}``.

    Attributes:
        name: how it is called for: "cpp".
        run: the command that runs a program.
        source: the name that the source gets in /box.
        tools: {program that must be in the jail: its argument that shows its version}; the first is the language's.
        title: for people; default ``name``.
        extensions: of its source files, with the dot. Default none.
        package: Debian's packages that have the tools, separated by spaces. Default "".
        prefix: a command of the host that prints the directory of an installation which the jail does not see by
            itself (``DIR/bin/TOOL``); it is then mounted read-only. Default none.
        mounts: paths of the host that the tools need besides, mounted read-only where they exist. Default none.
        image: the image in which it is compiled and run, where the caller's jail has no root of its own: its name in
            the store, or its digest. compile_image, run_image: those of one of both. Default "": this host.
        compile: the command that compiles; empty, the default, when there is nothing to compile.
        artefacts: patterns of what the compiler makes and the run needs (``**`` recurses); each must be there. Default
            none.
        syntax: a command that reads the source and fails when it is no program, where nothing is compiled; it is asked
            about a program that ended with an error. Default none.
        stem: a regular expression; its first group in the source names the file, as Java's public class does. Default:
            the name of ``source``.
        rename: a regular expression; when the compiler fails, and its first group in what it said is another name for
            the file, the source is compiled once more under that. Default: none.
        env: variables of the run; compile_env: of the compiler. Default none.
        compile_limits: `Limits` of the compiler; default `COMPILE`: 60 s of CPU, 180 s in all, 1 GiB, 256 processes,
            256 MiB and 20,000 files on disk, 1 MiB of output, all CPUs.
        overhead: bytes of the memory limit that are not ``{heap_mb}``: what the runtime uses besides the heap; but half
            of the limit at most. Default 0.
        least_memory, least_processes: a run's limits are raised to these, in bytes and processes, as the runtime does
            not start with less. Default 0.
        out_of_memory: a regular expression; a program that failed and whose stderr has it in its last 64 KiB met the
            heap limit that ``{heap_mb}`` is, so its verdict is "memory". Default "": none.
        check: path of a program for `pyjail languages --check`, or "".
        crash: the verdict of an exception that nobody caught: "runtime_error" (default) or "signaled".

    Raises:
        SpecError: a value makes no sense, or a placeholder is unknown.

    >>> lua = Language("lua", run=("lua", "{source}"), source="main.lua", tools={"lua": "-v"})
    >>> lua.title, lua.compile
    ('lua', ())
    """

    name: str
    run: tuple[str, ...]
    source: str
    tools: Mapping[str, str]
    title: str = ""
    extensions: tuple[str, ...] = ()
    package: str = ""
    prefix: tuple[str, ...] = ()
    mounts: tuple[str, ...] = ()
    compile: tuple[str, ...] = ()
    artefacts: tuple[str, ...] = ()
    syntax: tuple[str, ...] = ()
    stem: str = ""
    rename: str = ""
    env: Mapping[str, str] = _NONE
    compile_env: Mapping[str, str] = _NONE
    compile_limits: Limits = COMPILE
    overhead: int | str = 0
    least_memory: int | str = 0
    least_processes: int = 0
    out_of_memory: str = ""
    check: str = ""
    crash: str = "runtime_error"
    image: str = ""
    compile_image: str = ""
    run_image: str = ""

    def __post_init__(self) -> None:
        for field in _TEXTS:
            if not isinstance(getattr(self, field), str):
                raise SpecError(self._key(field), getattr(self, field), "text is needed")
        if not re.fullmatch(r"[a-z0-9+#_.-]+", self.name):
            raise SpecError("name", self.name, "lower-case letters, digits and +#_.- are needed")
        if not self.source or "/" in text(self._key("source"), self.source):
            raise SpecError(self._key("source"), self.source, "a file's name without a directory is needed")
        object.__setattr__(self, "title", self.title or self.name)
        for field in ("run", "extensions", "prefix", "mounts", "compile", "artefacts", "syntax"):
            object.__setattr__(self, field, self._texts(field))
        for field in ("tools", "env", "compile_env"):
            object.__setattr__(self, field, Env(getattr(self, field), self._key(field)))
        for field in ("overhead", "least_memory"):
            object.__setattr__(self, field, units.size(self._key(field), getattr(self, field), least=0) or 0)
        units.count(self._key("least_processes"), self.least_processes, least=0)
        if not self.run or not self.tools:
            field = "tools" if self.run else "run"
            raise SpecError(self._key(field), getattr(self, field), "is needed and must not be empty")
        if bool(self.compile) != bool(self.artefacts):
            field = "artefacts" if self.compile else "compile"
            raise SpecError(self._key(field), getattr(self, field), "compile and artefacts belong together")
        if self.syntax and self.compile:
            raise SpecError(self._key("syntax"), self.syntax, "is for a language without a compiler: that looks itself")
        if not isinstance(self.compile_limits, Limits):
            raise SpecError(self._key("compile_limits"), self.compile_limits, "a pyjail.Limits is needed")
        if any(not extension.startswith(".") for extension in self.extensions):
            raise SpecError(self._key("extensions"), self.extensions, 'each begins with a dot, such as ".py"')
        for mount in self.mounts:
            inside(self._key("mounts"), mount)
        if self.crash not in (Verdict.RUNTIME_ERROR, Verdict.SIGNALED):
            raise SpecError(self._key("crash"), self.crash, 'must be "runtime_error" or "signaled"')
        self._expressions()
        self._placeholders()

    def _key(self, field: str) -> str:
        return f"languages.{self.name}.{field}"

    def _texts(self, field: str) -> tuple[str, ...]:
        value = getattr(self, field)
        if isinstance(value, str) or not isinstance(value, Sequence) or not all(isinstance(v, str) for v in value):
            raise SpecError(self._key(field), value, "a list of texts is needed")
        return tuple(value)

    def _expressions(self) -> None:
        for field, groups in (("stem", 1), ("rename", 1), ("out_of_memory", 0)):
            value = getattr(self, field)
            try:
                compiled = re.compile(value)
            except re.error as e:
                raise SpecError(self._key(field), value, f"is no regular expression: {e}") from None
            if value and compiled.groups < groups:
                raise SpecError(self._key(field), value, "a group is needed: the name")

    def _placeholders(self) -> None:
        for field in ("run", "compile", "artefacts", "syntax"):
            texts = [text for text in getattr(self, field) if text != SOURCES or field != "compile"]
            known(self._key(field), dict.fromkeys(_PLACEHOLDER.findall(" ".join(texts))), PLACEHOLDERS)
        for field in ("env", "compile_env"):
            used = _PLACEHOLDER.findall(" ".join(getattr(self, field).values()))
            known(self._key(field), dict.fromkeys(used), PLACEHOLDERS)


KEYS = tuple(f.name for f in fields(Language) if f.name != "name")


def from_table(name: str, table: Any, base: Language | None = None) -> Language:
    """A ``[languages.NAME]`` table of a TOML file, over what is known of that language already."""
    where = f"languages.{name}"
    if not isinstance(table, dict):
        raise SpecError(where, table, f"a [{where}] table is needed")
    known(where, table, KEYS)
    given = dict(table)
    if "compile_limits" in given:
        limits = given["compile_limits"]
        if not isinstance(limits, dict):
            raise SpecError(f"{where}.compile_limits", limits, "a table of limits is needed")
        known(f"{where}.compile_limits", limits, [f.name for f in fields(Limits)])
        changed = {k: None if v == "none" else v for k, v in limits.items()}
        given["compile_limits"] = replace(COMPILE if base is None else base.compile_limits, **changed)
    if base is not None:
        return replace(base, **given)
    for field in ("run", "source", "tools"):
        if field not in given:
            raise SpecError(f"{where}.{field}", table, "is missing")
    return Language(name=name, **given)
