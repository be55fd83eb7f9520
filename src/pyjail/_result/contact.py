"""What came of a run's connections: `Contact`, one of them; `Contacts`, all."""

from __future__ import annotations

from collections.abc import Iterable

from pyjail._base.records import dataclass
from pyjail._base.shown import Shown

MOST_ROWS = 1000
OPEN = "open"
GONE = "the egress proxy ended: its connections were reset"


@dataclass(frozen=True, repr=False)
class Contact(Shown):
    """One connection of a program to the proxy of its jail.

    Attributes:
        host, port: what it asked for; "" and 0 when it asked for nothing that is a host.
        allowed: whether a rule allowed it; it may have failed nevertheless.
        bytes_in, bytes_out: that came from the host, that were sent to it.
        seconds: from the first byte of the connection to its end.
        rule: the one that allowed it, or "".
        why: of a refusal, of a failure, or of an end by a bound; "" when it ended by itself; "open" while it has not.

    >>> Contact("pypi.org", 443, True, 5120, 801, 0.25, "pypi.org").allowed
    True
    """

    host: str
    port: int
    allowed: bool
    bytes_in: int
    bytes_out: int
    seconds: float
    rule: str = ""
    why: str = ""

    def _words(self) -> Iterable[str]:
        yield f"{self.host or 'nothing'}:{self.port}"
        yield "allowed" if self.allowed else "refused"
        yield f"{self.bytes_in} bytes in, {self.bytes_out} out in {self.seconds:.3f} s"
        if self.why:
            yield self.why


@dataclass(frozen=True, repr=False)
class Contacts(Shown):
    """What came of all connections of a program, or of a box, to its proxy.

    Attributes:
        rows: the first 1,000 `Contact`s, in the order in which they ended.
        omitted: how many more there were.

    >>> Contacts().rows, Contacts().omitted
    ((), 0)
    """

    rows: tuple[Contact, ...] = ()
    omitted: int = 0

    def _words(self) -> Iterable[str]:
        allowed = sum(row.allowed for row in self.rows)
        yield f"{allowed} allowed, {len(self.rows) - allowed} refused"
        if self.omitted:
            yield f"{self.omitted} more"

    @staticmethod
    def gone(why: str = GONE) -> Contacts:
        """Of a run whose proxy ended before it could tell."""
        return Contacts((Contact("", 0, False, 0, 0, 0.0, "", why),), 0)
