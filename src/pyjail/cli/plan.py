"""``pyjail plan``: a compiled plan as text or JSON, the filter decoded. Changes nothing on the machine."""

from __future__ import annotations

import json
from typing import Any

from pyjail import Jail, Limits, _host, _host_seldom, _plain, _view
from pyjail._plan import Template, search, template
from pyjail.policy import cgroup, filters, lint, mounts, rlimits, seccomp

_FLAGS = {1: "ro", 2: "nosuid", 4: "nodev", 8: "noexec"}
_NAMESPACES = {
    0x20000: "mnt", 0x2000000: "cgroup", 0x4000000: "uts", 0x8000000: "ipc", 0x10000000: "user", 0x20000000: "pid",
    0x40000000: "net",
}  # fmt: skip


def plan(jail: Jail, limits: Limits, program: list[str]) -> list[dict[str, Any]]:
    """Every row in the order in which it would be carried out: {step, what, why}."""
    host = _host.host()
    t = template(jail, host, isinstance(limits.cpus, frozenset))
    steps: list[dict[str, Any]] = []

    def add(step: str, what: str, why: str = "") -> None:
        steps.append({"step": step, "what": what, "why": why})

    add("namespaces", ", ".join(_names(t.unshare_first | t.unshare_second)), "of the template")
    for row in t.mounts:
        add("mount", _mount(row), row.why)
    for control in _view.controls(t, b""):
        if control.value:
            add("view", f"{control.name.removeprefix('view ')}: {control.value}", control.asked)
    add("pivot", "pivot_root, detach the old root, root read-only")
    add("namespaces", ", ".join(_names(t.run_unshare)) + ", cgroup", "of every run")
    leaf = cgroup.rows(t.cgroups, limits, host.psi, jail.network == "loopback", _host_seldom.disks())
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
    add("close_rest", "every fd but 0-2")
    names = [
        p.decode("utf-8", "surrogateescape") for p in search(program[0].encode("utf-8", "surrogateescape"), jail.env)
    ]
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
    rules, default = seccomp.rules(jail.seccomp, *filters.reach(jail))
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


def main(jail: Jail, limits: Limits, program: list[str], as_json: bool) -> int:
    """Print it."""
    steps = plan(jail, limits, program)
    if as_json:
        print(json.dumps({**_plain.head("plan"), "steps": _plain.plain(steps)}, indent=1))
    else:
        for s in steps:
            if s["step"] == "warning":  # its text has the reason already
                print(f"{s['step']:16} {s['what']}")
                continue
            source = f" [{s['source']}]" if "source" in s else ""
            print(f"{s['step']:16} {s['what']}" + (f"   # {s['why']}{source}" if s["why"] else ""))
    return 0
