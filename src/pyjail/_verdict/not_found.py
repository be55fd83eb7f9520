"""Why a program was not found in its jail, and what brings it in: asked when execve(2) has said ENOENT."""

from __future__ import annotations

import os
import posixpath
import shutil

from pyjail._plan.compile import Template
from pyjail._plan.places import View
from pyjail._spec.commands import Command

LINE = 256  # bytes of a #! line that the kernel reads
SHOW = "Mount.bind({0!r}) shows it"


def hint(template: Template, command: Command) -> str:
    """One sentence about the program of this command."""
    program = os.fsdecode(command.argv[0])
    view = View(template)
    written = {f"/box/{f.path}": f.data for f in command.files}
    if "/" not in program:
        return _in_no_directory(program, view, command, template)
    real, place, _ = view.walk(posixpath.join(command.cwd, program))
    if real in written:
        return _unreadable(program, written[real] or b"", view)
    kept = [m.dst for m in template.jail.mounts if m.kind in ("workspace", "box", "part")]
    if place.kind == "host" and os.path.exists(place.source):
        return _unreadable(program, _head(place.source), view)
    if any(f"{real}/".startswith(f"{dst}/") for dst in kept):
        return f"there is no {_shown(program)} in {command.cwd}, or what its #! line or ELF header names is not there"
    if place.kind == "own" or not program.startswith("/"):
        brings = "; files= brings files in" if f"{real}/".startswith("/box/") else ""
        return f"there is no {_shown(program)}{'' if program.startswith('/') else ' in ' + command.cwd}{brings}"
    there = f"; this host has it: {SHOW.format(_plain(program))}" if _elsewhere(program, template) else ""
    return f"there is no {_shown(program)} in this jail{there}"


def _shown(program: str) -> str:
    return program.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _plain(path: str) -> str:
    """As `Mount.bind` takes it."""
    return os.path.realpath(path) if ".." in path.split("/") else path


def _elsewhere(path: str, template: Template) -> bool:
    """The host has such a program, and the jail is made of the host's files."""
    return template.jail.rootfs is None and os.path.isfile(path) and os.access(path, os.X_OK)


def _in_no_directory(name: str, view: View, command: Command, template: Template) -> str:
    text = "it is in no directory of the jail's PATH"
    if any(f.path == name for f in command.files):
        return f"{text}; ./{name} runs the file in /box"
    found = shutil.which(name) if template.jail.rootfs is None else None
    if found is not None and name.startswith("python"):
        return f"{text}; Jail(python={found!r}) puts the caller's there"
    if found is None or view.walk(found)[1].kind == "host":
        return text
    return f"{text}; the caller's leads to {found}: {SHOW.format(found)}, to be run by that path"


def _head(path: str) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(fd, LINE)
    except OSError:
        return b""
    finally:
        os.close(fd)


def _unreadable(program: str, data: bytes, view: View) -> str:
    """It is there, so what it needs to start is not."""
    line = data[:LINE].partition(b"\n")[0]
    names = line[2:].strip(b" \t").split(b" ") if line.startswith(b"#!") else []
    if not names or not names[0]:
        return f"{_shown(program)} is there: the dynamic loader that it names may be missing in the jail"
    interpreter = os.fsdecode(names[0])
    why = " (it ends in a carriage return)" if interpreter.endswith("\r") else ""
    place = view.walk(interpreter)[1]
    missing = place.kind != "host" or not os.path.exists(place.source)
    text = f"its #! line names {_shown(interpreter)!r}{why}"
    return f"{text}, which is not in the jail" if missing else f"{text}, whose own loader may be missing in the jail"
