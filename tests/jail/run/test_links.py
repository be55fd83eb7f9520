"""`Mount.link`, `Link`: other names in a jail. `Mount.tmpfs(ro=True)`: a directory that stays empty."""

from __future__ import annotations

import pytest

import pyjail
from pyjail import Jail, Link, Mount, Session, SpecError


def test_a_link_is_another_name_for_the_box_and_for_a_program(sh, tmp_path):
    (tmp_path / "python").write_text("#!/bin/sh\necho shadowed\n")
    (tmp_path / "python").chmod(0o755)
    (tmp_path / "empty").mkdir()
    jail = Jail(mounts=(
        Mount.link("/sandbox", "/box"), Mount.link("/output", "/box/out"), Mount.link("/venv/bin/sh", "/usr/bin/sh"),
        Mount.bind(tmp_path, "/opt/own"), Mount.link("/opt/own/python", "/usr/bin/env"),
    ))  # fmt: skip
    script = "cat /sandbox/a; /venv/bin/sh -c 'echo b > /output/b'; readlink /opt/own/python; cd /sandbox; pwd -P; rm /sandbox"
    r = sh(script, jail=jail, files={"a": "a\n", "out": tmp_path / "empty"}, collect=["out/b"], cwd="/sandbox")
    assert r.stdout == b"a\n/usr/bin/env\n/box\n"
    assert b"Read-only file system" in r.stderr
    assert r.files == {"out/b": b"b\n"}
    assert (tmp_path / "python").read_text().startswith("#!")  # nothing of the host's own directory changed
    with pytest.raises(pyjail.SpecError, match=r"Mount\.tmpfs"):
        sh("true", jail=Jail(mounts=(Mount.tmpfs("/scratch", "1M"), Mount.link("/scratch/w", "/box"))))


def test_a_read_only_tmpfs_stays_empty(sh):
    r = sh("ls -A /dev/shm; touch /dev/shm/x", jail=Jail(mounts=(Mount.tmpfs("/dev/shm", 4096, ro=True),)))
    assert (r.stdout, r.exit_code) == (b"", 1)
    assert b"Read-only file system" in r.stderr


def test_a_link_among_the_files_leads_wherever_it_says_inside_and_nowhere_outside(sh, tmp_path):
    (tmp_path / "secret").write_text("of the host")
    files = {
        "in": Link("/dev/stdin"), "out": Link("/dev/stdout"), "d/l": Link("../a"), "a": "A\n", "host": Link(f"{tmp_path}/secret"),
        "up": Link("../" * 40 + "etc/hostname"), "tmp": Link("/tmp"), "nowhere": Link("nowhere"),
    }  # fmt: skip
    script = "cat in > out; cat d/l; echo w > tmp/w; cat /tmp/w; readlink nowhere host; cat host; cat nowhere"
    r = sh(script, files=files, input=b"typed\n", collect=["*", "tmp/w"])
    assert r.stdout == f"typed\nA\nw\nnowhere\n{tmp_path}/secret\n".encode()
    assert r.stderr.count(b"No such file") == 1 and b"levels of symbolic links" in r.stderr
    assert r.files == {"a": b"A\n"}
    assert r.uncollected["host"] == "not a regular file"


def test_a_file_is_never_written_through_a_link_among_the_files(sh):
    for files in ({"d": Link("/tmp"), "d/x": "x"}, {"d/x": "x", "d": Link("/tmp")}):
        with pytest.raises(SpecError, match="cannot be a file and a directory"):
            sh("true", files=files)
    with Session() as session:
        session.write("l", Link("/tmp"))
        with pytest.raises(OSError):
            session.write("l/x", b"x")
        assert session.run(["sh", "-c", "readlink l; ls -A /tmp"]).stdout == b"/tmp\n"
        session.write("l", b"x")  # in its place
        assert session.run(["sh", "-c", "cat l; ls -A /tmp"]).stdout == b"x"
