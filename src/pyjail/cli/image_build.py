"""``pyjail image build``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from pyjail.cli import complaint, image_pull
from pyjail.cli.ending import say

if TYPE_CHECKING:
    from pyjail.images import Image

COMMAND = "pyjail image build"
_OF_PACKAGES = ("language", "package", "learned", "run_only", "base", "keep")


def add_options(one: argparse.ArgumentParser) -> None:
    """Those of the command."""
    one.add_argument("name", metavar="NAME", help="its name in the store")
    recipe = one.add_argument_group("from a recipe")
    recipe.add_argument("-f", "--file", metavar="FILE.toml", help="what to begin with, to copy and to run, as tables")
    recipe.add_argument("--no-cache", action="store_true", help="do each step again, whatever was done before")
    recipe.add_argument("--no-strict", action="store_true", help="run even if a control cannot be enforced here")
    one.add_argument(
        "--language", metavar="NAME,...", action="append", default=[], help="languages that programs can be written in"
    )
    one.add_argument(
        "--package", metavar="NAME[=VERSION]", action="append", default=[], help="another of Debian's packages"
    )
    one.add_argument(
        "--learned", action="store_true", help="keep only the files that the test programs of the languages use"
    )
    one.add_argument("--run-only", action="store_true", help="with --learned: no compilers, for a run_image")
    one.add_argument(
        "--from", dest="base", metavar="IMAGE", help="with --learned: take the files from this one of the store"
    )
    one.add_argument(
        "--keep", metavar="PATH", action="append", default=[], help="with --learned: this stays with all that is below"
    )
    image_pull.add_bounds(one)


def build(options: argparse.Namespace, progress: Callable[[int, int, str], None] | None) -> Image:
    """The image, which is in the store now."""
    from pyjail import images, languages

    for option in ("no_cache", "no_strict"):
        if getattr(options, option):
            raise _needs_file(option)
    known = languages.load(options.config) if options.config else languages.table()
    names = [name for given in options.language for name in given.split(",") if name]
    return images.build(
        options.name,
        [languages.find(name, known) for name in names],
        packages=options.package,
        learned=options.learned,
        run_only=options.run_only,
        base=options.base,
        keep=options.keep,
        bounds=image_pull.bounds(options),
        settings=options.settings,
        progress=progress,
    )


def recipe(options: argparse.Namespace) -> Image:
    """The image of ``--file``, which is in the store now; each step is told on stderr."""
    from pyjail import images

    for option in _OF_PACKAGES:
        if getattr(options, option):
            raise complaint.UsageError(COMMAND, f"{complaint.option(option)} is for images of packages, without --file")
    with complaint.of_file("--file", options.file), open(options.file, "rb"):
        pass
    return images.build_recipe(
        options.name,
        options.file,
        cache=not options.no_cache,
        strict=not options.no_strict,
        bounds=image_pull.bounds(options),
        settings=options.settings,
        progress=_tell,
    )


def _tell(number: int, total: int, what: str) -> None:
    say(f"step {number} of {total}: {what}", "")


def _needs_file(option: str) -> complaint.UsageError:
    return complaint.UsageError(COMMAND, f"{complaint.option(option)} is for a recipe: --file FILE.toml")
