"""Pool(pin=True): a core for each worker."""

from __future__ import annotations

import os

import pytest

import pyjail
from pyjail import Limits, Pool
from tests.host_side import programs
from tests.scripts import script, until


def cores() -> int:
    """Physical cores that we may use, counted by another way than pyjail's."""
    found = set()
    for cpu in os.sched_getaffinity(0):
        with open(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list") as f:
            found.add(f.read())
    return len(found)


def test_pinned_workers_have_cores_of_their_own():
    count = cores()
    with Pool(count, pin=True) as pool:
        assert len(set(pool.cpus)) == count and set(pool.cpus) <= os.sched_getaffinity(0)
        shown = ["sh", "-c", "grep Cpus_allowed_list /proc/self/status; cat"]
        reader, writer = os.pipe()
        results = pool.map([shown] * count, stdin=reader)
        assert until(lambda: len(programs(b"cat")) == count)
        os.close(writer)
        seen = sorted(int(r.stdout.split()[1]) for r in results)
        os.close(reader)
        assert seen == sorted(pool.cpus)
        with pytest.raises(pyjail.HostError) as e:  # somebody has them already
            Pool(1, pin=True)
        assert (e.value.control, "other pinned pools" in e.value.cause) == ("pin", True)
        with pytest.raises(pyjail.SpecError) as s:
            pool.run(["true"], Limits(cpus=0.5))
        assert s.value.field == "cpus"
    with Pool(1, pin=True) as pool:  # they are free again
        assert pool.run(["nproc"]).stdout == b"1\n"


def test_fewer_cores_than_workers_is_refused_with_the_fix():
    count = cores()
    with pytest.raises(pyjail.HostError) as e:
        Pool(count + 1, pin=True)
    assert e.value.control == "pin"
    assert f"Pool(size={count}, pin=True)" in e.value.hint and "pin=False" in e.value.hint


def test_pinning_keeps_to_the_affinity_of_this_process():
    code = """
    import os, pyjail
    last = max(os.sched_getaffinity(0))
    pyjail.run(["true"])  # what was found out about this machine holds no more after the next line
    os.sched_setaffinity(0, {last})
    with pyjail.Pool(1, pin=True) as pool:
        print(pool.cpus == (last,), pool.run(["nproc"]).stdout)
    try: pyjail.Pool(2, pin=True)
    except pyjail.HostError as e: print(f"CPUs [{last}]" in e.cause)
    """
    out = script(code)
    assert out.stdout == "True b'1\\n'\nTrue\n", out.stderr
