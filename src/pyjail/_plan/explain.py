"""{step, index, errno} -> an exception that says what the row was and what to do. Only Python knows what row 3 was."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from pyjail._base import errors, lazy, rare_errors
from pyjail._host import machine, seldom
from pyjail._plan.compile import RunLimits, Template
from pyjail._plan.wire import Failure
from pyjail._policy import obstacles

# When a keeper is out of fds: that of a box is one for many programs.
NO_FDS = "it may have as many as this process's hard limit says, some 20 for each program: raise that (ulimit -Hn)"
_HINTS = {
    ("request", errno.EUSERS): "as many programs of this box as can be have left somebody behind: Box.kill() ends them",
    ("cgroup", errno.EAGAIN): "cgroup.max.descendants or cgroup.max.depth of a parent is used up: "
    "echo max > .../cgroup.max.descendants",
    ("cgroup", errno.ENOSPC): "this hierarchy has no room for more cgroups (65535 with the memory controller)",
    ("cgroup", errno.ENOENT): "somebody took a controller or a directory of ours away",
    ("cgroup", errno.EACCES): "the keeper may not write there: the cgroup subtree must be ours alone",
    (
        "source",
        errno.EMFILE,
    ): "each entry of a directory that is rebuilt to hold a mount point takes an fd: raise the hard limit "
    "(ulimit -Hn, LimitNOFILE=), or choose a destination that exists",
    ("init", errno.EAGAIN): "the caller's own process limit is used up (ulimit -u, pids.max)",
    ("fork", errno.EAGAIN): "the caller's own process limit is used up (ulimit -u, pids.max), or that of the "
    "box that it was for: Box.kill() ends what is in there",
    ("clone", errno.EAGAIN): "the caller's own process limit is used up (ulimit -u, pids.max)",
    ("port", errno.EADDRINUSE): "a program of this box listens on 127.0.0.1:3128, which is its proxy's: "
    "end it (Box.kill), and have it listen elsewhere",
    ("keyring", errno.EDQUOT): "raise /proc/sys/kernel/keys/maxkeys",
}


def detail(failure: Failure, template: Template, run: RunLimits | None) -> str:
    """What the failed row was."""
    step, i = failure.step, failure.index

    def row(rows: tuple[object, ...]) -> str:
        return repr(rows[i]) if i is not None and i < len(rows) else "setting up"

    if step in ("idmap", "source", "mount", "newroot") and i is not None and i < len(template.mounts):
        m = template.mounts[i]
        return f"{m.kind} {m.source or m.data[:40]!r} on /{m.target} ({m.why})"
    if step == "run_mount":
        return row(template.run_mounts)
    if step == "landlock":
        return row(template.landlock.rules)
    if run is not None:
        if step == "tmpfs":
            return row(run.tmpfs)
        if step == "rlimit":
            return row(run.rlimits)
        if step == "cgroup" and i is not None and i < len(run.cgroup):
            c = run.cgroup[i]
            return f"{c.file} = {c.value} ({c.why})"
        if step in ("cgroup", "cgroup_enter"):
            return "making or entering the run's leaf"
    return step.replace("_", " ")


def error(
    failure: Failure,
    template: Template,
    run: RunLimits | None = None,
    *,
    program: object = "",
    cwd: str = "",
    missing: Callable[[], str] = str,
) -> errors.SetupError | errors.HostError:
    """The exception for a failed step: HostError when this host refuses to every jail what the step does.

    ``missing`` says why a program was not found.
    """
    step, i, number = failure.step, failure.index, failure.errno
    if template.jail.writable_root is not None and i is not None and i < len(template.mounts):
        with lazy.lock:
            from pyjail._policy import writable

        refused = writable.obstacle(step, template.mounts[i], number)
        if refused is not None:
            return errors.HostError(*refused)
    obstacle = obstacles.find(step, i, number, seldom.with_switches(machine.probe.__wrapped__(os.getpid())))  # as now
    if obstacle is not None:
        return errors.HostError(*obstacle)
    hint = _HINTS.get((step, number), f"the keeper: {NO_FDS}" if number == errno.EMFILE else "")
    if step == "exec":
        text = f"cannot execute {program!r} in the jail"
        if number == errno.ENOENT:
            return rare_errors.ProgramNotFoundError(step, i, text, number, missing())
        if number in (errno.EACCES, errno.EPERM):
            return rare_errors.ProgramPermissionError(
                step, i, text, number, "it must be an executable file for the jail's user"
            )
        return rare_errors.ExecError(step, i, text, number, _EXEC_HINTS.get(number, ""))
    if step == "cwd":
        kind = rare_errors.CwdNotFoundError if number == errno.ENOENT else errors.SetupError
        return kind(step, i, f"cwd={cwd!r} inside the jail", number, hint)
    return errors.SetupError(step, i, detail(failure, template, run), number, hint)


_EXEC_HINTS = {
    errno.ENOEXEC: "neither an ELF program of this machine nor a script with a #! line",
    errno.E2BIG: "arguments and environment are larger than a quarter of the stack limit, or one is over 128 KiB",
    errno.ETXTBSY: "the file is still open for writing",
}
