"""Lines that are no Python and that everybody types all the same: ``!command``, ``%pip install x``."""

from __future__ import annotations

import os
import subprocess
import sys

_RUN = "__import__('sys').modules['_pyjail.shell'].{}({!r})"


def translated(source: str) -> str:
    """The same cell, with such lines as calls; any other line stays as it is."""
    lines = source.split("\n")
    for i, line in enumerate(lines):
        text = line.lstrip()
        indent = line[: len(line) - len(text)]
        if text.startswith("!") and len(text) > 1:
            lines[i] = indent + _RUN.format("shell", text[1:].strip())
        elif text.startswith(("%pip ", "!pip ")):
            lines[i] = indent + _RUN.format("pip", text[5:].strip())
    return "\n".join(lines)


def shell(command: str) -> None:
    """Run a command of the shell. A code that is not 0 is told on stderr."""
    if command.split()[:1] == ["pip"]:
        pip(command.split(None, 1)[1] if " " in command else "")
        return
    _tell(subprocess.call(command, shell=True), command)  # noqa: S602 -- it is the cell's own


def pip(arguments: str) -> None:
    """Run this interpreter's pip; what it installs can be imported at once."""
    import importlib
    import shlex

    _tell(subprocess.call([sys.executable, "-m", "pip", *shlex.split(arguments)]), "pip")
    importlib.invalidate_caches()


def system(command: str) -> int:
    """`os.system`, which an interrupt ends together with the command."""
    code = subprocess.call(command, shell=True)  # noqa: S602
    return code << 8 if code >= 0 else -code


def _tell(code: int, command: str) -> None:
    if code:
        os.write(2, f"{command.split()[0] if command.split() else command}: exit code {code}\n".encode())
