"""Records as one line, and as a table for notebooks. All that a program wrote is shortened and escaped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import TYPE_CHECKING, Any

from pyjail import _frozen, _units
from pyjail._limits import Follows
from pyjail._shown import Shown

if TYPE_CHECKING:
    from pyjail._result import Result
    from pyjail._usage import Receipt, Usage

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


def changed(record: Any) -> Iterator[str]:
    """``field=value`` of what is not its default."""
    fields = type(record).__dataclass_fields__
    for name in _frozen.names(record):
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


def result(r: Result) -> Iterator[str]:
    """Verdict, end, what it took, what it wrote."""
    yield r.verdict.value
    yield f"signal {r.signal}" if r.signal is not None else f"exit {r.exit_code}"
    usage = r.usage
    if usage.wall_time is not None:
        yield f"cpu {seconds(usage.cpu_time)}, wall {seconds(usage.wall_time)}, memory {size(usage.memory_peak)}"
    if r.limits_hit:
        yield f"limits_hit={{{', '.join(map(repr, sorted(r.limits_hit)))}}}"
    if r.syscall is not None:
        yield f"syscall={r.syscall!r}"
    if r.error is not None:
        yield f"error={short(r.error, 200)}"
    if r.files:
        yield f"files={short(sorted(r.files), 30)}" if len(r.files) <= 5 else f"{len(r.files)} files"
    for name in ("stdout", "stderr"):
        if getattr(r, name):
            yield f"{name}={short(getattr(r, name))}"


def usage(u: Usage) -> Iterator[str]:
    """What is known, in units for people."""
    for name in _frozen.names(u):
        value = getattr(u, name)
        if value is None or value is False or value == ():
            continue
        if name.endswith("_time"):
            yield f"{name}={seconds(value)}"
        elif name in ("memory_peak", "memory_before", "io_read", "io_written"):
            yield f"{name}={size(value)}"
        elif not isinstance(value, dict):
            yield f"{name}={short(value)}"


def receipt(rows: Receipt) -> Iterator[str]:
    """How many controls are in which state, and which are missing."""
    found = [row.status for row in rows]
    yield f"{len(found)} controls"
    yield f"{found.count('enforced')} enforced"
    if missing := [row.name for row in rows.not_enforced]:
        yield f"not enforced: {', '.join(missing)}"


def limits(given: Any) -> Iterator[str]:
    """Sizes as one types them."""
    for text in changed(given):
        name, _, shown = text.partition("=")
        if name == "wall_time" and isinstance(given.wall_time, Follows):
            continue
        round_size = shown.isdigit() and int(shown) >= 1024 and name not in ("processes", "inodes", "open_files")
        yield f"{name}={_units.show_size(int(shown))!r}" if round_size and int(shown) % 1024 == 0 else text


def html(record: Any, pairs: Iterable[tuple[str, Any]] = ()) -> str:
    """A table of these pairs, or of the fields. Nothing in it is taken as HTML, and all of it can be sent as UTF-8."""
    pairs = tuple(pairs) or [(name, getattr(record, name)) for name in _frozen.names(record)]
    rows = "".join(_row(name, value) for name, value in pairs)
    table = f"<details open><summary><code>{escape(repr(record))}</code></summary><table>{rows}</table></details>"
    return table.encode("utf-8", "backslashreplace").decode()


def _row(name: str, value: Any) -> str:
    return f'<tr><th style="{_CSS}">{escape(name)}</th><td style="{_CSS}">{_cell(value)}</td></tr>'


def _cell(value: Any) -> str:
    if hasattr(value, "_rows"):  # a receipt
        return _folded(repr(value), ["\t".join((r.name, r.asked, r.enforced_by, r.value, r.status)) for r in value])
    if isinstance(value, tuple) and value and isinstance(value[0], Shown):
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
