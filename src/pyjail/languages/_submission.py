"""The files of a submission, whatever they are called: which of them is the program."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyjail._base.errors import SpecError
from pyjail._spec import inputs
from pyjail.languages._language import Language
from pyjail.languages._values import named

Text = str | bytes
Source = Text | os.PathLike[str] | Mapping[str, Text]


class NotAProgram(Exception):
    """There is nothing to compile or to run in what was submitted."""


def submission(language: Language, source: Any, given: Mapping[str, Any]) -> dict[str, bytes]:
    """{name: content} of what was submitted, the program first; without what the caller gives himself.

    Raises:
        NotAProgram: names that no file can have, or no file of the language. SpecError: it is no source at all.
        OSError: it cannot be read.
    """
    if not isinstance(source, Mapping):
        data = read(source)
        name = named(language, data)
        if name in given:
            raise SpecError(
                "files", name, "is what the source is called: give that as a mapping, with a name of its own"
            )
        return {name: data}
    parts: dict[str, bytes] = {}
    for name, text in source.items():
        if not isinstance(name, str) or not isinstance(text, (str, bytes)):
            raise SpecError("source", name, "a mapping of names to texts is needed")
        try:
            parts[inputs.relative("source", name)] = read(text)
        except SpecError as e:
            raise NotAProgram(f"a file cannot be called so: {e}") from None
    parts = {name: data for name, data in parts.items() if name not in given}
    try:
        inputs.check_inputs({**parts, **given})
    except SpecError as e:
        raise NotAProgram(str(e)) from None
    programs = [name for name in parts if not language.extensions or name.endswith(language.extensions)]
    if not programs:
        raise NotAProgram(f"no file of {language.title} is in it: {', '.join(language.extensions)}")
    return {name: parts[name] for name in dict.fromkeys((*programs, *parts))}


def read(source: Any) -> bytes:
    """The source as bytes; half a surrogate pair, which none can hold, is for its compiler to refuse."""
    if isinstance(source, str):
        try:
            return source.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            return source.encode("utf-8", "surrogatepass")
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source)
    if isinstance(source, os.PathLike):
        return Path(source).read_bytes()
    raise SpecError(
        "source", source, "the program's text (str or bytes), a Path, or a mapping of names to texts is needed"
    )
