"""`selftest`: every attempt in the user's jail, one run each, judged from outside."""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from typing import Any

import pyjail
from pyjail import HostError, Jail, Limits, Mount, Result, SpecError
from pyjail._selftest import applicable, inside, integrity, interpreter, pairs, probes
from pyjail._selftest.attacks import toolkit
from pyjail._selftest.attacks.toolkit import Attack
from pyjail._selftest.canaries import SHOWN
from pyjail._selftest.judge import Outcome, judge
from pyjail._selftest.report import Probe, Report, Row, Status
from pyjail._selftest.scene import Scene

GROUPS = (
    "files", "bound", "proc", "processes", "namespaces", "mounts", "privileges", "kernel", "network", "egress", "ipc",
    "written", "pairs", "bombs",
)  # fmt: skip
MIB = 1 << 20
LIMITS = Limits(cpu_time=20, wall_time=60, memory=256 * MIB, output=4 * MIB, disk=16 * MIB, inodes=512)
Progress = Callable[[int, int, str], None]
# What a row of the receipt says is no limit: these are looked at as attempts are.
CONTROLS = ("ids", "capabilities", "groups", "no_new_privs", "seccomp", "landlock", "namespace ", "root", "RLIMIT_")


def catalogue() -> tuple[Attack, ...]:
    """All attempts, in order."""
    for group in GROUPS:
        importlib.import_module(f"pyjail._selftest.attacks.{group}")
    return tuple(sorted(toolkit.ATTACKS.values(), key=lambda a: GROUPS.index(a.group)))


def selftest(
    jail: Jail | None = None, *, only: Collection[str] | None = None, progress: Progress | None = None
) -> Report:
    """Try to break out of a jail on this very machine, and measure how exact its limits are.

    About a hundred attempts of our own writing run in the jail, a run each: at files, processes, namespaces, system
    calls, sockets, IPC and descriptors of the host, at another jail, and at everything that is limited. Files,
    listeners, IPC objects and a process are put up on the host to be found or changed; they are gone afterwards.
    No attempt does harm if it succeeds. Takes about ten seconds.

    Args:
        jail: what to test; default `Jail()`.
        only: names of groups ("files", "limits", ...) or of attempts ("kernel.bpf") to make; default all.
        progress: called with (done, all, name) before each attempt.

    Returns:
        A frozen report: ``.ok``, ``.escaped``, ``.rows`` (attempts), ``.probes`` (limits), ``.to_dict()``. An attempt
        is "contained", "escaped", "not applicable" with the reason, or "error" when it could not be made.

    Raises:
        SpecError: ``only`` names nothing, or no Python runs in this jail. HostError: a control cannot be enforced here
        (``jail.strict``). SetupError, KeeperError: the jail could not be built.

    >>> import pyjail
    >>> pyjail.selftest(pyjail.Jail(strict=False), only=["kernel.bpf"]).ok
    True
    """
    start = time.monotonic()
    jail = Jail() if jail is None else jail
    if not isinstance(jail, Jail):
        raise SpecError("jail", jail, "a pyjail.Jail is needed")
    steps = _choose(only)
    rows: list[Row] = []
    measured: list[Probe] = []
    python = interpreter.find(jail, LIMITS)
    with Scene(jail) as scene:
        run = _Selftest(jail, python, scene)
        for done, (name, step) in enumerate(steps):
            if progress is not None:
                progress(done, len(steps), name)
            for found in step(run):
                if isinstance(found, Row):
                    rows.append(found)
                else:
                    measured.append(found)
        if progress is not None:
            progress(len(steps), len(steps), "")
    host = f"Linux {os.uname().release}, {os.uname().machine}, uid {os.geteuid()}"
    return Report(tuple(rows), tuple(measured), _shown(jail), host, time.monotonic() - start)


def _shown(jail: Jail) -> str:
    """Only what differs from the default."""
    given = [f"{n}={getattr(jail, n)!r}" for n in jail.__dataclass_fields__ if getattr(jail, n) != getattr(Jail(), n)]
    return f"Jail({', '.join(given)})"


Step = tuple[str, "Callable[[_Selftest], Iterator[Row | Probe]]"]


