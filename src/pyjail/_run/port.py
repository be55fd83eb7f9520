"""The way out of a jail with `Egress`: a socket listens in there and is given to the proxy, which accepts outside."""

from __future__ import annotations

import errno
import time

from pyjail._core.native import lib

from pyjail._base.errors import JailError
from pyjail._egress.served import Served
from pyjail._keeper.keeper import Keeper
from pyjail._plan.prepare import Plan
from pyjail._plan.report import Facts
from pyjail._plan.wire import Failure, parse_reply
from pyjail._result.contact import Contacts
from pyjail._run import ahead

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyjail._spec.egress import Egress

LET_GO_S = 5.0  # for a proxy to close what it was told to close


def serve(keeper: Keeper, plan: Plan) -> Failure | JailError | OSError | None:
    """Have the run that is made for this plan served, as the keeper's ``contact``; why it is not. `Gone` when the
    keeper is. Who served a run that has not used its network serves this one: both have the same."""
    if keeper.contact is not None and keeper.contact.lives:
        return None
    failure: Failure | JailError | OSError | None = None
    if keeper.armed != plan.run:
        failure = ahead.arm(keeper, plan)
    if failure is None:
        failure = opened(keeper, plan.template.jail.network)
    if isinstance(failure, Failure) and failure.errno == errno.EPROTO:  # what was armed has failed since
        failure = ahead.arm(keeper, plan) or opened(keeper, plan.template.jail.network)
    return failure


def contacts(keeper: Keeper, facts: Facts) -> Contacts:
    """What came of the run's connections. The keeper's ``contact`` is kept for the next run when there were none, and
    is at its end else, as the network namespace is."""
    if keeper.contact is None:  # it was ended meanwhile, as `pyjail.close` ends all, and its connections with it
        return Contacts.gone()
    if facts.raw and not facts.network:
        return Contacts()
    try:
        found: Contacts = keeper.contact.end()
    finally:
        keeper.hush()
    return found


def opened(keeper: Keeper, egress: Egress | str) -> Failure | JailError | OSError | None:
    """Have what listens in this keeper's jail served, as its ``contact``; why it is not."""
    assert not isinstance(egress, str)
    keeper.hush()  # of one that was interrupted
    keeper.contact = served = Served()
    end = time.monotonic() + LET_GO_S
    while (failure := handed(keeper, served, egress)) is not None:
        if not (isinstance(failure, Failure) and failure.errno == errno.EADDRINUSE) or time.monotonic() > end:
            keeper.hush()
            break
        time.sleep(0.001)
    return failure


def handed(keeper: Keeper, served: Served, egress: Egress) -> Failure | JailError | OSError | None:
    """Hand a socket that listens in this keeper's jail to who serves it; why that failed."""
    try:
        raw, listening = keeper.ask(lib.OP_PORT)
        with listening:
            _, failure = parse_reply(raw)
            if failure is None:
                served.begin(listening.number, egress)
    except (JailError, OSError) as e:
        return e
    return failure
