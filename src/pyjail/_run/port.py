"""The way out of a jail with `Egress`: a socket listens in there and is given to the proxy, which accepts outside."""

from __future__ import annotations

import errno

from pyjail._core.native import lib

from pyjail._base.errors import JailError
from pyjail._egress.served import Served
from pyjail._keeper.keeper import Keeper
from pyjail._plan.prepare import Plan
from pyjail._plan.wire import Failure, parse_reply
from pyjail._run import ahead

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyjail._spec.egress import Egress


def serve(keeper: Keeper, plan: Plan) -> Failure | JailError | OSError | None:
    """Have the run that is made for this plan served, as the keeper's ``contact``; why it is not. `Gone` when the
    keeper is."""
    failure: Failure | JailError | OSError | None = None
    if keeper.armed != plan.run:
        failure = ahead.arm(keeper, plan)
    if failure is None:
        failure = opened(keeper, plan.template.jail.network)
    if isinstance(failure, Failure) and failure.errno == errno.EPROTO:  # what was armed has failed since
        failure = ahead.arm(keeper, plan) or opened(keeper, plan.template.jail.network)
    return failure


def opened(keeper: Keeper, egress: Egress | str) -> Failure | JailError | OSError | None:
    """Have what listens in this keeper's jail served, as its ``contact``; why it is not."""
    assert not isinstance(egress, str)
    keeper.hush()  # of one that was interrupted
    keeper.contact = served = Served()
    failure = handed(keeper, served, egress)
    if failure is not None:
        keeper.hush()
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