def _choose(only: Collection[str] | None) -> list[Step]:
    steps: list[tuple[str, str, Any]] = [("controls", "controls", _Selftest.controls)]
    steps += [(a.group, a.name, lambda run, a=a: run.attempt(a)) for a in catalogue()]
    steps += [("limits", f"limits.{p.__name__}", lambda run, p=p: run.probe(p)) for p in probes.ALL]
    if isinstance(only, str) or not all(isinstance(name, str) for name in only or ()):
        raise SpecError("only", only, "a list of names is needed")
    known = {s for group, name, _ in steps for s in (group, name)} | {"integrity"}
    for name in only or ():
        if name not in known:
            raise SpecError(
                "only", name, f"no such group or attempt; groups are {', '.join(GROUPS)}, controls, limits, integrity"
            )
    chosen = [(n, s) for group, n, s in steps if only is None or group in only or n in only]
    if only is None or "integrity" in only:
        return [("integrity", _Selftest.before), *chosen, ("integrity", _Selftest.after)]
    return chosen


class _Selftest:
    """One selftest: the jail, the scene around it, the interpreter in it."""

    def __init__(self, jail: Jail, python: interpreter.Interpreter, scene: Scene) -> None:
        self.jail, self.python, self.scene = jail, python, scene
        slow = python.slowness
        self.limits = replace(LIMITS, cpu_time=20 * slow, wall_time=60 * slow)
        self.missing = applicable.reasons(jail, python.first.receipt, scene.missing)
        self.shared: dict[str, str] = {}

    # ---- steps ----

    def controls(self) -> Iterator[Row]:
        """What the kernel said of a process in the jail when it was read back from outside."""
        for control in self.python.first.receipt:
            if not control.name.startswith(CONTROLS):
                continue
            detail = control.value or "the jail asks for none"
            if control.status == "enforced":
                status = Status.CONTAINED
            elif control.status == "not_asked" or control.name.startswith(("landlock", "RLIMIT_")):
                status = Status.NOT_APPLICABLE  # this machine has it not, and strict=False says to go on
            else:
                status = Status.ESCAPED
            name = f"controls.{control.name.replace(' ', '_')}"
            yield Row(name, "controls", f"has {control.name} as asked", control.enforced_by, status, detail)

    def attempt(self, attack: Attack) -> Iterator[Row]:
        """One attempt; a pair makes two rows."""
        why = applicable.why_not(attack, self.missing)
        if why:
            yield _row(attack, Status.NOT_APPLICABLE, why)
        elif attack.options.get("written") and isinstance(python := self.written, str):
            yield _row(attack, Status.NOT_APPLICABLE, python)
        elif attack.pair:
            for when, status, detail in pairs.run(attack, self.run, self.scene):
                tries = f"{attack.tries}, {pairs.IN_WORDS[when]}"
                yield replace(_row(attack, status, detail), name=f"{attack.name}.{when}", tries=tries)
        else:
            yield _row(attack, *judge(attack, self.outcome(attack)))

    def probe(self, probe: probes.Measure) -> Iterator[Probe]:
        """One limit."""
        yield from probe(probes.Bench(self.run, self.python.slowness, self.missing))

    def before(self) -> Iterator[Row]:
        """Remember what the shared files are."""
        self.shared = integrity.hashes(self.jail)
        yield from ()

    def after(self) -> Iterator[Row]:
        """And look whether they still are."""
        changed = [
            path for path, digest in integrity.hashes(self.jail).items() if self.shared.get(path, digest) != digest
        ]
        status = Status.ESCAPED if changed else Status.CONTAINED
        detail = (
            f"changed: {', '.join(changed)}" if changed else f"{len(self.shared)} files have the same hashes as before"
        )
        tries = "changed a file that jails share with the host"
        yield Row("integrity.shared_files", "integrity", tries, "CVE-2016-5195, CVE-2022-0847", status, detail)

    # ---- runs ----

    @functools.cached_property
    def written(self) -> interpreter.Interpreter | str:
        """A Python in a jail whose root may be written to; or why there is none here."""
        jail = self.jail
        if jail.rootfs is jail.image is None:
            jail = replace(jail, rootfs=self.scene.files.root, python=None)
        if jail.writable_root is None:
            jail = replace(jail, writable_root=16 * MIB)
        try:
            return interpreter.find(jail, LIMITS)
        except (HostError, SpecError) as e:
            return str(e)

    def run(
        self, name: str, module: str, token: str, limits: dict[str, Any] | None = None, *, jail: Jail | None = None,
        scene: dict[str, Any] | None = None, role: str = "", hold: bool = False, **streams: Any,
    ) -> Result:  # fmt: skip
        """One function of ``pyjail._selftest.attacks`` in the jail."""
        python = self.python
        if name in toolkit.ATTACKS and toolkit.ATTACKS[name].options.get("written"):
            found = self.written
            assert isinstance(found, interpreter.Interpreter)
            python, jail = found, found.jail
        told = {**self.scene.inside(python.program), **(scene or {})}
        args = inside.job(name, module, told, token, role=role, hold=hold)
        limits_ = replace(self.limits, **(limits or {}))
        return pyjail.run([*python.command, *args], limits_, jail=jail or python.jail, **streams)

    def outcome(self, attack: Attack) -> Outcome:
        """Run an attempt and look what happened to the host."""
        options, jail = attack.options, self.python.jail
        more: dict[str, Any] = {}
        limits = dict(options.get("limits", {}))
        if options.get("short"):
            limits["wall_time"] = 0.4 + 4 * self.python.start
        token = inside.new_token()
        with contextlib.ExitStack() as stack:
            if options.get("bound"):  # fresh: its keeper knows a directory that will be gone
                bound = Mount.bind(self.scene.files.bound, SHOWN)
                jail = replace(jail, mounts=(*jail.mounts, bound), fresh=True)
            if options.get("leaks"):
                jail = replace(jail, fresh=True)  # a keeper that starts while they are open
                stack.enter_context(_inheritable(self.scene.files.canary))
            typed = stack.enter_context(_terminal()) if options.get("terminal") else None
            if typed is not None:
                more["stdin"] = pyjail.Terminal(typed)
            if options.get("collect"):
                more["collect"] = options["collect"]
            result = self.run(attack.name, attack.module, token, limits, jail=jail, **more)
            changes = self.scene.changes()
            if typed is not None and _pending(typed):
                changes.append("something was typed into the caller's terminal")
        alive = inside.survivors(token) if attack.group == "bombs" else []
        given = {k.encode() for k in self.jail.env} | {b"LC_CTYPE"}
        environment = {k: v for k, v in os.environb.items() if k not in given}
        return Outcome(result, token, changes, alive, self.scene.leaked, environment, _refusals(self.jail))


