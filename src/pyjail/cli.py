"""The command line: ``pyjail run``, ``session``, ``plan``, ``doctor``, ``selftest`` and ``languages``."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from functools import partial
from typing import Any

import pyjail
from pyjail import _session_command, _show_languages, _show_timings, _units
from pyjail._errors import SpecError
from pyjail._result import Result, Verdict
from pyjail._spec import Jail, Limits, Mount

EXIT_LIMIT, EXIT_FAILED, EXIT_CANNOT_EXECUTE, EXIT_NOT_FOUND, EXIT_PIPE = 124, 125, 126, 127, 141
ENDED_BY_LIMIT = (Verdict.CPU_TIME, Verdict.WALL_TIME, Verdict.MEMORY, Verdict.OUTPUT)
_SECONDS, _SIZES, _COUNTS = (
    ("cpu_time", "wall_time"),
    ("memory", "output", "disk", "file_size", "stack", "core", "collect", "address_space", "io_rate"),
    ("processes", "inodes", "open_files"),
)


class _Parser(argparse.ArgumentParser):
    """Wrong usage ends with 125, as everything that is pyjail's own failure and not the program's."""

    def error(self, message: str) -> Any:
        self.print_usage(sys.stderr)
        self.exit(EXIT_FAILED, f"{self.prog}: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="pyjail", description="Run untrusted programs in a jail, and know exactly what happened.")
    parser.add_argument("--version", action="version", version=f"pyjail {pyjail.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_Parser)
    run = commands.add_parser("run", help="run a program in a jail", epilog=_EXIT_CODES)
    plan = commands.add_parser("plan", help="show what would be done, step by step; changes nothing")
    for sub, what in ((run, "the result"), (plan, "the steps")):
        _add_options(sub)
        sub.add_argument("--json", action="store_true", help=f"print {what} as JSON on stdout")
        sub.add_argument("program", nargs=argparse.REMAINDER, metavar="-- PROGRAM [ARG]...")
    run.add_argument("--timings", action="store_true", help="print where the time went on stderr")
    run.add_argument("--learn", action="store_true", help="print the smallest policy and mounts that the run needed")
    run.add_argument("--learn-root", metavar="DIR", help="also make the root directory that goes with them")
    session = commands.add_parser("session", help="run the steps of a file in one /box", epilog=_session_command.EPILOG)
    _add_options(session)
    _session_command.add(session)
    doctor = commands.add_parser(
        "doctor", help="what can be enforced here, and the fix for what cannot", epilog=_DOCTOR
    )
    doctor.add_argument("--json", action="store_true", help="print the rows as JSON")
    test = commands.add_parser("selftest", help="try to break out on this very machine, and measure the limits",
                               epilog="Exit code: 0 when nothing escaped, 1 when something did or an attempt failed, "
                               "125 when pyjail failed.")  # fmt: skip
    _add_jail_options(test)
    test.add_argument("--json", action="store_true", help="print the report as JSON on stdout")
    test.add_argument("--only", action="append", metavar="NAME", help="only this group or attempt, such as kernel.bpf")
    _show_languages.add_options(commands, run)
    return parser


_EXIT_CODES = (
    "Exit code: the program's own, 128+N when signal N ended it, 124 when a limit did, 125 when pyjail failed, "
    "126/127 when the program could not be executed / found."
)
_DOCTOR = "Exit code: 0 when strict jails run here, else 1."


def _add_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("limits", 'sizes like 64K 256M 1G, times like 500ms 2s 1m, "none" for no limit')
    for field in fields(Limits):
        option, default = f"--{field.name.replace('_', '-')}", _shown(field.name, getattr(Limits(), field.name))
        meaning = f"{_MEANING[field.name]}; default {default}"
        group.add_argument(option, metavar=_METAVAR.get(field.name, "N"), help=meaning)
    group = _add_jail_options(parser)
    group.add_argument(
        "--file", action="append", default=[], metavar="SRC[:DST]", help="copy a file into /box; more than once, too"
    )
    group.add_argument("--cwd", metavar="DIR", help="working directory inside (default /box)")


def _add_jail_options(parser: argparse.ArgumentParser) -> Any:
    group = parser.add_argument_group("jail")
    group.add_argument(
        "--bind", action="append", default=[], metavar="SRC[:DST][:rw]", help="show it inside; read-only without :rw"
    )
    group.add_argument("--env", action="append", default=[], metavar="K=V", help="one more variable of its environment")
    group.add_argument("--rootfs", metavar="DIR", help="a directory to be the root, instead of this system's own")
    group.add_argument("--network", choices=("none", "loopback"), help="default none")
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
    "wall_time": "time from its start to its end",
    "memory": "memory of all its processes together",
    "processes": "processes and threads at once",
    "output": "stdout and stderr, each, if asked for or captured (--json): then what was kept is shown at the end",
    "disk": "/box and /tmp, each",
    "inodes": "files and directories in /box and in /tmp, each",
    "file_size": "one file",
    "open_files": "open files of one process",
    "stack": "stack of the main thread",
    "core": "core file",
    "collect": "what is read back from /box",
    "cpus": "cores: a share like 1.5, or CPU numbers like 0,1 ('0,' is one)",
    "address_space": "virtual memory of one process",
    "io_rate": "each disk, a second (cgroup v2)",
}


def _shown(name: str, value: Any) -> str:
    """A default as one would type it."""
    if value is None:
        return "none"
    return f"{value:g}s" if name in _SECONDS else _units.show_size(value) if name in _SIZES else str(value)


def _limits(options: argparse.Namespace, base: Limits) -> Limits:
    given: dict[str, Any] = {}
    for name in (f.name for f in fields(Limits)):
        value = getattr(options, name)
        if value is None:
            continue
        if value == "none":
            given[name] = None
        elif name in _SECONDS:
            given[name] = _units.duration(name, value)
        elif name in _COUNTS:
            given[name] = _int(name, value)
        elif name == "cpus":
            is_set = "," in value or value.startswith("#")
            numbers = value.lstrip("#").removesuffix(",").split(",")
            given[name] = {_int(name, v) for v in numbers} if is_set else _float(name, value)
        else:
            given[name] = value
    return replace(base, **given)


def _int(name: str, value: str) -> int:
    if not value.isdigit():
        raise SpecError(name, value, "a whole number is needed")
    return int(value)


def _float(name: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise SpecError(name, value, "a number of cores like 1.5, or CPU numbers like 0,1 ('0,' is one)") from None


def _jail(options: argparse.Namespace, base: Jail) -> Jail:
    given: dict[str, Any] = {
        name: getattr(options, name)
        for name in ("network", "seccomp", "hostname")
        if getattr(options, name) is not None
    }
    if options.rootfs is not None:
        given["rootfs"] = os.path.abspath(options.rootfs)
    if options.no_strict:
        given["strict"] = False
    if options.fresh:
        given["fresh"] = True
    if options.deterministic:
        given["deterministic"] = True
    if options.bind:
        given["mounts"] = (*base.mounts, *(_bind(text) for text in options.bind))
    if options.env:
        env = dict(base.env)
        for item in options.env:
            key, equals, value = item.partition("=")
            if not equals:
                raise SpecError("env", item, "NAME=VALUE is needed")
            env[key] = value
        given["env"] = env
    return replace(base, **given)


def _bind(text: str) -> Mount:
    parts = text.split(":")
    writable = len(parts) > 1 and parts[-1] in ("rw", "ro")
    ro = not (writable and parts.pop() == "rw")
    if not 1 <= len(parts) <= 2 or not all(parts):
        raise SpecError("bind", text, "SRC[:DST][:rw] is needed")
    return Mount.bind(os.path.abspath(parts[0]), parts[1] if len(parts) == 2 else None, ro)


def _files(options: argparse.Namespace) -> dict[str, Any]:
    from pathlib import Path

    found = {}
    for text in options.file:
        src, _, dst = text.partition(":")
        found[dst or os.path.basename(src)] = Path(src)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``pyjail``; the exit code."""
    options = _parser().parse_args(argv)
    try:
        code = _command(options)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        code = EXIT_PIPE
    except OSError as e:
        code = _failed(e, EXIT_FAILED)
    return _written(code)


