"""Which languages there are: ours, and those of a user's own file."""

from __future__ import annotations

import difflib
import functools
import os
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from types import MappingProxyType

from pyjail._base.errors import SpecError
from pyjail._spec import config_file, toml
from pyjail.languages._language import Language, from_table

_LONGEST_NAME = 80  # characters: of more, to look for the nearest takes seconds


@functools.cache
def table() -> Mapping[str, Language]:
    """The languages that pyjail knows, by name; nothing is said of what is installed.

    >>> from pyjail import languages
    >>> languages.table()["cpp"].extensions
    ('.cpp', '.cc', '.cxx')
    """
    return load(Path(str(resources.files("pyjail.languages") / "languages.toml")), {})


def load(path: str | os.PathLike[str], base: Mapping[str, Language] | None = None) -> Mapping[str, Language]:
    """The ``[languages.NAME]`` tables of a TOML file over ``base`` (default: `table`).

    A new name adds a language and needs ``run``, ``source`` and ``tools``; a known one changes the keys that it has. A
    path in ``check`` is relative to the file. ``[jail]`` and ``[limits]`` tables may be in the same file.

    Raises:
        SpecError: the file is no TOML, a key is unknown (the nearest right one is named), or a value makes no sense.
        OSError: it cannot be read.
    """
    found = dict(table() if base is None else base)
    where = os.path.dirname(os.path.abspath(path))
    for name, given in config_file.load(path).languages.items():
        if isinstance(given, dict) and isinstance(given.get("check"), str) and given["check"]:
            given = {**given, "check": os.path.join(where, given["check"])}
        with toml.of(f"{os.fsdecode(path)}: "):
            found[name] = from_table(name, given, found.get(name))
    return MappingProxyType(found)


def find(name: str, languages: Mapping[str, Language] | None = None) -> Language:
    """A language by its name, its title, or an extension ("py", ".py", "main.py"), in ``languages`` (default: `table`).

    Raises:
        SpecError: there is none such; the nearest is named.

    >>> from pyjail import languages
    >>> languages.find("C++").name, languages.find(".rs").name, languages.find("sub/main.py").name
    ('cpp', 'rust', 'python')
    """
    known = table() if languages is None else languages
    if not isinstance(name, str):
        raise SpecError("language", name, "a name such as 'python' or a pyjail.languages.Language is needed")
    lower = name.lower()
    if lower in known:
        return known[lower]
    suffix = re.search(r"\.[^./]+\Z", lower)
    for language in known.values():
        extension = suffix[0] if suffix else f".{lower}"
        if lower == language.title.lower() or extension in language.extensions:
            return language
    names = {n for one in known.values() for n in (one.name, one.title.lower(), *one.extensions)}
    near = difflib.get_close_matches(lower[:_LONGEST_NAME], sorted(names), 1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(known))}"
    raise SpecError("language", name, f"there is no such language; {hint}")
