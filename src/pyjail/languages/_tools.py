"""Where the tools of a language are, as a jail sees it, and which version they are."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass, replace
from typing import Any

from pyjail._base.errors import HostError
from pyjail._base.rare_errors import ProgramNotFoundError
from pyjail._plan import image
from pyjail._run import run
from pyjail._spec.jail import DEFAULT_ENV, Jail, Limits, Mount
from pyjail.languages._language import Language
from pyjail.languages._values import environment, values

LOOKING = Limits(cpu_time=20, wall_time=120, memory="512M", processes=128, cpus=None)
PATIENCE_S = 60  # for a command of the host that tells where an installation is
_HERE = 'for name; do command -v "$name" || echo; done'
_lock = threading.Lock()
_found: dict[tuple[Language, Jail], Tools] = {}


@dataclass(frozen=True)
class Tools:
    """What a jail needs so that a language's tools are in it: more mounts, and one more directory in PATH."""

    mounts: tuple[Mount, ...] = ()
    path: str | None = None

    def jail(self, jail: Jail) -> Jail:
        """The jail with what the tools need, unless it has its own mount there."""
        there = {mount.dst for mount in jail.mounts}
        more = tuple(mount for mount in self.mounts if mount.dst not in there)
        return replace(jail, mounts=(*jail.mounts, *more)) if more else jail


def jails(language: Language, jail: Jail) -> tuple[Jail, Jail]:
    """What a language is compiled in, and run in: the caller's jail, in the images of the language where that has no
    root of its own. An image is that one from now on, whatever its name comes to mean. HostError: it is not there."""
    if not jail.rootfs is jail.image is jail.python is None:
        return (image.pinned(jail),) * 2
    names = language.compile_image or language.image, language.run_image or language.image
    compiling, running = (image.pinned(replace(jail, image=name)) if name else jail for name in names)
    return compiling, running


def compiler_of(language: Language) -> Language:
    """The language, with the tools alone that it is compiled with."""
    if not language.compile or language.run[0] == language.compile[0] or language.run[0] not in language.tools:
        return language
    return replace(language, tools={t: v for t, v in language.tools.items() if t != language.run[0]} or language.tools)


def runner_of(language: Language) -> Language | None:
    """The language, with the tool alone that it is run with; None: what was compiled needs none."""
    name = language.run[0]
    return replace(language, tools={name: language.tools[name]}) if name in language.tools else None


def tools(language: Language, jail: Jail) -> Tools:
    """Where the tools of a language are in this jail; looked up once, and again as long as they are missing.

    Raises:
        HostError: one is missing; ``hint`` names Debian's package.
    """
    with _lock:
        known = _found.get((language, jail))
    if known is not None:
        return known
    lacking: list[str] = []
    for candidate in _candidates(language, jail):
        missing = _missing(language, candidate, jail)
        if not missing:
            with _lock:
                _found[language, jail] = candidate
            return candidate
        lacking = lacking or missing
    fix = f"apt-get install {language.package}" if language.package else f"install {' '.join(lacking)}"
    if jail.rootfs is not None:
        fix += f" in {os.fspath(jail.rootfs)}"
    if jail.image is not None:
        fix = f"take an image that has {language.package or ' '.join(lacking)}"
    raise HostError("language", f"{language.title} needs {' and '.join(lacking)}, not to be found in this jail", fix)


def places(language: Language, jail: Jail) -> tuple[tuple[Jail, Tools], tuple[Jail, Tools]]:
    """Where a language is compiled, and where it is run: the jail, and the tools in it. Errors as of `tools`."""
    compiling, running = jails(language, jail)
    if compiling == running:
        return ((compiling, tools(language, compiling)),) * 2
    runner = runner_of(language)
    needed = Tools() if runner is None else tools(runner, running)
    if not language.compile:
        return ((running, needed),) * 2
    return (compiling, tools(compiler_of(language), compiling)), (running, needed)


