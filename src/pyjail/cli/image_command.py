"""The command of an image, for ``pyjail run --image NAME`` without one."""

from __future__ import annotations

from pyjail import Jail, images
from pyjail.cli.complaint import UsageError


def own(asked: str, jail: Jail) -> tuple[list[str], str | None]:
    """Entrypoint and Cmd of the jail's image, and the directory that they start in; ``asked``: by which command.
    UsageError: it has none. HostError: there is no such image."""
    if jail.image is None:
        raise UsageError(f"pyjail {asked}", "name the program after --")
    image = images.get(str(jail.image))
    program = [*(image.config.get("entrypoint") or ()), *(image.config.get("cmd") or ())]
    if not program:
        raise UsageError(f"pyjail {asked}", f"image {jail.image} has no command of its own: name the program after --")
    return program, image.working_dir or None
