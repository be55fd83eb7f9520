"""Records as one line, and as a table for notebooks. All that a program wrote is shortened and escaped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

from pyjail._base import records

MOST = 60  # characters of a value in a line
MOST_IN_LINE = 300  # of the line of what came of something; of what was given, which one may want to copy, 500
MOST_GIVEN = 500
MOST_DEEP = 3  # of lists in lists: they are wide, too, and may hold themselves
MOST_IN_TABLE = 2000
MOST_ROWS = 100
_CSS = "text-align: left; vertical-align: top; white-space: pre-wrap"


def line(record: Any, words: Iterable[str]) -> str:
    """``<Name word, word>``; without words ``Name(field=value)`` of the fields that differ from their defaults."""
    name, said = type(record).__qualname__, printable(", ".join(words))
    if said:
        return f"<{name} {_cut(said, MOST_IN_LINE - len(name) - 6)}>"
    return f"{name}({_cut(printable(', '.join(changed(record))), MOST_GIVEN)})"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}..."


def printable(text: str) -> str:
    """With what would move the cursor, or turn the direction of writing, as its number: programs choose some texts."""
    return text if text.isprintable() else "".join([c if c.isprintable() else ascii(c)[1:-1] for c in text])


def changed(record: Any, unsaid: Sequence[str] = ()) -> Iterator[str]:
    """``field=value`` of what is not its default; nothing of the fields ``unsaid``."""
    fields = type(record).__dataclass_fields__
    for name in records.names(record):
        if name in unsaid:
            continue
        value, made = getattr(record, name), fields[name].default_factory
        if _differ(value, made() if callable(made) else fields[name].default):
            yield f"{name}={short(value)}"


def _differ(value: Any, default: Any) -> bool:
    try:
        return bool(value != default)
    except Exception:  # an array of numpy, say, has no answer
        return True


def short(value: Any, most: int = MOST, deep: int = 0) -> str:
    """repr() of a value, cut: ``b'abc...' (1000000 bytes)``."""
    if isinstance(value, (str, bytes, bytearray)):
        shown, kept = repr(value[:most]), min(len(value), most)
        while len(shown) > 2 * most and kept > 1:  # four characters for a byte that is no text
            kept = kept * most // len(shown)
            shown = repr(value[:kept])
        unit = "characters" if isinstance(value, str) else "bytes"
        return shown if kept == len(value) else f"{shown[:-1]}...{shown[-1]} ({len(value)} {unit})"
    if deep == MOST_DEEP and isinstance(value, (Mapping, list, tuple)) and value:
        return "..."
    deep += 1
    if isinstance(value, Mapping):
        inner = [
            f"{short(k, 30, deep)}: {short(v, 30, deep)}" for _, (k, v) in zip(range(5), value.items(), strict=False)
        ]
        return f"{{{_joined(inner, len(value))}}}"
    if type(value) in (list, tuple):
        inner = [short(v, 30, deep) for v in value[:8]]
        comma = "," if type(value) is tuple and len(value) == 1 else ""
        text = _joined(inner, len(value)) + comma
        return f"[{text}]" if type(value) is list else f"({text})"
    try:
        text = repr(value)
    except ValueError:  # an int of more digits than Python shows
        text = f"<{type(value).__name__} too long to be shown>"
    return _cut(text, 4 * most)


def _joined(parts: list[str], count: int) -> str:
    return ", ".join([*parts, f"... {count} in all"] if count > len(parts) else parts)


def seconds(value: float | None) -> str:
    """0.0012 -> "1.2 ms"."""
    if value is None:
        return "unknown"
    return f"{value * 1e3:.3g} ms" if value < 1 else f"{value:.3f} s"


def size(value: int | None) -> str:
    """1234567 -> "1.2 MiB"."""
    if value is None:
        return "unknown"
    for unit, bits in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if value >= 1 << bits:
            return f"{value / (1 << bits):.1f} {unit}"
    return f"{value} bytes"


def html(record: Any, pairs: Iterable[tuple[str, Any]] = ()) -> str:
    """A table of these pairs, or of the fields. Nothing in it is taken as HTML, and all of it can be sent as UTF-8."""
    pairs = tuple(pairs) or [(name, getattr(record, name)) for name in records.names(record)]
    rows = "".join(_row(name, value) for name, value in pairs)
    table = f"<details open><summary><code>{escape(repr(record))}</code></summary><table>{rows}</table></details>"
    return table.encode("utf-8", "backslashreplace").decode()


def _row(name: str, value: Any) -> str:
    return f'<tr><th style="{_CSS}">{escape(name)}</th><td style="{_CSS}">{_cell(value)}</td></tr>'


def _cell(value: Any) -> str:
    if hasattr(value, "_rows"):  # a receipt
        return _folded(repr(value), ["\t".join((r.name, r.asked, r.enforced_by, r.value, r.status)) for r in value])
    if isinstance(value, tuple) and value and hasattr(value[0], "_schema"):
        return _folded(str(len(value)), [repr(item) for item in value])
    if isinstance(value, (str, bytes)):
        text = value if isinstance(value, str) else value[: MOST_IN_TABLE + 1].decode("utf-8", "backslashreplace")
        return escape(text if len(text) <= MOST_IN_TABLE else f"{text[:MOST_IN_TABLE]}... ({len(value)} in all)")
    return escape(short(value, 200))


def _folded(title: str, lines: list[str]) -> str:
    more = [f"... {len(lines)} in all"] if len(lines) > MOST_ROWS else []
    rows = "".join(
        f'<tr><td style="{_CSS}">{escape(text).replace(chr(9), "</td><td>")}</td></tr>'
        for text in lines[:MOST_ROWS] + more
    )
    return f"<details><summary><code>{escape(title)}</code></summary><table>{rows}</table></details>"
