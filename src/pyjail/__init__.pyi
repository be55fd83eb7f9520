"""What type checkers read: the public names, by where they are. `__init__.py` has the same in `_PUBLIC`."""

from pyjail import aio, boxlite, cgroup, grading, images, interpreter, languages, precheck, records, sanitize, testing
from pyjail._base.errors import HostError, JailError, KeeperError, SetupError, SpecError
from pyjail._base.rare_errors import (
    CwdNotFoundError,
    ExecError,
    JailWarning,
    PolicyWarning,
    PoolClosedError,
    ProgramNotFoundError,
    ProgramPermissionError,
)
from pyjail._box.box import Box
from pyjail._box.processes import BoxProcess
from pyjail._doctor import doctor
from pyjail._doctor.finding import Finding
from pyjail._interact.interact import interact
from pyjail._interact.interaction import Flow, Happening, Interaction
from pyjail._interact.parties import Edge, Party
from pyjail._learn.learn import Learned, learn
from pyjail._live.process import Process, start
from pyjail._many.executor import JailExecutor
from pyjail._many.measure import Measurement, Repeat, Spread, measure
from pyjail._many.pool import Pool
from pyjail._policy.lint import lint
from pyjail._result.contact import Contact, Contacts
from pyjail._result.result import Result
from pyjail._result.subprocess_errors import JailedProcessError, PoolExhaustedError, TimeoutExpired
from pyjail._result.undecoded import OutputDecodeError
from pyjail._result.usage import Control, Receipt, Usage
from pyjail._result.verdict import Verdict
from pyjail._run.preview import Plan, plan
from pyjail._run.profile import Timings, timings
from pyjail._run.run import close, run
from pyjail._selftest.runner import selftest
from pyjail._session.artefacts import ArtefactCache
from pyjail._session.build import Build
from pyjail._session.changes import RootChange
from pyjail._session.session import Session
from pyjail._session.snapshot import Snapshot
from pyjail._session.steps import load_steps
from pyjail._spec.config_file import from_toml
from pyjail._spec.egress import Egress
from pyjail._spec.jail import DEVNULL, PIPE, STDOUT, File, Jail, Limits, Link, Mount
from pyjail._spec.seccomp import SeccompPolicy, SeccompRule
from pyjail._spec.terminal import Terminal
from pyjail.interpreter import Execution, Interpreter
from pyjail.languages import Judgement, JudgeVerdict, Subtask, Test, TestResult, judge_source

__distribution__: str
__version__: str

__all__ = [
    "ArtefactCache",
    "Box",
    "BoxProcess",
    "Build",
    "Contact",
    "Contacts",
    "Control",
    "CwdNotFoundError",
    "DEVNULL",
    "Edge",
    "Egress",
    "ExecError",
    "Execution",
    "File",
    "Finding",
    "Flow",
    "Happening",
    "HostError",
    "Interaction",
    "Interpreter",
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
    "Link",
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
    "RootChange",
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
    "boxlite",
    "cgroup",
    "close",
    "doctor",
    "from_toml",
    "grading",
    "images",
    "interact",
    "interpreter",
    "judge_source",
    "languages",
    "learn",
    "lint",
    "load_steps",
    "measure",
    "plan",
    "precheck",
    "records",
    "run",
    "sanitize",
    "selftest",
    "start",
    "testing",
    "timings",
]
