"""Where the real package has the classes without ``await``."""

from __future__ import annotations

from pyjail.boxlite._sync import (
    SyncBox,
    SyncBoxlite,
    SyncCodeBox,
    SyncExecStderr,
    SyncExecStdout,
    SyncExecution,
    SyncSimpleBox,
)

__all__ = [
    "SyncBox",
    "SyncBoxlite",
    "SyncCodeBox",
    "SyncExecStderr",
    "SyncExecStdout",
    "SyncExecution",
    "SyncSimpleBox",
]
