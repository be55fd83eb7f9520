"""The checker's side of a call: ask, wait, check the answer, hand the tests plain data of our own making.

What the tests could swallow with an ``except`` is only what a function may rightly do: raise an ordinary exception. All
else (no answer, a forged one, one that is no plain data) ends the check at once.
"""

from __future__ import annotations

import builtins
import os
from _thread import RLock

from .encoding import Malformed, Unsupported, decode, encode
from .frames import NONCE, Gone, receive, send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, NoReturn

# Raising one of these in the tests would end their loops early, and quietly; Python itself does the same (PEP 479).
_SILENT = (StopIteration, StopAsyncIteration)
_ORDINARY: dict[str, type[Exception]] = {
    name: kind
    for name, kind in vars(builtins).items()
    if isinstance(kind, type) and issubclass(kind, Exception) and name == kind.__name__
}


_NAMES = "candidate_names"  # an attribute of exceptions


class CandidateError(Exception):
    """The candidate raised an exception of a class that only it knows, or one that would end a loop of the tests."""


class Iterated:
    """What an iterator of the candidate gave: an iterator here, too, which equals itself alone."""

    def __init__(self, items: list[Any], end: BaseException | None) -> None:
        self._items, self._end = items, end
        self._at = 0

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self._at == len(self._items):
            if self._end is not None:
                raise self._end
            raise StopIteration
        self._at += 1
        return self._items[self._at - 1]

    def __repr__(self) -> str:
        return f"Iterated({self._items[self._at :]!r})"


