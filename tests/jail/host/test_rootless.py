"""As an ordinary user: who the program is outside, whose its files are, what is refused and how to get it."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

import pytest

import pyjail
from pyjail import Jail, Limits, Mount
from tests import place
from tests.host_side import cgroups_of, keepers_of
from tests.inside import host
from tests.scripts import script, until

pytestmark = pytest.mark.skipif(os.geteuid() == 0, reason=place.ELSEWHERE)


def outside_ids(**kw) -> tuple[int, int]:
    """The uid and gid of a running program, seen from here."""
    t = threading.Thread(target=pyjail.run, args=(["sleep", "2"],), kwargs=kw)
    t.start()

    def asleep() -> list[str]:
        found = []
        for pid in keepers_of(os.getpid()):
            with contextlib.suppress(OSError):  # it has ended since
                found.append(Path(f"/proc/{pid}/status").read_text())
        return [status for status in found if status.startswith("Name:\tsleep\n")]

    seen: list[str] = []
    try:
        assert until(lambda: seen.extend(asleep()) or seen)
    finally:
        t.join()
    lines = dict(line.split(":\t", 1) for line in seen[0].splitlines())
    return int(lines["Uid"].split()[0]), int(lines["Gid"].split()[0])


def test_the_program_has_a_subordinate_id_when_newuidmap_is_there():
    subuids, subgids = host().subuids, host().subgids
    if subuids is None:
        pytest.skip(place.WITHOUT_HELPER)
    uid, gid = outside_ids()
    assert subuids[0] <= uid < sum(subuids)
    assert subgids[0] <= gid < sum(subgids)
    r = pyjail.run(["id", "-u"])
    assert r.stdout == b"1000\n"
    uid = int(r.receipt["ids"].value.partition("outside uid ")[2].split()[0])
    assert subuids[0] <= uid < sum(subuids)


def test_a_single_mapping_is_used_when_told_or_when_the_program_may_write_files_of_the_caller(tmp_path):
    assert outside_ids(jail=Jail(mounts=[Mount.bind(tmp_path, "/out", ro=False)])) == (os.geteuid(), os.getegid())
    code = """
    import os, pyjail
    r = pyjail.run(["id", "-u"])
    print(r.stdout, f"outside uid {os.geteuid()} gid {os.getegid()}" in r.receipt["ids"].value)
    """
    out = script(code, env={**os.environ, "PYJAIL_SUBORDINATE_IDS": "0"})
    assert out.stdout == "b'1000\\n' True\n", out.stderr


def test_files_that_a_jail_makes_are_the_callers_to_remove(tmp_path):
    r = pyjail.run(
        ["sh", "-c", "umask 0; mkdir -p /out/d/e && echo x > /out/d/e/f && chmod 0 /out/d/e/f && chmod 500 /out/d/e"],
        jail=Jail(mounts=[Mount.bind(tmp_path, "/out", ro=False)]),
    )
    assert r.ok, r.stderr
    made = tmp_path / "d/e"
    assert {(p.stat().st_uid, p.stat().st_gid) for p in (made, made / "f")} == {(os.geteuid(), os.getegid())}
    made.chmod(0o700)
    (made / "f").unlink()
    made.rmdir()


@pytest.mark.skipif(place.CGROUPS, reason=place.ELSEWHERE)
@pytest.mark.parametrize(("limits", "control"), [(Limits(), "memory"), (Limits(memory=None), "processes")])
def test_strict_refuses_what_no_cgroup_can_enforce_and_says_how_to_get_it(limits, control):
    with pytest.raises(pyjail.HostError) as e:
        pyjail.run(["true"], limits, jail=Jail(strict=True))
    assert e.value.control == control
    assert f"Limits({control}=None)" in e.value.hint
    assert "Jail(strict=False)" in e.value.hint
    assert "root" in e.value.hint
    r = pyjail.run(["true"], limits, jail=Jail(strict=False))
    assert control in {row.name for row in r.receipt.not_enforced}
    assert r.receipt[control].status == "not_enforced"


def test_without_limits_that_need_a_cgroup_strict_runs_everywhere():
    r = pyjail.run(["true"], Limits(memory=None, processes=None, cpu_time=None, cpus=None), jail=Jail(strict=True))
    assert r.ok
    assert r.receipt.not_enforced == ()


def test_a_newuidmap_that_fails_is_a_clear_error_and_leaves_nothing(tmp_path):
    if host().subuids is None:
        pytest.skip(place.WITHOUT_HELPER)
    fake = tmp_path / "newuidmap"
    fake.write_text("#!/bin/sh\necho 'newuidmap: no range for you' >&2\nexit 1\n")
    fake.chmod(0o755)
    code = """
    import os, pyjail
    try: pyjail.run(["true"])
    except pyjail.SetupError as e: print(e)
    print(os.getpid())
    """
    out = script(code, env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"})
    first, pid = out.stdout.strip().rsplit("\n", 1)
    assert "no range for you" in first
    assert "/etc/subuid" in first
    assert "PYJAIL_SUBORDINATE_IDS=0" in first
    assert cgroups_of(int(pid)) == []


@pytest.mark.parametrize("which", ["NOFILE", "FSIZE", "NPROC", "CPU", "AS"])
def test_with_one_id_and_no_filter_limits_set_on_the_keeper_are_no_other_runs(which):
    """prlimit(2) asks for equal ids only. The keeper is of no use then: it and the run end, the next run has another."""
    code = f"""
    import os, pyjail, time
    os.environ["PYJAIL_SUBORDINATE_IDS"] = "0"
    jail = pyjail.Jail(strict=False, seccomp="none")
    limits = pyjail.Limits(wall_time=200)
    lower = "import resource, time; resource.prlimit(1, resource.RLIMIT_{which}, (3, 3)); print('x' * 9)"
    before = time.monotonic()
    for i in range(3):
        pyjail.run(["python3", "-I", "-c", lower], limits, jail=jail)
        r = pyjail.run(["echo", "fine"], limits, jail=jail)
        print(r.verdict, r.stdout)
    print(time.monotonic() - before < 190)  # by none of their wall time's
    """
    out = script(code)
    assert out.stdout == "ok b'fine\\n'\n" * 3 + "True\n", (out.stdout, out.stderr)
