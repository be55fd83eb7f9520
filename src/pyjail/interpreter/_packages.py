"""Packages for cells: resolved outside of the jail by pip, wheels only, nothing of them run; bound read-only."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import Any

from pyjail import Jail, Mount, SpecError

PACKAGES, WHEELHOUSE, INSTALLED = "/packages", "/wheelhouse", "/box/.packages"  # inside
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_CLAUSE = r"(?:===|~=|==|!=|<=|>=|<|>)\s*[A-Za-z0-9.*+!_-]+"
_REQUIREMENT = re.compile(rf"{_NAME}\s*(?:\[\s*{_NAME}(?:\s*,\s*{_NAME})*\s*\])?\s*(?:{_CLAUSE}(?:\s*,\s*{_CLAUSE})*)?")
_REFUSED = "pyjail: nothing may be run while packages are fetched"
# pip itself, which may start nothing: what is built runs its own code, whoever has asked for it.
_PIP = f"""import runpy, sys
def hook(event, args):
    if event.startswith(("subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.spawn", "pty.spawn")):
        raise PermissionError({_REFUSED!r})
sys.addaudithook(hook)
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""
_PATIENCE = 1800.0  # s


def interpreter(jail: Jail, python: str | None) -> str:
    """The path, inside, of the Python that runs cells."""
    if python is not None and not isinstance(python, str):
        raise SpecError("python", python, "a path inside the jail is needed")
    return str(python or jail.python or (sys.executable if jail.rootfs is jail.image is None else "python3"))


def furnished(jail: Jail, wanted: tuple[str, ...], wheelhouse: Any, python: str | None) -> Jail:
    """See `pyjail.interpreter.with_packages`."""
    mounts, env = list(jail.mounts), dict(jail.env)
    wheels = None
    if wheelhouse is not None:
        wheels = os.path.abspath(os.fspath(wheelhouse))
        if not os.path.isdir(wheels):
            fix = "pip wheel -w DIR NAME makes one"
            raise SpecError("wheelhouse", wheelhouse, f"a directory with wheels is needed: {fix}")
        files = [os.path.join(wheels, name) for name in os.listdir(wheels) if name.endswith(".whl")]
        closed = [
            path for path, bits in ((wheels, 5), *zip(files, repeat(4), strict=False)) if ~os.stat(path).st_mode & bits
        ]
        if closed:
            why = f"the jail's user, who owns nothing outside, may not read {closed[0]}: chmod -R o+rX {wheels}"
            raise SpecError("wheelhouse", wheelhouse, why)
        mounts.append(Mount.bind(wheels, WHEELHOUSE))
        env.update(
            PIP_NO_INDEX="1", PIP_FIND_LINKS=WHEELHOUSE, PIP_TARGET=INSTALLED, PIP_DISABLE_PIP_VERSION_CHECK="1",
            PIP_NO_CACHE_DIR="1", PIP_ROOT_USER_ACTION="ignore", PIP_BREAK_SYSTEM_PACKAGES="1",
        )  # fmt: skip
        _on_path(env, INSTALLED)
    if wanted:
        mounts.append(Mount.bind(resolved(wanted, wheels, _host_python(jail, python)), PACKAGES))
        _on_path(env, PACKAGES)
    return jail if mounts == list(jail.mounts) else replace(jail, mounts=tuple(mounts), env=env)


def _on_path(env: dict[str, str], directory: str) -> None:
    env["PYTHONPATH"] = ":".join(filter(None, (env.get("PYTHONPATH", ""), directory)))


def requirements(packages: Any) -> tuple[str, ...]:
    """Names with versions, sorted. A path or an address could be a source, which runs code when it is built."""
    if isinstance(packages, str) or not all(isinstance(one, str) for one in packages):
        raise SpecError("packages", packages, 'a list of names is needed: ["numpy==2.1"]')
    for one in packages:
        if not _REQUIREMENT.fullmatch(one.strip()):
            fix = "put the wheel into a directory, and give wheelhouse=DIR"
            why = f'a name and versions are needed, such as "numpy==2.1"; for a file or an address {fix}'
            raise SpecError("packages", one, why)
    return tuple(sorted({re.sub(r"\s+", "", one) for one in packages}))


