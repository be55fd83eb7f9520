"""How attempts get into a jail: as text, in the arguments of a Python interpreter."""

from __future__ import annotations

import json
import secrets
import sys
from pathlib import Path
from typing import Any

# Makes the modules of the job, in order, and runs it: nothing of pyjail has to be visible inside.
LOADER = """
import json, sys, types
job = json.loads(sys.argv[1])
for name in ("pyjail", "pyjail._selftest", "pyjail._selftest.attacks"):
    sys.modules[name] = types.ModuleType(name)
for name, source in job["modules"]:
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(source, name, "exec"), module.__dict__)
sys.modules["pyjail._selftest.attacks.toolkit"].main(job)
"""
FIRST = ("pyjail._selftest.attacks.numbers", "pyjail._selftest.attacks.toolkit")


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
