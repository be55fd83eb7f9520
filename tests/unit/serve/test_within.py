"""What holds a program in a session or a box: the disk of the whole, and one kind of CPUs for all."""

from __future__ import annotations

from typing import Any, cast

import pytest

from pyjail import Jail, Limits, SpecError
from pyjail.serve import within
from pyjail.serve.config import Terminals
from pyjail.serve.problem import Problem
from pyjail.serve.terminal import Open
from pyjail.serve.within import Inside


def inside(limits):
    return Inside(cast("Any", None), Jail(), limits)


@pytest.mark.parametrize(
    ("whole", "own", "cpus"),
    [(1.0, 2.0, 2.0), (1.0, None, None), (1.0, frozenset({0}), 1.0), (frozenset({0}), 1.0, frozenset({0}))],
)
def test_a_program_has_the_disk_of_the_whole_and_its_kind_of_cpus(whole, own, cpus):
    place = inside(Limits(disk="32M", inodes=100, cpus=whole))
    limits = place.of_whole(Limits(disk="64M", memory="16M", cpus=own))
    assert (limits.disk, limits.inodes, limits.memory, limits.cpus) == (32 << 20, 100, 16 << 20, cpus)


def test_a_path_of_files_is_told_as_of_a_run():
    assert within._named(SpecError("path", "../x", "no")).field == "files"
    assert within._named(SpecError("cwd", "x", "no")).field == "cwd"


def test_terminals_are_counted_for_each_tenant_and_in_all():
    there = Open(Terminals(count=3, share=2))
    with there.one("a"), there.one("a"), there.one("b"):
        for tenant, status in (("a", 429), ("b", 503)):
            with pytest.raises(Problem) as e, there.one(tenant):
                pass
            assert e.value.status == status and e.value.retry
    with there.one("a"), there.one("a"):
        pass
