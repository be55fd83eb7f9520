"""Files of a box from outside: as the jail's user, by any path, whatever programs make there."""

from __future__ import annotations

import os
import stat
import threading

import pytest

from pyjail import Box, File, Jail, Limits, Mount, SpecError
from tests.jail.box.programs import LIMITS, PYTHON, shell


def test_written_is_read_by_relative_and_absolute_paths(box):
    box.write("a/b/c", b"1")
    box.write("/tmp/d/e", "text")
    box.write("/home/x", bytearray(b"2"), 0o755)
    assert box.read("/box/a/b/c") == b"1" and box.read("/tmp/d/e") == b"text"
    r = box.run(shell("cat a/b/c /tmp/d/e /home/x; stat -c '%a %U' a a/b/c /home/x"))
    assert r.stdout == b"1text2755 box\n644 box\n755 box\n"
    assert box.read("./a//b/../b/c") == b"1"


def test_a_file_that_is_there_is_written_over_in_place_and_keeps_its_mode(box):
    box.write("f", "longer than what comes", 0o750)
    inode = box.run(["stat", "-c", "%i %a", "f"]).stdout
    box.write("f", "new", 0o644)
    assert box.run(["stat", "-c", "%i %a", "f"]).stdout == inode
    assert inode.split()[1] == b"750" and box.read("f") == b"new"
    box.write("g", File("x", 0o600))
    assert box.run(["stat", "-c", "%a", "g"]).stdout == b"600\n"


def test_rights_are_those_of_the_jail_s_user(box):
    box.run(shell("echo x > no; chmod 0 no; echo x > ro; chmod 444 ro; mkdir shut; echo x > shut/f; chmod 0 shut"))
    for call in (
        lambda: box.read("no"),
        lambda: box.write("ro", "y"),
        lambda: box.read("shut/f"),
        lambda: box.write("shut/g", "y"),
        lambda: box.list("**", "shut"),
        lambda: box.remove("shut/f"),
    ):
        with pytest.raises(PermissionError):
            call()
    assert box.read("ro") == b"x\n"
    for path in ("/usr/x", "/etc/passwd", "/x"):
        with pytest.raises(OSError):
            box.write(path, "y")
    assert box.read("/etc/passwd").startswith(b"root:")


def test_errors_are_python_s_own(box):
    box.write("d/f", "x")
    for error, call in (
        (FileNotFoundError, lambda: box.read("nothing")),
        (FileNotFoundError, lambda: box.remove("nothing")),
        (FileNotFoundError, lambda: box.list("**", "nothing")),
        (IsADirectoryError, lambda: box.read("d")),
        (IsADirectoryError, lambda: box.write("d", "x")),
        (NotADirectoryError, lambda: box.list("**", "d/f")),
        (NotADirectoryError, lambda: box.write("d/f/g", "x")),
        (SpecError, lambda: box.read("d/f", limit=0)),
        (SpecError, lambda: box.read("")),
        (SpecError, lambda: box.read("x" * 300)),
        (SpecError, lambda: box.write("x", 3)),
        (SpecError, lambda: box.write("x", "\ud800")),
        (SpecError, lambda: box.write("x", "y", 0o4755)),
    ):
        with pytest.raises(error):
            call()


def test_links_are_followed_inside_of_the_jail_only(box, tmp_path):
    (tmp_path / "secret").write_text("of the host")
    box.write("/tmp/real", "1")
    box.run(
        shell(f"ln -s /tmp/real link; ln -s {tmp_path}/secret out; ln -s ../../../../../../../etc up; ln -s loop loop")
    )
    assert box.read("link") == b"1"
    box.write("link", "2")
    assert box.read("/tmp/real") == b"2"
    with pytest.raises(FileNotFoundError):
        box.read("out")
    assert b"of the host" not in box.read("up/passwd") and box.read("up/passwd") == box.read("/etc/passwd")
    with pytest.raises(OSError):
        box.read("loop")


def test_what_is_no_file_is_refused_at_once(box):
    box.run([*PYTHON, "import os, socket; os.mkfifo('fifo'); socket.socket(socket.AF_UNIX).bind('sock')"])
    for path in ("fifo", "sock", "/dev/zero", "/proc/self/mem", "/proc/self/status", "/proc/1/environ"):
        with pytest.raises(OSError):
            box.read(path)
        with pytest.raises(OSError):
            box.write(path, "x")
    box.run(["ln", "-s", "/proc/self/mem", "mem"])
    with pytest.raises(PermissionError):
        box.read("mem")


