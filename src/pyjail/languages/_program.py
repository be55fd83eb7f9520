"""From source to something that runs: `prepare` compiles in a jail of its own, `Program` says how it is run."""

from __future__ import annotations

import errno
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pyjail._base.errors import SetupError, SpecError
from pyjail._base.rare_errors import ExecError
from pyjail._base.shown import Shown
from pyjail._plan import prepare as plan_prepare
from pyjail._result.result import Result
from pyjail._result.verdict import Verdict
from pyjail._run import run as run_module
from pyjail._spec import inputs
from pyjail._spec.jail import (
    Env,
    File,
    Jail,
    Limits,
)
from pyjail.languages._classes import main_class
from pyjail.languages._cpus import given_cpus
from pyjail.languages._language import Language
from pyjail.languages._submission import NotAProgram, Source, submission
from pyjail.languages._table import find
from pyjail.languages._tools import Tools, places
from pyjail.languages._values import arguments, environment, fitted, renamed, values, visible

if TYPE_CHECKING:
    from pyjail._many.pool import Pool


@dataclass(frozen=True, repr=False)
class Program(Shown):
    """A program in some language, ready to run any number of times, from any number of threads.

    Attributes:
        language: `Language`. jail: what it runs in, the tools that the run needs included.
        source: the name of the source file in /box.
        compile: the `Result` of compiling; None when there was nothing to compile. Its ``stderr`` has the messages,
            its ``files`` what was made, its ``uncollected`` which artefacts were not made or are too big, and why.
        files: what is written into /box for each run.
        path: a directory of tools that the run's PATH gets besides, or None.
        main: what ``{main}`` in the language's command stands for; None: its ``{stem}``.
        fault: why there is nothing to run, if it is not what ``compile`` says; else "".
        given: names of those ``files`` that the caller gave. submitted: the source file that is not theirs.
        ok: there is something to run: the compiler was content, and made every artefact.
    """

    language: Language
    jail: Jail
    source: str
    files: Mapping[str, Any]
    compile: Result | Any
    path: str | None = None
    main: str | None = None
    fault: str = ""
    given: frozenset[str] = frozenset()
    submitted: str = ""

    def _words(self) -> Iterator[str]:
        yield f"{self.language.name}: {self.source!r}"
        yield "ok" if self.ok else f"not ok: {self.fault or self.compile!r}"

    def to_dict(self) -> dict[str, Any]:
        """In types that `json.dumps` takes."""
        from pyjail._base.plain import sources

        return {**super().to_dict(), "files": sources(self.files), "ok": self.ok}

    @property
    def ok(self) -> bool:
        return not self.fault and (self.compile is None or (self.compile.ok and not self.compile.uncollected))

    def checked(self, limits: Limits | None = None) -> Program:
        """Itself; or, when its language has no compiler and its interpreter says that this is no program, one that is
        not ``ok``, with what it said as ``compile``.

        Args:
            limits: of the interpreter that reads it; default the language's ``compile_limits``.
        """
        if not self.language.syntax or not self.ok:
            return self
        limits = self.language.compile_limits if limits is None else limits
        said = run_module.run(**reading(self, limits))
        return replace(self, compile=said) if said.verdict is Verdict.RUNTIME_ERROR else self

    def blames(self, e: Exception) -> str:
        """What is wrong with the program, when this exception of `run` is of its making; else "".

        It was made into no program (a library, say), or it does not fit into the run's /box.
        """
        if isinstance(e, ExecError) and self.language.run[0] not in self.language.tools:
            return f"what the compiler made cannot be started: {e}"
        if isinstance(e, SetupError) and _too_large(e, self.files.keys() - self.given):
            return f"the program does not fit into /box: {e}"
        return ""

    @contextmanager
    def command(
        self, limits: Limits, args: Sequence[str] = (), files: Mapping[str, Any] | None = None
    ) -> Iterator[dict[str, Any]]:
        """The parameters of `pyjail.run` for one run, but for ``jail``. While the block lasts, its CPUs count as taken.

        The limits are raised to what the runtime starts with at least. A whole number of CPUs becomes a set of as many,
        where the cpuset controller is to be had: what the program counts is then what it may use.
        """
        limits = fitted(self.language, limits)
        with given_cpus(limits, self.jail) as chosen:
            cpus = visible(limits.cpus, len(plan_prepare.cpus()))
            given = values(self.language, limits, cpus, self.source, self.main)
            yield {
                "args": [*arguments(self.language.run, given), *args],
                "limits": chosen,
                "files": {**self.files, **(files or {})},
                "env": environment(self.language.env, given, self.jail, self.path),
            }

    def run(
        self,
        limits: Limits | None = None,
        args: Sequence[str] = (),
        *,
        files: Mapping[str, Any] | None = None,
        pool: Pool | None = None,
        **options: Any,
    ) -> Result:
        """Run it once, in /box.

        Args:
            limits: default `Limits()`; see `command` for what becomes of them. args: of the program.
            files: more files for /box. pool: a `Pool` of this program's jail, to run it there.
            options: the other parameters of `pyjail.run`, such as ``input``.

        Raises: SpecError when it did not compile; what `pyjail.run` raises, or the pool's.
        """
        if not self.ok:
            raise SpecError("program", self.source, "it did not compile: there is nothing to run")
        with self.command(Limits() if limits is None else limits, args, files) as parameters:
            if pool is not None:
                return pool.run(**{**parameters, **options})
            return run_module.run(jail=self.jail, **parameters, **options)


