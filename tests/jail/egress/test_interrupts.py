"""A signal handler that raises, at every step of what an embedder does with its proxy: nothing is left, nothing is lost."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyjail._egress.link import Link
from tests.inside import Egress
from tests.instants import Instant, Interrupted, Unharmed, every
from tests.jail.egress.world import until

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # see `Unharmed`


@pytest.fixture
def link() -> Iterator[Link]:
    made = Link()
    yield made
    made.close()


def one(link: Link, egress: Egress) -> None:
    """What a run does, whatever happens to it."""
    number = link.fresh()
    try:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            link.serve(listening.fileno(), egress, number)
        assert link.look(number).rows == ()
        assert link.end(number).rows == ()
    finally:
        link.drop(number)


@pytest.mark.parametrize("what", ["a run", "a run with rules that are new", "the first run"])
def test_a_run_that_is_interrupted_leaves_nothing_here_and_nothing_in_the_proxy(link, what):
    rules = iter(range(1, 60000))

    def call() -> None:
        if what == "the first run":
            link.close()
        one(link, Egress([f"pypi.org:{next(rules)}"] if "new" in what else []))

    def theirs() -> int:
        """fds of the proxy, which a user may count only of processes that are his in all respects."""
        return len(list(Path(f"/proc/{link.pid}/fd").iterdir())) if os.geteuid() == 0 else 0

    call()
    count = theirs()
    with Unharmed():
        call()
        for n in every(call, 120):
            with contextlib.suppress(Interrupted), Instant(n):
                call()
            call()
            assert link.asked == {}, n
            assert link.runs == set(), n
            assert until(lambda: theirs() <= count), n
        link.close()
        assert link.lost == {}
