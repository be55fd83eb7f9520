"""The options of the command line, and what they come to: `Jail`, `Limits`, files."""

from __future__ import annotations

import argparse
import difflib
import os
import re
import shutil
import stat
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pyjail
from pyjail import Egress, Jail, Limits, Mount, SpecError, sanitize
from pyjail.cli import check, complaint, ending, image, image_commit, kernel, languages, serve, session
from pyjail.cli.complaint import UsageError
from pyjail.integrations import kernels

_SECONDS, _SIZES = (
    ("cpu_time", "wall_time"),
    ("memory", "output", "disk", "file_size", "stack", "core", "collect", "address_space", "io_rate"),
)
_EXIT_CODES = (
    "Exit code: the program's own, 128+N when signal N ended it, 124 when a limit did, 125 when pyjail failed, "
    "126/127 when the program could not be executed / found."
)
_DOCTOR = "Exit code: 0 when strict jails run here, else 1."


class _Parser(argparse.ArgumentParser):
    """Options are typed as they are, never shortened, so that a new one changes no command; typos are told."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given, allow_abbrev=False)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        self._typed = list(sys.argv[1:] if args is None else args)
        namespace, rest = super().parse_known_args(self._typed, namespace)
        if rest:
            self._none(rest[0])
        return namespace, rest

    def _none(self, word: str) -> None:
        self.error(f"there is no {word}{_near(word.partition('=')[0], self._option_string_actions)}")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            before = self._typed[: self._typed.index(value)] if value in self._typed else []
            if before and before[-1].startswith("--") and before[-1] not in self._option_string_actions:
                self._none(before[-1])  # what it takes for a command is the value of an option that there is not
            near = _near(value, action.choices)
            raise argparse.ArgumentError(action, f"there is no {value!r}{near or ': ' + ', '.join(action.choices)}")

    def error(self, message: str) -> Any:
        raise UsageError(self.prog, re.sub("^argument command: ", "", message))


def _near(word: str, known: Iterable[str]) -> str:
    found = difflib.get_close_matches(word, known)
    near = sorted(found, key=lambda name: sorted(name) != sorted(word))[:1]  # of several, one of the same letters
    return f"; did you mean {near[0]}?" if near else ""


def parser() -> argparse.ArgumentParser:
    """Of every command. What cannot be understood is a `UsageError`."""
    made = _Parser(prog="pyjail", description="Run untrusted programs in a jail, and know exactly what happened.")
    made.add_argument("--version", action="version", version=f"pyjail {pyjail.__version__}")
    commands = made.add_subparsers(dest="command", parser_class=_Parser)
    run = commands.add_parser("run", help="run a program in a jail", epilog=_EXIT_CODES)
    plan = commands.add_parser("plan", help="show what would be done, step by step; changes nothing")
    for sub, what in ((run, "the result, or what went wrong,"), (plan, "the steps")):
        _add_options(sub)
        sub.add_argument("--json", action="store_true", help=f"print {what} as JSON on stdout")
        sub.add_argument("program", nargs=argparse.REMAINDER, metavar="-- PROGRAM [ARG]...")
    _add_run_options(run)
    steps = commands.add_parser("session", help="run the steps of a file in one /box", epilog=session.EPILOG)
    _add_options(steps, ("collect",))
    session.add(steps)
    doctor = commands.add_parser(
        "doctor", help="what can be enforced here, and the fix for what cannot", epilog=_DOCTOR
    )
    doctor.add_argument("--json", action="store_true", help="print the rows as JSON")
    doctor.add_argument("--unit", action="store_true", help="print a unit of systemd for pyjail serve on this machine")
    doctor.add_argument("--config", metavar="FILE.toml", help="with --unit: the service's configuration")
    test = commands.add_parser("selftest", help="try to break out on this very machine, and measure the limits",
                               epilog="Exit code: 0 when nothing escaped, 1 when something did or an attempt failed, "
                               "125 when pyjail failed.")  # fmt: skip
    _add_jail_options(test)
    test.add_argument("--json", action="store_true", help="print the report as JSON on stdout")
    test.add_argument("--only", action="append", metavar="NAME", help="only this group or attempt, such as kernel.bpf")
    languages.add_options(commands, run)
    check.add(commands)
    kernel.add(commands, _add_kernel_options)
    serve.add(commands)
    _add_commit(image.add_options(commands))
    return made


def _add_commit(inner: Any) -> None:
    one = inner.add_parser(
        "commit", help="run a program in an image, and make another one of what it did", epilog=image_commit.EPILOG
    )
    _add_options(one, ("collect", "collect_files"))
    one._option_string_actions["--config"].default = argparse.SUPPRESS  # it may stand before the command
    image_commit.add_options(one)


def _add_run_options(run: argparse.ArgumentParser) -> None:
    out = run.add_argument_group("files that come back")
    out.add_argument(
        "--collect", action="append", default=[], metavar="PATTERN",
        help="bring files out of /box when it has ended ('out/**' goes into directories); more than once, too",
    )  # fmt: skip
    out.add_argument("--out", metavar="DIR", help="where they are written; nothing that is there is replaced")
    run.add_argument("--timings", action="store_true", help="print where the time went on stderr")
    run.add_argument(
        "--sanitize", nargs="?", const="strip", choices=sanitize.MODES, metavar="MODE",
        help="no control sequence of the program's reaches your terminal: strip (if not given), keep-colour, escape",
    )  # fmt: skip
    run.add_argument("--learn", action="store_true", help="print the smallest policy and mounts that the run needed")
    run.add_argument("--learn-root", metavar="DIR", help="also make the root directory that goes with them")


def option(name: str) -> str:
    """The option for this field of `Limits`."""
    return "--collect-size" if name == "collect" else f"--{name.replace('_', '-')}"


def _add_kernel_options(parser: argparse.ArgumentParser) -> None:
    _add_limits(parser, kernel.WITHOUT, kernels.DEFAULTS, kernel.MEANING)
    _add_jail_options(parser)


def _add_limits(
    parser: argparse.ArgumentParser, without: Sequence[str], given: Mapping[str, Any], meant: Mapping[str, str]
) -> None:
    group = parser.add_argument_group("limits", 'sizes like 64K 256M 1.5G, times like 500ms 2s 1m, "none" for no limit')
    for field in fields(Limits):
        if field.name in without:
            continue
        default = given.get(field.name) or _shown(field.name, getattr(Limits(), field.name))
        meaning = f"{meant.get(field.name) or _MEANING.get(field.name, field.name)}; default {default}"
        metavar = _METAVAR.get(field.name, "N")
        group.add_argument(option(field.name), dest=f"limit_{field.name}", metavar=metavar, help=meaning)


def _add_options(parser: argparse.ArgumentParser, without: Sequence[str] = ()) -> None:
    _add_limits(parser, without, {}, {})
    group = _add_jail_options(parser)
    group.add_argument(
        "--file",
        action="append",
        default=[],
        metavar="SRC[:DST]",
        help="copy a file or a directory into /box; more than once, too",
    )
    group.add_argument("--cwd", metavar="DIR", help="working directory inside (default /box)")


def _add_jail_options(parser: argparse.ArgumentParser) -> Any:
    group = parser.add_argument_group("jail")
    group.add_argument(
        "--bind", action="append", default=[], metavar="SRC[:DST][:rw]", help="show it inside; read-only without :rw"
    )
    group.add_argument("--env", action="append", default=[], metavar="K=V", help="one more variable of its environment")
    group.add_argument("--rootfs", metavar="DIR", help="a directory to be the root, instead of this system's own")
    group.add_argument("--image", metavar="NAME", help="an image of the store (pyjail image) to be the root")
    group.add_argument(
        "--python", metavar="PATH", help="python3 inside is this one of the host, with its environment's packages"
    )
    group.add_argument("--network", choices=("none", "loopback"), help="default none")
    group.add_argument(
        "--egress",
        action="append",
        default=[],
        metavar="RULE",
        help="HOST[:PORT], *.HOST or a network to reach by its proxy",
    )
    group.add_argument("--writable-root", metavar="SIZE", help="so many bytes of the image or rootfs may be changed")
    group.add_argument("--seccomp", choices=("default", "strict", "none"), help="which system calls it may make")
    group.add_argument("--hostname", metavar="NAME", help="default pyjail")
    group.add_argument("--no-strict", action="store_true", help="run even if a control cannot be enforced here")
    group.add_argument("--fresh", action="store_true", help="new namespaces of every kind for this run")
    group.add_argument("--deterministic", action="store_true", help="no chance inside: addresses, hashes, clocks")
    group.add_argument("--config", metavar="FILE.toml", help="[jail] and [limits] tables; options here win over it")
    return group


_METAVAR = {**dict.fromkeys(_SECONDS, "TIME"), **dict.fromkeys(_SIZES, "SIZE"), "cpus": "N|I,J"}
_MEANING = {
    "cpu_time": "CPU time of all its processes together",
    "wall_time": "time from its start to its end; if not given, 3 x --cpu-time and 2s more at least",
    "memory": "memory of all its processes together",
    "processes": "processes and threads at once",
    "output": "stdout and stderr, each; what is beyond does not come out, and ends the run",
    "disk": "/box and /tmp, each",
    "inodes": "files and directories in /box and in /tmp, each",
    "file_size": "one file",
    "open_files": "open files of one process",
    "stack": "stack of the main thread",
    "core": "core file",
    "collect": "all that --collect brings out",
    "collect_files": "files that --collect brings out",
    "cpus": "cores: a share like 1.5, or CPU numbers like 0,1 ('0,' is one); what is parallel needs more than 1",
    "address_space": "virtual memory of one process",
    "io_rate": "each disk, a second (cgroup v2)",
}


def _shown(name: str, value: Any) -> str:
    """A default as one would type it."""
    if value is None:
        return "none"
    return f"{value:g}s" if name in _SECONDS else ending.size(value) if name in _SIZES else str(value)


def limits(options: argparse.Namespace, base: Limits) -> Limits:
    """These limits, with what the options say otherwise."""
    for field in fields(Limits):
        value = getattr(options, f"limit_{field.name}", None)
        if value is not None:
            with complaint.of(option(field.name), value):
                base = replace(base, **{field.name: _limit(field.name, value)})
    return base


def _limit(name: str, value: Any) -> Any:
    if not isinstance(value, str):  # argparse takes a "--" for no value
        raise SpecError(name, "--", "a value is needed")
    if value == "none" or name in _SECONDS or name in _SIZES:
        return value
    if name != "cpus":
        return _int(name, value)
    is_set = "," in value or value.startswith("#")
    numbers = value.lstrip("#").removesuffix(",").split(",")
    return {_int(name, v) for v in numbers} if is_set else _float(name, value)


def _int(name: str, value: str) -> int:
    if not (value.isascii() and value.isdigit()):
        raise SpecError(name, value, "a whole number is needed")
    return int(value)


def _float(name: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise SpecError(name, value, "a number of cores like 1.5, or CPU numbers like 0,1 ('0,' is one)") from None


def jail(options: argparse.Namespace, base: Jail) -> Jail:
    """This jail, with what the options say otherwise."""
    if options.rootfs is not None:
        base = replace(base, image=None)  # of a file; that of an option would be one root too many
    elif options.image is not None:
        base = replace(base, rootfs=None)
    for name in ("network", "seccomp", "hostname", "rootfs", "image"):
        value = getattr(options, name)
        if value is not None:
            with complaint.of(f"--{name}", value):
                given: dict[str, Any] = {name: os.path.join(os.getcwd(), value) if name == "rootfs" else value}
                base = replace(base, **given)
    if options.python is not None:
        with complaint.of("--python", options.python):
            base = replace(base, python=_program(options.python))
    if options.egress:
        with complaint.of("--egress", " ".join(options.egress)):
            if options.network is not None:
                raise SpecError("egress", options.egress, "--egress is a network of its own: leave out --network")
            base = replace(base, network=Egress(options.egress))
    if options.writable_root is not None:
        with complaint.of("--writable-root", options.writable_root):
            base = replace(base, writable_root=options.writable_root)
    switches: dict[str, Any] = {"strict": False} if options.no_strict else {}
    for name in ("fresh", "deterministic"):
        if getattr(options, name):
            switches[name] = True
    for text in options.bind:
        with complaint.of("--bind", text):
            base = replace(base, mounts=(*base.mounts, _bind(text)))
    env = dict(base.env)
    for text in options.env:
        key, equals, value = text.partition("=")
        with complaint.of("--env", text):
            if not equals:
                raise SpecError("env", text, "NAME=VALUE is needed")
            env[key] = value
            base = replace(base, env=env)
    return replace(base, **switches)


def _program(name: str) -> str:
    """A path as it stands, ".." and symlinks included; a bare name by the caller's own PATH."""
    return os.path.join(os.getcwd(), name) if "/" in name else shutil.which(name) or name


