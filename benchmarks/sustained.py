"""Runs per second without a pause: blocks of some seconds, in which what a run leaves to be done afterwards must be done, too.

The paced parts (latency, throughput in bursts) rest between their turns, and the next jail is made in the rest, for nothing.
Here nothing rests: workers call again as soon as their call returns, until the block is over. CPU is what the whole machine
used from the start of the block until it was quiet again, for each run; ``busy`` is how much of its CPUs the block used.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import math
import statistics
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from contenders import BASE, FENCED, FRESH, OURS, RELAY, TRUE, Contender
from contenders import ready as made_ready
from machine import MUCH, CpuClock
from report import Goal, Section, ms, table
from sampling import Samples, in_turns

import pyjail
import pyjail.aio
from pyjail import Jail, Limits

WORKERS = (1, 2, 4, 16)
POOL, AIO, AIO_BASE, SESSION = "Pool.run", "aio.run", "asyncio subprocess", "Session.run"
MANY = (2, 5, 20)
SETTLE_S = 0.3
GOALS = {1: 0.90, 2: 0.75, 4: 0.80, 16: 1.00}
TURN_GOAL = 0.8  # of the rate with one and the same


@dataclass(frozen=True)
class Block:
    """One block: its runs, seconds, and CPU seconds of the whole machine in it, and until it was quiet again."""

    runs: int
    seconds: float
    cpu: float
    cpu_after: float  # less what others used; NaN when that was much

    @property
    def rate(self) -> float:
        return self.runs / self.seconds


Drive = Callable[[float], int]  # work for so many seconds; how many runs that were


def threads(call: Callable[[int], object], size: int) -> Drive:
    """So many threads, each with a call after the other."""

    def drive(seconds: float) -> int:
        counts, failed, end = [0] * size, [], time.monotonic() + seconds

        def work(number: int) -> None:
            try:
                while time.monotonic() < end:
                    call(number)
                    counts[number] += 1
            except BaseException as e:
                failed.append(e)

        crew = [threading.Thread(target=work, args=(n,)) for n in range(size)]
        for t in crew:
            t.start()
        for t in crew:
            t.join()
        if failed:
            raise failed[0]
        return sum(counts)

    return drive


def tasks(call: Callable[[], Awaitable[object]], size: int) -> Drive:
    """So many tasks of one event loop, each with a call after the other."""

    async def all_of_them(seconds: float) -> int:
        counts, end = [0] * size, time.monotonic() + seconds

        async def work(number: int) -> None:
            while time.monotonic() < end:
                await call()
                counts[number] += 1

        await asyncio.gather(*map(work, range(size)))
        return sum(counts)

    return lambda seconds: asyncio.run(all_of_them(seconds))


async def _plain() -> object:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(TRUE, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe)
    return await process.communicate()


def block(drive: Drive, seconds: float, clock: CpuClock, others: float) -> Block:
    """One block of this, on a machine on which others use so much of a CPU."""
    before, started = clock.read(), time.monotonic()
    runs = drive(seconds)
    took, used = time.monotonic() - started, clock.read() - before
    time.sleep(SETTLE_S)  # teardown in threads of the kernel's own; the next jail
    after = clock.read() - before - others * (time.monotonic() - started)
    return Block(runs, took, used, max(0.0, after) if others <= MUCH else math.nan)


def _ways(found: list[Contender], size: int, stack: ExitStack) -> Iterator[tuple[str, Drive]]:
    """Everybody who is measured with so many workers, made ready."""
    by_name = {c.name: c for c in found}
    stack.enter_context(made_ready(by_name.values(), size))
    for name in (BASE, OURS, RELAY, FENCED):
        if name in by_name:
            yield name, threads(by_name[name].call, size)
    pool = stack.enter_context(pyjail.Pool(size))
    yield POOL, threads(lambda _: pool.run([TRUE]), size)
    yield AIO_BASE, tasks(_plain, size)
    yield AIO, tasks(lambda: pyjail.aio.run([TRUE]), size)
    if size == 1:
        session = stack.enter_context(pyjail.Session())
        yield SESSION, threads(lambda _: session.run([TRUE]), size)
        yield FRESH, threads(by_name[FRESH].call, size)


def _blocks(ways: dict[str, Drive], rounds: int, seconds: float, clock: CpuClock) -> dict[str, list[Block]]:
    """By name; in turns, after a moment of each."""
    kept: dict[str, list[Block]] = {name: [] for name in ways}
    for drive in ways.values():
        drive(seconds / 10)
    time.sleep(SETTLE_S)
    others = clock.idle_rate(0.5)

    def take(name: str) -> float:
        kept[name].append(block(ways[name], seconds, clock, others))
        return 0.0

    in_turns({name: functools.partial(take, name) for name in ways}, rounds, 1e9)
    return kept


def _median(blocks: list[Block], of: Callable[[Block], float]) -> float:
    return Samples("block", [of(b) for b in blocks]).median


def _share(found: dict[str, list[Block]], name: str, base: str = BASE) -> float:
    """Of the rate of ``base``, each block beside the one of the same round."""
    return Samples("share", [a.rate / b.rate for a, b in zip(found[name], found[base], strict=True)]).median


def _cpu(blocks: list[Block], beside: list[Block]) -> tuple[str, str]:
    """CPU of a run, and its ratio to the other's; "?" when others used too much of the machine."""
    own, plain = (statistics.median(b.cpu_after / b.runs for b in of) for of in (blocks, beside))
    return ("?", "?") if math.isnan(own + plain) or not plain else (ms(own), f"{own / plain:.2f}")


