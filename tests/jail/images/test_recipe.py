"""`images.build_recipe`: files are copied and commands run on an image, step by step; what was done is not done again."""

from __future__ import annotations

import os
import pickle
import stat
from pathlib import Path
from typing import Any

import pytest

import pyjail
from pyjail import HostError, Jail, SpecError, Verdict, images
from tests import images_made as made
from tests import images_writable
from tests.host_side import keepers_of
from tests.images_store import unfinished, whole

TOKEN = "dd if=/dev/urandom bs=16 count=1 2>/dev/null | busybox md5sum >"  # another one whenever it is done


@pytest.fixture
def base(home):
    yield images_writable.load(home / "base", Env=["PATH=/bin", "A=1"], Cmd=["sh"], WorkingDir="/etc")
    pyjail.close()


@pytest.fixture
def files(base, tmp_path):
    """The directory of recipes."""
    place = tmp_path / "recipe"
    (place / "app" / "data").mkdir(parents=True)
    (place / "app" / "run.sh").write_text("#!/bin/sh\necho app $A\n")
    (place / "app" / "run.sh").chmod(0o750)
    (place / "app" / "data" / "x").write_text("x\n")
    (place / "app" / "link").symlink_to("/etc/shadow")
    return place


def build(name: str, files: Path, told: list[str] | None = None, **given: Any) -> images.Image:
    options = {key: given.pop(key) for key in ("cache", "bounds", "settings") if key in given}
    progress = None if told is None else lambda number, total, what: told.append(f"{number}/{total} {what}")
    tables = {"from": "base", **given}
    return images.build_recipe(name, tables, directory=files, strict=False, progress=progress, **options)


def read(image: images.Image, path: str) -> str:
    return Path(image.root, path).read_text()


def keys(home: Path) -> list[str]:
    return os.listdir(home / "images" / "steps")


def test_files_are_copied_commands_run_and_the_image_runs(base, files):
    (files / "image.toml").write_text(
        """
        from = "base"
        copy = [{ src = "app", dst = "/opt/app" }]
        run = ["id -u >/opt/app/who; pwd >>/opt/app/who; echo $A $B $HOME >>/opt/app/who", ["touch", "/opt/app/b c"]]
        env = { B = "2" }
        entrypoint = ["/opt/app/run.sh"]
        cmd = []
        user = 1234
        """.replace("cmd = []", 'cmd = ["x"]')
    )
    image = images.build_recipe("app", files / "image.toml", strict=False)
    assert read(image, "opt/app/who") == "0\n/etc\n1 2 /box\n"
    assert sorted(os.listdir(f"{image.root}/opt/app")) == ["b c", "data", "link", "run.sh", "who"]
    assert os.readlink(f"{image.root}/opt/app/link") == "/etc/shadow"
    assert stat.S_IMODE(os.stat(f"{image.root}/opt/app/run.sh").st_mode) == 0o755  # as of any image: the owner's
    assert image.config["env"] == ["PATH=/bin", "A=1", "B=2"]
    assert (image.config["entrypoint"], image.config["cmd"]) == (["/opt/app/run.sh"], ["x"])
    assert (image.config["user"], image.working_dir) == ("1234", "/etc")
    assert image.origin == {"source": "recipe", "from": f"base@{base.digest}"}
    assert [row["created_by"] for row in image.config["history"]][-2] == "pyjail image build: run touch '/opt/app/b c'"
    done = pyjail.run(["/opt/app/run.sh"], jail=Jail(image="app", strict=False), text=True)
    assert done.stdout == "app 1\n"
    assert whole() == ["app", "base"] and unfinished() == []


def test_what_was_done_is_not_done_again_and_what_comes_after_a_change_is(base, files):
    recipe: dict[str, Any] = {"copy": [{"src": "app", "dst": "/opt"}], "run": [f"{TOKEN}/one", f"{TOKEN}/two"]}
    told: list[str] = []
    first = build("app", files, told, **recipe)
    assert told[:2] == ["1/3 copy app to /opt", told[1]] and told[1].endswith(" s")
    os.utime(files / "app" / "run.sh", (1, 1))  # as a new checkout has it
    told.clear()
    again = build("again", files, told, **recipe)
    assert again.digest == first.digest
    assert [line for line in told if line.endswith(": cached")] == told[1::2] and len(told) == 6
    (files / "app" / "run.sh").write_text("other")
    other = build("other", files, **recipe)
    assert read(other, "one") != read(first, "one")
    last = build("last", files, **{**recipe, "run": [recipe["run"][0], f"{TOKEN}/three"]})
    assert read(last, "one") == read(other, "one") and not os.path.exists(f"{last.root}/two")
    forced = build("forced", files, cache=False, **recipe)
    assert read(forced, "one") != read(other, "one")
    assert read(build("app", files, **recipe), "one") == read(forced, "one")
    configured = build("app", files, **{**recipe, "cmd": ["true"], "user": 5})
    assert configured.id == forced.id and configured.digest != forced.digest
    assert read(build("env", files, **{**recipe, "env": {"X": "1"}}), "one") != read(forced, "one")
    assert unfinished() == []


