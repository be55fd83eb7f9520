"""The interpreter of ``Jail(python=)``: the files that it needs, and its place in PATH."""

from __future__ import annotations

import os

from pyjail._base.errors import SpecError
from pyjail._host.interpreter import (
    LIBRARIES,
    Part,
    Python,
    Way,
    look,
    system,
)

FIRST = "/python"  # inside: its bin is first in PATH in a jail that asked for an interpreter


def asked(executable: str) -> Python:
    """The interpreter of ``Jail(python=)``, with its packages and with the directory that comes first in PATH.

    Raises SpecError when it is none.
    """
    python = look(executable)
    if python is None or not python.name:
        lacks = "a Python of this host is needed, its program and no script that starts one, such as sys.executable"
        raise SpecError("python", executable, lacks)
    way = Way()
    target = f"{way.walk(os.path.dirname(executable))}/{os.path.basename(executable)}" if python.venv else python.binary
    way.parts |= {p.path: p for p in python.parts}
    for name in ("python", "python3", python.name):
        path = f"{FIRST}/bin/{name}"
        way.parts[path] = Part(path, "link", os.fsencode(target))
    for part in python.parts:
        if part.kind == "text":  # the environment's
            way.parts[f"{FIRST}/pyvenv.cfg"] = part._replace(path=f"{FIRST}/pyvenv.cfg")
            for lib in LIBRARIES:
                way.parts[f"{FIRST}/{lib}"] = Part(f"{FIRST}/{lib}", "link", os.fsencode(f"{python.venv}/{lib}"))
    for lib in LIBRARIES:  # the way to the packages, by which the interpreter finds them
        for place in (python.venv, *python.roots):
            if place and not system(f"{place}/"):
                way.walk(f"{place}/{lib}/{python.name}/site-packages")
    for root in python.roots:
        if os.path.isdir(f"{root}/conda-meta"):  # what packages link to lies in between
            way.parts[f"{root}/lib"] = Part(f"{root}/lib", "dir")
    for path in python.packages:
        way.parts[path] = Part(path, "dir")
    return python._replace(parts=tuple(way.parts.values()))
