"""``pyjail image commit``: a program changes the root of an image, and what it becomes is an image of another name."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pyjail
from pyjail import Jail, Limits, SpecError, images
from pyjail.cli import complaint, image_pull, through
from pyjail.cli.complaint import UsageError
from pyjail.cli.ending import EXIT_FAILED, exit_code, remark, say
from pyjail.cli.image import tell_of
from pyjail.cli.store import configured

SIZE = "512M"
EPILOG = (
    "Exit code: 0 when there is the new image; else, without one, that of the program, as of run; 125 when pyjail "
    "failed. What the program writes goes to stderr with --json."
)


def add_options(one: argparse.ArgumentParser) -> None:
    """Those of the command, besides the ones of a jail."""
    one.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print the image as JSON on stdout")
    group = one.add_argument_group("the new image", f"--writable-root is {SIZE} unless it is given")
    group.add_argument(
        "--image-env", action="append", default=[], metavar="K=V", help="one more variable of the image's runs"
    )
    group.add_argument("--image-cmd", metavar="TEXT", help="words of its own command, as a shell splits them")
    group.add_argument("--image-entrypoint", metavar="TEXT", help="words before these")
    group.add_argument("--image-working-dir", metavar="DIR", help="where that command starts")
    group.add_argument("--image-user", metavar="USER", help="a name or a number")
    image_pull.add_bounds(one)
    one.add_argument("name", metavar="NAME", help="its name in the store")
    one.add_argument("program", nargs=argparse.REMAINDER, metavar="-- PROGRAM [ARG]...")


def main(options: argparse.Namespace, program: list[str], jail: Jail, limits: Limits, files: Mapping[str, Any]) -> int:
    """Run it, and commit what it has made; the exit code."""
    if jail.image is None:
        raise UsageError("pyjail image commit", "name the image to begin with: --image BASE")
    if not program:
        raise UsageError("pyjail image commit", "name the program after --")
    images.check_name(options.name)
    options.settings = configured(options.config)
    how = {**_how(options), "bounds": image_pull.bounds(options), "max_size": options.settings.max_size}
    if how["bounds"] is None:
        how["bounds"] = options.settings.bounds
    if jail.writable_root is None:
        jail = replace(jail, writable_root=SIZE)
    with pyjail.Session(jail, limits=limits, disk=limits.disk, inodes=limits.inodes) as session:
        for path, source in files.items():
            session.write(path, source)
        with through.standard_input() as stdin:
            given = {"args": program, "limits": limits, "cwd": options.cwd, "stdin": stdin}
            out = sys.stderr if options.json else sys.stdout
            result = through.run(given, out, sys.stderr, session.start)
        if (code := exit_code(result)) or not result.ok:
            said = remark(result) or f"the program ended with {code}"
            say(f"{said}; there is no image {options.name} of it")
            if options.json:
                print(json.dumps(result.to_dict()))
            return code or EXIT_FAILED
        image: images.Image = session.commit(options.name, **how)
    return tell_of(image, options.json)


def _how(options: argparse.Namespace) -> dict[str, Any]:
    env = {}
    for text in options.image_env:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise SpecError("--image-env", text, "NAME=VALUE is needed")
        env[key] = value
    found: dict[str, Any] = {"env": env or None, "working_dir": options.image_working_dir, "user": options.image_user}
    for name in ("cmd", "entrypoint"):
        text = getattr(options, f"image_{name}")
        with complaint.of(f"--image-{name}", text):
            try:
                found[name] = None if text is None else shlex.split(text)
            except ValueError as e:
                raise SpecError(name, text, str(e)) from None
    return found
