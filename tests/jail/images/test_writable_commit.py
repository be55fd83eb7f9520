"""`Session.commit`, `Box.commit`: what the root has become is what the image of the new name shows."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

import pyjail
from pyjail import HostError, Jail, Limits, Session, SpecError, aio, images
from tests import images_made as made
from tests import images_writable as writable
from tests import place
from tests.host_side import rss
from tests.images_made import walked
from tests.images_store import unfinished, whole
from tests.images_writable import done, jail

SEEN = "cd /; find bin etc lib op sl opened tofile todir tool tool2 deep gone closed -exec stat -c '%n %F %s %Y' {} + 2>/dev/null | sort"
LARGE = Limits(file_size="200G")
OPEN = "chmod 755 /closed /deep/er; chmod 644 /deep/er/s"


@pytest.fixture
def base(home):
    yield writable.load(home / "base", Env=["PATH=/bin", "A=1"], Cmd=["sh"], Labels={"who": "me"})
    pyjail.close()


def contents(root: str) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in walked(Path(root)) if p.is_file() and not p.is_symlink()}


def read_only(image: object) -> Jail:
    return Jail(image=image, strict=False)  # type: ignore[arg-type]


def test_the_new_image_shows_what_the_root_had_become(base):
    before = contents(base.root)
    with Session(jail()) as s:
        done(s, writable.CHANGES)
        done(s, "rm /etc/fifo; " + OPEN)
        shown = done(s, SEEN)
        image = s.commit("next")
        assert done(s, "cat /etc/new") == "new\n", "the session goes on"
    found = pyjail.run(writable.sh(SEEN), jail=read_only("next"), text=True).stdout
    assert [line for line in found.splitlines() if " directory " not in line] == [
        line for line in shown.splitlines() if " directory " not in line
    ]
    assert [line.split(" directory")[0] for line in found.splitlines()] == [
        line.split(" directory")[0] for line in shown.splitlines()
    ]
    assert contents(image.root)["closed/q"] == b"q\n" and contents(image.root)["deep/er/s"] == b"s\n"
    assert os.stat(f"{image.root}/etc/new").st_ino == os.stat(f"{image.root}/etc/new2").st_ino
    assert contents(base.root) == before
    assert whole() == ["base", "next"] and unfinished() == []


def test_only_what_was_changed_costs(base):
    with Session(jail()) as s:
        done(s, "echo more >>/etc/a")
        image = s.commit("next")
    same = os.stat(f"{base.root}/bin/busybox"), os.stat(f"{image.root}/bin/busybox")
    assert same[0].st_ino == same[1].st_ino and len(image.layers) == len(base.layers) + 1
    assert image.layers[-1]["size"] < 10_000 and image.layers[:-1] == base.layers
    assert image.config["history"][-1]["created_by"] == "pyjail image commit"
    assert image.origin == {"commit": f"base@{base.digest}"}


def test_closed_files_and_directories_are_in_it_whoever_asks(base):
    with Session(jail()) as s:
        done(s, writable.CHANGES)
        image = s.commit("next")
    assert contents(image.root)["closed/q"] == b"q\n" and contents(image.root)["deep/er/s"] == b"s\n"
    assert os.path.isdir(f"{image.root}/closed/in") and image.skipped == {"fifo": 1}
    assert not os.path.lexists(f"{image.root}/gone") and os.listdir(f"{image.root}/op") == ["sub"]
    assert os.listdir(f"{image.root}/op/sub") == ["three"] and os.path.isdir(f"{image.root}/sl")


def test_the_same_changes_are_the_same_image(base):
    made_twice = []
    for name in ("one", "two"):
        with Session(jail()) as s:
            done(s, "mkdir /new; echo x >/new/b; echo y >/new/a; ln /new/a /new/c; rm /todir; echo z >/etc/a")
            done(s, "busybox touch -h -d @1000000000 /new/a /new/b /etc/a; busybox touch -d @1000000001 /new /etc /lib")
            made_twice += [s.commit(name), s.commit(f"{name}-again")]
    assert len({image.digest for image in made_twice}) == len({image.id for image in made_twice}) == 1
    assert os.stat(f"{made_twice[0].root}/new/a").st_mtime_ns == 10**18


def test_the_configuration_is_the_images_but_for_what_is_given(base):
    with Session(jail()) as s:
        plain = s.commit("plain")
        other = s.commit(
            "other",
            env={"A": "2", "B": "\u00e9"},
            cmd=["-c", "env"],
            entrypoint=["sh"],
            working_dir="/etc",
            user="1234",
        )
        emptied = s.commit("emptied", cmd=[])
    assert plain.id == base.id and plain.root == base.root, "nothing was changed"
    assert (plain.config["env"], plain.config["cmd"], plain.config["labels"]) == (
        ["PATH=/bin", "A=1"],
        ["sh"],
        {"who": "me"},
    )
    assert other.id == base.id and other.config["env"] == ["PATH=/bin", "A=2", "B=\u00e9"]
    assert (other.config["entrypoint"], other.config["cmd"]) == (["sh"], ["-c", "env"])
    assert (other.working_dir, other.config["user"]) == ("/etc", "1234")
    assert emptied.config["cmd"] == [] and emptied.config["history"][-1]["empty_layer"]
    found = pyjail.run(writable.sh("echo $A $B; id -u"), jail=read_only("other"), text=True).stdout
    assert found == "2 \u00e9\n1234\n"


def test_a_commit_on_a_commit_on_a_commit(base):
    name = "base"
    for i in range(4):
        with Session(jail(name)) as s:
            done(s, f"echo {i} >/etc/{i}; rm -f /etc/{i - 1}; rm -rf /op; mkdir /op; echo {i} >/op/{i}")
            name = s.commit(f"next{i}").name
    root = images.get("next3").root
    assert sorted(os.listdir(f"{root}/op")) == ["3"] and {"0", "1", "2"}.isdisjoint(os.listdir(f"{root}/etc"))
    images.remove("base")
    images.gc()
    assert whole() == ["next0", "next1", "next2", "next3"]


def test_a_box_commits_when_nothing_runs_and_so_do_the_twins(base):
    if not place.CGROUPS:
        pytest.skip(place.WITHOUT_CGROUPS)
    with pyjail.Box(jail()) as box:
        done(box, "echo x >/etc/box; echo t >/tmp/t; echo h >/home/h")
        with box.start(["sleep", "60"]) as running:
            with pytest.raises(SpecError, match="a program runs"):
                box.commit("next")
            running.kill()
        image = box.commit("next")
        assert contents(image.root)["etc/box"] == b"x\n" and not os.path.lexists(f"{image.root}/tmp")
        assert not os.path.lexists(f"{image.root}/home")

    async def main():
        async with aio.Session(jail("next")) as s:
            await s.run(writable.sh("echo y >/etc/twin"))
            one = await s.commit("one")
        async with aio.Box(jail("one")) as b:
            await b.run(writable.sh("echo z >/etc/twin2"))
            return one, await b.commit("two")

    one, two = asyncio.run(main())
    assert contents(two.root)["etc/twin"] == contents(one.root)["etc/twin"] == b"y\n"
    assert contents(two.root)["etc/twin2"] == b"z\n"


def test_what_makes_no_sense_is_refused_before_anything_is_read(base, tmp_path):
    with Session(read_only("base")) as s, pytest.raises(SpecError, match="read-only"):
        s.commit("next")
    wrong = [
        {"env": {"A=B": "x"}}, {"env": {"": "x"}}, {"env": {"A": "\0"}}, {"env": {"A": "\udcff"}}, {"env": ["A=B"]},
        {"env": {"A": 1}}, {"cmd": "sh"}, {"cmd": [1]}, {"entrypoint": b"sh"}, {"working_dir": "etc"}, {"user": 0},
        {"bounds": 5}, {"max_size": "x"},
    ]  # fmt: skip
    with Session(jail()) as s:
        for how in wrong:
            with pytest.raises(SpecError) as e:
                s.commit("next", **how)  # type: ignore[arg-type]
            assert e.value.field == next(iter(how))
        with pytest.raises(TypeError, match="colour"):
            s.commit("next", colour="red")  # type: ignore[call-arg]
        with pytest.raises(SpecError, match="digest"):
            s.commit("sha256:" + "0" * 64)
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    (root / "bin" / "sh").write_bytes(Path("/bin/busybox").read_bytes())
    (root / "bin" / "sh").chmod(0o755)
    with Session(Jail(rootfs=str(root), writable_root="1M", strict=False)) as s, pytest.raises(SpecError) as e:
        s.commit("next")
    assert "pyjail image load dir:" in str(e.value)
    assert whole() == ["base"]


def test_what_no_image_can_be_is_refused_and_the_store_is_what_it_was(base):
    with Session(jail(size="64M"), limits=LARGE) as s:
        done(s, "echo x >/etc/.wh.a")
        with pytest.raises(images.ImageError, match=r"\.wh\."):
            s.commit("next")
        done(s, "rm /etc/.wh.a; dd if=/dev/zero of=/etc/hole bs=1 count=1 seek=100G 2>/dev/null")
        with pytest.raises(images.ImageError, match="unpacked"):
            s.commit("next")
        done(s, "rm /etc/hole; for i in $(seq 100); do echo $i >/etc/$i; done")
        with pytest.raises(images.ImageError, match="entries"):
            s.commit("next", bounds=images.Bounds(entries=50))
        with pytest.raises(HostError, match="max_size"):
            s.commit("next", max_size="1K")
        assert whole() == ["base"] and unfinished() == []
        assert contents(s.commit("next").root)["etc/100"] == b"100\n"


def test_a_sparse_file_takes_no_memory_to_commit(base):
    with Session(jail(), limits=LARGE) as s:
        done(s, "dd if=/dev/zero of=/etc/hole bs=1 count=1 seek=300M 2>/dev/null")
        before = rss()
        image = s.commit("next")
        assert rss() - before < 64 << 20
    assert os.stat(f"{image.root}/etc/hole").st_size == (300 << 20) + 1


def test_names_that_are_no_text_and_long_ones_are_kept(base):
    with Session(jail()) as s:
        done(
            s,
            r"""echo x >"$(printf '/etc/\377 a')"; echo y >"/etc/$(printf '%0250d' 0)"; ln -s "$(printf '\376%0200d' 1)" /etc/s""",
        )
        image = s.commit("next")
    names = set(os.listdir(os.fsencode(f"{image.root}/etc")))
    assert {b"\xff a", b"0" * 250, b"s"} <= names
    assert os.readlink(os.fsencode(f"{image.root}/etc/s")) == b"\xfe" + b"%0200d" % 1


def test_an_image_with_links_where_directories_were_and_back(home):
    writable.load(
        home / "base", "base", made.folder(b"usr/lib"), made.file(b"usr/lib/x", b"1"), made.link(b"l", b"usr/lib")
    )
    with Session(jail()) as s:
        done(s, "rm /l; mkdir /l; echo own >/l/x; mv /usr /usr2; ln -s usr2 /usr; echo more >>/usr/lib/x")
        assert done(s, "cat /l/x /usr2/lib/x") == "own\n1more\n"
        image = s.commit("next")
    assert contents(image.root)["l/x"] == b"own\n" and contents(image.root)["usr2/lib/x"] == b"1more\n"
    assert os.readlink(f"{image.root}/usr") == "usr2"
    pyjail.close()


def test_a_session_commits_under_the_name_that_it_began_with(base):
    with Session(jail()) as s:
        for i in range(3):
            done(s, f"echo {i} >/etc/{i}")
            image = s.commit("base")
            assert images.gc() == [] or i
    assert {"0", "1", "2"} <= set(os.listdir(f"{image.root}/etc")) and len(image.layers) == len(base.layers) + 1