def test_lists_and_removes_in_any_place(box):
    for path in ("a/b/c", "a/d", "/tmp/e", "/tmp/f/g"):
        box.write(path, "x")
    assert box.list() == ["a", "a/b", "a/b/c", "a/d"]
    assert box.list("*", "/tmp") == ["e", "f"]
    assert box.list("**/c") == ["a/b/c"]
    assert "passwd" in box.list("*", "/etc")
    with pytest.raises(OSError):
        box.remove("a")
    box.remove("a", recursive=True)
    box.remove("/tmp/f", recursive=True)
    box.remove("/tmp/e")
    assert box.list() == [] == box.list("**", "/tmp")
    box.run(shell("ln -s /tmp t; touch /tmp/kept"))
    box.remove("t")
    assert box.list("**", "/tmp") == ["kept"]


def test_a_disk_that_is_full_is_said_with_what_to_raise(box):
    with pytest.raises(OSError, match="disk") as e:
        box.write("/tmp/big", b"x" * (20 << 20))
    assert e.value.errno == 28
    assert "big" not in box.list("*", "/tmp")
    box.write("/tmp/small", "fits again")


def test_files_are_served_while_programs_run(box):
    box.write("f", "x")
    with box.start(["cat"]) as p:
        threads = [threading.Thread(target=lambda i=i: box.write(f"w{i}", box.read("f") * 1000)) for i in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert p.communicate(b"y") == (b"y", b"")
    assert box.list("w*") == [f"w{i}" for i in range(8)]


# ---- copies ----


def test_trees_go_in_and_come_out_as_they_were(box, tmp_path):
    src = tmp_path / "src"
    (src / "sub" / "empty").mkdir(parents=True)
    (src / "run.sh").write_text("#!/bin/sh\necho ran\n")
    (src / "run.sh").chmod(0o755)
    (src / "sub" / "data").write_bytes(bytes(range(256)))
    (src / "link").symlink_to("sub/data")
    (src / "abroad").symlink_to("/etc/passwd")
    box.copy_in(src, "/tmp/work")
    assert box.run(["/tmp/work/run.sh"]).stdout == b"ran\n"
    assert box.run(["readlink", "/tmp/work/link", "/tmp/work/abroad"]).stdout == b"sub/data\n/etc/passwd\n"
    assert box.copy_out("/tmp/work", tmp_path / "out") == {}
    out = tmp_path / "out"
    assert sorted(p.relative_to(out).as_posix() for p in out.rglob("*")) == sorted(
        p.relative_to(src).as_posix() for p in src.rglob("*")
    )
    assert (out / "sub" / "data").read_bytes() == bytes(range(256))
    assert os.readlink(out / "abroad") == "/etc/passwd"
    assert stat.S_IMODE((out / "run.sh").stat().st_mode) == 0o755
    box.copy_in(src / "run.sh", "one")
    box.copy_out("one", tmp_path / "one")
    assert (tmp_path / "one").read_text() == (src / "run.sh").read_text()


def test_nothing_is_written_outside_of_where_it_is_copied_to(box, tmp_path):
    """A link that an earlier copy has brought is in the way of the next one."""
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim" / "f").write_text("mine")
    out = tmp_path / "out"
    box.run(shell(f"mkdir t; ln -s {tmp_path}/victim t/d; ln -s {tmp_path}/victim/f t/f"))
    box.copy_out("t", out)
    box.run(shell("rm t/d t/f; mkdir t/d; echo bad > t/d/f; echo bad > t/f"))
    with pytest.raises(OSError):
        box.copy_out("t", out)
    (out / "d").unlink()
    assert box.copy_out("t", out) == {}
    assert (tmp_path / "victim" / "f").read_text() == "mine"
    assert (out / "f").read_text() == "bad\n" and not (out / "f").is_symlink()


def test_what_cannot_be_copied_is_told(box, tmp_path):
    box.run(shell("mkdir t; mkfifo t/fifo; echo x > t/no; chmod 0 t/no; mkdir t/shut; chmod 0 t/shut; echo y > t/yes"))
    left = box.copy_out("t", tmp_path / "out")
    assert set(left) == {"fifo", "no", "shut"}
    assert (tmp_path / "out" / "yes").read_text() == "y\n"


def test_a_file_of_many_names_is_one_file_on_the_host_too(box, tmp_path):
    """Else a thousand names of one large file would fill the host's disk."""
    code = "import os\nos.mkdir('t'); open('t/a', 'wb').write(bytes(range(256)) * 4096)\n"
    code += "for i in range(100): os.link('t/a', f't/{i}')"
    assert box.run([*PYTHON, code]).ok
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "7").write_text("in the way")
    assert box.copy_out("t", tmp_path / "out") == {}
    found = list((tmp_path / "out").iterdir())
    assert len(found) == 101 and len({p.stat().st_ino for p in found}) == 1
    assert (tmp_path / "out" / "7").read_bytes() == bytes(range(256)) * 4096


