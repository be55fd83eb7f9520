"""What came of a run's connections: `Contact`, one of them; `Contacts`, all."""

from __future__ import annotations

from collections.abc import Iterable

from pyjail._base.records import NamedTuple, dataclass
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


class Contacts(NamedTuple):
    """``rows``: the first 1,000 connections in the order in which they ended; ``omitted``: how many more there were."""

    rows: tuple[Contact, ...] = ()
    omitted: int = 0

    @staticmethod
    def gone(why: str = GONE) -> Contacts:
        """Of a run whose proxy ended before it could tell."""
        return Contacts((Contact("", 0, False, 0, 0, 0.0, "", why),), 0)
