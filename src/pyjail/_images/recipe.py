"""The recipe of an image, as tables of a TOML file -> `Recipe`, its steps and the key of each. Pure.

A step is the image before it, and what it does to it. Its key says both, and what it copies: of the same key the
result may be taken from an earlier build.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from pyjail._base import units
from pyjail._base.errors import SpecError
from pyjail._images import reference
from pyjail._images.users import MOST as MOST_UID

FORMAT = "pyjail-recipe-1"  # of keys: what makes a step differently needs another
KEYS = ("from", "copy", "env", "run", "workdir", "user", "entrypoint", "cmd", "egress", "writable_root", "limits")
SPACE = 1 << 30  # bytes that a step may write, where nothing is said
MOST = 1000  # of each list and table
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,254}", re.ASCII)
_VARIABLE = re.compile(r"[^=\0]+")
OWN = ("proc", "dev", "tmp", "box", "sys")  # a jail's own, whatever an image has there


class Copy(NamedTuple):
    """``src``, a path below the recipe's directory, becomes ``dst`` in the image."""

    src: str
    dst: str


class Step(NamedTuple):
    """One change of the tree. ``kind`` is "copy" or "run"; ``says`` is all that it depends on but the image before it
    and the files that it copies, as plain data."""

    kind: str
    says: Mapping[str, Any]

    def key(self, before: str, content: str = "") -> str:
        """The sha256 of the step: of the ``before`` image's id, of what it does, of what it copies (its digest).

        >>> Step("run", {"args": ["true"]}).key("a") != Step("run", {"args": ["true"]}).key("b")
        True
        """
        parts = [FORMAT, before, self.kind, self.says, content]
        said = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(said.encode()).hexdigest()


class Recipe(NamedTuple):
    """What an image is made of.

    ``base``: the name or digest of the image that it begins with. ``copy`` is done before ``run``, each in its order;
    ``run`` are commands, in the jail of ``egress``, ``writable_root`` (bytes that one may write) and ``limits`` (of
    `Limits`, not checked here). ``env``, ``workdir``, ``user``, ``entrypoint`` and ``cmd`` are the image's, and the
    first two count for ``run``, too; None: as ``base`` has it.
    """

    base: str
    copy: tuple[Copy, ...] = ()
    env: Mapping[str, str] = {}  # never changed
    run: tuple[tuple[str, ...], ...] = ()
    workdir: str | None = None
    user: str | None = None
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    egress: tuple[str, ...] = ()
    writable_root: int = SPACE
    limits: Mapping[str, Any] = {}  # never changed

    def steps(self) -> list[Step]:
        """What is done to the tree, in its order."""
        around = {"env": dict(self.env), "workdir": self.workdir, "egress": sorted(self.egress)}
        return [
            *(Step("copy", one._asdict()) for one in self.copy),
            *(Step("run", {"args": list(args), **around}) for args in self.run),
        ]


def parse(tables: Mapping[str, Any]) -> Recipe:
    """The recipe that these tables are. SpecError names the field, and the nearest right name of one that is none.

    >>> parse({"from": "debian", "run": ["apt-get update", ["true"]]}).run
    (('sh', '-c', 'apt-get update'), ('true',))
    """
    if not isinstance(tables, Mapping):
        raise SpecError("recipe", tables, "a table with the key from is needed")
    _known("recipe", tables, KEYS)
    if "from" not in tables:
        raise SpecError("from", None, "is missing: the name of the image that this one begins with")
    env = tables.get("env", {})
    return Recipe(
        base=_base(tables["from"]),
        copy=tuple(_copy(f"copy[{n}]", one) for n, one in enumerate(_list("copy", tables.get("copy", [])))),
        env=_env(env),
        run=tuple(_command(f"run[{n}]", one) for n, one in enumerate(_list("run", tables.get("run", [])))),
        workdir=None if "workdir" not in tables else _inside("workdir", tables["workdir"], True),
        user=None if "user" not in tables else _user(tables["user"]),
        entrypoint=None if "entrypoint" not in tables else _words("entrypoint", tables["entrypoint"]),
        cmd=None if "cmd" not in tables else _command("cmd", tables["cmd"]),
        egress=tuple(_text(f"egress[{n}]", one) for n, one in enumerate(_list("egress", tables.get("egress", [])))),
        writable_root=_space(tables.get("writable_root", SPACE)),
        limits=_limits(tables.get("limits", {})),
    )


