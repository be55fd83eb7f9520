"""A value as rich results: what it has to say of itself, by MIME type."""

from __future__ import annotations

import sys

from .mimes import BINARY, COUNTED, DATA, METHODS, MOST_FORMS, PLAIN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Shower:
    """Sends results: each within ``most`` bytes, all of a cell within ``most_together``."""

    def __init__(
        self, send: Callable[[dict[str, Any]], None], most: int, most_together: int, figures: tuple[str, ...]
    ) -> None:
        self.send, self.most, self.most_together, self.figures = send, most, most_together, figures
        self.begin()

    def begin(self) -> None:
        """A new cell."""
        self.left, self.dropped, self.dropped_bytes = self.most_together, 0, 0

    def displayhook(self, value: Any) -> None:
        """The value of a cell's last expression: its main result; also ``_``."""
        if value is None:
            return
        import builtins

        vars(builtins)["_"] = value
        self.show(value, main=True)

    def display(self, *values: Any, **options: Any) -> None:
        """Show these values as results, in every form that they have. ``raw=True``: they are {MIME type: data}."""
        for value in values:
            if options.get("raw"):
                self.bundle(value)
            else:
                self.show(value, include=options.get("include"), exclude=options.get("exclude"))

    def show(self, value: Any, main: bool = False, include: Any = None, exclude: Any = None) -> None:
        """Send all forms of a value."""
        found = forms(value, self.figures)
        if include or exclude:
            found = {
                mime: data
                for mime, data in found.items()
                if (not include or mime in include) and not (exclude and mime in exclude)
            }
        self.bundle(found, main)

    def bundle(self, found: dict[str, Any], main: bool = False) -> None:
        """Send what is in a MIME bundle, as text: base64 of what is binary, JSON of what is JSON."""
        texts, cut = {}, {}
        for name, data in list(dict(found).items())[:MOST_FORMS]:
            mime = str(name).encode("ascii", "replace").decode("ascii").replace(":", "?")[:200]
            if not mime.isprintable():
                continue
            try:
                texts[mime] = text_of(mime, data)
            except Exception as e:
                cut[mime] = f"it is no {mime}: {type(e).__name__}: {str(e)[:200]}"
        kept, total = fitting(texts, cut, self.most)
        total += sum([sized(text) for text in (*kept, *cut, *cut.values())])
        if total > self.left:
            self.dropped += 1
            self.dropped_bytes += total
            if not main:
                return
            why = f"after results of {self.most_together} bytes"
            cut.update({mime: f"{sized(text)} bytes, {why}" for mime, text in kept.items()})
            kept = {}
        self.left -= min(self.left, total)
        self.send({"type": "result", "main": main, "data": kept, "cut": cut})


def sized(text: str) -> int:
    """Bytes of UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def fitting(texts: dict[str, str], cut: dict[str, str], most: int) -> tuple[dict[str, str], int]:
    """(those that fit together, how much that is): plain text first, cut when it is long; then the smallest."""
    kept: dict[str, str] = {}
    total = COUNTED
    for mime in sorted(texts, key=lambda m: (m != PLAIN, sized(texts[m]))):
        text = texts[mime]
        size = sized(text)
        room = most if len(texts) == 1 else most // 2
        if mime == PLAIN and size > room:
            cut[mime] = f"{size} bytes, of which the first {room} are here"
            text = text.encode("utf-8", "surrogatepass")[:room].decode("utf-8", "ignore")
            size = sized(text)
        elif total - COUNTED + size > most:
            cut[mime] = f"{size} bytes, where {most} are room for a result"
            continue
        kept[mime] = text
        total += size
    return kept, total


def text_of(mime: str, data: Any) -> str:
    """As it is sent; ValueError or TypeError for what this type cannot be."""
    if mime in BINARY:
        from binascii import a2b_base64, b2a_base64

        if isinstance(data, str):
            data = a2b_base64(data.encode("ascii"))
        return b2a_base64(bytes(data), newline=False).decode("ascii")
    if (mime == "application/json" or mime.endswith("+json")) and not (mime == DATA and isinstance(data, str)):
        from json import dumps

        return dumps(data, allow_nan=False)
    if isinstance(data, (bytes, bytearray)):
        return bytes(data).decode("utf-8")
    if not isinstance(data, str):
        raise TypeError(f"{type(data).__name__} where text is needed")
    return data


def forms(value: Any, figures: tuple[str, ...]) -> dict[str, Any]:
    """{MIME type: data} of all that a value can be shown as. What its repr() raises is raised."""
    found: dict[str, Any] = {}
    kind = type(value)
    if not isinstance(value, type):
        if "matplotlib.figure" in sys.modules:
            from .figures import of_figure

            found.update(of_figure(value, figures))
        for name, mime in METHODS:
            if getattr(kind, name, None) is not None:
                data = _asked(value, name)
                if data is not None:
                    found[mime] = data
        if getattr(kind, "_repr_mimebundle_", None) is not None:
            found.update(_asked(value, "_repr_mimebundle_", include=None, exclude=None) or {})
        if "pandas" in sys.modules:
            from .figures import of_table

            found.update(of_table(value))
    if PLAIN not in found:
        found = {PLAIN: plain(value), **found}
    return found


def plain(value: Any) -> str:
    """As Python shows it, or as it says that it is printed."""
    if getattr(type(value), "_repr_pretty_", None) is not None and not isinstance(value, type):
        from .pretty import printed

        try:
            return printed(value)
        except Exception:  # it wants more of its printer than there is
            return str(repr(value))
    return str(repr(value))


def _asked(value: Any, name: str, **options: Any) -> Any:
    """What a method of this name gives; without the metadata that may come with it. A method that raises is told of on
    stderr, and gives nothing."""
    try:
        data = getattr(value, name)(**options)
    except Exception as e:
        from .raised import described

        sys.stderr.write(described(e)["traceback"])
        return None
    return data[0] if isinstance(data, tuple) and len(data) == 2 else data