def test_where_a_file_has_one_name_only_its_copies_are_no_more_than_the_disk(box, tmp_path, monkeypatch):
    """As on a host's file system without such links: 16 MiB, and then no more."""

    def refused(*_, **__):
        raise PermissionError

    code = "import os\nos.mkdir('t'); open('t/a', 'wb').write(bytes(4 << 20))\n"
    code += "for i in range(20): os.link('t/a', f't/{i}')"
    assert box.run([*PYTHON, code]).ok
    monkeypatch.setattr(os, "link", refused)
    with pytest.raises(OSError, match="disk"):
        box.copy_out("t", tmp_path / "out")
    assert sum(p.stat().st_size for p in (tmp_path / "out").iterdir()) <= 16 << 20


def test_a_file_of_the_largest_size_stops_no_copy_and_is_put_back(box, tmp_path):
    """It is all hole: no host takes it, and no read may begin so near to its end."""
    most = (1 << 63) - 4098
    code = f"import os\nos.mkdir('t'); open('t/big', 'w').truncate({most}); open('t/x', 'w').write('x')"
    assert box.run([*PYTHON, code], Limits(memory="256M", file_size=None)).ok
    told = box.copy_out("t", tmp_path / "out")
    assert (tmp_path / "out" / "x").read_text() == "x"
    if told:
        assert told == {"big": f"too large for the host: {most} bytes"}
        assert not (tmp_path / "out" / "big").exists()
    box.restore(box.snapshot())
    assert box.run(["stat", "-c", "%s", "t/big", "t/x"], text=True).stdout.split() == [str(most), "1"]


def test_names_that_are_too_long_together_are_an_error_not_memory_of_ours():
    code = """
import os
for i in range(15): os.mkdir("d" * 250); os.chdir("d" * 250)
for i in range(20000): open("f" * 200 + str(i), "w").close()
"""
    with Box(limits=LIMITS) as made:
        assert made.run([*PYTHON, code]).ok
        for call in (made.list, made.snapshot):
            with pytest.raises(OSError, match="MiB of names"):
                call()
        made.remove("d" * 250, recursive=True)
        assert made.list() == []


def test_a_source_that_is_not_there_is_said(box, tmp_path):
    with pytest.raises(SpecError, match="src"):
        box.copy_in(tmp_path / "nothing", "x")
    with pytest.raises(FileNotFoundError):
        box.copy_out("nothing", tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


# ---- snapshots ----


def test_a_snapshot_holds_all_writable_places_and_is_put_back_as_often_as_needed(box):
    box.run(
        shell("echo 1 > a; mkdir d; echo 2 > d/b; chmod 700 d; chmod 0 a; ln -s a l; echo 3 > /tmp/c; echo 4 > /home/h")
    )
    taken = box.snapshot()
    assert set(taken.files) == {"/box/a", "/box/d/b", "/tmp/c", "/home/h"}
    assert taken.links == {"/box/l": "a"} and taken.directories == {"/box/d": 0o700}
    for _ in range(2):
        box.run(
            shell("rm -rf /box/* /tmp/* /home/*; echo new > /box/new; mkdir -p /tmp/deep/er; echo x > /tmp/deep/er/x")
        )
        box.restore(taken)
        assert box.snapshot() == taken
    with Box(limits=LIMITS) as other:
        other.restore(taken)
        assert other.run(["cat", "d/b", "/tmp/c"]).stdout == b"2\n3\n"


def test_nothing_is_put_back_while_a_program_runs(box):
    taken = box.snapshot()
    with box.start(["cat"]) as p:
        with pytest.raises(SpecError, match="kill"):
            box.restore(taken)
        p.kill()
    box.run(shell("sleep 99 &"), orphans="keep")
    with pytest.raises(SpecError, match="kill"):
        box.restore(taken)
    box.kill()
    box.restore(taken)


def test_a_snapshot_of_something_else_is_refused_before_anything_is_removed(box):
    box.write("f", "x")
    with Box(writable=("/data",), limits=LIMITS) as other:
        other.write("/data/f", "y")
        taken = other.snapshot()
    with pytest.raises(SpecError, match="/data/f"):
        box.restore(taken)
    assert box.read("f") == b"x"


# ---- what is where ----


def test_other_places_may_be_writable_and_the_usual_ones_not(tmp_path):
    with Box(Jail(mounts=(Mount.bind(tmp_path, "/data"),)), LIMITS, writable=("/work", "/opt/made")) as box:
        r = box.run(
            shell(
                "echo x > /work/f && echo x > /opt/made/f && echo x > /dev/shm/f && echo ok; echo x > /tmp/f || echo no"
            )
        )
        assert r.stdout == b"ok\nno\n"
        assert box.run(shell("echo x > /data/f || echo no")).stdout == b"no\n"
        assert box.read("/work/f") == b"x\n"
