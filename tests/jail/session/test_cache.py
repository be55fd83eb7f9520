"""`Session.build` and `ArtefactCache`: nothing is made twice, and nothing is taken for what it is not."""

from __future__ import annotations

import dataclasses
import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

import pyjail
from pyjail import ArtefactCache, File, Jail, Limits, Mount, Session, SpecError, Verdict
from pyjail._session.artefacts import Entry
from pyjail._session.build import identity
from pyjail._session.snapshot import Content
from tests.conftest import SLOW
from tests.host_side import rss

PYTHON = [sys.executable, "-I", "-c"]
LIMITS = Limits(memory="512M", cpu_time=20 * SLOW, wall_time=60 * SLOW)
MAKE = ["sh", "-c", "cat in > out; chmod 755 out"]


@pytest.fixture
def cache(tmp_path):
    return ArtefactCache(tmp_path / "cache", limit="10M")


@pytest.fixture
def s():
    with Session(limits=LIMITS) as session:
        yield session


def key(n):
    return f"{n:064x}"


def entry(size, byte=b"x"):
    return Entry({"a/b": (0o755, Content.of(byte * size))}, {})


def test_a_compiler_runs_once(s, cache):
    s.write("a.c", '#include <stdio.h>\nint main() { puts("hello"); }')
    first = s.build(["gcc", "-o", "a", "a.c"], ("a",), cache=cache)
    assert (first.cached, first.result.ok) == (False, True), first.result.stderr
    s.remove("a")
    runs = len(s.results)
    again = s.build(["gcc", "-o", "a", "a.c"], ("a",), cache=cache)
    assert (again.cached, again.key, len(s.results)) == (True, first.key, runs)
    assert again.result == first.result
    assert s.run(["./a"]).stdout == b"hello\n"
    assert (cache.hits, cache.misses, cache.altered, len(cache)) == (1, 1, 0, 1)


def test_other_sessions_use_it(cache):
    for cached in (False, True):
        with Session(limits=LIMITS) as s:
            s.write("in", "x")
            assert s.build(MAKE, ("out",), cache=cache).cached is cached
            assert s.snapshot().files["out"] == (0o755, b"x")


def test_all_that_goes_in_is_in_the_key(cache, tmp_path):
    tool = tmp_path / "tool"
    tool.write_text("#!/bin/sh\ncat in > out\n")
    tool.chmod(0o755)
    os.chmod(tmp_path, 0o755)
    keys = set()

    def build(jail=None, content="x", args=MAKE, more=(), **kw):
        with Session(jail, limits=LIMITS) as s:
            s.write("in", content)
            for name, data in more:
                s.write(name, data)
            made = s.build(args, ("out",), cache=cache, **kw)
            assert made.result.ok
            assert made.cached == (made.key in keys)
            keys.add(made.key)
            return made.cached

    with_tool = Jail(mounts=(Mount.bind(str(tool), "/usr/bin/tool"),))
    variants = [
        {}, {"content": "y"}, {"args": [*MAKE, "z"]}, {"env": {"PATH": "/usr/bin:/bin"}}, {"more": [("other", "x")]},
        {"more": [("in", File("x", 0o600))]}, {"jail": Jail(hostname="other")}, {"cwd": "/box/./"[:4]},
        {"tools": ("cat",)}, {"jail": with_tool, "args": ["tool"]},
    ]  # fmt: skip
    assert [build(**v) for v in variants] == [False] * 7 + [True] + [False] * 2
    assert all(build(**v) for v in variants)
    os.utime(tool, (1, 1))
    assert build(jail=with_tool, args=["tool"]) is False


def test_jails_that_differ_anywhere_have_keys_of_their_own(cache):
    """Also in the last of many mounts and variables, and at the end of a long text."""

    def jail(last="a"):
        mounts = tuple(Mount.bind("/usr/share", f"/t{n}") for n in range(20))
        env = {**{f"V{n}": "x" for n in range(20)}, "PATH": "/usr/bin:/bin", "LAST": "y" * 500 + last}
        return Jail(mounts=(*mounts, Mount.bind("/usr/share", f"/last-{last}")), env=env)

    def key(jail):
        with Session(jail, limits=LIMITS) as s:
            return s.build(["true"], cache=cache).key

    one, two = jail("a"), jail("b")
    mounts = dataclasses.replace(one, mounts=two.mounts)
    assert len({key(j) for j in (one, two, mounts, dataclasses.replace(one, env=two.env))}) == 4
    assert key(jail("a")) == key(one)