def _written(code: int) -> int:
    """The exit code, when all that was printed is written; else another one."""
    if sys.stdout is None:
        return code
    try:
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # who read it wants no more, as `head` does
        code = EXIT_PIPE
    except OSError as e:
        code = code if code == EXIT_FAILED else _failed(e, EXIT_FAILED)
    with contextlib.suppress(OSError), open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())  # or the interpreter's exit would try once more
    return code


def _command(options: argparse.Namespace) -> int:
    if options.command == "doctor":
        from pyjail import _doctor

        return _doctor.main(options.json)
    program = getattr(options, "program", [])
    program = program[1:] if program[:1] == ["--"] else program
    try:
        if options.command == "languages":
            return _show_languages.main(options)
        if not program and options.command not in ("selftest", "session"):
            raise SpecError("program", "", "name the program after --")
        jail, limits = Jail(), Limits()
        if options.config:
            from pyjail._toml import load

            config = load(options.config)
            jail, limits = config.jail, config.limits
        jail = _jail(options, jail)
        if options.command == "selftest":
            from pyjail._selftest import show

            return show.main(jail, options.json, options.only)
        limits = _limits(options, limits)
        if options.command == "session":
            return _session_command.main(options, jail, limits, _files(options))
        if options.command == "plan":
            from pyjail import _show

            return _show.main(jail, limits, program, options.json)
        if (options.learn or options.learn_root) and not options.language:
            return _learn(options, program, jail, limits)
        return _run(options, program, jail, limits)
    except pyjail.ProgramNotFoundError as e:
        return _failed(e, EXIT_NOT_FOUND)
    except pyjail.ExecError as e:
        return _failed(e, EXIT_CANNOT_EXECUTE)
    except pyjail.JailError as e:
        return _failed(e, EXIT_FAILED)


