"""The command line: ``pyjail run``, ``session``, ``plan``, ``doctor``, ``selftest`` and ``languages``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pyjail import _lazy as _lazy  # it says so when the package is not ours

TYPE_CHECKING = False  # what a command needs is imported when it is known which one it is
if TYPE_CHECKING:
    import argparse


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``pyjail``; the exit code."""
    args = [*(sys.argv[1:] if argv is None else argv)]
    if args == ["--version"]:
        import pyjail

        print(f"pyjail {pyjail.__version__}")
        return 0
    as_json = "--json" in (args[: args.index("--")] if "--" in args else args)
    _end_in_order()
    try:
        return _written(_answered(args, as_json))
    except KeyboardInterrupt:
        return 130


def _answered(args: list[str], as_json: bool) -> int:
    from pyjail import _complaint, _options
    from pyjail._ending import EXIT_PIPE
    from pyjail._errors import JailError

    try:
        return _command(_options.parser().parse_args(args))
    except BrokenPipeError:
        return EXIT_PIPE
    except (_complaint.UsageError, JailError, OSError) as e:
        return _complaint.tell(e, as_json)


def _end_in_order() -> None:
    """^C, SIGTERM and SIGHUP end the jail first, then us: nothing stays behind, and a second ^C does not disturb it."""
    import signal
    import threading

    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores one of them
            signal.signal(number, lambda number, frame: sys.exit(128 + number))

    def interrupt(number: int, frame: object) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise KeyboardInterrupt

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)


def _written(code: int) -> int:
    """The exit code, when all that was printed is written; else another one."""
    import contextlib
    import os

    from pyjail import _complaint
    from pyjail._ending import EXIT_FAILED, EXIT_PIPE

    if sys.stdout is None:
        return code
    try:
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # who read it wants no more, as `head` does
        code = EXIT_PIPE
    except OSError as e:
        code = code if code == EXIT_FAILED else _complaint.tell(e, False)
    with contextlib.suppress(OSError), open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())  # or the interpreter's exit would try once more
    return code


def _command(options: argparse.Namespace) -> int:
    if options.command is None:
        from pyjail import _complaint

        raise _complaint.UsageError("pyjail", "name a command: run, session, plan, languages, doctor, selftest")
    if options.command == "doctor":
        from pyjail import _doctor

        return _doctor.main(options.json)
    if options.command == "languages":
        from pyjail import _show_languages

        return _show_languages.main(options)
    return _with_jail(options)


def _with_jail(options: argparse.Namespace) -> int:
    """The commands that have a program, or attack a jail."""
    from pyjail import _complaint, _options
    from pyjail._spec import Jail, Limits

    program = getattr(options, "program", [])
    program = program[1:] if program[:1] == ["--"] else program
    if not program and options.command in ("run", "plan"):
        raise _complaint.UsageError(f"pyjail {options.command}", "name the program after --")
    jail, limits = Jail(), Limits()
    if options.config:
        from pyjail._config_file import load

        with _complaint.of_file("--config", options.config):
            config = load(options.config)
        jail, limits = config.jail, config.limits
    jail = _options.jail(options, jail)
    if options.command == "selftest":
        from pyjail._selftest import show

        return show.main(jail, options.json, options.only)
    limits = _options.limits(options, limits)
    if options.command == "session":
        from pyjail import _session_command

        return _session_command.main(options, jail, limits, _options.files(options))
    if options.command == "plan":
        from pyjail import _show

        return _show.main(jail, limits, program, options.json)
    from pyjail import _run_command

    return _run_command.main(options, program, jail, limits)