def test_an_entry_of_another_version_is_made_again(s, cache):
    key = s.build(["sh", "-c", "echo x > out"], ("out",), cache=cache).key
    entry = cache.get(key)
    cache.put(key, Entry(entry.outputs, {**entry.result, "version": 99}))
    s.clear()
    again = s.build(["sh", "-c", "echo x > out"], ("out",), cache=cache)
    assert not again.cached and s.read("out") == b"x\n"


def test_what_failed_is_not_kept(s, cache):
    assert not s.build(["sh", "-c", "echo x > out; exit 1"], ("out",), cache=cache).result.ok
    assert s.build(["true"], ("never-made",), cache=cache).result.ok
    assert len(cache) == 0
    assert s.build(["true"]).cached is False


def test_patterns(s, cache):
    args = ["sh", "-c", "mkdir -p out/deep; echo 1 > out/one; echo 2 > out/deep/two; echo 3 > other"]
    s.build(args, ("out/**",), cache=cache)
    s.clear()
    assert s.build(args, ("out/**",), cache=cache).cached
    assert s.list() == ["out", "out/deep", "out/deep/two", "out/one"]


def test_sparse_files_and_links_are_built_and_kept_for_no_more_than_the_disk_holds(s, cache):
    """The address space of what they seem to be would not be had here."""
    s.run([*PYTHON, "for i in range(50): open(f'in{i}', 'wb').truncate(64 << 20)"])
    make = "f = open('out', 'wb'); f.truncate(60 << 20); f.seek(30 << 20); f.write(b'middle')"
    before = rss()
    for cached in (False, True):
        build = s.build([*PYTHON, make], ("out",), cache=cache)
        assert (build.cached, build.result.verdict) == (cached, Verdict.OK)
        seen = s.run(["sh", "-c", "stat -c '%s %b' out; tail -c +31457281 out | head -c 6"])
        assert seen.stdout == b"62914560 8\nmiddle"
        s.remove("out")
    assert cache.size < 100_000
    links = "import os; open('big', 'wb').write(bytes(9 << 20)); [os.link('big', f'big{i}') for i in range(300)]"
    assert s.build([*PYTHON, links], ("big*",), cache=cache).result.ok
    assert len(cache) == 1
    assert rss() - before < 256 << 20


@pytest.mark.parametrize("how", ["a bit", "cut", "empty", "other", "link"])
def test_an_altered_artefact_is_made_again(s, cache, how, tmp_path):
    s.write("in", "x")
    k = s.build(MAKE, ("out",), cache=cache).key
    path = Path(cache.directory, k)
    raw = path.read_bytes()
    if how == "link":
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
    else:
        bad = {"a bit": raw[:-1] + b"y", "cut": raw[:-3], "empty": b"", "other": b"something"}[how]
        path.write_bytes(bad)
    s.clear()
    s.write("in", "x")
    assert s.build(MAKE, ("out",), cache=cache).cached is False
    assert cache.altered == 1
    assert s.read("out") == b"x"
    s.clear()
    s.write("in", "x")
    assert s.build(MAKE, ("out",), cache=cache).cached is True
    assert not path.is_symlink()


def test_the_least_recently_used_go(tmp_path):
    cache = ArtefactCache(tmp_path / "c", limit=3500)
    for n in range(3):
        assert cache.put(key(n), entry(1000))
        os.utime(Path(cache.directory, key(n)), (n + 1, n + 1))
    assert cache.get(key(0)).outputs == entry(1000).outputs  # used: now the youngest
    assert cache.put(key(3), entry(1000))
    assert [cache.get(key(n)) is not None for n in range(4)] == [True, False, True, True]
    assert cache.size <= 3500
    assert cache.put(key(5), entry(4000)) is False
    assert len(cache) == 3
    cache.clear()
    assert (len(cache), cache.size) == (0, 0)


