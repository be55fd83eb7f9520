"""`Jail(deterministic=True)`: two runs of a program that prints all there is of chance agree."""

from __future__ import annotations

import sys

import pytest

import pyjail
from pyjail import Jail, Session, SpecError
from tests.conftest import SLOW
from tests.scripts import script

SAME = Jail(deterministic=True)
WORLD = r"""
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>
int main(int argc, char **argv, char **env) {
  int local;
  struct utsname u;
  uname(&u);
  printf("%p %p %p %p %lx %p\n", main, printf, &local, malloc(1), getauxval(AT_SYSINFO_EHDR), sbrk(0));
  printf("%s %d %d %d %d %d\n", u.nodename, getpid(), getppid(), getsid(0), getuid(), getgid());
  for (; *env; env++) puts(*env);
  fflush(stdout);
  for (int i = 0; i < 3; i++) {
    if (!fork()) printf("%d\n", getpid()), exit(0);
    wait(0);
  }
  return 0;
}
"""
CLOCKS = r"""
#include <stdio.h>
#include <time.h>
int main() {
  for (int clock = 1; clock <= 7; clock += 6) {
    struct timespec t;
    clock_gettime(clock, &t);
    printf("%ld.%09ld\n", t.tv_sec, t.tv_nsec);
  }
}
"""


def test_who_owns_the_files_of_the_network_namespace():
    """The kernel asks for id 0 when it is made (net_ns_get_ownership()), while the id maps are written."""
    code = """
    import os, pyjail
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    owners = set()
    for _ in range(20):
        jail = pyjail.Jail(uid=0, gid=0, deterministic=True, strict=False)
        owners.add(pyjail.run(["stat", "-c", "%u:%g", "/proc/self/net/dev"], jail=jail).stdout)
        pyjail.close()
    print(len(owners))
    """
    out = script(code)
    assert out.stdout == "1\n", out.stderr


HASHES = "import locale, time; print(hash('x'), {'a', 'b', 'c'}, locale.setlocale(locale.LC_ALL, ''), time.tzname)"


def rows(result):
    return {row.name.removeprefix("deterministic "): row for row in result.receipt if "deterministic" in row.name}


@pytest.mark.parametrize("extra", [{}, {"fresh": True}, {"network": "loopback"}, {"proc": False}])
def test_two_runs_agree(run_c, extra):
    jail = Jail(deterministic=True, **extra)
    first, second = (run_c(WORLD, jail=jail) for _ in range(2))
    assert first.ok
    assert first.stdout == second.stdout
    assert b"pyjail 2 1 2 1000 1000\n" in first.stdout
    assert first.stdout.endswith(b"3\n4\n5\n")
    assert {b"PYTHONHASHSEED=0", b"LC_ALL=C.UTF-8", b"TZ=UTC"} <= set(first.stdout.split(b"\n"))


def test_without_it_addresses_differ(run_c):
    found = {run_c(WORLD).stdout.split(b"\n")[0] for _ in range(3)}
    assert len(found) == 3
    assert rows(run_c(WORLD))["deterministic"].status == "not_asked"


def test_python_agrees_with_itself():
    first, second = (pyjail.run([sys.executable, "-c", HASHES], jail=SAME) for _ in range(2))
    assert first.ok, first.stderr
    assert first.stdout == second.stdout


def test_the_receipt_is_the_kernels(run_c):
    found = rows(run_c(WORLD, jail=Jail(deterministic=True, hostname="judge")))
    assert [row.status for name, row in found.items() if name != "clocks"] == ["enforced"] * 4
    assert found["addresses"].value == "0x40000"
    assert found["hostname"].value == "judge"
    assert found["pids"].value == "2"


def test_clocks_start_at_nothing(run_c):
    result = run_c(CLOCKS, jail=SAME)
    row = rows(result)["clocks"]
    if row.status == "not_enforced":
        pytest.skip(f"proved in another place: {row.value}")
    assert row.value.startswith("monotonic -")
    assert all(0 < float(text) < 20 * SLOW for text in result.stdout.split())
    assert result.usage.wall_time < 20 * SLOW  # told by clocks outside


def test_a_filter_without_write_keeps_the_clocks_as_they_are():
    policy = pyjail.SeccompPolicy(refuse=("write",), errno="EPERM")
    row = rows(pyjail.run(["true"], jail=Jail(deterministic=True, seccomp=policy)))["clocks"]
    assert (row.status, "write" in row.value or "6.2" in row.value) == ("not_enforced", True)


def test_the_environment_given_wins():
    out = pyjail.run(["env"], jail=SAME, env={"PATH": "/bin:/usr/bin", "TZ": "CET", "PYTHONHASHSEED": "7"}, text=True)
    assert set(out.stdout.split()) == {"PATH=/bin:/usr/bin", "TZ=CET", "PYTHONHASHSEED=7", "LC_ALL=C.UTF-8"}
    assert rows(out)["environment"].value == "PYTHONHASHSEED=7 LC_ALL=C.UTF-8 TZ=CET"
    with pytest.raises(SpecError, match="random"):
        pyjail.run(["true"], jail=SAME, env={"PYTHONHASHSEED": "random"})


def test_sessions_and_live_programs_too():
    with Session(SAME) as s:
        assert s.run(["env"]).stdout == s.run(["env"]).stdout
    with pyjail.start(["sh", "-c", "echo $TZ"], jail=SAME) as p:
        assert p.communicate()[0] == b"UTC\n"
