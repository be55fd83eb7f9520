"""The files of a request to Piston: which is the program, and what it is called."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from pyjail import languages
from pyjail.serve.faces.common import relative
from pyjail.serve.problem import Problem

_ENCODINGS = ("utf8", "base64", "hex")


class Refused(Problem):
    """A 400."""

    def __init__(self, detail: str) -> None:
        super().__init__(400, "field", detail)


class Main(NamedTuple):
    """The program. ``name``: "" where it has none."""

    name: str
    text: str


def sent(given: Any) -> tuple[Main, dict[str, bytes]]:
    """The first file that is text, and all others. Raises `Refused`."""
    if not isinstance(given, list):
        raise Refused("files is required as an array")
    main, files = None, dict[str, bytes]()
    for i, file in enumerate(given):
        if not isinstance(file, dict) or not isinstance(file.get("content"), str):
            raise Refused(f"files[{i}].content is required as a string")
        try:
            name = relative(str(file["name"]).lstrip("/")) if file.get("name") else ""
        except ValueError as e:
            raise Refused(f"files[{i}].name: {e}") from None
        encoding = file["encoding"] if file.get("encoding") in _ENCODINGS else "utf8"
        if main is None and encoding == "utf8":
            main = Main(name, file["content"])
        else:
            files[name or f"file{i}.code"] = _decoded(file["content"], encoding, i)
    if main is None:
        raise Refused("files must include at least one utf8 encoded file")
    if main.name in files:
        raise Refused(f"files: {main.name} is there twice")
    return main, files


def called(
    main: Main, files: Mapping[str, bytes], language: languages.Language
) -> tuple[str | Mapping[str, str], languages.Language | None]:
    """The source, and how it is run where it has a name that the language's programs have not."""
    if main.name.startswith("-"):  # it would be an option
        return main.text, None
    if main.name.endswith(language.extensions or ("\0",)) and not language.stem:
        return {main.name: main.text}, None
    name = main.name or ("file0.code" if language.source in files else "")
    if name and not language.compile and "/" not in name:
        return main.text, replace(language, source=name)
    return main.text, None


def _decoded(content: str, encoding: str, at: int) -> bytes:
    """What is no base64 is passed over, as there."""
    if encoding == "utf8":
        return content.encode("utf-8", "replace")
    try:
        if encoding == "hex":
            return bytes.fromhex(content)
        plain = re.sub(r"[^A-Za-z0-9+/]", "", content.partition("=")[0].translate({45: "+", 95: "/"}))
        return base64.b64decode(plain + "=" * (-len(plain) % 4))
    except (binascii.Error, ValueError):
        raise Refused(f"files[{at}].content is no {encoding}") from None
