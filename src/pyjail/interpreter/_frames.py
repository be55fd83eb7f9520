"""What an interpreter says over its channel, read as what it is: the words of a stranger, bounded and checked."""

from __future__ import annotations

import json
from binascii import Error, a2b_base64
from dataclasses import dataclass
from typing import Any

from pyjail.interpreter._records import MIMES, Display, Raised

NONCE = 16
HEAD = 4 + NONCE
RUN, SETTLE, HELLO = b"x", b"s", b"h"
COUNTED = 1024  # bytes that a result counts as besides its data
MOST_FORMS = 64  # of a result
MOST_VALUES = 500_000  # of all JSON results of a cell: each is an object of this process
SLACK = 1 << 16
_ESCAPED = 6  # characters of JSON that a byte may become
_NAMES = {mime: name for name, mime in MIMES.items()}
_BINARY = ("png", "jpeg", "pdf")
_DEEPEST = 64  # levels of lists and objects in a JSON result


class Forged(Exception):
    """This is nothing that an interpreter says."""


@dataclass(frozen=True)
class Done:
    """The end of a cell. dropped: (how many results, their bytes). signalled: it has seen a SIGINT."""

    error: Raised | None
    dropped: tuple[int, int]
    signalled: bool


class Here:
    """The interpreter answers."""


class Begun:
    """A cell runs now: an interrupt before would have met none."""


def message(what: bytes, nonce: bytes, payload: bytes = b"") -> bytes:
    """What is sent to it."""
    return what + nonce + len(payload).to_bytes(4, "big") + payload


class Reader:
    """Frames of one interpreter, from bytes as they come. ``most``: bytes of a result; ``most_together``: of a cell."""

    def __init__(self, most: int, most_together: int) -> None:
        self.most, self.most_together = most, most_together
        self._data = bytearray()
        self._total = self._values = 0

    def begin(self) -> None:
        """A new cell."""
        self._total = self._values = 0

    @property
    def pending(self) -> bool:
        """Whether there is more than messages that were asked for."""
        return bool(self._data)

    def feed(self, data: bytes) -> None:
        self._data += data

    def next(self, nonce: bytes) -> Display | Done | Begun | Here | None:
        """The next message of the cell that has this nonce; None until it is whole. Raises `Forged`."""
        data = self._data
        if len(data) < HEAD:
            return None
        size = int.from_bytes(data[:4], "big")
        if size > _ESCAPED * self.most + 8 * SLACK:
            raise Forged(f"a message of {size} bytes")
        if data[4:HEAD] != nonce:
            raise Forged("a message of no cell that runs")
        if len(data) < HEAD + size:
            return None
        payload = bytes(data[HEAD : HEAD + size])
        del data[: HEAD + size]
        found = _read(payload)
        if isinstance(found, dict):
            return self._display(found)
        return found

    def _display(self, found: dict[str, Any]) -> Display:
        data, cut = _texts(found, "data"), _texts(found, "cut")
        if max(len(data), len(cut)) > MOST_FORMS or not all(map(plain_type, (*data, *cut))):
            raise Forged("a result of no type")
        size = sum(map(_sized, data.values()))
        self._total += COUNTED + size + sum(map(_sized, (*data, *cut, *cut.values())))
        if size > self.most + SLACK or self._total > self.most_together + self.most + SLACK:
            raise Forged("more results than an interpreter sends")
        for mime in [mime for mime in data if _NAMES.get(mime) in ("json", "data")]:
            self._values += sum(map(data[mime].count, ",[{"))
            if self._values > MOST_VALUES:
                cut[mime] = f"{_sized(data.pop(mime))} bytes: more than {MOST_VALUES} values in a cell's results"
        return display(data, cut, found.get("main") is True)


def _read(payload: bytes) -> dict[str, Any] | Done | Begun | Here:
    """An object that is a result, or what it means."""
    try:
        found = json.loads(payload)
    except (ValueError, RecursionError) as e:
        raise Forged(f"a message that is no JSON: {type(e).__name__}") from None
    kind = found.get("type") if isinstance(found, dict) else None
    if kind == "result":
        return dict(found)
    if kind in ("here", "begun"):
        return Here() if kind == "here" else Begun()
    if kind != "done":
        raise Forged("a message of no kind")
    dropped, error = found.get("dropped"), found.get("error")
    numbers = isinstance(dropped, list) and [type(n) for n in dropped] == [int, int] and min(dropped) >= 0
    if not numbers or max(dropped) >= 1 << 62:
        raise Forged("an end without numbers")
    if error is not None:
        texts = _texts(found, "error")
        if texts.keys() != {"name", "value", "traceback"}:
            raise Forged("an error without its texts")
        error = Raised(**texts)
    return Done(error, (dropped[0], dropped[1]), found.get("signalled") is True)


def _texts(found: dict[str, Any], name: str) -> dict[str, str]:
    texts = found.get(name)
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise Forged(f"a message whose {name} are no texts")
    return texts


def plain_type(mime: str) -> bool:
    """Whether this may be what a MIME type is called."""
    return mime.isascii() and mime.isprintable() and len(mime) <= 200 and ":" not in mime


def _sized(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def display(data: dict[str, str], cut: dict[str, str], main: bool) -> Display:
    """A result of these texts by MIME type. Base64 and JSON are checked: a consumer meets neither broken."""
    fields: dict[str, Any] = {}
    extra = {}
    why = {_NAMES.get(mime, mime): reason for mime, reason in cut.items()}
    for mime, text in data.items():
        name = _NAMES.get(mime)
        if name is None:
            extra[mime] = text
        elif name in ("json", "data"):
            try:
                fields[name] = _plain(json.loads(text))
            except (ValueError, RecursionError) as e:
                why[name] = f"it cannot be read as JSON: {e}"
        else:
            if name in _BINARY:
                try:
                    a2b_base64(text.encode("ascii"), strict_mode=True)
                except (Error, UnicodeEncodeError):
                    raise Forged(f"{name} that is no base64") from None
            fields[name] = text
    return Display(**fields, is_main_result=main, extra=extra, cut=why)


def _plain(value: Any, depth: int = 0) -> Any:
    """The same. ValueError when it is nested so deep that whoever writes it again might fail."""
    if depth > _DEEPEST:
        raise ValueError(f"more than {_DEEPEST} levels")
    if isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            _plain(inner, depth + 1)
    return value
