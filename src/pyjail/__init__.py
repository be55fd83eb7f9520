"""pyjail: run untrusted programs in a jail made of nothing but Linux, and know exactly what happened.

>>> import pyjail
>>> r = pyjail.run(["echo", "hello"], pyjail.Limits(cpu_time=2, memory="256M"))
>>> r.verdict
<Verdict.OK: 'ok'>
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyjail._errors import (
    CwdNotFoundError,
    ExecError,
    HostError,
    JailedProcessError,
    JailError,
    KeeperError,
    ProgramNotFoundError,
    ProgramPermissionError,
    SetupError,
    SpecError,
    TimeoutExpired,
)
from pyjail._result import Control, Receipt, Result, Usage, Verdict
from pyjail._spec import DEVNULL, PIPE, STDOUT, File, Jail, Limits, Mount, SeccompPolicy

if TYPE_CHECKING:
    from pyjail._run import close, run

__version__ = "0.1.0"

__all__ = [
    "DEVNULL",
    "PIPE",
    "STDOUT",
    "Control",
    "CwdNotFoundError",
    "ExecError",
    "File",
    "HostError",
    "Jail",
    "JailError",
    "JailedProcessError",
    "KeeperError",
    "Limits",
    "Mount",
    "ProgramNotFoundError",
    "ProgramPermissionError",
    "Receipt",
    "Result",
    "SeccompPolicy",
    "SetupError",
    "SpecError",
    "TimeoutExpired",
    "Usage",
    "Verdict",
    "close",
    "run",
]

_LATER = {"run": "pyjail._run", "close": "pyjail._run"}  # what needs the native part, loaded when it is used


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'pyjail' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_LATER[name]), name)
    value.__module__ = "pyjail"
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


for _name in __all__:
    if isinstance(globals().get(_name), type):
        globals()[_name].__module__ = "pyjail"
del _name
