"""The end of our own fds: clear errors, and what was not to be had is looked for again."""

from __future__ import annotations

import os

import pytest

import pyjail
from tests.scripts import script

MOST = 2000  # entries of a directory that is rebuilt


def test_own_fd_limit_used_up_is_a_clean_error():
    code = """
    import os, pyjail, resource
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    held = []
    try:
        while True: held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError: pass
    for i in range(3):
        try: pyjail.run(["true"], pyjail.Limits(open_files=32))
        except OSError as e: print(e.errno)
    for fd in held: os.close(fd)
    print(pyjail.run(["true"], pyjail.Limits(open_files=32)).verdict)
    """
    out = script(code)
    assert out.stdout == "24\n24\n24\nok\n", out.stderr


@pytest.mark.parametrize("strict", [pytest.param(True, marks=pytest.mark.needs_cgroups), False])
@pytest.mark.parametrize("free", [0, 1, 2, 4, 6, 9])
def test_a_lack_of_fds_at_the_first_use_is_an_os_error_and_forgotten(free, strict):
    code = f"""
    import errno, os, pyjail, resource
    pyjail.run, pyjail.Result  # imported
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
    held = []
    try:
        while True: held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError: pass
    for _ in range({free}): os.close(held.pop())
    for _ in range(2):
        try: print(pyjail.run(["true"], jail=pyjail.Jail(strict={strict})).verdict)
        except OSError as e: print(errno.errorcode[e.errno])
    for fd in held: os.close(fd)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    r = pyjail.run(["true"], jail=pyjail.Jail(strict={strict}))
    print(r.verdict, sorted(c.name for c in r.receipt.not_enforced))
    """
    needed = script(f"""
    import pyjail
    print(sorted(c.name for c in pyjail.run(["true"], jail=pyjail.Jail(strict={strict})).receipt.not_enforced))
    """)
    out = script(code)
    assert out.stdout == f"EMFILE\nEMFILE\nok {needed.stdout}", (out.stdout, out.stderr)


def test_a_directory_of_more_entries_than_the_callers_soft_limit_of_fds_can_be_rebuilt():
    out = script("""
    import os, pyjail, resource
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    jail = pyjail.Jail(mounts=(pyjail.Mount.bind(os.path.realpath(os.__file__), "/usr/bin/new"),))
    print(pyjail.run(["sh", "-c", "ls /usr/bin | wc -l; grep -c . /usr/bin/new > /dev/null"], jail=jail).stdout)
    """)
    assert int(eval(out.stdout)) == len(os.listdir("/usr/bin")) + 1 > 150, out.stderr


def test_a_directory_of_too_many_entries_to_be_rebuilt_is_refused_by_name(tmp_path):
    tmp_path.chmod(0o755)
    for i in range(MOST):
        (tmp_path / f"{i:04}").touch()
    mounts = (pyjail.Mount.bind(str(tmp_path), "/data"), pyjail.Mount.bind("/usr/share", "/data/new"))
    out = pyjail.run(["sh", "-c", "ls /data | wc -l"], jail=pyjail.Jail(mounts=mounts))
    assert out.ok
    assert int(out.stdout) == MOST + 1
    (tmp_path / "one more").touch()
    told = f"{tmp_path}.*more than {MOST} entries; choose a destination that exists"
    with pytest.raises(pyjail.SpecError, match=told):
        pyjail.run(["true"], jail=pyjail.Jail(mounts=mounts, hostname="another"))
