"""Facts -> receipt: one row per control, values as the kernel gave them back. Pure but for our own namespaces."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence

from pyjail._base.records import replace
from pyjail._base.units import show_size
from pyjail._plan.compile import RunLimits, Template
from pyjail._plan.report import Facts
from pyjail._plan.texts import Prepared, Texts, parse_ready, parse_texts
from pyjail._policy import deterministic as policy_same
from pyjail._policy import rlimits
from pyjail._policy.counters import counters
from pyjail._result.usage import Control
from pyjail._spec import deterministic
from pyjail._spec.limits import default_wall_time
from pyjail._verdict import mountinfo, view
from pyjail._verdict.measured import workspaces
from pyjail._verdict.verdict import Reading


def receipt(
    template: Template,
    run: RunLimits,
    facts: Facts,
    ids: tuple[int, int],
    ready: tuple[bytes, bytes],
    captured: Sequence[bool],
    env: Mapping[str, str],
) -> Iterator[Control]:
    """One row per control, values as the kernel gave them back for this run; ``ready``: `Keeper.ready`."""
    missing = {m.control: m.cause for m in (*template.missing, *run.missing)}
    texts, prepared = parse_texts(facts.texts), parse_ready(*ready)
    for row in _limit_rows(run, facts, texts, missing):
        if row.name == "output" and not any(captured):
            why = "no stream is captured: what is behind the caller's own fds bounds it"
            row = Control("output", row.asked, "", why, "not_asked")
        elif row.name == "output" and row.status == "enforced" and not all(captured):
            kept, own = ("stdout", "stderr") if captured[0] else ("stderr", "stdout")
            row = replace(row, value=f"{run.limits.output} bytes of {kept}; {own} is the caller's own")
        yield row
    yield from _counter_rows(template, run, facts)
    yield from _process_rows(template, texts, ids, prepared)
    yield from _fence_rows(template, texts, missing, prepared)
    yield from _template_rows(template, prepared)
    yield from _same_rows(template, texts, missing, env)


def _limit_rows(run: RunLimits, facts: Facts, texts: Texts, missing: dict[str, str]) -> Iterator[Control]:
    limits = run.limits
    for name in ("cpu_time", "wall_time", "memory", "processes", "output", "disk", "inodes", "cpus", "io_rate"):
        asked = getattr(limits, name)
        shown = show_size(asked) if name in ("memory", "output", "disk", "io_rate") else str(asked)
        if isinstance(asked, frozenset):
            shown = ",".join(map(str, sorted(asked)))
        if asked is None:
            yield Control(name, "none", "", "", "not_asked")
            continue
        if name in missing:
            yield Control(name, shown, "", missing[name], "not_enforced")
            continue
        # One value per file: io.max has a row per disk, and the last one reads back them all.
        rows = {r.file: texts.set_values.get(i, "?") for i, r in enumerate(run.cgroup) if r.limit == name}
        by, value = ", ".join(rows), ", ".join(rows.values())
        if name == "cpu_time":
            by = "keeper, by " + next((r.file for r in run.cgroup if r.when == "clock"), "RLIMIT_CPU")
            value = f"{asked:g} s"
        elif name == "wall_time":
            by, value = "keeper's timer, CLOCK_MONOTONIC", f"{asked:g} s"
            if asked == default_wall_time(limits.cpu_time, limits.cpus):
                value += ", the default with this cpu_time"
        elif name == "output":
            by, value = "keeper's pumps", f"{asked} bytes per stream"
        elif name in ("disk", "inodes"):
            by = "tmpfs size" if name == "disk" else "tmpfs nr_inodes"
            which = 0 if name == "disk" else 2
            found = {target: t[which] for target, t in workspaces(run, facts).items()}
            value = ", ".join(f"{t}={found[t]}" for t in ("/box", "/tmp") if t in found)
        elif name == "cpus" and not rows:
            by, value = "all that there are", str(run.busy)
        yield Control(name, shown, by, value, "enforced")
    for i, row in enumerate(run.rlimits):
        soft, hard = texts.rlimits.get(i, (-1, -1))
        if row.soft == rlimits.INFINITY:
            most = "unlimited" if hard == rlimits.INFINITY else str(hard)
            yield Control(row.name, "none", "", f"{most}, the caller's hard limit", "not_asked")
            continue
        fine = soft == row.soft and (row.limit not in missing or row.limit == "cpu_time")
        asked = str(getattr(limits, row.limit)) if row.limit else str(row.soft)
        yield Control(row.name, asked, "setrlimit", f"{soft}/{hard}", "enforced" if fine else "not_enforced")


def _counter_rows(template: Template, run: RunLimits, facts: Facts) -> Iterator[Control]:
    reading = Reading(facts, run)
    for c in counters(template.cgroups, run.files):
        texts = reading.texts.get(c.file)
        if not texts:
            yield Control(f"counter {c.usage}", "", c.file, c.note or "could not be read", "not_asked")
            continue
        text, then = texts[-1 if c.usage == "cpu_time" else 0]  # v1's cpu.stat comes first, and is no clock
        value = " ".join(text.split())
        value = value if len(value) <= 60 else value[:57] + "..."
        if before := " ".join(then.split()):
            value += f"; before: {before if len(before) <= 60 else before[:57] + '...'}"
        yield Control(f"counter {c.usage}", "", c.file, f"{value} ({c.note})" if c.note else value, "enforced")


def _process_rows(template: Template, texts: Texts, ids: tuple[int, int], prepared: Prepared) -> Iterator[Control]:
    jail, s = template.jail, texts.status
    asked = f"uid {jail.uid} gid {jail.gid}"
    value = f"uid {s.uids[1]} gid {s.gids[1]}; outside uid {ids[0]} gid {ids[1]}" if s else "?"
    right = s is not None and s.uids == (jail.uid,) * 3 and s.gids == (jail.gid,) * 3
    yield Control("ids", asked, "user namespace, setresuid", value, _done(right))
    own = [f"{n:016x}" for n in (s.inheritable, s.permitted, s.effective)] if s else ["?"] * 3
    caps = [*own, *(prepared.capabilities.get(f"Cap{n}", "?") for n in ("Bnd", "Amb"))]
    none = all(c.strip("0") == "" for c in caps)
    yield Control("capabilities", "none", "capset, PR_CAPBSET_DROP", " ".join(caps), _done(none))
    groups = str(s.groups or "none") if s else "?"
    by = "setgroups" if template.privileged else "setgroups denied; the caller's stay, unmapped"
    yield Control("groups", "none", by, groups, _done(template.privileged is False or groups == "none"))
    nnp = str(s.no_new_privs) if s else "?"
    yield Control("no_new_privs", "1", "prctl", nnp, _done(nnp == "1"))


def _fence_rows(template: Template, texts: Texts, missing: dict[str, str], prepared: Prepared) -> Iterator[Control]:
    jail = template.jail
    mode = str(texts.status.seccomp) if texts.status else "?"
    if jail.seccomp == "none":
        yield Control("seccomp", "none", "", "", "not_asked")
    else:
        f = template.filter
        value = f"mode {mode}, {len(f.program) // 8} instructions, sha256 {f.digest}"
        asked = jail.seccomp if isinstance(jail.seccomp, str) else f"{jail.seccomp.base} changed"
        yield Control("seccomp", asked, "seccomp filter", value, _done(mode == "2"))
    rules = template.landlock
    if not jail.landlock:
        yield Control("landlock", "none", "", "", "not_asked")
    elif "landlock" in missing:
        yield Control("landlock", "True", "", missing["landlock"], "not_enforced")
    else:
        value = (
            f"ABI {rules.abi}, fs {rules.fs:#x}, net {rules.net:#x}, scoped {rules.scoped:#x}, {len(rules.rules)} rules"
        )
        yield Control("landlock", "True", "landlock_restrict_self", value, "enforced")
    ours = {os.readlink(f"/proc/self/ns/{n}") for n in ("user", "mnt", "pid", "ipc", "net", "uts", "cgroup")}
    for text in prepared.namespaces + texts.namespaces:
        name = text.partition(":")[0]
        yield Control(f"namespace {name}", "own", "clone3/unshare", text, _done(text not in ours))


def _template_rows(template: Template, prepared: Prepared) -> Iterator[Control]:
    failed = prepared.user_namespaces
    value = f"the kernel refused it: {os.strerror(failed)}" if failed else "0"
    yield Control("nested user namespaces", "0", "user.max_user_namespaces", value, _done(not failed))
    rootfs = template.jail.rootfs
    yield mountinfo.control(template, prepared.mountinfo, "host view" if rootfs is None else str(rootfs))
    if template.jail.image is not None:
        yield view.image(template.jail)
    if template.jail.writable_root is not None:
        yield view.writable_root(template, prepared.mountinfo)
    if template.port:
        yield view.egress(template)
    yield from view.controls(template, prepared.mountinfo)


def _same_rows(template: Template, texts: Texts, missing: dict[str, str], env: Mapping[str, str]) -> Iterator[Control]:
    jail = template.jail
    if not jail.deterministic:
        yield Control("deterministic", "False", "", "", "not_asked")
        return
    fine = texts.personality == policy_same.ADDR_NO_RANDOMIZE
    yield Control(
        "deterministic addresses", "no ASLR", "personality(ADDR_NO_RANDOMIZE)", f"{texts.personality:#x}", _done(fine)
    )
    fine = texts.hostname == jail.hostname
    yield Control("deterministic hostname", jail.hostname, "sethostname", texts.hostname, _done(fine))
    pid = str(texts.status.pid) if texts.status else "?"
    yield Control("deterministic pids", f"from {policy_same.PID}", "pid namespace", pid, _done(pid == policy_same.PID))
    asked = "monotonic and boottime from 0"
    if "clocks" in missing:
        yield Control("deterministic clocks", asked, "", missing["clocks"], "not_enforced")
    else:
        value = ", ".join(" ".join(line.split()) for line in texts.clocks.splitlines())
        yield Control("deterministic clocks", asked, "timens_offsets", value, _done(bool(value)))
    value = " ".join(f"{name}={env.get(name)}" for name in deterministic.ENV)
    yield Control("deterministic environment", "the same", "execve", value, "enforced")


def _done(fine: bool) -> str:
    return "enforced" if fine else "not_enforced"
