"""`plan`: what a run would do, step by step, the filter decoded. Changes nothing on the machine."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from pyjail._base.plain import head, plain
from pyjail._base.records import dataclass, hash_of
from pyjail._base.shown import Shown
from pyjail._host import machine, seldom
from pyjail._plan import image
from pyjail._plan.compile import Template, template
from pyjail._plan.requests import search
from pyjail._policy import cgroup, filter, lint, mounts, rlimits, seccomp
from pyjail._spec import commands
from pyjail._spec.commands import Command
from pyjail._spec.jail import Jail, Limits
from pyjail._verdict import view

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Unpack

    from pyjail._spec.parameters import Planned

_FLAGS = {1: "ro", 2: "nosuid", 4: "nodev", 8: "noexec"}
_NAMESPACES = {
    0x20000: "mnt", 0x2000000: "cgroup", 0x4000000: "uts", 0x8000000: "ipc", 0x10000000: "user", 0x20000000: "pid",
    0x40000000: "net",
}  # fmt: skip


@dataclass(frozen=True, repr=False)
class Plan(Shown):
    """What a run would do.

    Attributes:
        args: of the program. steps: a mapping for each step, in the order in which they would be carried out: "step",
            "what" and "why", texts; of a part of the filter "source" and "calls", too; of a warning "call" and "means".
    """

    args: tuple[str, ...]
    steps: tuple[dict[str, Any], ...]

    __hash__ = hash_of

    def _words(self) -> Iterator[str]:
        yield f"{len(self.steps)} steps"
        yield f"args={self.args!r}"

    def to_dict(self) -> dict[str, Any]:
        """A "plan" of docs/data.md."""
        return {**head("plan"), "steps": plain(self.steps)}


def plan(
    args: Sequence[str | bytes | os.PathLike[str]],
    limits: Limits | None = None,
    *,
    jail: Jail | None = None,
    **options: Unpack[Planned],
) -> Plan:
    """What `run` would do with these arguments here, step by step; nothing is started, and nothing is changed.

    Args:
        args, limits, jail, env, cwd, files, collect: as of `run`. No file is opened.

    Returns:
        A `Plan`: namespaces, mounts, cgroups, limits and every decision of the filter, each with its reason.

    Raises:
        SpecError: an argument makes no sense. HostError: a control cannot be enforced here (``jail.strict``).

    >>> import pyjail
    >>> [step["what"] for step in pyjail.plan(["true"]).steps if step["step"] == "exec"]
    ['true']
    """
    command = image.in_place(commands.make(args, limits, jail, **options))
    words = tuple(os.fsdecode(arg) for arg in command.argv)
    return Plan(words, tuple(_steps(command, words, options.get("collect", ()))))


def _steps(command: Command, program: Sequence[str], collect: Sequence[str]) -> list[dict[str, Any]]:
    jail, limits = command.jail, command.limits
    host = machine.host()
    t = template(jail, host, isinstance(limits.cpus, frozenset))
    steps: list[dict[str, Any]] = []

    def add(step: str, what: str, why: str = "") -> None:
        steps.append({"step": step, "what": what, "why": why})

    add("namespaces", ", ".join(_names(t.unshare_first | t.unshare_second)), "of the template")
    for row in t.mounts:
        add("mount", _mount(row), row.why)
    for control in view.controls(t, b""):
        if control.value:
            add("view", f"{control.name.removeprefix('view ')}: {control.value}", control.asked)
    add("pivot", "pivot_root, detach the old root" + (", root read-only" if jail.writable_root is None else ""))
    add("namespaces", ", ".join(_names(t.run_unshare)) + ", cgroup", "of every run")
    if not isinstance(jail.network, str):
        add("port", f"127.0.0.1:{t.port} listens, a proxy outside accepts", ", ".join(jail.network.rules))
    leaf = cgroup.rows(t.cgroups, limits, host.psi, jail.network != "none", seldom.disks())
    for c in leaf:
        where = t.cgroups.used[c.hierarchy].own
        add(f"cgroup {c.when}", f"{where}/.../{c.file}" + (f" = {c.value}" if c.value else ""), c.why)
    for tmpfs in mounts.tmpfs(jail, limits):
        add("tmpfs", f"{tmpfs.target} " + ",".join(f"{k}={v}" for k, v in tmpfs.options), tmpfs.why)
    for row in t.run_mounts:
        add("mount", _mount(row), row.why)
    add("session", "setsid, an empty session keyring")
    if jail.deterministic:
        add("same", "no address randomization" + (", clocks from 0" if t.clocks else ""), "two runs are to be equal")
    add("ids", f"uid {jail.uid}, gid {jail.gid}")
    for r in rlimits.rows(limits, cgroup.has_clock(leaf)):
        asked = "the caller's hard limit" if r.soft == rlimits.INFINITY else f"{r.soft}/{r.hard}"
        add("rlimit", f"{r.name} = {asked}", r.why)
    add("caps", "none: effective, permitted, inheritable, bounding, ambient")
    add("no_new_privs", "1")
    for rule in t.landlock.rules:
        add("landlock", f"{rule.path}: {rule.access:#x}", rule.why)
    steps += _filter(t, jail)
    for file in command.files:
        add("file", f"/box/{file.path}", "given")
    if collect:
        add("collect", ", ".join(collect), "asked for")
    add("close_rest", "every fd but 0-2")
    names = [p.decode("utf-8", "surrogateescape") for p in search(command.argv[0], command.env)]
    add("exec", " ".join(program), "tried: " + ", ".join(names))
    return steps


def _names(flags: int) -> list[str]:
    return [name for bit, name in _NAMESPACES.items() if flags & bit]


def _mount(row: mounts.MountRow) -> str:
    flags = ",".join(name for bit, name in _FLAGS.items() if row.attr & bit) if row.kind in ("bind", "fs") else ""
    source = {"bind": row.source, "fs": row.source, "link": row.data.decode("utf-8", "replace")}.get(row.kind, "")
    return " ".join(part for part in (row.kind, f"/{row.target}", f"<- {source}" if source else "", flags) if part)


def _filter(t: Template, jail: Jail) -> list[dict[str, Any]]:
    """The filter, call by call: action, why, and where that comes from; then what `lint` has to say of it."""
    warnings = [
        {"step": "warning", "what": str(w), "why": w.why, "call": w.call, "means": w.means} for w in lint.lint(jail)
    ]
    if jail.seccomp == "none":
        return [{"step": "seccomp", "what": "none", "why": "asked for"}, *warnings]
    rules, default = seccomp.rules(jail.seccomp, *filter.reach(jail))
    size, digest = len(t.filter.program) // 8, t.filter.digest
    out: list[dict[str, Any]] = [
        {"step": "seccomp", "what": f"{size} instructions, sha256 {digest}", "why": f"all other calls: {default}"},
        {"step": "seccomp kill", "what": "every call of a foreign architecture or x32", "why": "other numbers"},
    ]
    groups: dict[tuple[str, str, str], list[seccomp.Rule]] = {}
    for r in rules:
        groups.setdefault((r.action, r.why, r.source), []).append(r)
    for (action, why, source), members in groups.items():
        what = ", ".join(r.name + _tests(r) for r in members)
        calls = [{"name": r.name, "tests": [list(test) for test in r.tests]} for r in members]
        out.append({"step": f"seccomp {action}", "what": what, "why": why, "source": source, "calls": calls})
    return out + warnings


def _tests(rule: seccomp.Rule) -> str:
    return " if " + " and ".join(f"arg{a} & {m:#x} == {v:#x}" for a, v, m in rule.tests) if rule.tests else ""
