"""``pyjail serve``: its options, and why it does not start."""

from __future__ import annotations

import argparse
from typing import Any

from pyjail.cli.ending import EXIT_FAILED, say

EPILOG = "Exit code: 0 when a signal ended it, 1 when what is imported is refused, 125 when it did not start."
_MORE = {"opentelemetry": "serve,otel", "procrastinate": "serve,serve-postgres", "psycopg": "serve,serve-postgres"}


def add(commands: Any) -> None:
    """The command and its options."""
    made = commands.add_parser("serve", help="an HTTP service: runs for whoever asks, each in a jail", epilog=EPILOG)
    made.add_argument("--host", "--address", dest="host", metavar="ADDRESS", help="where it listens; default 127.0.0.1")
    made.add_argument("--port", metavar="N", help="default 8000; 0 for any that is free")
    made.add_argument("--unix", metavar="PATH", help="listen on a socket there, on no port")
    made.add_argument("--open", action="store_true", help="without tokens, on an address that other machines reach")
    made.add_argument("--config", metavar="FILE.toml", help="[serve] and its other tables; options here win over it")
    made.add_argument("--check", action="store_true", help="print what it comes to and where it is from; serve nothing")
    made.add_argument("--state", metavar="DIR", help="where it keeps files, jobs and results")
    made.add_argument("--workers", metavar="N", help="1, as there is one process; docs/serve.md says how to have more")
    made.add_argument("--root", metavar="NAME", help="whose paths are at /: seeds, none or a face")
    made.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                      help="any other key, such as serve.places.share=4 or limits.memory=64M")  # fmt: skip
    made.add_argument("--import", nargs=2, dest="import_", metavar=("boxer", "FILE"),
                      help="print what a configuration of Boxer is here; serve nothing")  # fmt: skip
    made.add_argument("--compat-env", choices=("secure-sandbox", "codebox", "piston", "judge0"),
                      help="print what the variables of another service are here; serve nothing")  # fmt: skip
    inner = made.add_subparsers(dest="serve_command", metavar="token", help="tokens of those who may use it")
    token = inner.add_parser("token", help="tokens of those who may use it").add_subparsers(
        dest="token_command", required=True
    )
    new = token.add_parser("new", help="print a new token once, and its table for the configuration")
    new.add_argument("--name", required=True, metavar="NAME", help="whose runs and files its holder's are")
    new.add_argument("--role", default="run", choices=("run", "read", "metrics", "admin"), help="default run")


def main(asked: argparse.Namespace) -> int:
    """Serve, or say why not; the exit code."""
    from pyjail.serve import command

    try:
        return command.main(vars(asked))
    except command.Refused as e:
        say(f"serve does not start: {e.why}" + (f"\nfix: {e.fix}" if e.fix else ""))
    except ImportError as e:
        if e.name is None or e.name.startswith("pyjail"):
            raise
        extra = next((extra for package, extra in _MORE.items() if e.name.startswith(package)), "serve")
        say(f"serve needs {e.name}, which is not installed: pip install 'pyjail-linux[{extra}]'")
    return EXIT_FAILED
