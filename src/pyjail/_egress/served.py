"""One listening socket at the proxy, of a run or of a box: served from before its program starts until it has ended."""

from __future__ import annotations

from pyjail._egress.link import link

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyjail._egress.answer import Answer
    from pyjail._result.contact import Contacts
    from pyjail._spec.egress import Egress


class Served:
    """What the proxy accepts on by these rules, from `begin` until `end` or `drop`.

    It is kept by who is to end it before it begins: whoever is interrupted in between leaves nothing at the proxy.
    """

    def __init__(self) -> None:
        self.number = link.fresh()
        self.answer: Answer | None = None

    def begin(self, listening: int, egress: Egress) -> None:
        """Have it served. The fd stays the caller's.

        HostError: no proxy can be started. OSError: this process lacks fds or memory.
        """
        link.serve(listening, egress, self.number)

    def end(self) -> Contacts:
        """What came of its connections, which are closed. Who was interrupted asks again."""
        if self.answer is None:
            self.answer = link.ask(self.number)
        return self.answer.wait()

    def look(self) -> Contacts:
        """What came of its connections so far, those that are open among them."""
        return link.look(self.number)

    def drop(self) -> None:
        """Close its connections; nobody asks what came of them. May be called twice."""
        link.drop(self.number)

    @property
    def lives(self) -> bool:
        """Whether the proxy that serves it does."""
        return link.serves(self.number)