def _failed(error: Exception, code: int) -> int:
    print(f"pyjail: {error}", file=sys.stderr)
    return code


def _run(options: argparse.Namespace, program: list[str], jail: Jail, limits: Limits) -> int:
    start = partial(pyjail.run, program, limits, jail=jail, cwd=options.cwd)
    if options.language:
        prepared = _show_languages.prepare(options, program[0], jail)
        if not prepared.ok:
            return _show_languages.not_compiled(prepared, options.json)
        start = partial(prepared.run, limits, program[1:])
    streams: dict[str, Any] = {}
    if not options.json and options.output is None:  # the program talks to whoever called us, through its own fds
        for name, stream in (("stdout", sys.stdout), ("stderr", sys.stderr)):
            if stream is not None:
                stream.flush()
            streams[name] = pyjail.DEVNULL if stream is None else stream.fileno()
    stdin = None if sys.stdin is None or sys.stdin.isatty() else sys.stdin.fileno()
    profile = None
    if options.timings:
        given = {"jail": jail, "stdin": stdin, "files": _files(options) or None, "cwd": options.cwd, **streams}
        profile = _show_timings.profile(program, limits, given)
        result = profile.result
    else:
        result = start(stdin=stdin, files=_files(options) or None, **streams)
    if options.json:
        print(json.dumps(result.to_dict()))
    elif not streams:  # a cap needs capture: what was kept comes at the end
        for stream, data in ((sys.stdout, result.stdout), (sys.stderr, result.stderr)):
            if stream is not None and isinstance(data, bytes):
                stream.buffer.write(data)
                stream.flush()
    if not options.json and result.verdict in (*ENDED_BY_LIMIT, Verdict.SECURITY, Verdict.JAIL_ERROR):
        print(f"pyjail: {explain(result)}", file=sys.stderr)
    if profile is not None:
        _show_timings.show(profile)
    return exit_code(result)


def _learn(options: argparse.Namespace, program: list[str], jail: Jail, limits: Limits) -> int:
    """What was learned goes to stdout, what the program writes to stderr."""
    from pyjail import _show_learned

    streams: dict[str, Any] = {} if options.json else {"stdout": sys.stderr.fileno(), "stderr": sys.stderr.fileno()}
    stdin = None if sys.stdin is None or sys.stdin.isatty() else sys.stdin.fileno()
    found = pyjail.learn(
        program, limits, jail=jail, stdin=stdin, files=_files(options) or None, cwd=options.cwd, **streams
    )
    if options.learn_root:
        found.jail(options.learn_root)
    print(json.dumps(found.to_dict()) if options.json else _show_learned.text(found, options.learn_root), end="")
    return exit_code(found.result)


def explain(result: Result) -> str:
    """One line about a run that did not end by itself."""
    more = {Verdict.SECURITY: f" ({result.syscall})", Verdict.JAIL_ERROR: f" ({result.error})"}.get(result.verdict, "")
    usage = result.usage
    return (
        f"{result.verdict.value}{more}: cpu {usage.cpu_time or 0:.3f} s, wall {usage.wall_time or 0:.3f} s, "
        f"memory peak {(usage.memory_peak or 0) / 1048576:.1f} MiB"
    )


def exit_code(result: Result) -> int:
    """What the shell sees of a result."""
    if result.verdict is Verdict.JAIL_ERROR:
        return EXIT_FAILED
    if result.verdict in ENDED_BY_LIMIT:
        return EXIT_LIMIT
    return 128 + result.signal if result.signal is not None else result.returncode
