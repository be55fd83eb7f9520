"""What type checkers read: the public names, by where they are. `__init__.py` has the same in `_PUBLIC`."""

from pyjail import aio, cgroup, grading, languages, records, testing
from pyjail._artefacts import ArtefactCache
from pyjail._build import Build
from pyjail._config_file import from_toml
from pyjail._doctor import doctor
from pyjail._doctor.finding import Finding
from pyjail._errors import HostError, JailError, KeeperError, SetupError, SpecError
from pyjail._executor import JailExecutor
from pyjail._interact import interact
from pyjail._interaction import Flow, Happening, Interaction
from pyjail._learn import Learned, learn
from pyjail._measure import Measurement, Repeat, Spread, measure
from pyjail._parties import Edge, Party
from pyjail._pool import Pool
from pyjail._preview import Plan, plan
from pyjail._process import Process, start
from pyjail._profile import Timings, timings
from pyjail._rare_errors import (
    CwdNotFoundError,
    ExecError,
    JailWarning,
    PolicyWarning,
    PoolClosedError,
    ProgramNotFoundError,
    ProgramPermissionError,
)
from pyjail._result import Result
from pyjail._run import close, run
from pyjail._seccomp_spec import SeccompPolicy, SeccompRule
from pyjail._selftest.runner import selftest
from pyjail._session import Session
from pyjail._snapshot import Snapshot
from pyjail._spec import DEVNULL, PIPE, STDOUT, File, Jail, Limits, Mount
from pyjail._steps import load_steps
from pyjail._subprocess_errors import JailedProcessError, PoolExhaustedError, TimeoutExpired
from pyjail._terminal import Terminal
from pyjail._undecoded import OutputDecodeError
from pyjail._usage import Control, Receipt, Usage
from pyjail._verdicts import Verdict
from pyjail.languages import Judgement, JudgeVerdict, Subtask, Test, TestResult, judge_source
from pyjail.policy.lint import lint

__distribution__: str
__version__: str

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
    "Plan",
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
    "Timings",
    "Usage",
    "Verdict",
    "aio",
    "cgroup",
    "close",
    "doctor",
    "from_toml",
    "grading",
    "interact",
    "judge_source",
    "languages",
    "learn",
    "lint",
    "load_steps",
    "measure",
    "plan",
    "records",
    "run",
    "selftest",
    "start",
    "testing",
    "timings",
]
