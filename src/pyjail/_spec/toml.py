"""Tables of a TOML file. Unknown keys are refused with the nearest right name."""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import re
import tomllib
from collections.abc import Iterator
from typing import Any

from pyjail._base.errors import SpecError

_NONE = re.compile(r"\bNone(?= (?:is|means|for)\b)")  # as TOML has it


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What is in the file ``path``. SpecError when it is no TOML; OSError."""
    with open(path, "rb") as f:
        try:
            return tomllib.load(f)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
            raise SpecError("config", os.fspath(path), f"is not TOML: {e}") from None


@contextlib.contextmanager
def of(where: str, plain: str = "rules.") -> Iterator[None]:
    """What is wrong inside is said of this file, this table; ``plain``: what it is called there without a number."""
    try:
        yield
    except SpecError as e:
        raise SpecError(f"{where}{e.field.removeprefix(plain)}", e.value, _NONE.sub('"none"', e.reason)) from None


def table(data: dict[str, Any], name: str) -> dict[str, Any]:
    found = data.get(name, {})
    if not isinstance(found, dict):
        raise SpecError(name, found, f"a [{name}] table is needed")
    return dict(found)


def known(where: str, table: dict[str, Any], names: Any) -> None:
    """SpecError for a key that is none of ``names``; it names the nearest right one."""
    for key in table:
        if key not in names:
            near = difflib.get_close_matches(key, list(names), 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(names))}"
            raise SpecError(f"{where}.{key}".lstrip("."), table[key], f"there is no such key; {hint}")


def value_of(field: str, value: Any) -> str:
    """A bool, int, text or tuple of texts in TOML: its basic strings are JSON's, but for DEL."""
    if isinstance(value, tuple):
        return f"[{', '.join(value_of(field, v) for v in value)}]"
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise SpecError(field, value, "is not UTF-8, which a TOML file has to be") from None
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