class Channel:
    """Both pipes to the candidate. ``finish(status, detail)`` reports and ends this process."""

    def __init__(self, answers: int, requests: int, finish: Callable[[str, str], NoReturn]) -> None:
        self._answers, self._requests, self.finish = answers, requests, finish
        self._lock = RLock()
        self.exceptions: dict[str, type[Exception]] = {}  # classes of the submission that the tests asked for, or ours
        self.asked = 0

    def ask(self, *request: Any) -> tuple[Any, ...]:
        """The answer to a request, a tuple that begins with one of the words of `candidate.answer`."""
        try:
            payload = encode(request)
        except Unsupported as e:
            self.finish("broken", f"the tests call with {e}; plain data is needed")
        nonce = os.urandom(NONCE)
        try:
            with self._lock:
                self.asked += 1
                send(self._requests, nonce, payload)
                echoed, data = receive(self._answers)
            if echoed != nonce:
                raise Malformed("it answers another question than was asked")
            answer = decode(data, self._iterated)
            if type(answer) is not tuple or not answer or type(answer[0]) is not str:
                raise Malformed("no such answer")
        except Gone:
            self.finish("gone", "")
        except Malformed as e:
            self.finish("forged", f"not the driver's answer: {e}")
        if answer[0] == "refused" and len(answer) == 2 and _texts(answer):
            self.finish("refused", answer[1])
        return answer

    def find(self, module: str, name: str) -> tuple[Any, ...]:
        """What this name is: ("function",), ("exception", names), ("value", value) or ("missing",)."""
        answer = self.ask("find", module, name)
        if answer[0] == "raised" and len(answer) == 4:
            e = self.exception(answer[1], answer[2])
            self.finish("failed", f"the submission cannot be loaded: {type(e).__name__}: {e}")
        if (answer[0], len(answer)) not in (("function", 1), ("exception", 2), ("value", 3), ("missing", 1)):
            self.finish("forged", "no such answer")
        return answer

    def call(self, module: str, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a function of the submission. Raises what it raised, as one of our own classes."""
        answer = self.ask("call", module, name, args, kwargs)
        if answer[0] == "value" and len(answer) == 3:
            self._after((args, kwargs), answer[2])
            return answer[1]
        if answer[0] != "raised" or len(answer) != 4:
            self.finish("forged", "no such answer")
        self._after((args, kwargs), answer[3])
        raise self.exception(answer[1], answer[2])

    def exception(self, names: Any, text: Any) -> Exception:
        """An exception to raise here for one that was raised there; `names_of` has the names of its classes there."""
        if not _texts([text]) or type(names) is not list or not names or not _texts(names):
            self.finish("forged", "no such exception")
        if "Exception" not in names:
            self.finish("crashed", f"{names[0]}: {text}" if text else names[0])
        for name in names:
            kind = _ORDINARY.get(name) or self.exceptions.get(name)
            if kind is not None and kind is not Exception:
                if issubclass(kind, _SILENT):
                    break
                return _named(_make(kind, text), names)
        return _named(CandidateError(f"{names[0]}: {text}"), names)

    def exception_class(self, names: Any) -> type[Exception]:
        """A class of ours that stands for an exception's class of the submission."""
        if type(names) is not list or not names or not _texts(names) or not names[0].isidentifier():
            self.finish("forged", "no such exception")
        bases = [k for n in names if (k := _ORDINARY.get(n)) is not None and not issubclass(k, _SILENT)]
        if names[0] in _ORDINARY:
            return _ORDINARY[names[0]]
        return self.exceptions.setdefault(names[0], type(names[0], (bases[0] if bases else Exception,), {}))

    def _iterated(self, items: list[Any], end: Any) -> Iterated:
        if end is None:
            return Iterated(items, None)
        if end is True:
            return Iterated(items, CandidateError(f"an iterator is cut short after {len(items)} items"))
        if type(end) is not tuple or len(end) != 2:
            raise Malformed("no such end of an iterator")
        return Iterated(items, self.exception(*end))

    def _after(self, before: tuple[tuple[Any, ...], dict[str, Any]], after: Any) -> None:
        """Bring the caller's own objects to what the candidate made of its copies."""
        if after is None:
            return
        if not merge(before, after):
            self.finish("forged", "arguments of another shape than it was called with")


def names_of(e: BaseException) -> list[str]:
    """The names of an exception's classes, as the candidate has them; none when it is not the candidate's."""
    return list(getattr(e, _NAMES, ()))


def _named(e: Exception, names: list[str]) -> Exception:
    setattr(e, _NAMES, tuple(names))
    return e


def _texts(values: Any) -> bool:
    return all(type(value) is str for value in values)


def _make(kind: type[Exception], text: str) -> Exception:
    """Some need more than a text."""
    try:
        if issubclass(kind, UnicodeDecodeError):
            return kind("?", b"", 0, 1, text)
        if issubclass(kind, UnicodeEncodeError):
            return kind("?", "", 0, 1, text)
        if issubclass(kind, UnicodeTranslateError):
            return kind("", 0, 1, text)
        if issubclass(kind, ExceptionGroup):
            return kind(text, [CandidateError("what is in the group stays there")])
        return kind(text)
    except TypeError:
        return CandidateError(f"{kind.__name__}: {text}")


def merge(mine: Any, theirs: Any) -> bool:
    """Make ``mine`` equal to ``theirs`` in place, keeping its objects; False where that needs another object."""
    for base in (list, dict, set, bytearray, tuple):
        if isinstance(mine, base) != isinstance(theirs, base):
            return False
    if isinstance(mine, list):
        mine[:] = [_merged(m, t) for m, t in zip(mine, theirs)] + theirs[len(mine) :]  # noqa: B905 -- it may have shrunk
    elif isinstance(mine, dict):
        kept = dict(mine)
        mine.clear()
        mine.update((key, _merged(kept[key], t) if key in kept else t) for key, t in theirs.items())
    elif isinstance(mine, set):
        mine.clear()
        mine.update(theirs)
    elif isinstance(mine, bytearray):
        mine[:] = theirs
    elif isinstance(mine, tuple):
        return len(mine) == len(theirs) and all(merge(m, t) for m, t in zip(mine, theirs, strict=True))
    elif isinstance(mine, frozenset):
        return bool(mine == theirs)
    else:  # the same number or text; by its bytes, for a NaN equals nothing
        return encode(mine) == encode(theirs)
    return True


def _merged(mine: Any, theirs: Any) -> Any:
    return mine if isinstance(mine, (list, dict, set, bytearray)) and merge(mine, theirs) else theirs
