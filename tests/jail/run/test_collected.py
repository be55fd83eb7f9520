"""What nobody refers to any more is found by the garbage collector, in any thread, at every step of a call."""

from __future__ import annotations

import faulthandler
import gc

import pytest

import pyjail
from pyjail import Jail
from tests.conftest import SLOW
from tests.instants import Instant, Unharmed, every

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # see `Unharmed`


def cycle(thing: object) -> None:
    """Only the collector finds it."""
    here: list[object] = [thing]
    here.append(here)


LEFT = {
    "process": lambda s: cycle(pyjail.start(["sleep", "99"])),
    "session": lambda s: cycle(used(pyjail.Session())),
    "process of the session": lambda s: cycle(s.start(["sleep", "99"])),
}
CALLS = {
    "run": lambda s: pyjail.run(["true"]),
    "fresh": lambda s: pyjail.run(["true"], jail=Jail(fresh=True)),
    "close": lambda s: pyjail.close(),
    "start": lambda s: pyjail.start(["true"]).communicate(),
    "session's file": lambda s: s.write("g", b"x"),
    "session's run": lambda s: s.run(["true"]),
}


def used(s: pyjail.Session) -> pyjail.Session:
    s.run(["true"])
    return s


@pytest.mark.parametrize("left", LEFT)
@pytest.mark.parametrize("name", CALLS)
def test_its_end_holds_nobody_up(name, left):
    call = CALLS[name]
    faulthandler.dump_traceback_later(60 * SLOW, exit=True)  # who holds up for good is to be seen
    gc.disable()
    try:
        with Unharmed():
            for n in every(lambda: call(used(pyjail.Session())), 12):
                s = used(pyjail.Session())
                try:
                    with Instant(n, gc.collect):
                        LEFT[left](s)
                        call(s)
                except (pyjail.SpecError, pyjail.KeeperError) as e:  # its own program runs; it is lost
                    assert "session" in str(e)
                assert pyjail.run(["echo", "x"]).stdout == b"x\n"
                s.close()
            del s
    finally:
        gc.enable()
        faulthandler.cancel_dump_traceback_later()
