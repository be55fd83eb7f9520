"""run() as a user of subprocess expects it: streams, files, environment, errors."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import pyjail
from pyjail import File, Jail, Limits, Mount, Verdict
from tests.conftest import SLOW
from tests.scripts import PRELUDE


def test_input_and_text(sh):
    r = sh("cat; echo e >&2", input="gr\u00fc\u00dfe\r\n", text=True)
    assert (r.stdout, r.stderr) == ("grüße\n", "e\n")
    assert sh("cat", input=b"\x00\xff").stdout == b"\x00\xff"
    with pytest.raises(UnicodeDecodeError):
        sh(r"printf '\377'", encoding="utf-8", errors="strict")
    assert sh(r"printf '\377'", encoding="utf-8").stdout == "\ufffd"


def test_stdin_is_empty_by_default_and_never_ours(sh):
    assert sh("cat; readlink /proc/self/fd/0").stdout == b"/dev/null\n"


def test_large_input_and_output():
    data = os.urandom(1 << 20) * 8
    r = pyjail.run(["cat"], Limits(output="16M"), input=data)
    assert (r.ok, r.stdout == data, r.stdout_bytes) == (True, True, len(data))


def test_output_none_keeps_everything(sh):
    r = sh("head -c 12000000 /dev/zero", Limits(output=None))
    assert (r.ok, len(r.stdout)) == (True, 12_000_000)


def test_streams_to_files_and_devnull(sh, tmp_path):
    with open(tmp_path / "out", "wb") as out, open(tmp_path / "in", "w+b") as source:
        source.write(b"hello")
        source.seek(0)
        r = sh("cat; echo e >&2", stdin=source, stdout=out, stderr=pyjail.DEVNULL)
    assert (r.stdout, r.stderr, r.stdout_bytes) == (None, None, None)
    assert (tmp_path / "out").read_bytes() == b"hello"


def test_stderr_to_stdout_keeps_the_order(sh):
    assert sh("echo a; echo b >&2; echo c", stderr=pyjail.STDOUT).stdout == b"a\nb\nc\n"


def test_all_three_streams_may_be_the_same_fd(sh, tmp_path):
    with open(tmp_path / "f", "w+b") as f:
        sh("echo a; echo b >&2", stdout=f, stderr=f)
    assert (tmp_path / "f").read_bytes() == b"a\nb\n"


def test_environment_is_only_what_is_given(sh, monkeypatch):
    monkeypatch.setenv("SECRET", "x")
    assert set(sh("env").stdout.splitlines()) >= {b"HOME=/box", b"LANG=C.UTF-8"}
    assert b"SECRET" not in sh("env").stdout
    r = pyjail.run(["/usr/bin/env"], env={"A": "1"})
    assert r.stdout == b"A=1\n"
    assert sh("env", jail=Jail(env={"PATH": "/usr/bin", "B": "2"})).stdout.count(b"B=2") == 1


def test_cwd(sh):
    assert sh("pwd").stdout == b"/box\n"
    assert sh("pwd", cwd="/tmp").stdout == b"/tmp\n"
    with pytest.raises(FileNotFoundError) as e:
        sh("pwd", cwd="/nowhere")
    assert isinstance(e.value, pyjail.SetupError)
    assert e.value.step == "cwd"


def test_lookup_in_the_jails_path():
    assert (
        pyjail.run(["tool"], files={"tool": File("#!/bin/sh\necho found", 0o755)}, env={"PATH": "/nowhere:/box"}).stdout
        == b"found\n"
    )


def test_files_of_every_kind(sh, tmp_path):
    script = tmp_path / "s.sh"
    script.write_text("#!/bin/sh\necho script")
    script.chmod(0o755)
    r = sh(
        "cat a; cat d/e/b; ./s; stat -c '%a %u' a s d f",
        files={"a": b"A", "d/e/b": "B\n", "s": script, "f": File(b"", 0o600)},
    )
    assert r.stdout == b"AB\nscript\n644 1000\n755 1000\n755 1000\n600 1000\n"


def test_files_larger_than_the_disk_are_refused_cleanly(sh):
    with pytest.raises(pyjail.SetupError) as e:
        sh("true", Limits(disk="64K"), files={"big": bytes(1 << 20)})
    assert e.value.errno == 28
    assert "disk" in e.value.hint
    assert sh("echo fine").ok


def test_collect(sh):
    script = "mkdir -p a/b; echo 1 >x.txt; echo 2 >a/y.txt; echo 3 >a/b/z.txt; ln -s /etc/passwd l.txt; mkfifo f.txt; echo q >n.bin"
    r = sh(script, collect=["*.txt", "a/**/*.txt", "none*"])
    assert r.files == {"x.txt": b"1\n", "a/y.txt": b"2\n", "a/b/z.txt": b"3\n"}
    assert r.uncollected == {"l.txt": "not a regular file", "f.txt": "not a regular file", "none*": "not found"}


def test_no_name_and_no_tree_makes_a_pattern_slow(sh):
    patterns = ["*_*_*_*_*.txt", "*a*a*a*a*b", "**/a/**/a/**/b", "**/" * 200 + "x", "**/a*/" * 60 + "x"]
    script = "touch $(printf %0240d 0 | tr 0 _) $(printf %0240d 0 | tr 0 a); mkdir -p $(printf 'a/%.0s' $(seq 60)); touch a/a/b"
    start = time.monotonic()
    r = sh(script, collect=patterns)
    assert time.monotonic() - start < 20 * SLOW
    assert set(r.files) == {"a/a/b"}
    assert set(r.uncollected) == set(patterns) - {"**/a/**/a/**/b"}


def test_collect_of_hostile_leftovers_is_bounded(py):
    source = r"""
    import os
    p = ""
    for i in range(3000):
        os.mkdir("d"); os.chdir("d")
    os.chdir("/box")
    fd = os.open("sparse", os.O_CREAT | os.O_WRONLY); os.ftruncate(fd, 60 << 20)
    open(b"bad\xff\n", "w").write("x")
    open("closed", "w").close(); os.chmod("closed", 0)
    for i in range(500): open(f"f{i}", "w").close()
    """
    start = time.monotonic()
    r = py(source, Limits(collect="1M", inodes=8192), collect=["**", "sparse", "bad*"])
    assert r.ok, r.stderr
    assert time.monotonic() - start < 60 * SLOW
    assert "too big" in r.uncollected["sparse"]
    assert "Permission denied" in r.uncollected["closed"]
    assert r.files["bad\udcff\n"] == b"x"
    assert any("deeper" in why for why in r.uncollected.values())
    assert len([f for f in r.files if f.startswith("f")]) == 500


def test_a_million_names_stop_the_walk(py):
    source = "import os\nfor i in range(120000): os.link('a', f'{i}') if i else open('a', 'w').close()"
    r = py(source, Limits(inodes=None, cpu_time=60, wall_time=100), collect=["*"])
    assert r.ok
    assert "stopped" in r.uncollected["*"]


def test_collect_cannot_be_led_outside(sh):
    r = sh(
        "ln -s / root; ln -s /etc etc; mkdir d; ln -s ../.. d/up",
        collect=["root/etc/passwd", "etc/passwd", "d/up/etc/passwd", "**"],
    )
    assert r.files == {}


def test_check_raises_with_the_result(sh):
    with pytest.raises(subprocess.CalledProcessError) as e:
        sh("echo o; exit 3", check=True)
    assert isinstance(e.value, pyjail.JailedProcessError)
    assert (e.value.returncode, e.value.output, e.value.result.verdict) == (3, b"o\n", Verdict.RUNTIME_ERROR)
    again = pickle.loads(pickle.dumps(e.value))
    assert again.result == e.value.result


def test_timeout_is_the_callers_patience(sh):
    with pytest.raises(subprocess.TimeoutExpired) as e:
        sh("echo partial; sleep 100", timeout=0.5 * SLOW)
    assert isinstance(e.value, pyjail.TimeoutExpired)
    assert e.value.output == b"partial\n"
    assert sh("echo next").stdout == b"next\n"


EXEC_FAILURES = {
    "missing": (["/box/none"], {}, FileNotFoundError, 2),
    "missing_in_path": (["no-such-program"], {}, FileNotFoundError, 2),
    "directory": (["/usr"], {}, PermissionError, 13),
    "not_executable": (["./f"], {"f": b"#!/bin/sh\n"}, PermissionError, 13),
    "bad_interpreter": (["./f"], {"f": File(b"#!/no/interpreter\n", 0o755)}, FileNotFoundError, 2),
    "wrong_format": (["./f"], {"f": File(b"nonsense", 0o755)}, pyjail.ExecError, 8),
    "empty": (["./f"], {"f": File(b"", 0o755)}, pyjail.ExecError, 8),
    "argument_too_long": (["/bin/true", "x" * 200_000], {}, pyjail.ExecError, 7),
    "arguments_too_long": (["/bin/true", *["x" * 100_000] * 50], {}, pyjail.ExecError, 7),
}


@pytest.mark.parametrize("name", EXEC_FAILURES)
def test_exec_failures(name):
    args, files, kind, number = EXEC_FAILURES[name]
    with pytest.raises(kind) as e:
        pyjail.run(args, files=files)
    assert isinstance(e.value, pyjail.ExecError)
    assert (e.value.errno, e.value.step) == (number, "exec")
    assert type(pickle.loads(pickle.dumps(e.value))) is type(e.value)
    assert pyjail.run(["/bin/true"]).ok


def test_many_arguments_and_bytes(sh):
    args = ["printf", "%s", *[f"{i}" for i in range(5000)]]
    assert pyjail.run(args).stdout == "".join(args[2:]).encode()
    assert pyjail.run([b"printf", b"%s", b"\xff\xfe"]).stdout == b"\xff\xfe"
    assert pyjail.run([Path("/bin/echo"), "x"]).stdout == b"x\n"


def test_the_running_interpreter_works_inside():
    r = pyjail.run([sys.executable, "-c", "import json, sys; print(json.dumps(sys.version_info[:2]))"], text=True)
    assert r.stdout == f"[{sys.version_info[0]}, {sys.version_info[1]}]\n"


@pytest.mark.needs_cgroups
def test_usage_counts_orphans_and_leaves_setup_out(sh):
    r = sh("true")
    u = r.usage
    assert 0 < u.wall_time < 20 * SLOW
    assert 0 <= u.cpu_time < 0.5 * SLOW
    assert u.user_time + u.system_time == pytest.approx(u.cpu_time)
    assert [u.user_time, u.system_time] == [round(u.user_time, 9), round(u.system_time, 9)]  # no dust of a subtraction
    assert 0 < u.memory_peak < 16 << 20
    assert u.processes_peak >= 1
    assert u.setup_time > 0
    assert u.teardown_time > 0
    assert u.page_faults > 0
    assert u.instructions is None


def test_result_round_trips_through_json_and_pickle(sh):
    import json

    r = sh("printf '\\377'; echo x > f", collect=["f"])
    assert pyjail.Result.from_dict(json.loads(json.dumps(r.to_dict()))) == r
    assert pickle.loads(pickle.dumps(r)) == r


def test_binds(sh, tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f").write_text("content")
    (tmp_path / "one").write_text("one")
    (tmp_path / "w").mkdir(mode=0o777)
    os.chmod(tmp_path / "w", 0o777)
    jail = Jail(mounts=(
        Mount.bind(tmp_path / "d", "/data"), Mount.bind(tmp_path / "one", "/opt/deep/one"), Mount.bind(tmp_path / "d", "/box/in"),
        Mount.bind(tmp_path / "one", "/tmp/one"), Mount.bind(tmp_path / "w", "/w", ro=False), Mount.tmpfs("/scratch", "1M"),
        Mount.bind(tmp_path / "d", "/usr/share/not-there-before/x"),
    ))  # fmt: skip
    script = "cat /data/f /opt/deep/one /box/in/f /tmp/one /usr/share/not-there-before/x/f; echo; echo > /data/n; echo > /tmp/one; echo new > /w/n; ls -A /usr/share | wc -l; head -c 2000000 /dev/zero > /scratch/x"
    r = sh(script, jail=jail)
    assert r.stdout.startswith(b"contentonecontentonecontent")
    assert r.stderr.count(b"Read-only file system") == 2
    assert int(r.stdout.split()[-1]) == len(os.listdir("/usr/share")) + 1
    assert (tmp_path / "w" / "n").read_text() == "new\n"
    assert sorted(os.listdir(tmp_path / "d")) == ["f"]


def test_a_source_that_was_replaced_is_the_new_one(sh, tmp_path):
    source = tmp_path / "s"
    jail = Jail(mounts=(Mount.bind(source, "/s"),))
    for content in ("one", "two"):
        source.mkdir()
        (source / "f").write_text(content)
        assert sh("cat /s/f", jail=jail).stdout == content.encode()
        shutil.rmtree(source)
    with pytest.raises(pyjail.SpecError):
        sh("cat /s/f", jail=jail)
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin")
    jail = Jail(rootfs=root)
    assert pyjail.run(["/bin/busybox", "ls", "/"], jail=jail).stdout == b"bin\nbox\ndev\nproc\ntmp\n"
    (root / "new").mkdir()
    assert b"new\n" in pyjail.run(["/bin/busybox", "ls", "/"], jail=jail).stdout


def test_host_view_hides_the_host(sh):
    r = sh(
        "ls -d /sys /home /var /run /boot /srv /mnt /media; ls /etc/shadow /etc/ssh /etc/gshadow; ls /tmp /box /dev/shm; ls /dev; ls /root /root/* 2>&1"
    )
    assert all(
        f"/{d}".encode() not in r.stdout.split() for d in ("sys", "home", "var", "run", "boot", "srv", "mnt", "media")
    )
    listed = r.stdout.split()
    assert {b"null", b"zero", b"full", b"random", b"urandom", b"fd", b"stdin", b"stdout", b"stderr", b"shm"} <= set(
        listed
    )
    assert b"tty" not in listed
    assert b"ptmx" not in listed


def test_a_rootfs_of_ones_own(tmp_path, sh):
    root = tmp_path / "root"
    for d in ("bin", "etc", "lib", "deep/er"):
        (root / d).mkdir(parents=True)
    subprocess.run("cp /bin/busybox bin/busybox && ln -s busybox bin/sh", shell=True, cwd=root, check=True)
    (root / "etc" / "motd").write_text("mine")
    r = pyjail.run(
        ["/bin/busybox", "sh", "-c", "cat /etc/motd; ls / | tr '\\n' ' '; busybox pwd"],
        jail=Jail(rootfs=root, env={"PATH": "/bin"}),
    )
    assert r.stdout == b"minebin box deep dev etc lib proc tmp /box\n"


def test_a_hostile_rootfs_fails_safely(tmp_path):
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    subprocess.run("cp /bin/busybox bin/busybox", shell=True, cwd=root, check=True)
    canary = tmp_path / "canary"
    canary.mkdir()
    for name in ("proc", "dev", "tmp", "box", "etc"):
        os.symlink(canary, root / name)
    os.mkfifo(root / "fifo")
    r = pyjail.run(
        [
            "/bin/busybox",
            "sh",
            "-c",
            "read x < /proc/self/comm; echo $x; echo x > /tmp/x; echo x > /box/x; echo x > /dev/null; cat /etc/x",
        ],
        jail=Jail(rootfs=root),
    )
    assert r.stdout == b"busybox\n"
    assert os.listdir(canary) == []
    for name in ("proc", "dev", "tmp", "box"):
        os.unlink(root / name)
        (root / name).write_text("a file")
    assert pyjail.run(["/bin/busybox", "true"], jail=Jail(rootfs=root)).ok


def test_loopback_network(py):
    source = "import socket\na = socket.create_server(('127.0.0.1', 0)); b = socket.create_connection(a.getsockname()); b.send(b'x'); print(a.accept()[0].recv(1))"
    assert py(source, jail=Jail(network="loopback")).stdout == b"b'x'\n"
    assert not py(source).ok


def test_hostname_ids_proc_and_fresh(sh):
    assert sh("uname -n; id -u; id -g", jail=Jail(hostname="judge", uid=7, gid=8)).stdout == b"judge\n7\n8\n"
    assert sh("id -u; grep Cap /proc/self/status | grep -v 0000000000000000", jail=Jail(uid=0, gid=0)).stdout == b"0\n"
    assert sh("ls /proc", jail=Jail(proc=False)).stdout == b""
    ask = (
        "cat /proc/stat /proc/meminfo | grep -c '^btime\\|^MemTotal'; ls -d /proc/1; echo x > /proc/sys/kernel/hostname"
    )
    assert sh(ask, jail=Jail(proc="full")).stdout == b"2\n"  # read-only, and pid 1 is as hidden as without
    assert sh(ask).stdout == b"0\n"
    script = "readlink /proc/self/ns/user /proc/self/ns/net /proc/self/ns/uts; sleep 0.5"
    with ThreadPoolExecutor(2) as pool:  # at the same time: the kernel uses the numbers of dead namespaces again
        first, second = pool.map(lambda _: sh(script, jail=Jail(fresh=True)).stdout.split(), range(2))
    assert len(set(first) | set(second)) == 6


def test_keyboard_interrupt_kills_the_jail(tmp_path):
    code = (
        PRELUDE + "import pyjail, sys, os\nprint('ready', flush=True)\n"
        "try: pyjail.run(['sleep', '100'])\n"
        "except KeyboardInterrupt: print('interrupted', pyjail.run(['echo', 'again']).stdout, flush=True)\n"
    )
    p = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert p.stdout.readline() == b"ready\n"
    time.sleep(0.7 * SLOW)
    p.send_signal(signal.SIGINT)
    out, _ = p.communicate(timeout=30 * SLOW)
    assert out == b"interrupted b'again\\n'\n"


def test_long_names_do_not_fill_the_embedders_memory(py):
    """Names of what was not collected are cut and counted; those of what was count as its bytes do."""
    code = """
    import os
    for i in range(30):
        os.mkdir("\\U0001f600" + "a" * 240); os.chdir("\\U0001f600" + "a" * 240)
    for i in range(3000): os.symlink("x", "s%d" % i)
    """
    r = py(code, collect=["**"])
    assert r.ok, r.stderr
    assert len(r.uncollected) <= 1002
    assert max(map(len, r.uncollected)) < 600
    r = py("import os\nos.makedirs('a' * 200 + '/' + 'b' * 200)\nopen('a' * 200 + '/' + 'b' * 200 + '/c', 'w')",
           Limits(collect=300), collect=["**"])  # fmt: skip
    assert r.files == {}
    assert "too big" in next(iter(r.uncollected.values()))
