"""A jail that is made before its program is started: with no program in mind, or to write its files first."""

from __future__ import annotations

from collections.abc import Sequence

from pyjail._core.native import lib

from pyjail._base.errors import JailError
from pyjail._keeper import files
from pyjail._keeper.keeper import Keeper
from pyjail._plan.prepare import Plan
from pyjail._plan.wire import Failure, parse_reply
from pyjail._spec.inputs import Input


def arm(keeper: Keeper, plan: Plan) -> Failure | None:
    """Have the jail of a plan made, and no program started; what failed of that. `Gone` when the keeper is."""
    keeper.armed = None
    keeper.submit(lib.OP_ARM, plan.blob)
    keeper.sock.settimeout(None)
    _, failure = parse_reply(keeper.answer(keeper.turn)[0])
    if failure is None:
        keeper.armed = plan.run
    return failure


def write_files(keeper: Keeper, plan: Plan, inputs: Sequence[Input]) -> Failure | JailError | OSError | None:
    """Write them into a jail that is made for them; why they are not there. `Gone` when the keeper is."""
    failure = arm(keeper, plan)
    if failure is not None:
        return failure
    try:
        files.write_inputs(keeper, inputs)
    except (JailError, OSError) as e:
        keeper.armed = None
        keeper.send(lib.OP_RELEASE)
        return e
    return None