def jail_for(language: Language, jail: Jail | None = None) -> Jail:
    """The jail (default: `Jail()`) with what a language's tools need: more mounts, one more directory in PATH.

    For programs that call the tools by themselves, in a `Session` say; `prepare` does all of this for one program.

    Raises:
        HostError: a tool is missing; ``control`` is "language", ``hint`` names Debian's package.

    >>> from pyjail import Jail, languages
    >>> languages.jail_for(languages.find("bash")) == Jail()
    True
    """
    jail, _ = jails(language, Jail() if jail is None else jail)
    found = tools(compiler_of(language) if language.compile_image else language, jail)
    made = found.jail(jail)
    if found.path is None:
        return made
    return replace(made, env={**made.env, "PATH": f"{found.path}:{made.env.get('PATH', DEFAULT_ENV['PATH'])}"})


def available(language: Language, jail: Jail | None = None) -> bool:
    """Whether all tools of a language are in the jail (default: `Jail()`), found out by a run in it.

    A positive answer is kept for as long as this process lives.

    >>> from pyjail import languages
    >>> languages.available(languages.find("python"))
    True
    """
    try:
        places(language, Jail() if jail is None else jail)
    except HostError as e:
        if e.control not in ("language", "image"):
            raise
        return False
    return True


def version(language: Language, jail: Jail | None = None) -> str | None:
    """The version of a language's first tool, as it tells in the jail; None: a tool is missing, "": it tells none.

    >>> from pyjail import languages
    >>> languages.version(languages.find("python")).split(".")[0]
    '3'
    """
    jail = Jail() if jail is None else jail
    if not available(language, jail):
        return None
    (jail, found), _ = places(language, jail)
    shown = compiler_of(language) if language.compile_image or language.run_image else language
    name, argument = next(iter(shown.tools.items()))
    text = _show(name, argument, language, found, jail)
    match = re.search(r"\d+(?:\.\d+)+", text)
    return match[0] if match else ""


def _show(name: str, argument: str, language: Language, found: Tools, jail: Jail) -> str:
    """What a tool says of its version."""
    result = run.run(**showing(name, argument, language, found, jail))
    return bytes(result.stdout + b"\n" + result.stderr).decode("utf-8", "replace")


def showing(name: str, argument: str, language: Language, found: Tools, jail: Jail) -> dict[str, Any]:
    """The parameters of `pyjail.run` for a tool that tells its version."""
    env = environment({}, values(language, LOOKING, 1, language.source), jail, found.path)
    return {"args": [name, argument], "limits": LOOKING, "jail": found.jail(jail), "env": env}


def _candidates(language: Language, jail: Jail) -> list[Tools]:
    """The jail as it is; then, if it shows this host, with the installation that the caller's own PATH leads to."""
    here = jail.rootfs is jail.image is None
    mounts = [path for path in language.mounts if here and os.path.exists(path)]
    own = Tools(tuple(Mount.bind(path) for path in mounts))
    found = [own]
    if here and sys.executable and "python3" in language.tools:  # every such jail has the running one
        found.append(Tools(own.mounts, os.path.dirname(sys.executable)))
    prefix = _prefix(language) if here else None
    if prefix is not None:
        found.append(Tools((*own.mounts, Mount.bind(prefix)), f"{prefix}/bin"))
    return found


def _prefix(language: Language) -> str | None:
    """The directory of an installation on this host. Never one that holds what is the user's own."""
    if not language.prefix or shutil.which(language.prefix[0]) is None:
        return None
    try:
        out = subprocess.run(
            language.prefix, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=PATIENCE_S, check=True
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    prefix = os.path.realpath(out.stdout.strip()) if out.stdout.strip() else ""
    home = os.path.realpath(os.path.expanduser("~"))
    if not os.path.isdir(prefix) or prefix == f"{home}/.local" or f"{home}/".startswith(prefix.rstrip("/") + "/"):
        return None
    return prefix


def _missing(language: Language, found: Tools, jail: Jail) -> list[str]:
    """The tools that are not in the jail."""
    env = environment({}, values(language, LOOKING, 1, language.source), jail, found.path)
    names = list(language.tools)
    try:
        result = run.run(["sh", "-c", _HERE, "sh", *names], LOOKING, jail=found.jail(jail), env=env)
    except ProgramNotFoundError:  # a root without a shell
        return [name for name in names if not _starts(name, language, found, jail)]
    lines = result.stdout.decode("utf-8", "replace").split("\n")
    return [name for name, line in zip(names, lines, strict=False) if not line]


def _starts(name: str, language: Language, found: Tools, jail: Jail) -> bool:
    try:
        _show(name, language.tools[name], language, found, jail)
    except ProgramNotFoundError:
        return False
    return True
