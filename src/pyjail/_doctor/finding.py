"""One row of what `pyjail.doctor` says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pyjail._base.shown import Shown

WORKS, PARTLY, NO = "works", "works partly", "no"
STRICT = "strict jail"  # the row that decides the exit code
# Rows that no strict jail with default limits is refused for. "cgroups" is what the rows after it are made of.
BESIDE = (
    "libseccomp", "landlock", "cgroups", "swap", "cpuset", "io_rate", "memory peak", "processes peak", "pressure (PSI)",
    "core dumps", "side channels", "container", "images",
)  # fmt: skip


@dataclass(frozen=True, repr=False)
class Finding(Shown):
    """One layer of a jail, as it was found on this machine.

    Attributes:
        layer: its name, such as "user namespaces" or "memory".
        status: "works", "works partly" or "no".
        why: what was tried or read, and what came of it.
        fix: what to do about it: a command, a line of configuration, or a text to save. "" when nothing has to be done.

    >>> import pyjail
    >>> pyjail.Finding("psi", "no", "the kernel was booted with psi=0", "boot with psi=1").status
    'no'
    """

    layer: str
    status: str
    why: str
    fix: str = ""

    @property
    def required(self) -> bool:
        """Whether no strict jail with default limits runs without it."""
        return self.layer not in BESIDE

    def _words(self) -> Iterator[str]:
        yield f"{self.layer}: {self.status}"
        yield f"why={self.why[:100]!r}"
        if self.fix:
            yield f"fix={self.fix[:60]!r}"
