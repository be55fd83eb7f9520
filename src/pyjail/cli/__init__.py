"""The command line: ``run``, ``session``, ``plan``, ``doctor``, ``selftest``, ``check``, ``serve`` and the others."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pyjail import records as records  # it says so when the package is not ours

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
    from pyjail import JailError
    from pyjail.cli import complaint, options
    from pyjail.cli.ending import EXIT_PIPE

    try:
        return _command(options.parser().parse_args(args))
    except BrokenPipeError:
        return EXIT_PIPE
    except (complaint.UsageError, JailError, OSError) as e:
        return complaint.tell(e, as_json)


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

    from pyjail.cli import complaint
    from pyjail.cli.ending import EXIT_FAILED, EXIT_PIPE

    if sys.stdout is None:
        return code
    try:
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # who read it wants no more, as `head` does
        code = EXIT_PIPE
    except OSError as e:
        code = code if code == EXIT_FAILED else complaint.tell(e, False)
    with contextlib.suppress(OSError), open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())  # or the interpreter's exit would try once more
    return code


def _command(asked: argparse.Namespace) -> int:
    if asked.command is None:
        from pyjail.cli import complaint

        raise complaint.UsageError(
            "pyjail", "name a command: run, session, plan, languages, check, kernel, image, serve, doctor, selftest"
        )
    if asked.command == "doctor":
        from pyjail.cli import doctor

        if asked.unit and not asked.json:
            return doctor.unit(asked.config)
        if asked.unit or asked.config is not None:
            from pyjail.cli import complaint

            why = "--unit prints no JSON" if asked.unit else "--config is for --unit"
            raise complaint.UsageError("doctor", why)
        return doctor.main(asked.json)
    if asked.command == "check":
        from pyjail.cli import check

        return check.main(asked.file, asked.json)
    if asked.command == "languages":
        from pyjail.cli import languages

        return languages.main(asked)
    if asked.command == "image" and asked.image_command != "commit":
        from pyjail.cli import image

        return image.main(asked)
    if asked.command == "serve":
        from pyjail.cli import serve

        return serve.main(asked)
    if asked.command == "kernel":
        from functools import partial

        from pyjail.cli import kernel, options

        return kernel.main(asked, partial(options.jail, asked), partial(options.limits, asked))
    return _with_jail(asked)


def _with_jail(asked: argparse.Namespace) -> int:
    """The commands that have a program, or attack a jail."""
    from pyjail import Jail, Limits
    from pyjail.cli import complaint, options, store

    program = getattr(asked, "program", [])
    program = program[1:] if program[:1] == ["--"] else program
    jail, limits = Jail(), Limits()
    if asked.config:
        from pyjail import from_toml

        with complaint.of_file("--config", asked.config):
            jail, limits = from_toml(asked.config)
        store.configure(asked.config)
    jail = options.jail(asked, jail)
    if not program and asked.command in ("run", "plan"):
        from pyjail.cli import image_command

        program, place = image_command.own(asked.command, jail)
        asked.cwd = place if asked.cwd is None else asked.cwd
    if asked.command == "selftest":
        from pyjail.cli import selftest

        return selftest.main(jail, asked.json, asked.only)
    limits = options.limits(asked, limits)
    if asked.command == "session":
        from pyjail.cli import session

        return session.main(asked, jail, limits, options.files(asked))
    if asked.command == "plan":
        from pyjail.cli import plan

        return plan.main(jail, limits, program, asked.json)
    if asked.command == "image":
        from pyjail.cli import image_commit

        return image_commit.main(asked, program, jail, limits, options.files(asked))
    from pyjail.cli import run

    return run.main(asked, program, jail, limits)
