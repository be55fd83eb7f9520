"""Packages beside the interpreter are hidden: nothing looks beneath, and a mount alone shows them."""

from __future__ import annotations

import os
import sys
import textwrap

import pytest

import pyjail
from pyjail import Jail, Limits, Mount
from tests.conftest import QUICK, SLOW
from tests.jail.host.projects import (
    LOOK,
    OK,
    SECRET,
    SYSTEM_PYTHON,
    in_python,
    installation,
    needs_system_python,
    seen,
)


def test_nothing_looks_beneath_what_hides():
    """Not by another name of the directory, by the mounts of the process, nor by taking the cover away."""
    hidden = [c.removeprefix("/") for c in hidden_directories() if os.listdir(c)]
    if not hidden:
        pytest.skip("proved in another place: nothing is installed beside this interpreter")
    code = f"""
    import ctypes, os
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.listdir("/tmp")
    for path in {hidden!r}:
        up = os.path.dirname(path)
        fd = os.open("/" + up, os.O_RDONLY)
        names = [f"/{{path}}", f"/proc/self/root/{{path}}", f"/proc/self/fd/{{fd}}/{{os.path.basename(path)}}",
                 f"/{{up}}/./{{os.path.basename(path)}}/.", f"/{{path}}/../{{os.path.basename(path)}}", f"/{{path}}//"]
        for flags in (2, 8, 0):
            libc.umount2(f"/{{path}}".encode(), flags)
        libc.unshare(0x10000000 | 0x20000)
        libc.mount(b"/" + up.encode(), b"/tmp", None, 4096, None)
        libc.syscall(428, fd, os.path.basename(path).encode(), 1)  # open_tree
        print([os.listdir(name) for name in names], os.listdir("/tmp") == before)
    """
    for jail in (Jail(), Jail(seccomp="none")):
        r = pyjail.run([sys.executable, "-c", textwrap.dedent(code)], QUICK, jail=jail, text=True)
        assert r.stdout == "[[], [], [], [], [], []] True\n" * len(hidden), r.stderr


def hidden_directories() -> list[str]:
    """As the receipt tells them."""
    return [p for p in pyjail.run(["true"]).receipt["view hidden"].value.split(", ") if p.startswith("/")]


def listed(path: object, *mounts: Mount, **jail: object) -> list[str]:
    r = pyjail.run(["ls", "-A", str(path)], QUICK, jail=Jail(mounts=mounts, **jail), text=True)
    return r.stdout.split() if r.ok else [r.stderr]


def test_a_mount_shows_what_is_hidden_and_a_mount_inside_of_it_shows_itself_alone(tmp_path):
    where = tmp_path / "mine"
    where.mkdir()
    (where / "data").write_text("data")
    for hidden in hidden_directories():
        assert listed(hidden) == []
        assert listed(hidden, Mount.bind(where, hidden)) == ["data"]
        assert listed(hidden, Mount.bind(where, f"{hidden}/new/deep")) == ["new"]
        assert listed(f"{hidden}/new/deep", Mount.bind(where, f"{hidden}/new/deep")) == ["data"]
        there = [e.path for e in os.scandir(hidden) if e.is_dir(follow_symlinks=False)][:1]
        for path in there:  # a mount point of the host's own, beneath what hides it
            assert listed(path, Mount.bind(where, path)) == ["data"]
            assert listed(hidden, Mount.bind(where, path)) == [os.path.basename(path)]
        assert listed(hidden, Mount.tmpfs(hidden, "1M")) == []
        assert listed(hidden, Mount.bind(hidden)) == sorted(os.listdir(hidden), key=os.fsencode) or not os.listdir(
            hidden
        )
        above = os.path.dirname(hidden)
        assert set(listed(hidden, Mount.bind(above))) == set(os.listdir(hidden))


@needs_system_python
def test_packages_behind_a_symlink_inside_of_the_library_are_hidden(tmp_path):
    python = installation(tmp_path / "p")
    library = tmp_path / "p/lib" / SYSTEM_PYTHON.resolve().name
    (library / "site-packages").rename(library / "mine")
    (library / "site-packages").symlink_to("mine")
    (verdict, out, err), (_, found, _) = in_python(python, f"run({OK!r})\nrun({LOOK!r})")
    assert (verdict, out) == ("ok", "runs\n"), err
    assert seen(found) == []


@needs_system_python
def test_a_directory_that_the_host_puts_in_the_place_of_a_hidden_one_is_hidden_too(tmp_path):
    """What lies over a directory stays with it when it is renamed; runs a second later have it over the new one."""
    python = installation(tmp_path / "p")
    site = tmp_path / "p/lib" / SYSTEM_PYTHON.resolve().name / "site-packages"
    code = f"""
    import os, time
    site = {str(site)!r}
    run("print('warm')")
    os.rename(site, site + ".old")
    os.mkdir(site)
    open(site + "/new.py", "w").write({SECRET!r})
    time.sleep(1.2)
    run(f"import os; print(os.listdir({{site!r}}))")
    with pyjail.Pool(1) as pool:
        print(json.dumps([pool.run(["ls", site]).stdout.decode()]))
        os.rename(site, site + ".older")
        os.mkdir(site)
        open(site + "/new.py", "w").write({SECRET!r})
        time.sleep(1.2)
        print(json.dumps([pool.run(["ls", site]).stdout.decode()]))
    """
    assert in_python(python, code) == [["ok", "warm\n", ""], ["ok", "[]\n", ""], [""], [""]]


def test_the_receipt_calls_hidden_only_what_no_mount_shows():
    for hidden in hidden_directories():
        for shown in (hidden, os.path.dirname(hidden)):
            row = pyjail.run(["true"], jail=Jail(mounts=(Mount.bind(shown),))).receipt["view hidden"]
            assert hidden not in row.value.split(", "), shown


def test_what_is_hidden_stays_so_in_what_is_learned(tmp_path):
    hidden = hidden_directories()
    above = [os.path.dirname(h) for h in hidden]
    code = f"import os; print([os.listdir(d) for d in {hidden!r}], bool([os.listdir(d) for d in {above!r}]))"
    limits = Limits(cpu_time=60 * SLOW, wall_time=120 * SLOW)
    learned = pyjail.learn([os.path.realpath(sys.executable), "-c", code], limits)
    assert learned.result.ok, learned.result.stderr
    assert not {m.src for m in learned.mounts} & set(hidden)
    r = pyjail.run(learned.result.args, limits, jail=learned.jail(tmp_path / "root"))
    assert (r.verdict, r.stdout) == ("ok", learned.result.stdout), r.stderr
    assert r.stdout.decode() == f"{[[] for _ in hidden]} True\n"
