"""A function and a list of cases: arguments, and what has to come back."""

from __future__ import annotations

import math

from .encoding import VIEWS, encode
from .proxy import Iterated, names_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .proxy import Channel
    from .report import Reporter

MOST_SHOWN = 65536  # bytes of a value in a report


def run(task: dict[str, Any], channel: Channel, reporter: Reporter) -> None:
    """Report ("ready",) when it is loaded, then ("case", status, detail, value) for each that ended no jail."""
    module, name = task["module"], task["entry_point"]
    if channel.find(module, name)[0] != "function":
        reporter.finish("failed", f"there is no function named {name!r}")
    reporter.note("ready")
    for case in task["cases"]:
        reporter.note("case", *judge(task, channel, *case))


def judge(
    task: dict[str, Any], channel: Channel, args: Any, kwargs: Any, expected: Any, raises: str | None, arguments: Any
) -> tuple[str, str, Any]:
    """(status, detail, the value) of one case."""
    value: Any = None
    error: Exception | None = None
    try:
        value = channel.call(task["module"], task["entry_point"], args, kwargs)
        if task["iterators"]:
            value = listed(value)
    except Exception as e:
        error = e
    why = ""
    if error is not None:
        names = names_of(error) or [type(error).__name__]
        why = "" if raises in names_of(error) else f"it raised {names[0]}: {error}"
    elif raises:
        why = f"it returned instead of raising {raises}"
    elif not same(value, expected, task["tolerance"]):
        why = "another result than expected"
        if isinstance(value, Iterated) or type(value) in VIEWS:
            why += ": an iterator is no list, unless you say so (iterators=True)"
    if not why and arguments is not None and not same(list(args), list(arguments), task["tolerance"]):
        why = "it left its arguments otherwise than expected"
    return "failed" if why else "passed", why[:2000], shown(value)


def listed(value: Any) -> Any:
    """The items of an iterator or of a dict's view as a list, nested ones too; anything else as it is."""
    if isinstance(value, Iterated) or type(value) in VIEWS:
        return [listed(item) for item in value]
    if type(value) in (list, tuple):
        return type(value)([listed(item) for item in value])
    return {key: listed(item) for key, item in value.items()} if type(value) is dict else value


def shown(value: Any) -> Any:
    """The value, an iterator as a list, unless it is too large to be told."""
    try:
        value = listed(value)
        return value if len(encode(value)) <= MOST_SHOWN else None
    except Exception:  # what an iterator raised
        return None


def same(got: Any, wanted: Any, tolerance: float) -> bool:
    """As ``==``, but a NaN equals a NaN, and numbers may differ by the tolerance where a float is expected."""
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
    try:
        if isinstance(wanted, float) and math.isnan(wanted):
            return isinstance(got, float) and math.isnan(got)
        return bool(got == wanted) or (tolerance > 0 and near(got, wanted, tolerance))
    except ArithmeticError:  # a number beyond all floats; a Decimal that is none
        return False


def near(got: Any, wanted: Any, tolerance: float) -> bool:
    """Whether two numbers, of which one at least is no int, differ by the tolerance at most."""
    return (
        real(got)
        and real(wanted)
        and {type(got), type(wanted)} != {int}
        and abs(float(got) - float(wanted)) <= tolerance
    )


def real(value: Any) -> bool:
    """A number that ``float`` takes: Python's own, Decimal or Fraction, by the encoding's types alone."""
    return type(value) in (int, float) or type(value).__name__ in ("Decimal", "Fraction")
