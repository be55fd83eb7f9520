"""Which CPU each worker of a pinned pool gets."""

from __future__ import annotations

from collections.abc import Collection, Mapping


def cores(allowed: Collection[int], siblings: Mapping[int, Collection[int]]) -> tuple[tuple[int, ...], ...]:
    """The allowed CPUs by core, lowest first. A CPU of which nothing is known is a core by itself.

    >>> cores({0, 1, 2, 5}, {0: {0, 4}, 1: {1, 5}, 5: {1, 5}, 2: {2, 6}})
    ((0,), (1, 5), (2,))
    """
    found: dict[tuple[int, ...], None] = {}
    for cpu in sorted(allowed):
        found[tuple(sorted({cpu} | (set(siblings.get(cpu, ())) & set(allowed))))] = None
    return tuple(found)


def choose(
    size: int, by_core: Collection[tuple[int, ...]], siblings: Mapping[int, Collection[int]], taken: Collection[int]
) -> tuple[int, ...] | None:
    """One CPU on each of ``size`` cores that nobody has taken, not even a sibling of it; None: there are not so many.

    The other CPUs of a chosen core stay idle as far as the pool goes: they would share its execution units.

    >>> choose(2, ((0, 4), (1, 5), (2, 6)), {4: {0, 4}}, taken={4})
    (1, 2)
    """
    used = set(taken).union(*(siblings.get(cpu, ()) for cpu in taken))
    free = [core[0] for core in by_core if not used & set(core)]
    return tuple(free[:size]) if len(free) >= size else None
