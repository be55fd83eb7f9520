"""The check of one source in this process: `check`."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from pyjail import SpecError
from pyjail.precheck._construct import Construct
from pyjail.precheck._constructs import Found, constructs

MODULES = ("os", "sys", "subprocess", "socket", "ctypes", "importlib")
CALLS = ("eval", "exec", "compile")
MOST_BYTES = 64 << 10  # some sources take time by the square of their size: half a second at this one


def check(
    source: str | bytes,
    *,
    language: str = "python",
    modules: Collection[str] = MODULES,
    calls: Collection[str] = CALLS,
    most_bytes: int = MOST_BYTES,
) -> list[Construct]:
    """Imports of these modules and direct calls of these functions in a source, in order: a hint before a run.

    It is no protection, and whoever wants to gets past it in one line: ``().__class__``, ``getattr``, another name for
    ``eval``. What a program cannot do is what its jail does not let it do. See docs/precheck.md.

    The source is parsed, never executed, in this process. A service that is given sources takes `Checker` or
    `check_jailed`: a hostile source can keep a parser busy, and may crash one.

    Args:
        source: of one file; bytes are read as Python reads a file, and so is a text.
        language: "python" is the only one that is known.
        modules: names of modules; the first part of a dotted name counts. calls: names of builtin functions.
        most_bytes: a larger source is not parsed.

    Raises:
        SpecError: another language.

    >>> from pyjail import precheck
    >>> [c.text for c in precheck.check("from os.path import join\\nprint(eval('1'))")]
    ['import of os.path', 'call of eval']
    """
    return told(constructs(encoded(source, language), modules, calls, most_bytes))


def encoded(source: str | bytes, language: str) -> bytes:
    """The bytes of its file. Raises SpecError."""
    if language != "python":
        raise SpecError("language", language, "only python can be checked")
    if isinstance(source, str):
        return source.encode("utf-8", "surrogatepass")  # which no parser takes: it is told as a syntax error
    return bytes(source)


def told(found: Iterable[Found]) -> list[Construct]:
    """As records."""
    return [Construct(*row) for row in found]
