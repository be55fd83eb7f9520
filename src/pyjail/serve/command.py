"""What ``pyjail serve`` does with its options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyjail import SpecError
from pyjail.serve.config import Config
from pyjail.serve.trial import Refused as Refused


def main(options: Mapping[str, Any]) -> int:
    """Serve; the exit code. Raises `Refused` when it does not start."""
    from pyjail.serve import server

    given = {name: options[name] for name in ("unix", "state", "root") if options[name]}
    if options["host"]:
        given["address"] = options["host"]
    if options["port"] is not None:
        given["port"] = _port(options["port"])
    return server.main(Config(**given, open=options["open"]))


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 1 << 16):
        raise SpecError("--port", text, "a number from 0 to 65535 is needed")
    return int(text)
