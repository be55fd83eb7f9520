"""``pyjail image pull``."""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyjail.images import Image


def add_options(one: argparse.ArgumentParser) -> None:
    """Those of the command."""
    one.add_argument("reference", metavar="HOST/NAME[:TAG][@DIGEST]", help="which image; no registry is assumed")
    one.add_argument("--name", help="its name in the store (default: the reference as it is)")
    one.add_argument("--platform", metavar="OS/ARCH", help="such as linux/arm64 (default: this machine's)")
    who = one.add_mutually_exclusive_group()
    who.add_argument("--anonymous", action="store_true", help="tell no user and no password, whatever files say")
    who.add_argument("--auth-file", metavar="FILE", type=Path, help="a file like docker's config.json, and no other")
    who.add_argument("--user", help="this user; the password is the first line of stdin, or asked for")
    one.add_argument("--insecure", action="store_true", help="speak http to this host")
    one.add_argument("--ca", metavar="FILE", help="certificates (PEM) to check the registry's with")
    one.add_argument(
        "--token-host", metavar="HOST", action="append", default=[], help="another host that may get the password"
    )


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
        progress=progress,
    )


def _password() -> str:
    return getpass.getpass() if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