def test_steps_stay_as_long_as_an_image_that_has_a_name_is_built_on_them(base, files, home):
    two = ["echo 1 >/one", "echo 2 >/two"]
    build("app", files, run=two)
    build("more", files, run=[*two, "echo 3 >/three"])
    with pytest.raises(images.StepError):
        build("failed", files, run=["echo f >/f", "false"])
    pyjail.close()
    assert len(keys(home)) == 4
    images.remove("more")
    assert len(keys(home)) == 3, "that of the failed one is nobody's, but was not built on"
    assert len(images.gc()) == 2 and len(keys(home)) == 2
    told: list[str] = []
    build("again", files, told, run=two)
    assert told[1::2] == [f"{n}/2 run {two[n - 1]}: cached" for n in (1, 2)]
    images.remove("again")
    images.remove("app")
    assert keys(home) == [] and images.gc() == [] and whole() == ["base"]
    assert sorted(os.listdir(home / "images" / "locks")) == sorted([".names", base.id])
    assert os.listdir(home / "images" / "roots") != []


def test_a_step_that_fails_is_told_with_its_verdict_and_what_it_said(base, files, home):
    told: list[str] = []
    with pytest.raises(images.StepError) as e:
        build("app", files, told, run=["echo fine >/fine", "echo out; printf 'bad\\033[2J\\nworse\\n' >&2; exit 3"])
    error = e.value
    assert (error.number, error.total, error.result.returncode) == (2, 2, 3)
    assert str(error).startswith("step 2 of 2, run echo out; printf") and str(error).endswith(
        ": runtime_error, exit code 3\nbad?[2J\nworse"
    )
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    with pytest.raises(images.StepError, match="signaled, signal 9"):
        build("app", files, run=["echo fine >/fine", "kill -9 $$"])
    with pytest.raises(images.StepError) as e:
        build("app", files, run=["echo fine >/fine", "while :; do :; done"], limits={"cpu_time": 0.3, "wall_time": 3})
    assert e.value.result.verdict in (Verdict.CPU_TIME, Verdict.WALL_TIME)
    assert f": {e.value.result.verdict.value}, signal 9" in str(e.value)
    with pytest.raises(images.StepError, match=r"step 1 of 1, run none: .*ENOENT") as e:
        build("app", files, run=[["none"]])
    assert e.value.result is None
    with pytest.raises(images.StepError, match="/nowhere"):
        build("app", files, run=["true"], workdir="/nowhere")
    with pytest.raises(images.StepError) as e:
        build("app", files, run=["dd if=/dev/zero of=/big bs=64K count=64"], writable_root="1M")
    assert "No space left" in str(e.value)
    with pytest.raises(images.ImageError, match=r"step 1 of 1, run echo x >/etc/\.wh\.a, .*rename it"):
        build("app", files, run=["echo x >/etc/.wh.a"])
    assert whole() == ["base"] and unfinished() == [] and keepers_of(os.getpid()) == []
    assert len(keys(home)) == 1, "what came before the step that failed is kept"


def test_a_long_output_is_cut_to_its_end(base, files):
    with pytest.raises(images.StepError) as e:
        build("app", files, run=["for i in $(seq 3000); do echo line $i >&2; done; false"])
    assert len(str(e.value)) < 2500 and str(e.value).endswith("line 3000")


def test_commands_have_no_network_and_no_way_out(base, files):
    image = build("app", files, run=["cat /proc/net/dev | wc -l >/lines; env >/env"])
    assert "proxy" not in read(image, "env").lower()
    other = build("other", files, run=["env >/env"], egress=["example.org"])
    assert "https_proxy=http://127.0.0.1:3128" in read(other, "env")


def test_what_makes_no_sense_is_refused_before_anything_runs(base, files, home):
    step = {"run": [f"{TOKEN}/ran"]}
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"form": "x"}, "recipe"), ({"egress": ["http://x"]}, "egress.rules"), ({"limits": {"memry": 1}}, "limits.memry"),
        ({"limits": {"memory": 0}}, "limits.memory"), ({"copy": [{"src": "none", "dst": "/x"}]}, "copy[0].src"),
    ]  # fmt: skip
    for tables, field in wrong:
        with pytest.raises(SpecError) as e:
            build("app", files, **step, **tables)
        assert e.value.field == field
    with pytest.raises(HostError, match="pyjail image pull nothing"):
        build("app", files, **{**step, "from": "nothing"})
    with pytest.raises(SpecError, match="a name of letters"):
        build("a b", files, **step)
    with pytest.raises(SpecError, match="PYJAIL_IMAGES"):
        build("app", files, settings=images.Settings(path=str(home / "other")), **step)
    (files / "bad.toml").write_text("from = base")
    with pytest.raises(SpecError, match="is not TOML"):
        images.build_recipe("app", files / "bad.toml")
    with pytest.raises(OSError, match="nowhere"):
        images.build_recipe("app", files / "nowhere.toml")
    assert keys(home) == [] and whole() == ["base"]


