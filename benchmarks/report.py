"""What was found, as data, as text on the terminal, and as benchmarks/RESULTS.md and the README's block of figures."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from sampling import Samples

HERE = Path(__file__).resolve().parent
BEGIN, END = "<!-- ./dev bench writes from here -->", "<!-- to here -->"

DISTURBED = (
    "Other work used this machine meanwhile (RESULTS.md says how much): on a quiet one times are shorter.",
    "",
)


@dataclass(frozen=True)
class Goal:
    """One line of the list of goals. ``met`` is None where it could not be measured."""

    what: str
    measured: str
    goal: str
    met: bool | None
    floor: str = ""  # what the parts alone need on this machine

    @property
    def verdict(self) -> str:
        return {True: "PASS", False: "FAIL", None: "not measured"}[self.met]


@dataclass
class Section:
    title: str
    text: list[str] = field(default_factory=list)  # Markdown
    goals: list[Goal] = field(default_factory=list)
    samples: list[Samples] = field(default_factory=list)

    def say(self, *lines: str) -> None:
        self.text += lines


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    names = list(head)
    out = ["| " + " | ".join(names) + " |", "|---" + "|---:" * (len(names) - 1) + "|"]
    return out + ["| " + " | ".join(row) + " |" for row in rows]


def goals_table(goals: Iterable[Goal]) -> list[str]:
    lines = ["| what | measured | goal | | parts alone |", "|---|---|---|---|---|"]
    said: set[str] = set()
    for g in goals:
        floor = "" if g.met is not False else "as above" if g.floor in said else g.floor
        said |= {floor} - {""}
        lines.append(f"| {g.what} | {g.measured} | {g.goal} | {g.verdict} | {floor} |")
    return lines


def show(section: Section) -> None:
    """On the terminal, as soon as it is measured."""
    print(f"\n## {section.title}\n")
    print("\n".join(line for line in section.text if not line.startswith("!")))
    for g in section.goals:
        print(f"{g.verdict:12} {g.what}: {g.measured} (goal {g.goal})", flush=True)


def write(facts: dict[str, str], sections: list[Section], took: float) -> None:
    goals = [g for s in sections for g in s.goals]
    count = {name: sum(g.verdict == name for g in goals) for name in ("PASS", "FAIL", "not measured")}
    lines = [
        "# Measured",
        "",
        f"Written by `./dev bench` in {took:.0f} s; all of it is measured anew each time. Times are medians, the spread is",
        "the median absolute deviation as a share of the median. Contenders take turns in one process: A, B, C, A, B, C ...",
        "Nothing here is a test: a goal that is missed is told as missed, and the last column says what this machine needs for",
        "the parts of the work alone (`benchmarks/floor.c`).",
        "",
        *table(("this machine", ""), facts.items()),
        "",
        "## Goals",
        "",
        f"{count['PASS']} met, {count['FAIL']} missed, {count['not measured']} not measured.",
        "",
        *goals_table(goals),
    ]
    for s in sections:
        lines += ["", f"## {s.title}", "", *s.text]
    (HERE / "RESULTS.md").write_text("\n".join(lines) + "\n")


def readme(facts: dict[str, str], sections: list[Section], key_figures: list[str]) -> list[str]:
    """The README's figures."""
    goals = [g for s in sections for g in s.goals]
    missed = [f"{g.what} ({g.measured}, goal {g.goal})" for g in goals if g.met is False]
    cpus = facts["CPUs"].split(",")[0].split()[-1]
    return [
        f"{cpus} CPUs{' of a virtual machine' if facts['virtual machine'] == 'yes' else ''}, kernel {facts['kernel']},",
        f"Python {facts['Python'].split()[0]}, {facts['cgroups']} cgroups, {facts['date'][:10]}:",
        "",
        *key_figures,
        "",
        *(DISTURBED if any("Not a quiet machine" in line for s in sections for line in s.text) else ()),
        "![latency](benchmarks/latency.png)",
        "![throughput](benchmarks/throughput.png)",
        "![latency by size of the embedder](benchmarks/embedder.png)",
        "",
        f"{sum(g.met is True for g in goals)} of {len(goals)} goals are met. Missed:",
        "",
        *(f"- {line}" for line in missed or ["none"]),
    ]


def write_block(path: Path, lines: list[str]) -> None:
    """Replace what is between the two marks of a document."""
    block = "\n".join([BEGIN, *lines, END])
    path.write_text(re.sub(re.escape(BEGIN) + ".*?" + re.escape(END), lambda _: block, path.read_text(), flags=re.S))


def ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3f}" if seconds < 0.1 else f"{seconds * 1e3:.1f}"