def _refusals(jail: Jail) -> dict[str, set[str]]:
    """Errnos that the user's own policy gives a call, which are then the filter's and not the kernel's."""
    found: dict[str, set[str]] = {}
    if isinstance(jail.seccomp, pyjail.SeccompPolicy):
        for name in jail.seccomp.refuse:
            found.setdefault(name, set()).add(jail.seccomp.errno)
        for rule in jail.seccomp.rules:
            if rule.action not in ("allow", "kill"):
                found.setdefault(rule.name, set()).add(rule.action)
    return found


def _row(attack: Attack, status: Status, detail: str) -> Row:
    return Row(attack.name, attack.group, attack.tries, attack.stands_for, status, detail)


@contextlib.contextmanager
def _inheritable(canary: str) -> Iterator[None]:
    """Descriptors of the host left open without close-on-exec, a directory among them."""
    opened = [os.open("/", os.O_RDONLY | os.O_DIRECTORY), os.open(canary, os.O_RDWR), os.dup(0)]
    try:
        for fd in opened:
            os.set_inheritable(fd, True)
        yield
    finally:
        for fd in opened:
            os.close(fd)


@contextlib.contextmanager
def _terminal() -> Iterator[int]:
    """A terminal of its own, to be the standard input of a run."""
    master, slave = os.openpty()
    try:
        yield slave
    finally:
        os.close(master)
        os.close(slave)


def _pending(terminal: int) -> bool:
    os.set_blocking(terminal, False)
    try:
        return bool(os.read(terminal, 64))
    except OSError:
        return False
