"""What libraries show that have no method for it: matplotlib's figures, the data of pandas' tables."""

from __future__ import annotations

import sys

from .mimes import BINARY, DATA

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

MIMES = {"png": "image/png", "svg": "image/svg+xml", "pdf": "application/pdf", "jpeg": "image/jpeg"}
MOST_CELLS = 10_000  # of a table whose data are sent, too


def of_figure(value: Any, formats: tuple[str, ...]) -> dict[str, Any]:
    """The pictures of a figure of matplotlib, which is closed: it is shown once. Of anything else nothing."""
    figure = sys.modules["matplotlib.figure"].Figure
    if not isinstance(value, figure):
        return {}
    pictures = drawn(value, formats)
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None:
        pyplot.close(value)
    return pictures


def drawn(figure: Any, formats: tuple[str, ...]) -> dict[str, Any]:
    """{MIME type: bytes or text}, as notebooks draw them: with a tight box around what is there."""
    from io import BytesIO

    found: dict[str, Any] = {}
    if not figure.axes and not figure.lines:
        return found
    for name in formats:
        file = BytesIO()
        figure.savefig(
            file, format=name, bbox_inches="tight", facecolor=figure.get_facecolor(), edgecolor=figure.get_edgecolor(),
            dpi=figure.dpi,
        )  # fmt: skip
        mime = MIMES[name]
        found[mime] = file.getvalue() if mime in BINARY else file.getvalue().decode("utf-8")
    return found


def show_all(show: Callable[[Any], None]) -> None:
    """Show every figure that is open, and close it."""
    pyplot: Any = sys.modules.get("matplotlib.pyplot")
    if pyplot is None:
        return
    try:
        for number in pyplot.get_fignums():
            show(pyplot.figure(number))
    finally:
        pyplot.close("all")


def of_table(value: Any) -> dict[str, Any]:
    """The columns of a DataFrame of pandas, {name: [values]} as JSON, when it is not too large; else nothing."""
    frame = getattr(sys.modules["pandas"], "DataFrame", None)
    if frame is None or not isinstance(value, frame) or value.size > MOST_CELLS:
        return {}
    try:
        from json import dumps, loads

        split = loads(value.to_json(orient="split", date_format="iso", default_handler=str))
        names = [str(name) for name in split["columns"]]
        if len(set(names)) < len(names):
            return {}
        return {DATA: dumps({name: [row[i] for row in split["data"]] for i, name in enumerate(names)})}
    except Exception:  # columns that JSON has no word for: the table itself is shown all the same
        return {}
