"""One run's listening socket at the proxy: served from before its program starts until it has ended."""

from __future__ import annotations

from pyjail._egress.link import link

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyjail._result.contact import Contacts
    from pyjail._spec.egress import Egress


class Served:
    """The proxy accepts on this listening socket by these rules, until `end` or `drop`. The fd stays the caller's.

    HostError: no proxy can be started. OSError: this process lacks fds or memory.
    """

    def __init__(self, listening: int, egress: Egress) -> None:
        self.number = link.fresh()
        try:
            link.serve(listening, egress, self.number)
        except BaseException:  # whoever is interrupted here has nothing that could be dropped
            link.drop(self.number)
            raise

    def end(self) -> Contacts:
        """What came of its connections, which are closed. Once."""
        return link.end(self.number)

    def look(self) -> Contacts:
        """What came of its connections so far, those that are open among them."""
        return link.look(self.number)

    def drop(self) -> None:
        """Close its connections; nobody asks what came of them."""
        link.drop(self.number)
