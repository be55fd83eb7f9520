"""Which CPUs a pinned pool gets, for machines that are not at hand."""

from __future__ import annotations

import pytest

from pyjail._base.units import cpu_list
from pyjail._policy.cores import choose, cores
from tests.examples import given, st

SMT = {cpu: {cpu % 4, cpu % 4 + 4} for cpu in range(8)}  # 4 cores, siblings 4 apart, as most PCs have it
ADJACENT = {cpu: {cpu & ~1, cpu | 1} for cpu in range(8)}  # siblings side by side, as many VMs have it
NONE = {cpu: {cpu} for cpu in range(4)}


@pytest.mark.parametrize(
    "text, cpus", [("0", {0}), ("0-3\n", {0, 1, 2, 3}), ("0,4\n", {0, 4}), ("0-1,6-7,9", {0, 1, 6, 7, 9})]
)
def test_the_kernels_notation(text, cpus):
    assert cpu_list(text) == cpus


@pytest.mark.parametrize(
    "size, allowed, siblings, taken, chosen",
    [
        (4, range(8), SMT, (), (0, 1, 2, 3)),
        (5, range(8), SMT, (), None),
        (4, range(8), ADJACENT, (), (0, 2, 4, 6)),
        (2, {4, 5}, SMT, (), (4, 5)),  # a cpuset of second siblings: still two cores
        (2, {0, 4}, SMT, (), None),  # a cpuset of one core
        (1, {0, 4}, SMT, (0,), None),
        (2, range(8), SMT, (0, 1), (2, 3)),
        (1, {4}, SMT, (0,), None),  # its sibling is another pool's, though not ours to use
        (4, range(4), NONE, (), (0, 1, 2, 3)),
        (2, {1, 3}, {}, (), (1, 3)),  # a kernel that tells nothing
    ],
)
def test_choices(size, allowed, siblings, taken, chosen):
    assert choose(size, cores(set(allowed), siblings), siblings, taken) == chosen


@given(
    st.sets(st.integers(0, 7), min_size=1),
    st.sampled_from([SMT, ADJACENT, NONE, {}]),
    st.integers(1, 8),
    st.sets(st.integers(0, 7)),
)
def test_never_two_on_a_core_never_one_that_is_taken_and_as_many_as_can_be(allowed, siblings, size, taken):
    def core(cpu: int) -> frozenset[int]:
        return frozenset(siblings.get(cpu, {cpu})) | {cpu}

    chosen = choose(size, cores(allowed, siblings), siblings, taken)
    free = {core(cpu) & allowed for cpu in allowed if not core(cpu) & set().union(*map(core, taken))}
    if chosen is None:
        assert len(free) < size
    else:
        assert len({core(cpu) for cpu in chosen}) == size
        assert set(chosen) <= allowed
        assert not set().union(*map(core, chosen)) & taken
