"""A function and a list of cases: arguments, and what has to come back."""

from __future__ import annotations

import math

from .encoding import Unsupported, encode
from .proxy import Iterated

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .checker import Reporter
    from .proxy import Channel

MOST_SHOWN = 65536  # bytes of a value in a report


def run(task: dict[str, Any], channel: Channel, reporter: Reporter) -> None:
    """Report ("ready",) when it is loaded, then ("case", status, detail, value) for each that ended no jail."""
    module, name = task["module"], task["entry_point"]
    if channel.find(module, name)[0] != "function":
        reporter.finish("failed", f"there is no function named {name!r}")
    reporter.note("ready")
    for args, kwargs, expected, raises, arguments in task["cases"]:
        value: Any = None
        raised: list[str] = []
        try:
            value = channel.call(module, name, args, kwargs)
            if isinstance(value, Iterated):
                value = list(value)
        except Exception as e:
            raised, said = channel.raised, f"{channel.raised[0]}: {e}"
        if raises or raised:
            good = raises in raised
            why = "" if good else f"it raised {said}" if raised else f"it returned instead of raising {raises}"
        else:
            good = same(value, expected, task["tolerance"])
            why = "" if good else "another result than expected"
        if good and arguments is not None and not same(list(args), list(arguments), task["tolerance"]):
            good, why = False, "it left its arguments otherwise than expected"
        reporter.note("case", "passed" if good else "failed", why[:2000], shown(value))


def shown(value: Any) -> Any:
    """The value, unless it is too large to be told."""
    try:
        return value if len(encode(value)) <= MOST_SHOWN else None
    except Unsupported:  # an iterator within
        return None


def same(got: Any, wanted: Any, tolerance: float) -> bool:
    """As ``==``, but a NaN equals a NaN, floats may differ by the tolerance, an iterator is the list of its items."""
    if isinstance(got, Iterated):
        got = list(got)
    if isinstance(wanted, (list, tuple)):
        return (
            type(got) is type(wanted)
            and len(got) == len(wanted)
            and all(same(g, w, tolerance) for g, w in zip(got, wanted, strict=True))
        )
    if isinstance(wanted, dict):
        return (
            type(got) is dict
            and got.keys() == wanted.keys()
            and all(same(got[key], w, tolerance) for key, w in wanted.items())
        )
    if isinstance(wanted, float) and isinstance(got, (int, float)):
        if math.isnan(wanted):
            return isinstance(got, float) and math.isnan(got)
        try:
            return bool(got == wanted or abs(got - wanted) <= tolerance)
        except OverflowError:  # an int beyond all floats
            return False
    return bool(got == wanted)
