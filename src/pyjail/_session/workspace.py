"""What `Session.steps` and `Session.build` need of a session."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from pyjail._result.result import Result
from pyjail._session.changes import RootChange
from pyjail._session.snapshot import Content, Snapshot
from pyjail._spec.jail import Jail, Limits


class Workspace(Protocol):
    """A /box, and programs that run in it one after the other."""

    @property
    def jail(self) -> Jail: ...

    @property
    def limits(self) -> Limits: ...

    @property
    def run(self) -> Callable[..., Result[Any]]: ...

    def snapshot(self) -> Snapshot: ...

    def root_changes(self) -> list[RootChange]: ...


Put = Callable[[str, int, Content], None]  # path, mode: into that /box
