"""A box's way out, where its jail has an `Egress`: its programs have one proxy together, from its start to its end."""

from __future__ import annotations

from pyjail._base.errors import JailError
from pyjail._box.keeper import BoxKeeper
from pyjail._egress.served import Served
from pyjail._plan.wire import Failure
from pyjail._result.contact import MOST_ROWS, Contacts
from pyjail._run import port
from pyjail._spec.egress import Egress


class WayOut:
    """Of one box. To its keeper it is who serves what listens there, and who is told of the end."""

    def __init__(self, egress: Egress) -> None:
        self.egress = egress
        # What came of connections by proxies that have ended, and who serves it now: one store for both.
        self.state: tuple[Contacts, Served | None] = Contacts(), None

    @property
    def open(self) -> bool:
        """Whether a proxy serves it."""
        served = self.state[1]
        return served is not None and served.lives

    def serve(self, keeper: BoxKeeper) -> Failure | JailError | OSError | None:
        """Have the box served: at its start, and when its proxy has ended; why it is not."""
        self.drop()
        keeper.contact, served = self, Served()
        self.state = self.state[0], served  # before there is something to end
        failure = port.handed(keeper, served, self.egress)
        if failure is not None:
            self.state = self.state[0], None
        return failure

    def look(self) -> Contacts:
        """What came of all connections so far."""
        earlier, served = self.state
        return earlier if served is None else _joined(earlier, served.look())

    def drop(self) -> None:
        """Close its connections, and keep what came of them. May be called twice."""
        earlier, served = self.state
        if served is not None:
            self.state = _joined(earlier, served.end()), None
            served.drop()


def _joined(first: Contacts, second: Contacts) -> Contacts:
    rows = first.rows + second.rows
    return Contacts(rows[:MOST_ROWS], first.omitted + second.omitted + max(0, len(rows) - MOST_ROWS))
