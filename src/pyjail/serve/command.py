"""What ``pyjail serve`` does with its options."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from pyjail.serve.trial import Refused as Refused

_OPTIONS = {
    "host": "serve.address", "port": "serve.port", "unix": "serve.unix", "open": "serve.open", "state": "serve.state",
    "root": "serve.root",
}  # fmt: skip


def main(options: Mapping[str, Any]) -> int:
    """Serve, or what else is asked for; the exit code. Raises `Refused` when it does not start, SpecError, OSError."""
    if options["serve_command"] == "token":
        from pyjail.serve import tokens

        secret, table = tokens.new(options["name"], options["role"])
        print(f"# the token, which is shown this once: {secret}\n\n{table}")
        return 0
    if options["import_"] or options["compat_env"]:
        return _imported(options)
    if options["workers"] not in (None, "1"):
        why = "one process serves: sessions, boxes, rates and the queue live in it, and programs need the CPUs"
        raise Refused(why, "for more, several services behind a proxy, as deploy/nginx-several.conf has it")
    from pyjail.serve import settings

    given = {name: (f"--{key}", options[key]) for key, name in _OPTIONS.items() if options[key] not in (None, False)}
    given = settings.of_options(options["set"]) | given
    found = settings.load(options["config"], os.environ, given)
    if options["check"]:
        from pyjail.serve import effective

        print(effective.page(found))
        return 0
    if found.images:
        from pyjail import images

        store = images.Settings.from_toml(found.file).path
        if store is not None:
            os.environ["PYJAIL_IMAGES"] = store  # that of all runs of this process
    from pyjail.serve import server

    return server.main(found.config, learn=True)


def unit(config: str | None, undone: Sequence[str]) -> str:
    """A unit of systemd for this machine, and the service of that file. ``undone``: what has to be done before."""
    from pyjail.serve import settings, unit

    given = settings.load(config, {}, {})
    return unit.text(given.config, unit.Here.found(undone), given.file)


def _imported(options: Mapping[str, Any]) -> int:
    """Print what a configuration of another service is here; 1 when something in it is refused."""
    from pyjail.serve import imports, imports_of

    if options["import_"]:
        found = imports_of.file(*options["import_"])
    else:
        found = imports_of.environment(options["compat_env"], os.environ)
    if found.refused:
        print(imports.table(found), file=sys.stderr)
        return 1
    print(imports.page(found))
    return 0
