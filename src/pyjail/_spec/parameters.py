"""What `run` and its twins take, for type checkers: what they return depends on how the output is asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Literal, Required, TypedDict

Args = Sequence[str | bytes | os.PathLike[str]]


class _Common(TypedDict, total=False):
    input: bytes | str | None
    stdin: object
    env: Mapping[str, str] | None
    cwd: str | os.PathLike[str] | None
    files: Mapping[str, object] | None
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


class Streamed(TypedDict, total=False):
    """The keywords of `Session.start`."""

    stdin: object
    stdout: object
    stderr: object
    env: Mapping[str, str] | None
    cwd: str | os.PathLike[str] | None
    text: bool
    encoding: str | None
    errors: str | None
    universal_newlines: bool | None


class Live(Streamed, total=False):
    """The keywords of `start`, beside ``jail`` and ``pty``."""

    files: Mapping[str, object] | None
    collect: Sequence[str]
