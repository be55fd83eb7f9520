"""Soft limits of who started the embedder."""

from __future__ import annotations

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
