"""What a request asks to be run, whatever words it came in: `Job`, `Script`, `Group`; what came of it: `Outcome`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pyjail import Jail, Limits, Result
from pyjail.languages import Language

MOST_UNPACKED = 10 << 20  # bytes of the files of an archive


@dataclass(frozen=True)
class Kept:
    """A file that its tenant has sent before, by its SHA-256."""

    digest: str


@dataclass(frozen=True)
class Job:
    """One program in a jail of its own: ``args``, or a ``source`` in a ``language`` with ``args`` for it.

    Attributes:
        args: of `pyjail.run`. language: a name of `pyjail.languages`; source: its text, or {name: text} of several.
        stdin: its input. files: {path below /box: content, or `Kept`}. env: the whole environment; None: the jail's.
        cwd: inside; None: /box. limits: its own; compile_limits: of the compiler, None: the language's.
        jail: what it runs in. collect: patterns of what comes back. merged: stderr goes where stdout goes.
        check: "off", "warn" or "reject", what `pyjail.precheck` finds. sanitize: "", or a mode of `pyjail.sanitize`,
            for what is shown.
        terminal: (rows, columns) of one that it has for its streams; what it shows is its stdout.
        label: the name of the face that it came by.
        times: how often it is run, of one that is fetched later: each time from its beginning and when it has its turn,
            as long as its last result is ``good``.
        how: of the language, in place of what is known by its name. archive: a zip whose files are in /box, too, but
            for those that ``files`` names. build: what runs before it in the same /box, and has to succeed.
    """

    args: tuple[str, ...] = ()
    language: str = ""
    source: str | Mapping[str, str] = ""
    stdin: bytes = b""
    files: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, str] | None = None
    cwd: str | None = None
    limits: Limits = field(default_factory=Limits)
    compile_limits: Limits | None = None
    jail: Jail = field(default_factory=Jail)
    collect: tuple[str, ...] = ()
    merged: bool = False
    check: str = "off"
    sanitize: str = ""
    terminal: tuple[int, int] | None = None
    label: str = "v1"
    how: Language | None = None
    archive: bytes = b""
    build: Job | None = None
    times: int = 1
    good: Callable[[Result], bool] | None = None


LATE = "no time was left for it"


@dataclass(frozen=True)
class Script:
    """Programs that run one after the other in one /box, each whatever came of the one before.

    Attributes: ``steps`` use of a `Job` what is about one program: args, stdin, env, cwd, limits. ``seconds``: that all
    of them may take together, so that no request keeps a slot longer than one program may; who comes later is `LATE`.
    """

    steps: tuple[Job, ...]
    files: Mapping[str, Any] = field(default_factory=dict)
    jail: Jail = field(default_factory=Jail)
    limits: Limits = field(default_factory=Limits)
    label: str = "v1"
    seconds: float | None = None


End = tuple[int, str]  # which program of a `Group`, and which stream of it


@dataclass(frozen=True)
class Pipe:
    """What ``source`` writes to its "stdout" or "stderr" is the "stdin" of ``target``.

    Attributes: ``drained``: who writes when the reader is gone writes on, for nobody; else a signal ends it. ``most``:
    bytes of it that are kept, of one that is drained.
    """

    source: End
    target: End
    drained: bool = False
    most: int = 0


@dataclass(frozen=True)
class Group:
    """Programs that run at the same time, joined by pipes: ``args`` of each `Job`, without a check of a source."""

    jobs: tuple[Job, ...]
    pipes: tuple[Pipe, ...]


@dataclass(frozen=True)
class Outcome:
    """What came of a `Job`.

    Attributes:
        result: of the program; None: there was nothing to run. compile: of the compiler; None: there was none.
        fault: why there was nothing to run, where no compiler says it; "" else. queued: seconds that it waited.
        findings: of `pyjail.precheck`, as dicts. kept: the first bytes of its streams that are pipes which keep some.
    """

    result: Result | None
    compile: Result | None = None
    fault: str = ""
    queued: float = 0.0
    findings: tuple[Mapping[str, Any], ...] = ()
    kept: Mapping[str, bytes] = field(default_factory=dict)