def prepare(
    language: Language | str,
    source: Source,
    *,
    jail: Jail | None = None,
    limits: Limits | None = None,
    files: Mapping[str, Any] | None = None,
    entry: str | None = None,
    syntax: bool = False,
) -> Program:
    """Compile a program in a jail of its own; or only look after what it needs, when its language has no compiler.

    Args:
        language: a `Language`, or a name for `find`.
        source: the text (str, bytes), or a Path to read it from; or several files, {name: text}.
        jail: what the program will run in; default `Jail()`. The compiler gets the same view of files, and its own
            limits, environment and the default filter.
        limits: of the compiler; default the language's ``compile_limits``.
        files: the caller's own files for /box, as in `pyjail.run`: headers and graders for the compiler, data and
            modules for every run. Those with the language's extension are compiled with the source, and not there when
            it runs. No file of the source replaces one.
        entry: the file that is run, or that the program is named after: such as a grader. Default: the source's first
            one with the language's extension.
        syntax: where there is no compiler, have the interpreter read the program first (`Program.checked`). Default
            False.

    Returns:
        A `Program`. When it did not compile, ``ok`` is False and ``compile`` or ``fault`` says why: no exception does.

    Raises:
        SpecError: no such language, or an argument makes no sense. HostError: a tool is missing (``hint`` names
        Debian's package), or a limit cannot be enforced here. OSError: the source cannot be read.

    >>> from pyjail import languages
    >>> program = languages.prepare("python", "print(int(input()) ** 2)")
    >>> program.run(input=b"12\\n").stdout
    b'144\\n'
    """
    making = preparing(language, source, jail=jail, limits=limits, files=files, entry=entry)
    try:
        asked = next(making)
        while True:
            try:
                said = run_module.run(**asked)
            except SetupError as e:
                asked = making.throw(e)
            else:
                asked = making.send(said)
    except StopIteration as done:
        program: Program = done.value
    return program.checked(limits) if syntax else program


def preparing(
    language: Language | str,
    source: Source,
    *,
    jail: Jail | None = None,
    limits: Limits | None = None,
    files: Mapping[str, Any] | None = None,
    entry: str | None = None,
) -> Generator[dict[str, Any], Result, Program]:
    """What `prepare` does, for who runs the compiler by himself, in a `Session` or a `Box` say.

    It yields the parameters of `pyjail.run` for the compiler, none or several times, takes the `Result` (or is thrown
    the SetupError), and returns the `Program`. Parameters and exceptions are those of `prepare`.

    >>> import pyjail
    >>> from pyjail import languages
    >>> making = languages.preparing("bash", "echo $((6 * 7))")
    >>> try:
    ...     next(making)
    ... except StopIteration as done:
    ...     done.value.run().stdout
    b'42\\n'
    """
    language = language if isinstance(language, Language) else find(language)
    jail = _typed("jail", jail, Jail, Jail())
    limits = _typed("limits", limits, Limits, language.compile_limits)
    theirs = given(files)
    if entry is not None and not isinstance(entry, str):
        raise SpecError("entry", entry, "a file's name is needed")
    (jail, found), where = places(language, jail)
    several = isinstance(source, Mapping)
    try:
        parts, main = chosen(language, source, theirs, entry)
    except NotAProgram as e:
        return Program(language, jail, language.source, {}, None, fault=str(e))
    submitted = next(iter(parts))
    every = {**parts, **theirs}
    if not language.compile:
        jail, found = where
        return Program(
            language, found.jail(jail), main, every, None, found.path, given=frozenset(theirs), submitted=submitted
        )
    try:
        made = yield building(language, main, every, found, jail, limits)
        other = None if made.ok or several or entry else renamed(language, made.stderr + made.stdout)
        if other is not None and other != main and other not in theirs:
            every = {other: parts[main], **theirs}
            main, made = other, (yield building(language, other, every, found, jail, limits))
    except SetupError as e:
        if not _too_large(e, every.keys() - theirs.keys()):
            raise
        return Program(language, jail, main, {}, None, fault=f"the compiler cannot be given it: {e}")
    kept = {name: data for name, data in theirs.items() if not name.endswith(language.extensions or ("\0",))}
    return _made(language, main, made, *where, kept)


