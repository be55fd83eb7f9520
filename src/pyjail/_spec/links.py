"""What a `Mount.link` cannot be. Loaded when there is one."""

from __future__ import annotations

from pyjail._base.errors import SpecError

OWN = ("/box", "/tmp", "/dev", "/proc")  # the jail's own, or new for every run


def check(kind: str, dst: str, target: str | None) -> None:
    """Raise SpecError for a link that can be nowhere, or a target of something else."""
    if kind != "link" or target is None:
        raise SpecError("target", target, "a link needs a target, nothing else has one")
    own = next((path for path in OWN if f"{dst}/".startswith(f"{path}/")), None)
    if own is not None:
        raise SpecError("dst", dst, f"{own} is the jail's own; a program can make symlinks in /box itself")
    if target == dst:
        raise SpecError("target", target, "a link to itself leads nowhere")
