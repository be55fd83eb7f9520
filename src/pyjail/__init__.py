"""pyjail: run untrusted programs in a jail made of nothing but Linux, and know exactly what happened.

>>> import pyjail
>>> r = pyjail.run(["echo", "hello"], pyjail.Limits(cpu_time=2, memory="256M"))
>>> r.verdict
<Verdict.OK: 'ok'>
"""

from __future__ import annotations

__distribution__ = "pyjail-linux"  # what the rest of the package knows this file by: see `_lazy`
__version__ = "0.1.0"

from pyjail import _lazy
from pyjail._errors import (
    CwdNotFoundError,
    ExecError,
    HostError,
    JailError,
    JailWarning,
    KeeperError,
    PolicyWarning,
    PoolClosedError,
    ProgramNotFoundError,
    ProgramPermissionError,
    SetupError,
    SpecError,
)
from pyjail._run import close, run
from pyjail._spec import DEVNULL, PIPE, STDOUT, File, Jail, Limits, Mount

TYPE_CHECKING = False  # as typing's, without the 10 ms that importing it costs
if TYPE_CHECKING:
    from typing import Any

    from pyjail import aio, cgroup, grading, languages, testing
    from pyjail._artefacts import ArtefactCache
    from pyjail._build import Build
    from pyjail._doctor import doctor
    from pyjail._doctor.finding import Finding
    from pyjail._executor import JailExecutor
    from pyjail._interact import interact
    from pyjail._interaction import Flow, Happening, Interaction
    from pyjail._learn import Learned, learn
    from pyjail._measure import Measurement, Repeat, Spread, measure
    from pyjail._parties import Edge, Party
    from pyjail._pool import Pool
    from pyjail._process import Process, start
    from pyjail._result import Result
    from pyjail._seccomp_spec import SeccompPolicy, SeccompRule
    from pyjail._selftest.runner import selftest
    from pyjail._session import Session
    from pyjail._snapshot import Snapshot
    from pyjail._subprocess_errors import JailedProcessError, PoolExhaustedError, TimeoutExpired
    from pyjail._terminal import Terminal
    from pyjail._undecoded import OutputDecodeError
    from pyjail._usage import Control, Receipt, Usage
    from pyjail._verdicts import Verdict
    from pyjail.languages import Judgement, JudgeVerdict, Subtask, Test, TestResult, judge_source
    from pyjail.policy.lint import lint

__all__ = [
    "ArtefactCache",
    "Build",
    "Control",
    "CwdNotFoundError",
    "DEVNULL",
    "Edge",
    "ExecError",
    "File",
    "Finding",
    "Flow",
    "Happening",
    "HostError",
    "Interaction",
    "Jail",
    "JailError",
    "JailExecutor",
    "JailWarning",
    "JailedProcessError",
    "JudgeVerdict",
    "Judgement",
    "KeeperError",
    "Learned",
    "Limits",
    "Measurement",
    "Mount",
    "OutputDecodeError",
    "PIPE",
    "Party",
    "PolicyWarning",
    "Pool",
    "PoolClosedError",
    "PoolExhaustedError",
    "Process",
    "ProgramNotFoundError",
    "ProgramPermissionError",
    "Receipt",
    "Repeat",
    "Result",
    "STDOUT",
    "SeccompPolicy",
    "SeccompRule",
    "Session",
    "SetupError",
    "Snapshot",
    "SpecError",
    "Spread",
    "Subtask",
    "Terminal",
    "Test",
    "TestResult",
    "TimeoutExpired",
    "Usage",
    "Verdict",
    "aio",
    "cgroup",
    "close",
    "doctor",
    "grading",
    "interact",
    "judge_source",
    "languages",
    "learn",
    "lint",
    "measure",
    "run",
    "selftest",
    "start",
    "testing",
]

# Loaded when they are first used.
_LATER = {
    **dict.fromkeys(("Process", "start"), "pyjail._process"),
    "Session": "pyjail._session",
    "Terminal": "pyjail._terminal",
    "ArtefactCache": "pyjail._artefacts",
    "Build": "pyjail._build",
    "Snapshot": "pyjail._snapshot",
    "Pool": "pyjail._pool",
    "interact": "pyjail._interact",
    **dict.fromkeys(("Flow", "Happening", "Interaction"), "pyjail._interaction"),
    **dict.fromkeys(("Edge", "Party"), "pyjail._parties"),
    "JailExecutor": "pyjail._executor",
    "selftest": "pyjail._selftest.runner",
    **dict.fromkeys(("judge_source", "Judgement", "JudgeVerdict", "Subtask", "Test", "TestResult"), "pyjail.languages"),
    "doctor": "pyjail._doctor",
    "Finding": "pyjail._doctor.finding",
    **dict.fromkeys(("Learned", "learn"), "pyjail._learn"),
    **dict.fromkeys(("Measurement", "Repeat", "Spread", "measure"), "pyjail._measure"),
    **dict.fromkeys(("SeccompPolicy", "SeccompRule"), "pyjail._seccomp_spec"),
    "lint": "pyjail.policy.lint",
    **dict.fromkeys(("JailedProcessError", "PoolExhaustedError", "TimeoutExpired"), "pyjail._subprocess_errors"),
    "OutputDecodeError": "pyjail._undecoded",
    "Result": "pyjail._result",
    "Verdict": "pyjail._verdicts",
    **dict.fromkeys(("Control", "Receipt", "Usage"), "pyjail._usage"),
}


_MODULES = (
    "aio",
    "cgroup",
    "grading",
    "languages",
    "testing",
)  # of their own: pyjail.aio.run(), pyjail.cgroup.enter_leaf()


def __getattr__(name: str) -> Any:
    if name not in _LATER and name not in _MODULES:
        raise AttributeError(f"module 'pyjail' has no attribute {name!r}")
    with _lazy.lock:
        from importlib import import_module

        if name in _MODULES:
            return import_module(f"pyjail.{name}")
        try:
            module = import_module(_LATER[name])
        except ImportError as e:
            from pyjail import _fds

            _fds.blame(e)
            raise
    value = getattr(module, name)
    value.__module__ = "pyjail"
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


for _name in __all__:
    if _name in globals() and callable(globals()[_name]):
        globals()[_name].__module__ = "pyjail"
del _name