def chosen(
    language: Language, source: Source, theirs: Mapping[str, Any], entry: str | None
) -> tuple[dict[str, bytes], str]:
    """The files of the source, and which of these and the caller's is the program. Raises what `submission` raises."""
    parts = submission(language, source, theirs)
    main = entry or next(iter(parts))
    if main not in {**parts, **theirs}:
        raise SpecError("entry", main, "is no file of the program")
    return parts, main


def given(files: Mapping[str, Any] | None) -> dict[str, Any]:
    """The caller's files by the names that they have in /box."""
    inputs.check_inputs(files)
    return {"." if name == "." else inputs.relative("files", name): data for name, data in (files or {}).items()}


def _made(language: Language, name: str, made: Result, jail: Jail, found: Tools, files: Mapping[str, Any]) -> Program:
    """What can be run of what the compiler made."""
    runs_tool = language.run[0] in language.tools
    program = Program(
        language,
        found.jail(jail) if runs_tool else jail,
        name,
        {**files, **{path: File(data, 0o755) for path, data in made.files.items()}},
        made,
        found.path if runs_tool else None,
        main_class(made.files.values(), name.rpartition(".")[0]) if "{main}" in language.run else None,
        given=frozenset(files) - made.files.keys(),
    )
    try:
        inputs.check_inputs(made.files)
    except SpecError as e:
        return replace(program, fault=f"what the compiler made cannot be kept: {e}")
    return program


def reading(program: Program, limits: Limits) -> dict[str, Any]:
    """The parameters of `pyjail.run` for the interpreter that only reads it."""
    language, source = program.language, program.submitted or program.source
    known = values(language, limits, visible(limits.cpus, len(plan_prepare.cpus())), source)
    env = environment(language.env, known, program.jail, program.path)
    args = arguments(language.syntax, known)
    return {"args": args, "limits": limits, "jail": program.jail, "env": env, "files": program.files}


def building(
    language: Language, name: str, files: Mapping[str, Any], found: Tools, jail: Jail, limits: Limits
) -> dict[str, Any]:
    """The parameters of `pyjail.run` for the compiler, whose result has what it made; other files and processes that it
    leaves go with its jail."""
    collect = arguments(language.artefacts, values(language, limits, 1, name))
    return {**compiling(language, name, files, found, jail, limits), "collect": collect}


def compiling(
    language: Language, name: str, files: Mapping[str, Any], found: Tools, jail: Jail, limits: Limits
) -> dict[str, Any]:
    """The parameters of `pyjail.run` for the compiler."""
    jail = replace(found.jail(jail), seccomp="none" if jail.seccomp == "none" else "default")
    given = values(language, limits, visible(limits.cpus, len(plan_prepare.cpus())), name)
    others = [other for other in files if other != name and other.endswith(language.extensions or ("\0",))]
    return {
        "args": arguments(language.compile, given, [name, *others]),
        "limits": limits,
        "jail": jail,
        "env": Env({"TMPDIR": "/tmp", **environment(language.compile_env, given, jail, found.path)}),
        "files": files,
    }


def _too_large(e: SetupError, names: Iterable[str]) -> bool:
    """There was no room in /box for one of these files."""
    full = e.step == "open" and e.errno in (errno.ENOSPC, errno.EFBIG)
    return full and any(e.detail == f"files[{name!r}]" for name in names)


def _typed(field: str, value: Any, kind: type, default: Any) -> Any:
    if value is None:
        return default
    if not isinstance(value, kind):
        raise SpecError(field, value, f"a pyjail.{kind.__name__} is needed")
    return value
