"""The command line: what comes out of a run, and how much."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import place
from tests.conftest import SLOW
from tests.host_side import cgroups_of, keepers_of
from tests.jail.cli.test_cli import cli
from tests.scripts import until

RUN = [sys.executable, "-m", "pyjail", "run", *([] if place.CGROUPS else ["--no-strict"])]


@pytest.mark.parametrize("stream", ["1", "2"])
@pytest.mark.parametrize("more", [(), ("--json",), ("--timings",)], ids=" ".join)
def test_the_limit_on_output_is_one_for_all_ways_to_show_it(more, stream):
    out = cli("run", *more, "--output", "10", "--", "sh", "-c", f"yes >&{stream}", stdin=subprocess.DEVNULL)
    assert out.returncode == 124
    if more == ("--json",):
        result = json.loads(out.stdout)
        assert (result["verdict"], result["limits_hit"]) == ("output", ["output"])
        shown = result["stdout" if stream == "1" else "stderr"]["bytes"]
    else:
        assert "pyjail: output: cpu" in out.stderr
        shown = out.stdout if stream == "1" else out.stderr.partition("pyjail")[0]
    assert shown == "y\n" * 5


def test_as_much_as_the_limit_is_not_too_much_and_none_is_no_limit():
    out = cli("run", "--output", "10", "--", "printf", "0123456789", stdin=subprocess.DEVNULL)
    assert (out.returncode, out.stdout, out.stderr) == (0, "0123456789", "")
    out = cli("run", "--output", "none", "--", "head", "-c", "12000000", "/dev/zero", stdin=subprocess.DEVNULL)
    assert (out.returncode, len(out.stdout)) == (0, 12_000_000)
    out = cli("run", "--", "head", "-c", "12000000", "/dev/zero", stdin=subprocess.DEVNULL)
    assert (out.returncode, len(out.stdout)) == (124, 10 << 20)


def test_what_is_written_comes_at_once_and_in_order_where_both_streams_are_one():
    with subprocess.Popen(
        [*RUN, "--", "sh", "-c", "echo one; echo two >&2; echo three; read x; echo $x"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        assert [process.stdout.readline() for _ in range(3)] == ["one\n", "two\n", "three\n"]
        process.stdin.write("four\n")
        process.stdin.flush()
        assert process.stdout.readline() == "four\n"
        process.stdin.close()
    assert process.returncode == 0


def test_the_program_has_none_of_the_caller_s_own_outputs(tmp_path):
    path = tmp_path / "kept"
    path.write_text("what was there before")
    with open(path, "r+") as both:
        both.seek(0, os.SEEK_END)
        out = subprocess.run(
            [*RUN, "--", "python3", "-c", "import os; os.lseek(1, 0, 0)"],
            stdin=subprocess.DEVNULL, stdout=both, stderr=subprocess.PIPE, text=True, timeout=60 * SLOW, check=False,
        )  # fmt: skip
    assert "Illegal seek" in out.stderr
    assert path.read_text() == "what was there before"


def test_the_caller_s_input_waits_as_before_whatever_the_program_made_of_it():
    ours, theirs = os.pipe()
    try:
        command = [*RUN, "--", "python3", "-c", "import os; os.set_blocking(0, False); print(os.get_blocking(0))"]
        out = subprocess.run(command, stdin=ours, capture_output=True, text=True, timeout=60 * SLOW, check=False)
        assert (out.stdout, os.get_blocking(ours)) == ("False\n", True)
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_directory_goes_in_and_comes_out(tmp_path):
    (tmp_path / "src/deep").mkdir(parents=True)
    (tmp_path / "src/deep/f").write_text("x")
    args = ("--file", f"{tmp_path}/src/", "--collect", "src/**", "--out", f"{tmp_path}/out")
    out = cli("run", *args, "--", "sh", "-c", "cp src/deep/f src/g", stdin=subprocess.DEVNULL)
    assert out.returncode == 0, out.stderr
    assert sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*") if p.is_file()) == [
        "src/deep/f", "src/g",
    ]  # fmt: skip


def test_a_reader_that_has_seen_enough_ends_it_without_a_word():
    with subprocess.Popen([*RUN, "--", "yes"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "y\n"
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 128 + signal.SIGPIPE


def test_a_name_that_the_program_chose_cannot_set_the_terminal_or_look_like_a_line_of_ours(tmp_path):
    script = (
        "ln -s x \"$(printf 'a\\033[2J\\npyjail: ok')\"; mkfifo \"$(printf 'b\\377')\"; head -c 3000 /dev/zero > big"
    )
    out = cli(
        "run",
        "--collect",
        "*",
        "--collect-size",
        "1K",
        "--out",
        str(tmp_path),
        "--",
        "sh",
        "-c",
        script,
        stdin=subprocess.DEVNULL,
    )
    assert out.returncode == 0
    assert sorted(out.stderr.splitlines()) == [
        "pyjail: not collected: a?[2J?pyjail: ok: not a regular file", "pyjail: not collected: b?: not a regular file",
        "pyjail: not collected: big: too big: 3000 bytes, 1024 left of --collect-size",
    ]  # fmt: skip


def test_who_holds_down_ctrl_c_gets_no_traceback_and_leaves_nothing():
    for pause in (0.0, 0.001, 0.003):
        with subprocess.Popen(
            [*RUN, "--", "sh", "-c", "echo up; sleep 60"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout.readline() == "up\n"
            jails = keepers_of(process.pid)
            for _ in range(5):
                process.send_signal(signal.SIGINT)
                time.sleep(pause)
            assert process.wait(30 * SLOW) == 130
            assert process.stderr.read() == ""
        assert jails and until(lambda jails=jails: not any(Path(f"/proc/{pid}").exists() for pid in jails))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_the_jail_first_and_leaves_nothing(number):
    with subprocess.Popen([*RUN, "--", "sh", "-c", "echo up; sleep 60"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "up\n"
        jails = keepers_of(process.pid)
        process.send_signal(number)
        assert process.wait(30 * SLOW) == 128 + number
    assert jails and until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in jails))
    assert cgroups_of(process.pid) == []


def test_files_are_brought_out(tmp_path):
    script = (
        "mkdir -p out/deep; echo a > out/a; printf '\\377' > out/deep/b; chmod 700 out/a; ln -s /etc/passwd out/link"
    )
    out = cli("run", "--collect", "out/**", "--collect", "missing", "--out", f"{tmp_path}/x/y", "--", "sh", "-c", script,
              stdin=subprocess.DEVNULL)  # fmt: skip
    assert out.returncode == 0
    assert "not collected: missing: not found" in out.stderr
    top = tmp_path / "x/y"
    assert sorted(str(p.relative_to(top)) for p in top.rglob("*") if p.is_file()) == ["out/a", "out/deep/b"]
    assert ((top / "out/a").read_bytes(), (top / "out/deep/b").read_bytes()) == (b"a\n", b"\xff")
    assert not (top / "out/a").stat().st_mode & 0o111


def test_files_come_back_of_a_run_that_failed_and_in_json_too(tmp_path):
    args = ("--collect", "a", "--out", str(tmp_path), "--json", "--", "sh", "-c", "echo x > a; exit 3")
    out = cli("run", *args, stdin=subprocess.DEVNULL)
    assert out.returncode == 3
    assert (tmp_path / "a").read_text() == "x\n"
    assert json.loads(out.stdout)["files"] == {"a": {"bytes": "x\n"}}


def test_nothing_that_is_there_is_replaced_and_no_link_followed(tmp_path):
    (tmp_path / "a").write_text("mine")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "dir").symlink_to("elsewhere")
    for made in ("a", "dir/b"):
        script = f"mkdir -p dir; echo x > {made}"
        out = cli("run", "--collect", made, "--out", str(tmp_path), "--", "sh", "-c", script, stdin=subprocess.DEVNULL)
        assert out.returncode == 125, out.stderr
        assert f"pyjail: not brought out: {made}: " in out.stderr
    assert (tmp_path / "a").read_text() == "mine"
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_what_cannot_be_written_keeps_nothing_else_back_and_json_is_one_document(tmp_path):
    (tmp_path / "a").write_text("mine")
    args = ("--json", "--collect", "*", "--out", str(tmp_path), "--", "sh", "-c", "echo x > a; echo x > b")
    out = cli("run", *args, stdin=subprocess.DEVNULL)
    assert out.returncode == 125
    assert json.loads(out.stdout)["verdict"] == "ok"
    assert out.stderr == "pyjail: not brought out: a: it is there already, and is not replaced\n"
    assert ((tmp_path / "a").read_text(), (tmp_path / "b").read_text()) == ("mine", "x\n")


def test_the_size_of_what_comes_back_is_a_limit(tmp_path):
    args = ("--collect", "*", "--collect-size", "1K", "--out", str(tmp_path))
    out = cli("run", *args, "--", "sh", "-c", "head -c 2000 /dev/zero > big; echo x > small", stdin=subprocess.DEVNULL)
    assert [p.name for p in tmp_path.iterdir()] == ["small"]
    assert "not collected: big" in out.stderr


@pytest.mark.parametrize(
    ("args", "words"),
    [(("--collect", "a"), "needs --out DIR"), (("--out", "x"), "needs --collect PATTERN"),
     (("--collect", "a", "--out", "/dev/null/x"), "/dev/null")],
)  # fmt: skip
def test_one_without_the_other_is_told_before_anything_runs(args, words):
    out = cli("run", *args, "--", "sh", "-c", "echo ran", stdin=subprocess.DEVNULL)
    assert (out.returncode, out.stdout) == (125, "")
    assert words in out.stderr


SAID = [
    ("kill -SEGV $$", (), 139, "signaled (SIGSEGV): cpu"), ("kill -XFSZ $$", (), 153, "signaled (SIGXFSZ"),
    ("kill -PIPE $$", (), 141, ""), ("exit 3", (), 3, ""), ("true", (), 0, ""),
    ("sleep 1 & sleep 1 & sleep 1 & wait", ("--processes", "3"), None, "refused at --processes: cpu"),
]  # fmt: skip


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_of_ours_are_none_of_the_program_s(closed):
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", *RUN, "--", "sh", "-c", "echo out; echo err >&2; cat; exit 4"]
    out = subprocess.run(command, input="in\n", capture_output=True, text=True, timeout=60 * SLOW, check=False)
    words = (
        "" if ">&-" in closed.replace("2>&-", "") else "out\n" + ("" if "<&-" in closed else "in\n"),
        "" if "2>&-" in closed else "err\n",
    )
    assert (out.returncode, out.stdout, out.stderr) == (4, *words)


@pytest.mark.parametrize(
    ("args", "code"),
    [(["--memory", "12Q", "--", "true"], 125), (["--json", "--memory", "12Q", "--", "true"], 125), (["--nonsense"], 125),
     (["--", "sh", "-c", "kill -9 $$"], 137), (["--timings", "--", "true"], 0), (["--language", "python", "FILE"], 1)],
)  # fmt: skip
def test_what_is_for_stderr_never_goes_to_stdout(tmp_path, args, code):
    (tmp_path / "x.py").write_text("def (:")
    args = [a.replace("FILE", f"{tmp_path}/x.py") for a in args]
    out = subprocess.run(["sh", "-c", 'exec "$@" 2>&-', "sh", *RUN, *args], capture_output=True, text=True, check=False)
    assert out.returncode == code
    assert "error" in json.loads(out.stdout) if "--json" in args else out.stdout == ""


@pytest.mark.needs_cgroups
@pytest.mark.parametrize(("script", "options", "code", "said"), SAID)
def test_a_line_says_what_the_exit_code_does_not(script, options, code, said):
    out = cli("run", *options, "--", "sh", "-c", script, stdin=subprocess.DEVNULL)
    assert code is None or out.returncode == code
    ours = [line for line in out.stderr.splitlines() if line.startswith("pyjail")]
    assert len(ours) == (1 if said else 0)
    assert not said or said in ours[0]


def test_a_file_that_grew_too_big_is_told_by_its_option():
    out = cli(
        "run", "--file-size", "64K", "--", "dd", "if=/dev/zero", "of=f", "bs=1M", "count=1", stdin=subprocess.DEVNULL
    )
    assert out.returncode == 128 + signal.SIGXFSZ
    assert "pyjail: signaled (SIGXFSZ, a file grew beyond --file-size 64K): cpu" in out.stderr


def test_the_version_is_told_without_loading_what_commands_need():
    code = "import sys; from pyjail import cli; cli.main(['--version']); print(sorted(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = out.stdout.partition("\n")[2]
    for module in ("argparse", "dataclasses", "json", "tomllib", "rich", "pathlib", "pyjail.cli.options"):
        assert f"'{module}'" not in loaded, module


def test_a_slow_reader_loses_nothing():
    with subprocess.Popen([*RUN, "--", "seq", "50000"], stdout=subprocess.PIPE, text=True) as process:
        time.sleep(0.5)
        os.set_blocking(process.stdout.fileno(), True)
        assert process.stdout.read() == "".join(f"{n}\n" for n in range(1, 50001))
    assert process.returncode == 0


@pytest.mark.parametrize("command", [["languages", "bash", "c"], ["selftest", "--only", "files.environment"]])
def test_without_rich_the_same_lines_are_printed(command):
    code = "import sys; from pyjail import cli; sys.exit(cli.main(sys.argv[1:]))"
    hide = "import importlib.util as u; find = u.find_spec; u.find_spec = lambda n, *a: None if n == 'rich' else find(n, *a); import sys; sys.modules['rich'] = None; "
    with_it, without = (
        subprocess.run(
            [sys.executable, "-c", start + code, *command], capture_output=True, text=True, timeout=60 * SLOW
        )
        for start in ("", hide)
    )
    assert (without.returncode, without.stderr) == (with_it.returncode, with_it.stderr) == (0, "")
    numbers = re.compile(r"\d+")
    assert [numbers.sub("0", line) for line in without.stdout.splitlines()] == [
        numbers.sub("0", line) for line in with_it.stdout.splitlines()
    ]