def test_what_a_dead_process_left_goes_too(cache):
    old, new = Path(cache.directory, ".new-old"), Path(cache.directory, ".new-new")
    old.write_text("x")
    new.write_text("x")
    os.utime(old, (1, 1))
    cache.put(key(1), entry(10))
    assert (old.exists(), new.exists()) == (False, True)


def test_several_processes_at_once(tmp_path):
    code = """
import random, sys
from pyjail import ArtefactCache
from pyjail._session.artefacts import Entry
from pyjail._session.snapshot import Content
cache = ArtefactCache(sys.argv[1], limit=20_000)
rng = random.Random(int(sys.argv[2]))
for _ in range(300):
    n = rng.randrange(12)
    found = cache.get(f"{n:064x}")
    if found is None:
        cache.put(f"{n:064x}", Entry({"x": (0o644, Content.of(bytes([n]) * (2000 + n)))}, {"n": n}))
    else:
        assert found.outputs == {"x": (0o644, Content.of(bytes([n]) * (2000 + n)))} and found.result == {"n": n}
print(cache.altered)
"""
    args = [sys.executable, "-c", code, str(tmp_path / "c")]
    running = [subprocess.Popen([*args, str(i)], stdout=subprocess.PIPE) for i in range(4)]
    assert [(p.communicate()[0], p.returncode) for p in running] == [(b"0\n", 0)] * 4
    assert ArtefactCache(tmp_path / "c", limit=20_000).size <= 20_000


def test_arguments_that_make_no_sense(s, tmp_path):
    open_dir = tmp_path / "open"
    open_dir.mkdir()
    open_dir.chmod(0o777)
    for bad in (lambda: ArtefactCache(open_dir), lambda: ArtefactCache(tmp_path / "x", limit=0),
                lambda: s.build(["true"], "out"), lambda: s.build(["true"], ("/etc/x",)),
                lambda: s.build(["true"], cache="dir"), lambda: s.build([])):  # fmt: skip
        with pytest.raises(SpecError):
            bad()
    with pytest.raises(SpecError):
        ArtefactCache(tmp_path / "c").get("../../etc/passwd")


def test_identities(tmp_path):
    env = {"PATH": "/opt/bin:/usr/bin"}
    (tmp_path / "opt").mkdir()
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "opt/real").write_text("x")
    (tmp_path / "opt/real").chmod(0o755)
    (tmp_path / "usr/bin/t").symlink_to("/opt/real")
    jail = Jail(rootfs=str(tmp_path))
    real = str(tmp_path / "opt/real")
    assert identity(jail, b"t", env)[:2] == (real, 1)
    assert identity(jail, b"/usr/bin/../bin/t", env)[:2] == (real, 1)
    assert identity(jail, b"../usr/bin/t", env, "/tmp")[:2] == (real, 1)
    assert identity(jail, b"./t", env) == ("box", "/box/t")
    assert identity(jail, b"nothing", env) == ("none", "nothing")
    bound = Jail(rootfs=str(tmp_path), mounts=(Mount.bind(str(tmp_path / "opt"), "/opt/bin"),))
    assert identity(bound, b"real", env)[:2] == (real, 1)
    (tmp_path / "usr/bin/loop").symlink_to("loop")
    assert identity(jail, b"loop", env) == ("none", "loop")
    assert pyjail.Build.__module__ == "pyjail"


def test_an_entry_that_cannot_be_opened_for_want_of_fds_is_not_removed(cache, monkeypatch):
    cache.put(key(1), entry(10))
    opened = os.open

    def short(path, *args, **kw):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), path)

    monkeypatch.setattr(os, "open", short)
    with pytest.raises(OSError, match="Too many open files"):
        cache.get(key(1))
    monkeypatch.setattr(os, "open", opened)
    assert cache.get(key(1)) is not None
    assert (cache.hits, cache.misses, cache.altered) == (1, 0, 0)
