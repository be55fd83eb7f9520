"""The id maps of a keeper's user namespace, written from outside while it waits for them (user_namespaces(7))."""

from __future__ import annotations

import errno
import os
from _thread import allocate_lock, start_new_thread
from collections.abc import Callable

from pyjail._base.errors import SetupError
from pyjail._base.fds import not_ours
from pyjail._policy.ids import Ids


def pid_of(pidfd: int) -> int:
    """Its process, as our own /proc numbers it: whose child it is may be in a pid namespace below ours."""
    with open(f"/proc/self/fdinfo/{pidfd}") as f:
        pid = next((int(line.split()[1]) for line in f if line.startswith("Pid:")), -1)
    if pid <= 0:
        raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
    return pid


def write(pid: int, maps: Ids, alive: Callable[[], bool]) -> None:
    """Single lines need no helper; setgroups is denied for good first (CVE-2014-8989).

    ``alive`` is asked when a file is open: if it is not, and somebody ignores SIGCHLD, the pid may be another's.
    """

    def put(name: str, text: str) -> None:
        with open(f"/proc/{pid}/{name}", "wb", buffering=0) as f:  # nothing that a forked child would write again
            if not alive():
                raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
            f.write(text.encode())

    _write(put, "setgroups", "deny")
    for name, helper, rows in (("uid_map", "newuidmap", maps.uid_map), ("gid_map", "newgidmap", maps.gid_map)):
        if maps.helper:
            _help(pid, helper, rows)
        else:
            _write(put, name, "".join(f"{inside} {outside} {n}\n" for inside, outside, n in rows))
    try:
        with open(f"/proc/{pid}/oom_score_adj", "r+b", buffering=0) as f:
            if alive() and int(f.read()) < 0:  # a protected embedder must not make protected programs
                f.write(b"0")
    except OSError as e:
        not_ours(e)


def _write(put: Callable[[str, str], None], name: str, text: str) -> None:
    try:
        put(name, text)
    except OSError as e:
        hint = "ids outside of what this user namespace has? set PYJAIL_ID_RANGE=FIRST:COUNT"
        raise SetupError("wait_go", None, f"{name}: {text!r}", e.errno or 0, hint) from e


def _help(pid: int, program: str, rows: tuple[tuple[int, int, int], ...]) -> None:
    """newuidmap(1), newgidmap(1): setuid programs that check /etc/subuid and /etc/subgid. Called in a thread, where no
    signal handler can come between the fork and the wait: a zombie would be left."""
    import subprocess

    command = [program, str(pid), *(str(n) for row in rows for n in row)]
    came: list[subprocess.CompletedProcess[str] | Exception] = []
    ended = allocate_lock()
    ended.acquire()

    def call() -> None:
        try:
            came.append(subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL))
        except Exception as e:  # raised below, by whoever waits
            came.append(e)
        finally:
            ended.release()

    try:  # not threading.Thread: what interrupts its start comes out as an error of its locks
        start_new_thread(call, ())
    except RuntimeError as e:
        if "start new thread" not in str(e):  # a handler's own
            raise
        call()
    ended.acquire()
    done = came[0]
    if isinstance(done, Exception):
        raise done
    if done.returncode:
        hint = "check this user's lines in /etc/subuid and /etc/subgid, or set PYJAIL_SUBORDINATE_IDS=0"
        raise SetupError("wait_go", None, f"{' '.join(command)}: {done.stderr.strip()}", errno.EPERM, hint)
