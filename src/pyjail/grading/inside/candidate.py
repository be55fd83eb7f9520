"""The candidate's side: load the submission, answer calls. Nothing here is trusted, it shares its process with it.

Requests come over stdin, answers go over stdout; both are moved away before the submission is loaded, so that what it
prints goes to stderr and what it reads is empty. It may find them all the same: an answer is its own word either way.
"""

from __future__ import annotations

import builtins
import os
import sys

from .encoding import Unsupported, decode, encode
from .frames import Gone, receive, send, take

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MOST_TEXT = 2000  # characters of an exception's message
MISSING = object()


def main() -> None:
    """Serve until the checker closes its end."""
    requests, answers = take(0), take(1)
    os.dup2(2, 1)
    sys.path.insert(0, "/box")
    vars(builtins).update(exit=sys.exit, quit=sys.exit)  # which `site` would have made
    try:
        while True:
            nonce, payload = receive(requests)
            send(answers, nonce, answer(decode(payload)))
    except Gone:
        pass
    for stream in (sys.stdout, sys.stderr):
        try:  # noqa: SIM105 -- contextlib would be imported for this only
            stream.flush()
        except BaseException:  # noqa: S110 -- a stream of the submission's own; nobody is left to be told
            pass
    os._exit(0)


def answer(request: Any) -> bytes:
    """The bytes that answer ("find", module, name) or ("call", module, name, args, kwargs)."""
    try:
        __import__(request[1])
        found = getattr(sys.modules[request[1]], request[2], MISSING)
    except BaseException as e:
        return encode(("raised", *describe(e), None))
    if request[0] == "find":
        return find(found)
    return call(found, request[3], request[4])


def find(found: Any) -> bytes:
    """What a name of the submission is, without calling it."""
    if found is MISSING:
        return encode(("missing",))
    if isinstance(found, type) and issubclass(found, Exception):
        return encode(("exception", ancestors(found)))
    if callable(found):
        return encode(("function",))
    try:
        return encode(("value", found, None))
    except Unsupported as e:
        return encode(("refused", f"it is {e}, not plain data"))


def call(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
    """Call it; the result, or the exception, and the arguments where it changed them."""
    before = encode((args, kwargs))
    try:
        value = function(*args, **kwargs)
    except BaseException as e:
        outcome: tuple[Any, ...] = ("raised", *describe(e))
    else:
        outcome = ("value", value)
    try:
        return encode((*outcome, None if encode((args, kwargs)) == before else (args, kwargs)), describe)
    except Unsupported as e:
        return encode(("refused", f"it returned, or left in an argument, {e}; plain data is needed"))


def ancestors(kind: type) -> list[str]:
    """The names of an exception's classes, its own first."""
    return [str(k.__name__)[:200] for k in type.mro(kind)[:50]]


def describe(e: BaseException) -> tuple[list[str], str]:
    """(names of its classes, what it says)."""
    try:
        text = str(str(e))[:MOST_TEXT]
    except BaseException as lie:
        text = f"its __str__ raised {type(lie).__name__}"
    return ancestors(type(e)), text
