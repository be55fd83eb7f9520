"""What `run` and other doors take, written once: for type checkers, and for doors that take a part of it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Required, TypedDict

from pyjail._spec.commands import unexpected

Args = Sequence[str | bytes | os.PathLike[str]]


class _Given(TypedDict, total=False):
    input: bytes | str | None
    env: Mapping[str, str] | None
    cwd: str | os.PathLike[str] | None
    files: Mapping[str, object] | None


class _Common(_Given, total=False):
    stdin: object
    collect: Sequence[str]
    check: bool
    timeout: float | str | None
    capture_output: Literal[True] | None


class _Captured(_Common, total=False):
    stdout: None
    stderr: None


class AsText(_Captured, total=False):
    """With ``text=True``: a ``Result[str]``."""

    text: Required[Literal[True]]
    encoding: str | None
    errors: str | None
    universal_newlines: bool | None


class Encoded(_Captured, total=False):
    """With ``encoding=``: a ``Result[str]``."""

    encoding: Required[str]
    text: bool
    errors: str | None
    universal_newlines: bool | None


class AsBytes(_Captured, total=False):
    """Without any of these: a ``Result[bytes]``."""

    text: Literal[False]
    encoding: None
    errors: None
    universal_newlines: None


class Options(_Common, total=False):
    """The keywords of `run` beside ``jail``, written once. What is returned: a ``Result[Any]``."""

    stdout: object
    stderr: object
    text: bool
    encoding: str | None
    errors: str | None
    universal_newlines: bool | None


class Repeated(_Given, total=False):
    """The keywords of `measure`, beside ``repeat`` and ``jail``."""

    text: bool
    timeout: float | str | None


class _Handed(_Given, total=False):
    stdin: object
    stdout: object
    stderr: object


class Watched(_Handed, total=False):
    """The keywords of `learn`, beside ``jail``."""

    timeout: float | str | None


class Planned(TypedDict, total=False):
    """The keywords of `plan`, beside ``jail``."""

    env: Mapping[str, str] | None
    cwd: str | os.PathLike[str] | None
    files: Mapping[str, object] | None
    collect: Sequence[str]


class Timed(_Handed, total=False):
    """The keywords of `timings`, beside ``jail``."""

    collect: Sequence[str]


class Live(TypedDict, total=False):
    """The keywords of `start`, beside ``jail`` and ``pty``, and of `Session.start` and `Box.start`."""

    stdin: object
    stdout: object
    stderr: object
    env: Mapping[str, str] | None
    cwd: str | os.PathLike[str] | None
    text: bool
    encoding: str | None
    errors: str | None
    universal_newlines: bool | None
    files: Mapping[str, object] | None
    collect: Sequence[str]


def only(options: Mapping[str, object], kind: Any) -> None:
    """TypeError for an option that is none of these keywords."""
    for name in options:
        if name not in kind.__optional_keys__:
            raise TypeError(unexpected(name))
