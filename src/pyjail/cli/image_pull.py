"""``pyjail image pull``."""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyjail import SpecError
from pyjail.cli import complaint

if TYPE_CHECKING:
    from pyjail.images import Bounds, Image


def add_options(one: argparse.ArgumentParser) -> None:
    """Those of the command."""
    one.add_argument("reference", metavar="HOST/NAME[:TAG][@DIGEST]", help="which image; no registry is assumed")
    one.add_argument("--name", help="its name in the store (default: the reference as it is)")
    one.add_argument("--platform", metavar="OS/ARCH", help="such as linux/arm64 (default: this machine's)")
    who = one.add_mutually_exclusive_group()
    who.add_argument("--anonymous", action="store_true", help="tell no user and no password, whatever files say")
    who.add_argument("--auth-file", metavar="FILE", type=Path, help="a file like docker's config.json, and no other")
    who.add_argument("--user", help="this user; the password is the first line of stdin, or asked for")
    one.add_argument("--insecure", action="store_true", default=None, help="speak http to this host")
    one.add_argument("--ca", metavar="FILE", help="certificates (PEM) to check the registry's with")
    one.add_argument("--token-host", metavar="HOST", action="append", help="another host that may get the password")
    add_bounds(one)


def add_bounds(one: argparse.ArgumentParser) -> None:
    """How large an image may be."""
    one.add_argument(
        "--bound", metavar="NAME=VALUE", action="append", default=[], help="how large it may be, such as unpacked=32G"
    )


def bounds(options: argparse.Namespace) -> Bounds | None:
    """What ``--bound`` says, over what the configuration does; None: nothing."""
    from pyjail import images

    given: dict[str, Any] = {}
    for text in options.bound:
        name, equals, value = text.partition("=")
        with complaint.of("--bound", text):
            if not equals or name not in vars(images.Bounds()):
                known = ", ".join(vars(images.Bounds()))
                raise SpecError("bound", text, f"NAME=VALUE is needed, NAME one of {known}")
            given[name] = int(value) if value.isascii() and value.isdigit() else value
            images.Bounds(**given)
    return images.Bounds(**{**vars(options.settings.bounds), **given}) if given else None


def pull(options: argparse.Namespace, progress: Callable[[int, int, str], None] | None) -> Image:
    """The image, which is in the store now."""
    from pyjail import images

    credentials: Any = "config"  # who types this is whose files they are
    if options.anonymous:
        credentials = None
    elif options.auth_file is not None:
        credentials = options.auth_file
    elif options.user is not None:
        credentials = (options.user, _password())
    return images.pull(
        options.reference,
        name=options.name,
        credentials=credentials,
        platform=options.platform,
        insecure=options.insecure,
        ca=options.ca,
        token_hosts=options.token_host,
        bounds=bounds(options),
        settings=options.settings,
        progress=progress,
    )


def _password() -> str:
    return getpass.getpass() if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