def _space(value: Any) -> int:
    size = units.size("writable_root", value, least=1 << 16)
    if size is None:
        raise SpecError("writable_root", value, 'a size is needed, such as "1G": what is written takes memory')
    return size


def _known(where: str, given: Iterable[Any], names: Sequence[str]) -> None:
    for name in given:
        if name not in names:
            import difflib

            near = difflib.get_close_matches(str(name), names, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(names)}"
            raise SpecError(where, name, f"there is no such key; {hint}")


def _text(field: str, value: object) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise SpecError(field, value, "text is needed, not empty and without a zero byte")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise SpecError(field, value, "is no text that can be written in UTF-8") from None
    return value


def _list(field: str, value: object) -> list[Any]:
    if not isinstance(value, list):
        raise SpecError(field, value, "a list is needed")
    if len(value) > MOST:
        raise SpecError(field, f"{len(value):,} entries", f"{MOST:,} at most")
    return value


def _base(value: object) -> str:
    text = _text("from", value)
    if re.fullmatch(r"sha256:[0-9a-f]{64}", text):
        return text
    try:
        return reference.local_name(text)
    except SpecError as e:
        raise SpecError("from", value, e.reason) from None


def _copy(field: str, value: object) -> Copy:
    if not isinstance(value, dict):
        raise SpecError(field, value, 'a table is needed: { src = "app.py", dst = "/opt/app.py" }')
    _known(field, value, Copy._fields)
    for name in Copy._fields:
        if name not in value:
            raise SpecError(f"{field}.{name}", None, "is missing")
    src = _text(f"{field}.src", value["src"])
    if src.startswith("/") or ".." in src.split("/"):
        raise SpecError(f"{field}.src", src, "a path below the recipe's directory is needed, without ..")
    return Copy(posixpath.normpath(src), _inside(f"{field}.dst", value["dst"], False))


def _inside(field: str, value: object, own: bool) -> str:
    """An absolute path of the image; ``own``: the jail's own places are allowed."""
    text = _text(field, value)
    if not text.startswith("/") or ".." in text.split("/"):
        raise SpecError(field, text, "an absolute path is needed, without ..")
    path = "/" + posixpath.normpath(text).lstrip("/")
    first = path.split("/")[1]
    if not own and (not first or first in OWN):
        what = "the root itself cannot be replaced" if not first else f"/{first} is the jail's own, whatever is there"
        raise SpecError(field, text, what)
    return path


def _env(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise SpecError("env", value, "a table of variables is needed")
    if len(value) > MOST:
        raise SpecError("env", f"{len(value):,} variables", f"{MOST:,} at most")
    for name, text in value.items():
        if not isinstance(name, str) or not _VARIABLE.fullmatch(name):
            raise SpecError("env", name, "the name of a variable is needed, without =")
        if not isinstance(text, str) or "\0" in text:
            raise SpecError(f"env.{name}", text, "text is needed, without a zero byte")
    return dict(value)


def _command(field: str, value: object) -> tuple[str, ...]:
    """A list is a program and its arguments, a text is for a shell."""
    if isinstance(value, str):
        return ("sh", "-c", _text(field, value))
    args = _words(field, value)
    if not args:
        raise SpecError(field, value, "a command is needed: a text for a shell, or a list")
    _text(field, args[0])
    return args


def _words(field: str, value: object) -> tuple[str, ...]:
    args = _list(field, value)
    for one in args:
        if not isinstance(one, str) or "\0" in one:
            raise SpecError(field, value, "a list of texts is needed, without zero bytes")
    return tuple(args)


def _limits(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise SpecError("limits", value, "a [limits] table is needed")
    return dict(value)


def _user(value: object) -> str:
    """As an image's configuration has it: a name or a number, and a group that nobody uses."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else _text("user", value)
    for part in (parts := text.split(":", 1)):
        number = part.isascii() and part.isdigit()
        if (number and int(part[:9]) > MOST_UID) or not (number or _NAME.fullmatch(part)):
            raise SpecError("user", value, f"a name or a number from 0 to {MOST_UID} is needed, also with :GROUP")
    return ":".join(parts)