def _bind(text: str) -> Mount:
    parts = text.split(":")
    writable = len(parts) > 1 and parts[-1] in ("rw", "ro")
    ro = not (writable and parts.pop() == "rw")
    if not 1 <= len(parts) <= 2 or not all(parts):
        raise SpecError("bind", text, "SRC[:DST][:rw] is needed")
    if not os.path.exists(parts[0]):
        raise SpecError("bind", text, "there is no such file or directory")
    dst = parts[1] if len(parts) == 2 else os.path.abspath(parts[0])
    return Mount.bind(os.path.realpath(parts[0]), dst, ro)  # ".." after a symlink as the kernel takes it


def files(options: argparse.Namespace) -> dict[str, Any]:
    """What is copied into /box: {path there: source}."""
    found: dict[str, Any] = {}
    for text in options.file:
        src, _, dst = text.partition(":")
        name = dst or os.path.basename(os.path.abspath(src))
        with complaint.of("--file", text):
            if not name or name in found:
                raise SpecError("file", text, "SRC[:DST] is needed, each with a DST of its own")
            fd = os.open(src, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # of a FIFO, it would wait
            try:
                if not (stat.S_ISREG(mode := os.fstat(fd).st_mode) or stat.S_ISDIR(mode)):
                    raise SpecError("file", text, "a regular file or a directory is needed")
            finally:
                os.close(fd)
            found[name] = Path(src)
    return found
