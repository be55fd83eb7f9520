"""Bounds and the ``[images]`` table: what they do, by the library and by the command."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pyjail
from pyjail import HostError, Jail, SpecError, cli, images
from tests import images_archives as archives
from tests import images_registry as fake
from tests.images_made import archive, file, folder, long
from tests.images_store import BASE, UPPER, layout, unfinished, whole

DEEP = archive(*(folder(b"/".join([b"d"] * n)) for n in range(1, 30)))
EACH = {
    "compressed": (1000, (archive(file(b"a", os.urandom(5000))),), {}),
    "unpacked": (10_000, (archive(file(b"a", bytes(9000))), archive(file(b"b", bytes(9000)))), {}),
    "entries": (5, (archive(*(file(b"%d" % n) for n in range(3))), archive(*(file(b"x%d" % n) for n in range(3)))), {}),
    "header": (300, (archive(long(b"n" * 200) + file(b"x"), long(b"m/" * 180) + file(b"y")),), {}),
    "path": (100, (archive(long(b"ab/" * 40) + file(b"x")),), {}),
    "component": (20, (archive(file(b"n" * 21)),), {}),
    "depth": (20, (DEEP,), {}),
    "manifest": (300, (BASE,), {}),
    "config": (100, (BASE,), {"config": {"Env": ["A=" + "1" * 200]}}),
    "layers": (1, (BASE, UPPER), {}),
}  # fmt: skip


@pytest.mark.parametrize("name", EACH)
def test_each_bound_holds_for_what_is_loaded_and_says_how_to_raise_it(home, tmp_path, name):
    most, layers, more = EACH[name]
    spec = layout(tmp_path / "one", *layers, **more)
    with pytest.raises(
        images.ImageError, match=rf"the bound {name}={most:,} allows; bounds=images.Bounds\({name}=\.\.\.\)"
    ):
        images.load(spec, "one", bounds=images.Bounds(**{name: most}))
    assert images.list() == [] == unfinished()
    more = 255 if name == "component" else 4095 if name == "path" else most * 40 if name != "depth" else 30
    assert images.load(spec, "one", bounds=images.Bounds(**{name: more})).name == "one"
    assert whole() == ["one"]


def test_the_usual_bounds_can_be_raised(home, tmp_path):
    deep = archive(long(b"d/" * 250 + b"x") + file(b"x"))
    spec = layout(tmp_path / "deep", deep)
    with pytest.raises(images.ImageError, match=r"depth=200 allows; bounds=images\.Bounds\(depth=\.\.\.\) raises it"):
        images.load(spec, "deep")
    images.load(spec, "deep", bounds=images.Bounds(depth=400))
    assert whole() == ["deep"]
    with pytest.raises(images.ImageError, match=r"bound component=255 allows$"):  # the kernel takes no more
        images.load(layout(tmp_path / "long", archive(long(b"n" * 256) + file(b"x"))), "long")


def test_a_pull_has_bounds(home):
    with fake.registry() as there:
        there.add(os.urandom(5000), config={"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": []}})
        with pytest.raises(images.ImageError, match=r"bound manifest=20 allows; bounds=images\.Bounds\(manifest="):
            images.pull(f"{there.host}/team/app:1", bounds=images.Bounds(manifest=20))
        small = images.Settings(bounds=images.Bounds(compressed=1000))
        with pytest.raises(images.ImageError, match=r"bound compressed=1,000 allows"):
            images.pull(f"{there.host}/team/app:1", settings=small, platform="linux/amd64")
    assert images.list() == []


def test_bounds_are_checked_where_they_are_made():
    assert (
        images.Bounds(unpacked="1G")
        == images.Bounds(unpacked=1 << 30)
        == pickle.loads(pickle.dumps(images.Bounds(unpacked="1G")))
    )
    assert hash(images.Bounds()) == hash(images.Bounds(depth=200))
    for given, words in (
        ({"entries": 0}, "entries=0: a number from 1 to 100,000,000"), ({"entries": "5"}, "entries='5'"),
        ({"unpacked": "none"}, "unpacked='none'"), ({"unpacked": None}, "unpacked=None"), ({"depth": True}, "depth=True"),
        ({"path": 5000}, "from 1 to 4,095"), ({"depth": 401}, "from 1 to 400"), ({"zstd_window": 1}, "from 1,024"),
        ({"compressed": 2.5}, "compressed=2.5"),
    ):  # fmt: skip
        with pytest.raises(SpecError, match=re.escape(words)):
            images.Bounds(**given)
    for call in (images.load, images.pull):
        with pytest.raises(SpecError, match=r"images\.Bounds"):
            call("a.b/c", bounds={"depth": 3})
        with pytest.raises(SpecError, match=r"images.Settings.from_toml\(FILE\)"):
            call("a.b/c", settings={"path": "/x"})


def toml(tmp_path: Path, text: str) -> str:
    (tmp_path / "jail.toml").write_text(text)
    return str(tmp_path / "jail.toml")


def test_a_store_of_a_configuration_is_used_by_all_functions(home, tmp_path):
    config = toml(tmp_path, f'[images]\npath = "{tmp_path}/mine"\n')
    settings = images.Settings.from_toml(config)
    assert settings == images.Settings(path=f"{tmp_path}/mine") and hash(settings) == hash(
        pickle.loads(pickle.dumps(settings))
    )
    image = images.load(layout(tmp_path / "one", BASE), "one", settings=settings)
    assert image.root.startswith(f"{tmp_path}/mine/roots/") and not home.exists()
    assert images.get("one", settings=settings) == image and images.list(settings=settings) == [image]
    assert images.verify("one", settings=settings) == [] == images.list()
    assert images.list(path=tmp_path / "mine") == [image]
    images.remove("one", settings=settings)
    assert images.gc(settings=settings) == [] == images.list(settings=settings)


def test_the_size_of_a_store_is_what_gc_and_loads_go_by(home, tmp_path):
    sized = images.Settings(max_size="600K")
    for name in ("a", "b"):
        images.load(layout(tmp_path / name, archive(file(b"x", os.urandom(200_000)))), name, settings=sized)
        os.utime(f"{home}/images/locks/{images.get(name).id}", (ord(name), ord(name)))
    with pytest.raises(HostError) as e:
        images.load(layout(tmp_path / "c", archive(file(b"x", os.urandom(300_000)))), "c", settings=sized)
    assert "its max_size is 600K" in str(e.value) and "pyjail image gc --max-size" in e.value.hint
    assert whole() == ["a", "b"] and unfinished() == []
    assert [len(os.listdir(home / "images" / part)) for part in ("roots", "locks", "images")] == [6, 3, 2]
    least = re.search(r"--max-size (\d+)K?, or raise max_size of \[images\] to (\d+)K?", e.value.hint)
    assert least
    for name in ("a", "b"):
        os.utime(f"{home}/images/locks/{images.get(name).id}", (ord(name), ord(name)))
    images.gc(int(least[1]) * (1 if int(least[1]) > 10_000 else 1024))  # as it says
    assert whole() == ["b"]
    images.load(f"oci:{tmp_path}/c", "c", settings=sized)
    assert whole() == ["b", "c"]
    images.load(f"oci:{tmp_path}/c", "again", settings=sized)  # nothing new
    images.load(layout(tmp_path / "d", archive(file(b"x", os.urandom(300_000)))), "d")  # nobody said how large
    with pytest.raises(HostError, match="no room for another image"):
        images.load(layout(tmp_path / "e", BASE), "e", settings=sized)
    assert "b" in images.gc(settings=sized)
    assert sum(os.stat(f"{i.root}/x").st_blocks * 512 for i in {i.id: i for i in images.list()}.values()) <= 600 << 10


def test_hosts_of_a_configuration_are_spoken_to_as_it_says(home, tmp_path):
    with fake.registry() as there:
        there.add(archive(file(b"a")), config={"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": []}})
        ref = f"{there.host}/team/app:1"
        settings = images.Settings.from_toml({"images": {"hosts": {there.host: {"ca": f"{tmp_path}/no.pem"}}}})
        with pytest.raises((OSError, SpecError, HostError, images.ImageError), match=r"no\.pem"):
            images.pull(ref, settings=settings)
        with pytest.raises(images.ImageError, match=r"diff_ids|layers"):  # of http: spoken to
            images.pull(ref, settings=settings, insecure=True, platform="linux/amd64")
    assert settings.host(there.host.upper()) == images.Registry(ca=f"{tmp_path}/no.pem")
    assert settings.host("other.example") == images.Registry()


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("max_sise = 1", "images.max_sise=1: there is no such key; did you mean 'max_size'?"),
        ("max_size = 'x'", "images.max_size='x'"),
        ("path = 'images'", "images.path='images': an absolute path is needed"),
        ("bounds = 3", "images.bounds=3: an [images.bounds] table"),
        ("bounds.entrys = 3", "did you mean 'entries'?"),
        ("bounds.path = 5000", "images.bounds.path=5000"),
        ("hosts.x = 3", 'images.hosts."x"=3: a table is needed'),
        ("hosts = 'a.b'", "images.hosts='a.b': a table for each host"),
        ("hosts.x = {}", "images.hosts='x': HOST[:PORT] is needed"),
        ("hosts.'a.b/c' = {}", "images.hosts='a.b/c'"),
        ("hosts.'a.b' = { cas = '/x' }", "images.hosts.\"a.b\".cas='/x': there is no such key; did you mean 'ca'?"),
        ("hosts.'a.b' = { ca = 'x' }", "an absolute path"),
        ("hosts.'a.b' = { ca = '/x', insecure = true }", "http has no certificates"),
        ("hosts.'a.b' = { insecure = 1 }", "true or false"),
        ("hosts.'a.b' = { token_hosts = 'c' }", "a list of hosts"),
    ],
)
def test_what_is_wrong_in_the_table_is_said_with_its_file(tmp_path, table, words):
    with pytest.raises(SpecError) as e:
        images.Settings.from_toml(toml(tmp_path, f"[images]\n{table}\n"))
    assert words in str(e.value) and str(e.value).startswith(f"{tmp_path}/jail.toml: ")


def test_the_command_takes_them(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PYJAIL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYJAIL_IMAGES", "")  # what the command sets goes at the end of this test
    config = toml(tmp_path, f'[images]\npath = "{tmp_path}/mine"\nmax_size = "1M"\nbounds = {{ entries = 5 }}\n')
    spec = layout(tmp_path / "one", BASE)

    def said(*words: str) -> tuple[int, str, str]:
        code = cli.main(["image", *words])
        return code, *capsys.readouterr()

    code, _, err = said("load", spec, "--name", "one", "--config", config)
    assert code == 125 and "bound entries=5 allows; --bound entries=... raises it" in err
    assert (
        said("--config", config, "load", spec, "--name", "one", "--bound", "entries=50", "--bound", "unpacked=1G")[0]
        == 0
    )
    assert said("ls", "--config", config)[1].startswith("one  ")
    assert said("verify", "--config", config) == (0, "one: as it was\n", "")
    big = layout(tmp_path / "big", archive(file(b"x", os.urandom(1 << 20))))
    code, _, err = said("load", big, "--name", "big", "--config", config)
    assert code == 125 and "max_size is 1M" in err
    assert said("gc", "--config", config) == (0, "", "")
    for wrong in ("entries", "entrys=3", "entries=x", "unpacked=none"):
        code, _, err = said("load", spec, "--bound", wrong)
        assert code == 125 and "--bound" in err and "\n" not in err.strip()


def test_runs_of_the_command_find_the_store_of_their_configuration(tmp_path, monkeypatch):
    monkeypatch.setenv("PYJAIL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYJAIL_IMAGES", "")
    (tmp_path / "tree/bin").mkdir(parents=True)
    (tmp_path / "tree/bin/sh").write_bytes(Path("/bin/busybox").read_bytes())
    (tmp_path / "tree/bin/sh").chmod(0o755)
    images.load(f"dir:{tmp_path}/tree", "tools", path=tmp_path / "mine")
    config = toml(tmp_path, f'[jail]\nimage = "tools"\n[images]\npath = "{tmp_path}/mine"\n')
    words = [sys.executable, "-m", "pyjail", "run", "--no-strict", "--config", config, "--", "sh", "-c", "echo here"]
    assert (
        subprocess.run(words, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL).stdout == "here\n"
    )
    with pytest.raises(HostError, match="there is no image tools in the store"):
        pyjail.run(["sh"], jail=Jail.from_toml(config))


def test_archives_of_too_many_indexes_name_their_bounds(home, tmp_path):
    members = archives.oci(BASE)
    spec = f"oci:{archives.directory(tmp_path / 'x', members)}"
    with pytest.raises(images.ImageError, match=r"bound index_entries=1 allows") as e:
        twice = dict(members)
        index = __import__("json").loads(members["index.json"])
        index["manifests"] *= 2
        twice["index.json"] = __import__("json").dumps(index).encode()
        images.load(f"oci:{archives.directory(tmp_path / 'y', twice)}", "y", bounds=images.Bounds(index_entries=1))
    assert "images.Bounds(index_entries=...)" in str(e.value)
    images.load(spec, "x", bounds=images.Bounds(index_entries=1))
