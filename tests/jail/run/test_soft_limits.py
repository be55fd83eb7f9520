"""Limits of who started the embedder."""

from __future__ import annotations

import pytest

import pyjail
from pyjail import Limits
from tests.scripts import script

SOFT = """
    import os, resource, sys
    processes = 3 if os.geteuid() == 0 else 2000 # others of this user's count, too
    for name in ("STACK", "CORE", "NOFILE", "FSIZE", "NPROC", "DATA", "CPU"):
        limit = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(limit)[1]
        low = {"NOFILE": 200, "NPROC": processes, "CPU": 1000, "CORE": 0}.get(name, 300 << 20)
        if sys.argv[1:] and (hard == -1 or low < hard):
            resource.setrlimit(limit, (low, hard))
    import pyjail
    r = pyjail.run(["sh", "-c", "ulimit -a"], pyjail.Limits(stack=None, core=None, open_files=None, file_size=None))
    print(r.stdout.decode(), r.stderr.decode(), [row for row in r.receipt if row.name.startswith("RLIMIT")])
"""


def test_who_started_the_embedder_does_not_decide_what_a_program_may():
    """Soft limits are a shell's habit: without a limit of ours the hard one holds, and the receipt tells it."""
    here, elsewhere = script(SOFT), script(SOFT, arguments=("lower",))
    assert here.returncode == 0 and here.stdout == elsewhere.stdout, (here, elsewhere)
    assert here.stdout.count("the caller's hard limit") == 4
    r = pyjail.run(["true"], Limits(stack=None))
    assert r.receipt["RLIMIT_STACK"].status == "not_asked" and r.receipt["RLIMIT_STACK"].asked == "none"


NO_CORES = """
    import resource
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # `hard core 0` of limits.conf, LimitCORE=0 of a unit
    import pyjail
    from tests.inside import host_says
    host_says("/core_pattern", PATTERN)
    try:
        row = pyjail.run(["sh", "-c", "kill -ABRT $$"]).receipt["RLIMIT_CORE"]
        print(row.asked, row.value, row.status)
    except pyjail.HostError as e:
        print(e.control, "|", e.cause, "|", e.hint)
    row = pyjail.run(["true"], jail=pyjail.Jail(strict=False)).receipt["RLIMIT_CORE"]
    print(row.value, row.status)
"""


@pytest.mark.parametrize("pattern", ["core", "/var/crash/core.%p"])
def test_a_hard_limit_without_core_files_is_what_was_asked_for(pattern):
    out = script(NO_CORES.replace("PATTERN", repr(pattern)))
    assert out.stdout == "0 0/0 enforced\n0/0 enforced\n", (out.stdout, out.stderr)


@pytest.mark.parametrize("pattern", ["|/usr/lib/handler %p", "@/run/socket", ""])
def test_a_hard_limit_without_core_files_does_not_hold_where_the_host_does_something_else_with_them(pattern):
    """Only a limit of 1 keeps the kernel from that."""
    out = script(NO_CORES.replace("PATTERN", repr(pattern)))
    assert out.stdout, out.stderr
    refused, lenient = out.stdout.splitlines()
    assert refused.startswith("core | the caller's own hard RLIMIT_CORE is 0, and kernel.core_pattern "), out.stdout
    assert "below what was asked" not in refused and "ulimit -Hc 1" in refused
    assert lenient == "0/0 not_enforced"