def key_figures(found: dict[int, dict[str, list[Block]]]) -> list[str]:
    """For the README: by contender the share with so many workers, CPU with one and with two, the CPUs busy with two."""
    rows = []
    names = list(dict.fromkeys(name for by_name in found.values() for name in by_name))
    for name in names:
        shares = [f"{_share(by_name, name):.2f}" if name in by_name else "" for by_name in found.values()]
        one, two = found[1], found[2]
        busy = f"{_median(two[name], lambda b: b.cpu / b.seconds):.2f}" if name in two else ""
        cpu = [_cpu(by[name], by[BASE])[0] if name in by else "" for by in (one, two)]
        rows.append((f"`{name}`" if "." in name else name, *shares, *cpu, busy))
    head = ("share of `subprocess.run`", *(f"{n} worker{'s' * (n > 1)}" for n in found))
    return table((*head, "CPU ms a run, 1", "2", "CPUs busy, 2"), rows)


def measure(
    everyone: list[Contender], rounds: int, seconds: float, clock: CpuClock
) -> tuple[Section, dict[int, dict[str, list[Block]]]]:
    """Blocks by workers and contender."""
    section = Section("Sustained: no pauses")
    mine = [c for c in everyone if c.name in (BASE, OURS, FRESH, RELAY, FENCED)]
    found: dict[int, dict[str, list[Block]]] = {}
    for size in WORKERS:
        with ExitStack() as stack:
            found[size] = _blocks(dict(_ways(mine, size, stack)), rounds, seconds, clock)
        pyjail.close()
    rows = []
    for size, by_name in found.items():
        for name, blocks in by_name.items():
            rows.append((
                name, str(size), f"{_median(blocks, lambda b: b.rate):.0f}", f"{_share(by_name, name):.2f}",
                *_cpu(blocks, by_name[BASE]), f"{_median(blocks, lambda b: b.cpu / b.seconds):.2f}",
            ))  # fmt: skip
    section.say(
        f"/bin/true, output captured, blocks of {seconds:g} s in turns, {rounds} of each; the workers are threads, of `aio.run` and",
        "asyncio's own subprocess tasks of one loop. The share is that of the rate of `subprocess.run` in as many threads, in the",
        "same round. CPU is what the whole machine used for a run until it was quiet again, less what others used before.",
        "",
        *table(("", "workers", "runs/s", "share", "CPU ms a run", "ratio", "CPUs busy"), rows),
    )
    for size, least in GOALS.items():
        share = _share(found[size], OURS)
        floor = "; ".join(f"{n}: {_share(found[size], n):.2f} x" for n in (RELAY, FENCED) if n in found[size])
        goal = Goal(f"sustained, {size} thread{'s' * (size > 1)}", f"{share:.2f} x", f">= {least:.2f} x subprocess.run",
                    share >= least, floor)  # fmt: skip
        section.goals.append(goal)
    section.samples += [
        Samples(f"sustained runs per second of {name}, {size} workers", [b.rate for b in blocks], "integer")
        for size, by_name in found.items()
        for name, blocks in by_name.items()
    ]
    return section, found


def _in_turn(limits: list[Limits], jails: list[Jail]) -> Drive:
    pairs = itertools.cycle(
        [(limits[i % len(limits)], jails[i % len(jails)]) for i in range(max(len(limits), len(jails)))]
    )

    def call(_: int) -> object:
        one, jail = next(pairs)
        return pyjail.run([TRUE], one, jail=jail)

    return threads(call, 1)


def alternating(rounds: int, seconds: float, clock: CpuClock) -> Section:
    """Runs whose limits and jails change from one to the next, as a judge's do."""
    section = Section("Sustained: Limits and Jails in turn")
    limits = [Limits(memory=(64 + n) << 20) for n in range(max(MANY))]
    jails = [Jail(hostname=f"judge{n}") for n in range(max(MANY))]
    ways = {"one and the same": _in_turn(limits[:1], jails[:1])}
    for n in MANY:
        ways[f"{n} Limits in turn"] = _in_turn(limits[:n], jails[:1])
        ways[f"{n} Jails in turn"] = _in_turn(limits[:1], jails[:n])
        ways[f"{n} of both in turn"] = _in_turn(limits[:n], jails[:n])
    pyjail.close()
    found = _blocks(ways, rounds, seconds, clock)
    pyjail.close()
    rows = []
    for name, blocks in found.items():
        share = _share(found, name, "one and the same")
        cpu, _ = _cpu(blocks, found["one and the same"])
        rows.append((name, f"{_median(blocks, lambda b: b.rate):.0f}", f"{share:.2f}", cpu))
        if name != "one and the same":
            section.goals.append(
                Goal(f"sustained, {name}", f"{share:.2f} x", f">= {TURN_GOAL} x one and the same", share >= TURN_GOAL)
            )
    section.say(
        f"One thread, blocks of {seconds:g} s in turns, {rounds} of each, after a tenth of a block to get used to it.",
        "",
        *table(("", "runs/s", "share", "CPU ms a run"), rows),
    )
    return section
