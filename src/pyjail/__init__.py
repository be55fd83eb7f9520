"""pyjail: run untrusted programs in a jail made of nothing but Linux, and know exactly what happened.

>>> import pyjail
>>> r = pyjail.run(["echo", "hello"], pyjail.Limits(cpu_time=2, memory="256M"))
>>> r.verdict
<Verdict.OK: 'ok'>
"""

from __future__ import annotations

__distribution__ = "pyjail-linux"  # what the rest of the package knows this file by: see `_lazy`
__version__ = "0.1.0"

from pyjail import _errors, _lazy, _run, _spec

_PUBLIC = {  # what is public, by where it is; type checkers read __init__.pyi
    "_errors": (
        "HostError", "JailError", "KeeperError", "SetupError", "SpecError",
    ),
    "_run": ("close", "run"),
    "_spec": ("DEVNULL", "File", "Jail", "Limits", "Mount", "PIPE", "STDOUT"),
    # loaded when one of them is first used
    "_artefacts": ("ArtefactCache",),
    "_build": ("Build",),
    "_config_file": ("from_toml",),
    "_doctor": ("doctor",),
    "_doctor.finding": ("Finding",),
    "_executor": ("JailExecutor",),
    "_interact": ("interact",),
    "_interaction": ("Flow", "Happening", "Interaction"),
    "_learn": ("Learned", "learn"),
    "_measure": ("Measurement", "Repeat", "Spread", "measure"),
    "_parties": ("Edge", "Party"),
    "_pool": ("Pool",),
    "_preview": ("Plan", "plan"),
    "_process": ("Process", "start"),
    "_profile": ("Timings", "timings"),
    "_rare_errors": (
        "CwdNotFoundError", "ExecError", "JailWarning", "PolicyWarning", "PoolClosedError", "ProgramNotFoundError",
        "ProgramPermissionError",
    ),
    "_result": ("Result",),
    "_seccomp_spec": ("SeccompPolicy", "SeccompRule"),
    "_selftest.runner": ("selftest",),
    "_session": ("Session",),
    "_snapshot": ("Snapshot",),
    "_steps": ("load_steps",),
    "_subprocess_errors": ("JailedProcessError", "PoolExhaustedError", "TimeoutExpired"),
    "_terminal": ("Terminal",),
    "_undecoded": ("OutputDecodeError",),
    "_usage": ("Control", "Receipt", "Usage"),
    "_verdicts": ("Verdict",),
    "languages": ("JudgeVerdict", "Judgement", "Subtask", "Test", "TestResult", "judge_source"),
    "policy.lint": ("lint",),
}  # fmt: skip
# of their own: pyjail.aio.run(), pyjail.cgroup.enter_leaf()
_MODULES = ("aio", "cgroup", "grading", "languages", "records", "testing")
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
            from pyjail import _fds

            _fds.blame(e)
            raise
    return _bind(name, getattr(module, name))


def __dir__() -> list[str]:
    return sorted(__all__)


def _bind(name: str, value: object) -> object:
    if callable(value):
        value.__module__ = "pyjail"
    globals()[name] = value
    return value


for _module in (_errors, _run, _spec):
    for _name in _PUBLIC[_module.__name__.removeprefix("pyjail.")]:
        _bind(_name, getattr(_module, _name))
del _module, _name
