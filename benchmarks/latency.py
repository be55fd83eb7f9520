"""Latency of one run at a time, and the CPU of the whole machine for it."""

from __future__ import annotations

import functools
import time

from contenders import BASE, FENCED, FRESH, NO_PEERS, OURS, RELAY, Contender, floors, ready
from machine import MUCH, CpuClock
from report import Goal, Section, ms, table
from sampling import Samples, in_turns, samples, timed

LATENCY, TAIL, CPU_MS, CPU_RATIO, FRESH_RATIO = 1.00, 1.5, 0.95, 1.6, 2.0
ByName = dict[str, Samples]
PAUSE = 0.003
SETTLE = 0.04  # for what the kernel does after the end: namespaces, cgroups and mounts go in threads of its own


def _ways(
    all_of_them: list[Contender], rounds: int, turns: int, seconds: float, clock: CpuClock
) -> tuple[ByName, ByName, ByName, ByName, float]:
    """Latencies with pauses, without, and back to back; CPU seconds of a run; the share of a CPU that others used."""
    calls = {c.name: timed(functools.partial(c.call, 0)) for c in all_of_them}
    for call in calls.values():
        for _ in range(3):
            call()
    paused = in_turns(calls, rounds, seconds * 0.55, PAUSE)
    two = {name: calls[name] for name in (BASE, OURS, RELAY, FENCED) if name in calls}
    alternating = in_turns(two, rounds, seconds * 0.05)
    at_once: dict[str, list[float]] = {name: [] for name in calls}

    used: dict[str, list[tuple[float, float, int]]] = {name: [] for name in calls}  # CPU, seconds, runs
    idle: list[float] = []

    def turn(name: str, count: int) -> float:
        call, before, started = calls[name], clock.read(), time.monotonic()
        at_once[name] += [call() for _ in range(count)]
        time.sleep(SETTLE)
        used[name].append((clock.read() - before, time.monotonic() - started, count))
        return 0.0

    def rest() -> float:
        idle.append(clock.idle_rate(2 * SETTLE))
        return 0.0

    takes = {name: functools.partial(turn, name, 30 if name in two else 8) for name in calls}
    in_turns({**takes, "nothing": rest}, turns, seconds * 0.4)
    others = Samples("idle", idle).median
    cpu = {n: [max(0.0, (u - others * t) / count) for u, t, count in values] for n, values in used.items()}
    return samples(paused), samples(alternating), samples(at_once), samples(cpu), others


def measure(
    found: list[Contender], rounds: int, turns: int, seconds: float, clock: CpuClock
) -> tuple[Section, ByName, ByName]:
    """Also latencies with pauses between the runs, and CPU, by contender."""
    section = Section("Paced: latency and CPU, one run at a time")
    with ready(found, 1):
        paused, alternating, at_once, cpu, others = _ways(found, rounds, turns, seconds, clock)
    section.samples += [*paused.values(), *(Samples(f"CPU of {name}", s.values) for name, s in cpu.items())]
    base = paused[BASE]
    exact = others <= MUCH  # else nobody can tell what was whose
    rows = []
    for c in found:
        s, b, u = paused[c.name], at_once[c.name], cpu[c.name]
        rows.append((
            c.name, ms(s.median), ms(s.p99), f"{s.median / base.median:.2f}", f"{s.spread:.0%}", ms(b.median), ms(b.p99),
            f"{b.median / at_once[BASE].median:.2f}",
            *((ms(u.median), f"{u.median / cpu[BASE].median:.2f}", f"{u.spread:.0%}") if exact else ("?", "", "")),
        ))  # fmt: skip
    section.say(
        f"/bin/true, stdout and stderr captured. {len(base.values)} rounds with {PAUSE * 1e3:.0f} ms between the runs; then",
        f"{len(at_once[OURS].values)} runs back to back, in turns, where a run waits until the next jail is ready. CPU is what",
        "the whole machine used for a run, its teardown in the kernel and the making of the next jail included, less",
        f"what others used meanwhile: {others:.1%} of one CPU while this benchmark did nothing.",
        "",
        *table(
            (
                "",
                "median ms",
                "p99 ms",
                "ratio",
                "spread",
                "back to back ms",
                "p99 ms",
                "ratio",
                "CPU ms",
                "ratio",
                "spread",
            ),
            rows,
        ),
        "",
        "![latency](latency.png)",
        "",
        *(f"- {' '.join((c.name, c.version)).strip()}: {c.note}." for c in found if c.note),
    )
    for way, by_name in (("3 ms between runs", paused), ("without a pause", alternating), ("back to back", at_once)):
        plain, own = by_name[BASE], by_name[OURS]
        section.goals += [
            Goal(f"paced latency, warm, {way}", f"{own.median / plain.median:.2f} x", f"<= {LATENCY:.2f} x subprocess.run",
                 own.median <= LATENCY * plain.median, floors(by_name)),
            Goal(f"its p99, {way}", f"{own.p99 / plain.p99:.2f} x", f"<= {TAIL} x", own.p99 <= TAIL * plain.p99),
        ]  # fmt: skip
    noise = f"others used {others:.0%} of one CPU meanwhile"
    used, share = cpu[OURS].median * 1e3, cpu[OURS].median / cpu[BASE].median
    section.goals += [
        Goal("CPU of the whole machine for a run", f"{used:.2f} ms, {share:.2f} x" if exact else noise, f"<= {CPU_MS} ms or <= {CPU_RATIO} x",
             (used <= CPU_MS or share <= CPU_RATIO) if exact else None),
        Goal("latency with fresh=True", f"{paused[FRESH].median / base.median:.2f} x", f"<= {FRESH_RATIO} x",
             paused[FRESH].median <= FRESH_RATIO * base.median),
    ]  # fmt: skip
    peers = [c.name for c in found if c.name not in NO_PEERS]
    for what, by_name in (("latency", paused), ("latency back to back", at_once), ("CPU", cpu)):
        nearest = min(peers, key={name: by_name[name].median for name in peers}.__getitem__, default="")
        factor = by_name[nearest].median / by_name[OURS].median if nearest else 0.0
        known = bool(nearest) and (exact or what != "CPU")
        measured = f"{nearest}, the nearest, needs {factor:.1f} x ours" if known else noise if nearest else "none here"
        met = factor > 1 if known else None
        section.goals.append(Goal(f"{what} against the peers", measured, "ahead of every one", met))
    return section, paused, cpu if exact else {}