def _host_python(jail: Jail, python: str | None) -> str:
    """The Python of this machine that pip resolves for."""
    path = interpreter(jail, python)
    if not jail.rootfs is jail.image is None:
        root = "a rootfs" if jail.image is None else "an image"
        fix = f"install them into the {root.split()[1]}, or bind a directory of wheels for its Python"
        raise SpecError("packages", "...", f"pip here resolves for Pythons of this machine, {root} has its own: {fix}")
    return path if os.access(path, os.X_OK) else sys.executable


def resolved(wanted: tuple[str, ...], wheelhouse: str | None, python: str) -> str:
    """The directory that has exactly these packages and what they need; made once, found by its wheels' content."""
    store = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pyjail" / "packages"
    store.mkdir(parents=True, exist_ok=True)
    known = store / f"request-{_hash('|'.join((*wanted, wheelhouse or '', python, _version(python))))}"
    if all("==" in one and "*" not in one for one in wanted):  # what is not pinned may have changed
        with contextlib.suppress(OSError):
            found = store / known.read_text()
            if found.is_dir():
                return str(found)
    with tempfile.TemporaryDirectory(dir=store, prefix="new-") as work:
        wheels = Path(work, "wheels")
        source = ["--no-index", "--find-links", wheelhouse] if wheelhouse else []
        _pip(python, ["download", "--only-binary", ":all:", "--dest", str(wheels), *source, "--", *wanted], wanted)
        files = sorted(wheels.iterdir())
        digest = hashlib.sha256()
        for file in files:
            digest.update(file.name.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
        target = store / digest.hexdigest()
        if not target.is_dir():
            made = Path(work, "made")
            made.mkdir()
            args = ["install", "--no-index", "--no-deps", "--only-binary", ":all:", "--target", str(made)]
            _pip(python, [*args, "--", *map(str, files)], wanted)
            _readable(made)
            with contextlib.suppress(OSError):  # somebody else was quicker: it is the same
                os.rename(made, target)
        note = Path(work, "note")
        note.write_text(target.name)
        os.replace(note, known)
    return str(target)


def _pip(python: str, args: list[str], wanted: tuple[str, ...]) -> None:
    """Run pip; SpecError with what it says, and the fix."""
    command = [python, "-I", "-c", _PIP, *args[:1], "--quiet", "--disable-pip-version-check", "--no-input", *args[1:]]
    env = {**os.environ, "PIP_NO_BUILD_ISOLATION": "1"}
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, errors="replace", timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        raise SpecError("packages", wanted, f"pip did not end within {_PATIENCE:g} s") from None
    if done.returncode == 0:
        return
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    if _REFUSED in done.stderr or any("No matching distribution" in line for line in lines):
        fix = (
            "no source is built here: make a wheel where you trust it (pip wheel -w DIR NAME), and give wheelhouse=DIR"
        )
        raise SpecError("packages", wanted, f"{_last(lines)}; there is no wheel of it for this Python: {fix}")
    if "No module named pip" in done.stderr:
        fix = "python3 -m ensurepip, or apt-get install python3-pip"
        raise SpecError("packages", wanted, f"{python} has no pip: {fix}")
    raise SpecError("packages", wanted, f"pip failed: {_last(lines)}")


def _last(lines: list[str]) -> str:
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or lines or ["it says nothing"])[-1].removeprefix("ERROR: ")[:300]


def _readable(directory: Path) -> None:
    """For the jail's user, who owns nothing outside; writable for nobody."""
    for where, _, files in os.walk(directory):
        os.chmod(where, 0o755)  # noqa: S103
        for name in files:
            path = os.path.join(where, name)
            if not os.path.islink(path):
                os.chmod(path, 0o555 if os.stat(path).st_mode & 0o111 else 0o444)
    shutil.rmtree(directory / "bin", ignore_errors=True)  # they name the Python outside


def _version(python: str) -> str:
    """What decides which wheels fit it."""
    if os.path.realpath(python) == os.path.realpath(sys.executable):
        return sys.version
    told = subprocess.run([python, "-I", "-c", "import sys; print(sys.version)"], capture_output=True, text=True)
    return told.stdout


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
