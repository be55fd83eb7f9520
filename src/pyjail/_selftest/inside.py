"""How attempts get into a jail: as text, in the arguments of a Python interpreter that is there."""

from __future__ import annotations

import json
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyjail
from pyjail._errors import ExecError, SpecError
from pyjail._result import Result, Verdict
from pyjail._spec import Jail, Limits

# Makes the modules of the job, in order, and runs it: nothing of pyjail has to be visible inside.
LOADER = """
import json, sys, types
job = json.loads(sys.argv[1])
for name in ("pyjail", "pyjail.attacks"):
    sys.modules[name] = types.ModuleType(name)
for name, source in job["modules"]:
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(source, name, "exec"), module.__dict__)
sys.modules["pyjail.attacks.toolkit"].main(job)
"""
FIRST = ("pyjail.attacks.numbers", "pyjail.attacks.toolkit")


@dataclass(frozen=True)
class Interpreter:
    """A Python inside, and how long it takes to start there."""

    path: str
    start: float
    first: Result

    @property
    def slowness(self) -> float:
        """By how much this machine is slower than one that is not; 1 at least. Time limits are multiplied by it."""
        return max(1.0, self.start / 0.15)


def find(jail: Jail, limits: Limits) -> Interpreter:
    """Try the running interpreter, then the jail's own python3. Raises SpecError when neither runs in there."""
    failure = "there is none"
    for path in dict.fromkeys((sys.executable, "python3", "/usr/local/bin/python3", "/usr/bin/python3")):
        command = [path, "-I", "-S", "-c", "import ctypes, json, sys; sys.stdout.write('here')"]
        try:
            pyjail.run(command, limits, jail=jail)
            result = pyjail.run(command, limits, jail=jail)  # the second one finds everything warm
        except ExecError as e:
            failure = f"{path}: {e}"
            continue
        if result.stdout == b"here" and result.verdict is Verdict.OK:
            return Interpreter(path, result.usage.wall_time or 0.0, result)
        failure = f"{path}: {result.verdict.value} {result.syscall or ''} {(result.stderr or b'').decode('utf-8', 'replace')[-200:]}"
    raise SpecError(
        "rootfs", jail.rootfs, f"the attempts are Python programs, and no Python with ctypes runs in this jail ({failure})"
    )


def source(module: str) -> list[str]:
    """[name, text] of a module of attempts."""
    return [module, Path(str(sys.modules[module].__file__)).read_text(encoding="utf-8")]


def job(name: str, module: str, scene: dict[str, Any], token: str, **more: Any) -> list[str]:
    """Arguments of the interpreter for one attempt."""
    names = dict.fromkeys((*FIRST, module))
    text = json.dumps({"modules": [source(n) for n in names], "attack": name, "scene": scene, "token": token, **more})
    return ["-I", "-S", "-c", LOADER, text]


def new_token() -> str:
    """Names one run: in its arguments, so that its processes are known on the host."""
    return secrets.token_hex(12)


def survivors(token: str) -> list[int]:
    """Processes of the host that still have this run's arguments."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if token.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found