def test_nothing_outside_of_the_directory_is_copied(base, files, tmp_path):
    (tmp_path / "secret").write_text("canary")
    (files / "out").symlink_to("..")
    (files / "file").symlink_to("../secret")
    for src in ("out/secret", "file", "out"):
        with pytest.raises(SpecError, match="symlink, which is not followed: name what it leads to") as e:
            build("app", files, copy=[{"src": src, "dst": "/opt/x"}])
        assert e.value.field == "copy[0].src"
    os.mkfifo(files / "app" / "fifo")
    with pytest.raises(images.ImageError, match=r"step 1 of 1, copy app to /opt, 'opt/fifo': it is neither"):
        build("app", files, copy=[{"src": "app", "dst": "/opt"}])
    with pytest.raises(SpecError, match="'fifo' is neither a file nor a directory"):
        build("app", files, copy=[{"src": "app/fifo", "dst": "/opt/x"}])
    (files / "app" / "fifo").unlink()
    with pytest.raises(images.ImageError, match="unpacked"):
        os.truncate(files / "app" / "data" / "x", 1 << 40)
        build("app", files, copy=[{"src": "app", "dst": "/opt"}])
    deep = files / "deep"
    deep.mkdir()
    deep.joinpath(*"d" * 60).mkdir(parents=True)
    with pytest.raises(images.ImageError, match="depth"):
        build("app", files, copy=[{"src": "deep", "dst": "/opt"}], bounds=images.Bounds(depth=50))
    with pytest.raises(images.ImageError, match="entries"):
        build("app", files, copy=[{"src": "deep", "dst": "/opt"}], bounds=images.Bounds(entries=55))
    assert whole() == ["base"] and unfinished() == []


def test_files_go_where_the_images_own_symlinks_lead_and_no_directory_is_lost(home, tmp_path):
    links = [
        made.folder(b"usr"),
        made.folder(b"usr/lib"),
        made.file(b"usr/lib/old", b"old"),
        made.link(b"lib64", b"usr/lib"),
    ]
    links += [made.link(b"up", b"../../../lib64/../lib"), made.link(b"loop", b"loop"), made.link(b"own", b"/proc")]
    images_writable.load(home / "base", "base", *links)
    (tmp_path / "f").write_text("new")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "g").write_text("g")
    image = build("app", tmp_path, copy=[
        {"src": "f", "dst": "/lib64/new"}, {"src": "d", "dst": "/up"}, {"src": "f", "dst": "/a/b/c"},
    ])  # fmt: skip
    assert os.readlink(f"{image.root}/lib64") == "usr/lib"
    assert sorted(os.listdir(f"{image.root}/usr/lib")) == ["g", "new", "old"]
    assert read(image, "a/b/c") == "new"
    for src, dst, why in (
        ("f", "/usr", "is a directory in the image"), ("d", "/usr/lib/old", "is a file in the image"),
        ("f", "/usr/lib/old/x", "/usr/lib/old is a file"), ("f", "/loop/x", "too many symlinks"),
        ("f", "/own/x", "the jail's own"), ("f", f"/{'x' * 300}", "too long"), ("f", "/a/.wh.b/c", "mean removals"), ("f", "/up/../../proc/x", r"without \.\."),
    ):  # fmt: skip
        with pytest.raises(SpecError, match=why) as e:
            build("app", tmp_path, copy=[{"src": src, "dst": dst}])
        assert e.value.field == "copy[0].dst"
    pyjail.close()


def test_a_recipe_may_be_a_configuration_alone_or_the_whole_directory(base, files):
    configured = build("app", files, env={"A": "2"}, cmd=["env"])
    assert configured.id == base.id and configured.config["env"] == ["PATH=/bin", "A=2"]
    (files / "app" / "again").hardlink_to(files / "app" / "run.sh")
    whole_of_it = build("app", files, **{"from": base.digest}, copy=[{"src": ".", "dst": "/srv/it"}])
    assert sorted(os.listdir(f"{whole_of_it.root}/srv/it/app")) == ["again", "data", "link", "run.sh"]
    two = [os.stat(f"{whole_of_it.root}/srv/it/app/{name}").st_ino for name in ("again", "run.sh")]
    assert two[0] == two[1] and whole_of_it.origin["from"] == base.digest


def test_a_base_whose_name_is_taken_away_meanwhile_stays_to_the_end(base, files):
    def tell(number: int, total: int, what: str) -> None:
        if number == 2 and "base" in whole():
            images.remove("base")
            images.gc()

    tables = {"from": "base", "run": ["echo 1 >/one", "cat /one /etc/a >/two"]}
    image = images.build_recipe("app", tables, directory=files, strict=False, progress=tell)
    assert read(image, "two") == "1\nhello\n" and whole() == ["app"]
