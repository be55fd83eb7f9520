"""``pyjail image build``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from pyjail.cli import image_pull

if TYPE_CHECKING:
    from pyjail.images import Image


def add_options(one: argparse.ArgumentParser) -> None:
    """Those of the command."""
    one.add_argument("name", metavar="NAME", help="its name in the store")
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
