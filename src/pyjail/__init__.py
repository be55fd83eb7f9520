"""pyjail: run untrusted programs in a jail made of nothing but Linux, and know exactly what happened.

>>> import pyjail
>>> r = pyjail.run(["echo", "hello"], pyjail.Limits(cpu_time=2, memory="256M"))
>>> r.verdict
<Verdict.OK: 'ok'>
"""

from __future__ import annotations

__distribution__ = "pyjail-linux"  # what the rest of the package knows this file by: see `_base.lazy`
__version__ = "0.1.0"

from pyjail._base import errors as _errors
from pyjail._base import lazy as _lazy
from pyjail._run import run as _run
from pyjail._spec import jail as _jail

_PUBLIC = {  # what is public, by where it is; type checkers read __init__.pyi
    "_base.errors": (
        "HostError", "JailError", "KeeperError", "SetupError", "SpecError",
    ),
    "_run.run": ("close", "run"),
    "_spec.jail": ("DEVNULL", "File", "Jail", "Limits", "Link", "Mount", "PIPE", "STDOUT"),
    # loaded when one of them is first used
    "_session.artefacts": ("ArtefactCache",),
    "_box.box": ("Box",),
    "_box.processes": ("BoxProcess",),
    "_session.build": ("Build",),
    "_spec.config_file": ("from_toml",),
    "_spec.egress": ("Egress",),
    "_result.contact": ("Contact", "Contacts"),
    "_doctor": ("doctor",),
    "_doctor.finding": ("Finding",),
    "_many.executor": ("JailExecutor",),
    "_interact.interact": ("interact",),
    "_interact.interaction": ("Flow", "Happening", "Interaction"),
    "_learn.learn": ("Learned", "learn"),
    "_many.measure": ("Measurement", "Repeat", "Spread", "measure"),
    "_interact.parties": ("Edge", "Party"),
    "_many.pool": ("Pool",),
    "_run.preview": ("Plan", "plan"),
    "_live.process": ("Process", "start"),
    "_run.profile": ("Timings", "timings"),
    "_base.rare_errors": (
        "CwdNotFoundError", "ExecError", "JailWarning", "PolicyWarning", "PoolClosedError", "ProgramNotFoundError",
        "ProgramPermissionError",
    ),
    "_result.result": ("Result",),
    "_spec.seccomp": ("SeccompPolicy", "SeccompRule"),
    "_selftest.runner": ("selftest",),
    "_session.changes": ("RootChange",),
    "_session.session": ("Session",),
    "_session.snapshot": ("Snapshot",),
    "_session.steps": ("load_steps",),
    "_result.subprocess_errors": ("JailedProcessError", "PoolExhaustedError", "TimeoutExpired"),
    "_spec.terminal": ("Terminal",),
    "_result.undecoded": ("OutputDecodeError",),
    "_result.usage": ("Control", "Receipt", "Usage"),
    "_result.verdict": ("Verdict",),
    "languages": ("JudgeVerdict", "Judgement", "Subtask", "Test", "TestResult", "judge_source"),
    "_policy.lint": ("lint",), "interpreter": ("Execution", "Interpreter"),
}  # fmt: skip
# of their own: pyjail.aio.run(), pyjail.cgroup.enter_leaf()
_MODULES = ("aio", "boxlite", "cgroup", "grading", "images", "interpreter", "languages", "precheck", "records",
            "sanitize", "testing")  # fmt: skip
_WHERE = {name: f"pyjail.{module}" for module, names in _PUBLIC.items() for name in names}

__all__ = sorted([*_WHERE, *_MODULES])


def __getattr__(name: str) -> object:
    if name not in _WHERE and name not in _MODULES:
        raise AttributeError(f"module 'pyjail' has no attribute {name!r}")
    with _lazy.lock:
        from importlib import import_module

        if name in _MODULES:
            return import_module(f"pyjail.{name}")
        try:
            module = import_module(_WHERE[name])
        except ImportError as e:
            from pyjail._base import fds

            fds.blame(e)
            raise
    return _bind(name, getattr(module, name))


def __dir__() -> list[str]:
    return sorted(__all__)


def _bind(name: str, value: object) -> object:
    if callable(value):
        value.__module__ = "pyjail"
    globals()[name] = value
    return value


for _module in (_errors, _run, _jail):
    for _name in _PUBLIC[_module.__name__.removeprefix("pyjail.")]:
        _bind(_name, getattr(_module, _name))
del _module, _name
