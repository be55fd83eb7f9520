"""A request and this machine -> plan and bytes: all that can be told before anything is started."""

from __future__ import annotations

import functools
import os

from pyjail._base import lazy
from pyjail._base.errors import HostError
from pyjail._base.records import once
from pyjail._cgroups import bring_up, tree
from pyjail._host import machine
from pyjail._plan.compile import Request, RunLimits, Template, run_limits, template
from pyjail._spec.commands import Command
from pyjail._spec.jail import GIVEN, Jail, Limits


def usable_host(pid: int, cpuset: bool = False) -> machine.Host:
    """This machine, with the cgroups that were found to work; once per process. ``cpuset``: that controller, too."""
    return _usable_host(pid, cpuset)


@functools.cache
def _usable_host(pid: int, cpuset: bool) -> machine.Host:
    del pid
    host = machine.host()
    if os.environ.get("PYJAIL_ENTER_LEAF", "") not in ("", "0"):
        with lazy.lock:
            from pyjail._cgroups import enter_leaf

        enter_leaf.if_in_the_way(host)
    return bring_up.bring_up(host, cpuset)


def cpus() -> frozenset[int]:
    """The CPUs that this process may use, as far as is known."""
    return usable_host(os.getpid()).cpus


def look_again() -> None:
    """What was found out about this machine may be no longer so: the next run looks again."""
    machine.probe.cache_clear()
    _usable_host.cache_clear()
    for cache in (compiled, template, run_limits):
        cache.cache_clear()
    _plans.clear()
    tree.look_again()


class Compiled:
    """What a jail and limits come to. Its bytes are made when they are needed: a new keeper is busy meanwhile."""

    def __init__(self, host: machine.Host, template: Template, run: RunLimits) -> None:
        self.host, self.template, self.run = host, template, run

    @once
    def blob(self) -> bytes:
        """The limits as the keeper reads them."""
        with lazy.lock:
            from pyjail._plan.requests import pack_limits

        return pack_limits(self.run)


@functools.lru_cache(maxsize=1024)
def compiled(jail: Jail, limits: Limits, sources: tuple[machine.Identity, ...], pid: int) -> Compiled:
    if not isinstance(jail.seccomp, str):  # "none" is asked for by its name; `lint` and the plan tell of it
        with lazy.lock:
            from pyjail._policy import lint

        lint.warn(jail.seccomp)
    cpuset = isinstance(limits.cpus, frozenset)
    host = usable_host(pid, cpuset)  # a forked child has a subtree of its own
    t = template(jail, host, cpuset, sources)
    files = tree.subtree(t.cgroups).files if t.cgroups.used else ()
    return Compiled(host, t, run_limits(jail, limits, host, t.cgroups, files))


class Plan:
    """What a request comes to on this machine."""

    def __init__(self, limits: Compiled, request: Request) -> None:
        self.host, self.template, self.run = limits.host, limits.template, limits.run
        self._limits, self._request = limits, request

    @once
    def blob(self) -> bytes:
        """As the keeper reads it."""
        with lazy.lock:
            from pyjail._plan.requests import pack_request

        return self._limits.blob + pack_request(self.run, self._request)


# Many callers run one command again and again, under the same objects: what a small one came to is kept, and they with
# it, so that their ids stay theirs. Not where something is mounted, which may have become something else.
SMALL, MOST_PLANS = 4096, 64
_plans: dict[tuple[object, ...], tuple[Jail, Limits, Plan]] = {}


def prepare(command: Command) -> Plan:
    """Compile a command; raises what can be told before anything is started. Its bytes are packed later."""
    if command.jail.image is not None:
        with lazy.lock:
            from pyjail._plan import image

        command = image.in_place(command)
    _, data, argv, limits, jail, env, cwd, stdio, _, _, collect, *_, read_only, terminal, keep = command
    key = (id(jail), id(limits), argv, env.packed, cwd, stdio, data is None, not collect, read_only, terminal, keep)
    found = _plans.get(key)
    if found is not None:
        return found[2]
    plan = _looked_again(command)
    # The program is looked for in each directory of PATH: so many paths go with it.
    searched = len(argv[0]) * sum(text.count(b":") for text in env.packed)
    small = searched + sum(map(len, argv)) + sum(map(len, env.packed)) + len(cwd) <= SMALL
    own = not jail.mounts or all(mount.src is None for mount in jail.mounts)
    if small and own and jail.python is None and (jail.rootfs is None or jail.image is not None) and not _passing(plan):
        if len(_plans) >= MOST_PLANS:
            _plans.clear()
        _plans[key] = jail, limits, plan
    return plan


# What cgroups enforce: that they do not may have been so when we looked, and be so no more.
_BY_CGROUPS = frozenset(("cgroup", "memory", "processes", "cpu_time", "cpus", "io_rate"))


def _looked_again(command: Command) -> Plan:
    """What is refused is refused by the machine as it is now."""
    try:
        plan = _prepare(command)
        if not _passing(plan):
            return plan
    except HostError as e:
        if e.control not in _BY_CGROUPS:
            raise
    look_again()
    return _prepare(command)


def _passing(plan: Plan) -> bool:
    return any(refusal.passing for refusal in plan.host.refused)


def _prepare(command: Command) -> Plan:
    jail = command.jail
    sources: tuple[machine.Identity, ...] = ()
    if jail.mounts or jail.rootfs is not None or jail.python is not None:
        binds = [m.src for m in jail.mounts if m.src is not None]
        if jail.python is not None:  # and its environment, which may be made anew
            binds += [str(jail.python), os.path.dirname(os.path.dirname(str(jail.python)))]
        sources = machine.identities(binds, None if jail.rootfs is None else str(jail.rootfs))
    found = compiled(jail, command.limits, sources, os.getpid())
    for control, cause, fix in found.template.missing if jail.strict else ():
        if control not in ("landlock", "clocks"):  # of these the receipt tells
            raise HostError(control, cause, fix if "Jail(strict=False)" in fix else f"{fix}; or Jail(strict=False)")
    if command.read_only:
        found = Compiled(found.host, found.template, found.run._replace(read_only="/box"))
    output: int | None = command.limits.output
    stdio = command.stdio if command.input is None else (GIVEN, *command.stdio[1:])
    packed = Request(
        command.argv, command.env, command.cwd, stdio, output,
        rearm=not jail.fresh, hold=bool(command.collect), terminal=command.terminal, keep=command.keep,
    )  # fmt: skip
    return Plan(found, packed)
