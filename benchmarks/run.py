"""All measurements, in order: ./dev bench [--quick] [--only PART]...

Writes benchmarks/RESULTS.md, three PNGs, the figures of README.md and docs/timings.md, and build/benchmarks/results.json
(pyperf's format), but not with --quick or --only. Nothing here asserts: each goal is printed with PASS or FAIL.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass

import bigger
import bulk
import contenders
import first
import floor
import kill
import latency
import memory
import phases
import plots
import pyperf
import report
import service
import slowdown
import sustained
import throughput
from machine import BUILD, QUIET, ROOT, CpuClock, facts
from report import Goal, Section, ms
from sampling import Samples

import pyjail

GIB = 1 << 30
PATIENCE_S = 60.0  # in all, for other work on the machine to end


@dataclass(frozen=True)
class Sizes:
    """How much is measured; seconds bound each part, whatever the rounds need."""

    rounds: int = 700
    turns: int = 30
    latency_s: float = 90
    block_rounds: int = 3
    block_s: float = 3
    throughput_rounds: int = 8
    throughput_s: float = 45
    embedder_rounds: int = 20
    embedder_s: float = 30
    embedder: int = 4 * GIB
    first_rounds: int = 15
    warm: int = 50
    alive: int = 1000
    alive_s: float = 45
    slowdown_rounds: int = 40
    slowdown_s: float = 30
    share: float = 1.0
    kills: int = 150
    kills_s: float = 45
    bulk: int = GIB
    bulk_rounds: int = 3
    floor_count: int = 500
    serve_s: float = 3
    serve_rounds: int = 5
    serve_runs: int = 20_000


QUICK = Sizes(30, 4, 6, 1, 0.2, 3, 5, 4, 3, 256 << 20, 4, 10, 50, 3, 3, 3, 0.3, 20, 4, 128 << 20, 2, 40, 0.3, 1, 500)


class Findings:
    """What the parts leave for the report."""

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes
        self.clock = CpuClock()
        self.facts = facts(self.clock)
        self.sections: list[Section] = []
        self.latencies: dict[str, Samples] = {}
        self.cpu: dict[str, Samples] = {}
        self.blocks: dict[int, dict[str, list[sustained.Block]]] = {}
        self.rates: dict[int, dict[str, Samples]] = {}
        self.embedders: list[tuple[int, Samples, Samples]] = []
        self.floor: dict[str, tuple[float, float]] = {}
        self.imports = 0.0
        self.phases: list[str] = []  # the table of docs/timings.md
        peers, self.missing = contenders.peers()
        self.everyone = [*contenders.ours(), *peers]

    def sustained(self) -> Section:
        z = self.sizes
        section, self.blocks = sustained.measure(self.everyone, z.block_rounds, z.block_s, self.clock)
        return section

    def alternating(self) -> Section:
        return sustained.alternating(self.sizes.block_rounds, self.sizes.block_s, self.clock)

    def latency(self) -> Section:
        z = self.sizes
        section, self.latencies, self.cpu = latency.measure(self.everyone, z.rounds, z.turns, z.latency_s, self.clock)
        section.say(*(f"- {name}: {why}." for name, why in self.missing.items()))
        return section

    def throughput(self) -> Section:
        section, self.rates = throughput.measure(self.everyone, self.sizes.throughput_rounds, self.sizes.throughput_s)
        return section

    def first(self) -> Section:
        return first.measure(self.sizes.first_rounds, 20)

    def embedder(self) -> Section:
        section, self.embedders = bigger.measure(self.sizes.embedder_rounds, self.sizes.embedder_s, self.sizes.embedder)
        return section

    def memory(self) -> Section:
        return memory.measure(self.sizes.warm, self.sizes.alive, self.sizes.alive_s)

    def slowdown(self) -> Section:
        return slowdown.measure(self.sizes.slowdown_rounds, self.sizes.slowdown_s, self.sizes.share)

    def kill(self) -> Section:
        return kill.measure(self.sizes.kills, self.sizes.kills_s)

    def bulk(self) -> Section:
        return bulk.measure(self.sizes.bulk, self.sizes.bulk_rounds, 30)

    def service(self) -> Section:
        return service.measure(self.sizes.serve_s, self.sizes.serve_rounds, self.sizes.serve_runs)

    def parts(self) -> Section:
        section, self.floor = floor.measure(self.sizes.floor_count, self.clock)
        return section

    def by_phase(self) -> Section:
        section, found = phases.measure(self.sizes.first_rounds // 3)
        self.phases, self.imports = phases.lines(found, self.floor), found[0]["modules"] / 1e9
        section.say(*self.phases)
        return section


PARTS: dict[str, Callable[[Findings], Section]] = {
    "sustained": Findings.sustained,
    "alternating": Findings.alternating,
    "latency": Findings.latency,
    "throughput": Findings.throughput,
    "first": Findings.first,
    "embedder": Findings.embedder,
    "memory": Findings.memory,
    "slowdown": Findings.slowdown,
    "kill": Findings.kill,
    "bulk": Findings.bulk,
    "service": Findings.service,
    "parts": Findings.parts,
    "phases": Findings.by_phase,
}


def key_figures(found: Findings) -> list[str]:
    """For the README: without pauses, then paced."""
    paced = ["", "Paced: 3 ms of rest between runs, throughput in bursts of 96 runs with 20 ms between them:", ""]
    return [*sustained.key_figures(found.blocks), *paced, *_paced(found)]


def _paced(found: Findings) -> list[str]:
    base, rows = found.latencies[contenders.BASE], []
    for c in found.everyone:
        s = found.latencies[c.name]
        cpu = ["", ""]  # not known when others used the machine
        if found.cpu:
            used = found.cpu[c.name].median
            cpu = [ms(used), f"{used / found.cpu[contenders.BASE].median:.2f}"]
        many = [f"{r[c.name].median:.0f}" if c.name in r else "" for r in list(found.rates.values())[1:]]
        name = f"`{c.name}`" if "." in c.name else f"{c.name}, {c.note}"
        rows.append((name, ms(s.median), f"{s.median / base.median:.2f}", ms(s.p99), *cpu, *many))
    head = (
        "",
        "median ms",
        "ratio",
        "p99 ms",
        "CPU ms",
        "ratio",
        *(f"runs/s, {n} threads" for n in list(found.rates)[1:]),
    )
    return report.table(head, rows)


def save(found: Findings) -> None:
    suite = pyperf.BenchmarkSuite(
        [s.benchmark for section in found.sections for s in section.samples[: len(found.everyone)]]
    )
    suite.dump(str(BUILD / "results.json"), replace=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few rounds, less than two minutes; writes nothing")
    parser.add_argument("--only", action="append", choices=PARTS, help="this part; writes nothing")
    options = parser.parse_args()
    started = time.monotonic()
    try:
        pyjail.run(["/bin/true"], check=True)
    except pyjail.JailError as e:
        print(f"pyjail does not run here: {e}", file=sys.stderr)
        return 1
    found = Findings(QUICK if options.quick else Sizes())
    print("\n".join(f"{name}: {value}" for name, value in found.facts.items()))
    patience = PATIENCE_S
    for name in options.only or PARTS:
        at = time.monotonic()
        if not options.quick:
            patience -= found.clock.wait_until_quiet(patience)
        before = found.clock.idle_rate(0.3)
        try:
            section = PARTS[name](found)
        except Exception as e:  # the other parts are measured all the same
            traceback.print_exc()
            section = Section(name, [f"Failed: `{type(e).__name__}: {str(e)[:300]}`"])
            section.goals.append(Goal(name, "failed", "", None))
        others = max(before, found.clock.idle_rate(0.3))
        if others > QUIET:
            section.say("", f"Not a quiet machine: others used {others:.0%} of one CPU just before or after this part.")
        report.show(section)
        print(f"({name}: {time.monotonic() - at:.0f} s)")
        found.sections.append(section)
    for section in found.sections:
        section.goals = floor.beside(section.goals, found.floor, found.imports)
    goals = [g for section in found.sections for g in section.goals]
    took = time.monotonic() - started
    print(f"\n{sum(g.met is True for g in goals)} of {len(goals)} goals met, in {took:.0f} s; missed:")
    for g in goals:
        if g.met is False:
            print(f"  {g.what}: {g.measured} (goal {g.goal})" + (f"; the parts alone: {g.floor}" if g.floor else ""))
    if not options.quick and not options.only:
        report.write(found.facts, found.sections, took)
        if not (found.blocks and found.latencies and found.rates and found.embedders and found.phases):
            print("a part failed: only benchmarks/RESULTS.md is written")
            return 1
        report.write_block(ROOT / "README.md", report.readme(found.facts, found.sections, key_figures(found)))
        report.write_block(ROOT / "docs/timings.md", ["", *found.phases, ""])
        machine = f"{found.facts['CPUs'].split(',')[0].split()[-1]} CPUs, kernel {found.facts['kernel'].split(',')[0]}"
        plots.draw(found.latencies, found.rates, found.embedders, machine)
        save(found)
        print(
            "written: benchmarks/RESULTS.md, benchmarks/*.png, the figures of README.md and docs/timings.md, build/benchmarks/results.json"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
