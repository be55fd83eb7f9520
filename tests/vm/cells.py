"""Cgroups to start a caller in, made below the one that this pass of the tests was given."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import select
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

from pyjail._host import machine
from tests.conftest import SLOW

CONTROLLERS = ("memory", "pids", "cpu", "io")
_numbers = itertools.count(1)


def given() -> Path:
    """The directory that is ours: the root, or the delegated one (this process sits in a leaf below it)."""
    return Path(next(h.own for h in machine.host().hierarchies if h.version == 2))


def mine() -> Path:
    """Where this process is now."""
    line = next(line for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))
    return Path("/sys/fs/cgroup" + line[3:])


@contextlib.contextmanager
def cell(*controllers: str) -> Iterator[Path]:
    """A new cgroup whose parent hands these controllers to it; removed with all that is in it."""
    top = given() / f"cell-{os.getpid()}-{next(_numbers)}"
    inner = top / "unit"
    top.mkdir()
    try:
        wanted = controllers or CONTROLLERS
        _enable(given(), wanted)
        _enable(top, wanted)
        inner.mkdir()
        yield inner
    finally:
        (top / "cgroup.kill").write_text("1")
        end = time.monotonic() + 5 * SLOW
        while top.exists() and time.monotonic() < end:
            for directory, _, _ in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(directory)
            time.sleep(0.02)


def _enable(path: Path, controllers: tuple[str, ...]) -> None:
    (path / "cgroup.subtree_control").write_text(" ".join(f"+{c}" for c in controllers))


def inside(where: Path, code: str, *, enter: bool = False, wrap: tuple[str, ...] = ()) -> str:
    """What Python code prints that runs as a process of that cgroup. ``wrap``: a command in front of it."""
    env = {k: v for k, v in os.environ.items() if k != "PYJAIL_ENTER_LEAF"} | (
        {"PYJAIL_ENTER_LEAF": "1"} if enter else {}
    )
    code = textwrap.dedent(code)
    if not wrap:
        return _forked(where, code, env)
    out = subprocess.run(
        ["sh", "-c", 'echo 0 > "$0/cgroup.procs" && exec "$@"', str(where), *wrap, sys.executable, "-c", PRELUDE + code],
        capture_output=True, text=True, timeout=60 * SLOW, check=False, env=env,
    )  # fmt: skip
    assert out.returncode == 0, out.stderr
    return out.stdout


def _forked(where: Path, code: str, env: dict[str, str]) -> str:
    """What it prints in a child of a process that has imported pyjail, and done nothing else: an import takes seconds
    where every instruction is emulated."""
    forker = _forker()
    assert forker.stdin is not None and forker.stdout is not None
    with tempfile.NamedTemporaryFile("r+") as out, tempfile.NamedTemporaryFile("r+") as err:
        forker.stdin.write(json.dumps([str(where), code, env, out.name, err.name]) + "\n")
        forker.stdin.flush()
        answered = bool(select.select([forker.stdout], [], [], 60 * SLOW)[0])
        if not answered:
            end_forker()
        assert answered and forker.stdout.readline() == "0\n", err.read()
        return out.read()


def end_forker() -> None:
    """No such process is there any more."""
    if _forker.cache_info().currsize:
        forker = _forker()
        _forker.cache_clear()
        forker.kill()
        forker.communicate()


@functools.cache
def _forker() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + FORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


PRELUDE = """
import os, subprocess, sys, time
import pyjail
from pyjail import HostError, Jail, Limits, Verdict
HOG = ["head", "-c", "60000000", "/dev/zero"]
def hog(memory="24M", **kw):
    return pyjail.run(["sh", "-c", "head -c 60000000 /dev/zero > /tmp/x"], Limits(memory=memory, wall_time=600, cpu_time=300, **kw))
def where(pid="self"):
    return open(f"/proc/{pid}/cgroup").read().strip()[3:]
def refused(*a, **kw):
    try: r = pyjail.run(["true"], *a, **kw)
    except HostError as e: print(e.control, "|", e.cause, "|", e.hint)
    else: print(r.verdict)
"""

FORKER = """
import json
for line in sys.stdin:
    place, code, environment, *outputs = json.loads(line)
    if not (child := os.fork()):
        break
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
else:
    sys.exit()
for number, path in enumerate([os.devnull, *outputs]):
    fd = os.open(path, os.O_RDWR)
    os.dup2(fd, number)
    os.close(fd)
os.environ.clear()
os.environ.update(environment)
with open(place + "/cgroup.procs", "w") as procs:
    procs.write("0")
exec(code)
"""
