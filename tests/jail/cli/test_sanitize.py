"""``pyjail run --sanitize``: what a program writes reaches a terminal as text alone, as it comes."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from tests.conftest import SLOW
from tests.jail.cli.test_cli import cli
from tests.jail.cli.test_cli_output import RUN

HOSTILE = r"printf 'a\033]52;c;cm0=\007b\033[2J\033[31mc\033[0m\303\251\302\2332J\n'"


def shown(*options, script=HOSTILE):
    out = cli("run", *options, "--", "sh", "-c", script, stdin=subprocess.DEVNULL)
    assert out.returncode == 0, out.stderr
    return out.stdout


def test_each_mode():
    assert shown() == "a\x1b]52;c;cm0=\x07b\x1b[2J\x1b[31mc\x1b[0mé\x9b2J\n"
    assert shown("--sanitize") == shown("--sanitize=strip") == "abcé\n"
    assert shown("--sanitize=keep-colour") == "ab\x1b[31mc\x1b[0mé\n"
    assert shown("--sanitize=escape") == "a^[]52;c;cm0=^Gb^[[2J^[[31mc^[[0mé\\x9b2J\n"


def test_both_streams_and_a_compiler():
    out = cli("run", "--sanitize", "--", "sh", "-c", f"{HOSTILE} >&2", stdin=subprocess.DEVNULL)
    assert (out.stdout, out.stderr) == ("", "abcé\n")


def test_what_a_compiler_shows_of_a_source(tmp_path):
    source = tmp_path / "a.py"
    source.write_bytes(b"x = = '\x1b[2J'\n")
    out = cli("run", "--sanitize", "--language", "python", "--", str(source), stdin=subprocess.DEVNULL)
    assert out.returncode == 1 and "SyntaxError" in out.stderr
    assert "\x1b" not in out.stderr
    out = cli("run", "--language", "python", "--", str(source), stdin=subprocess.DEVNULL)
    assert "\x1b" in out.stderr


def test_on_a_terminal_as_it_comes():
    ours, theirs = os.openpty()
    script = r"printf 'one\033[2J\n'; read x; printf '\033]0;t'; printf 'itle\007two\033[31m\n'"
    with subprocess.Popen(
        [*RUN, "--sanitize=keep-colour", "--", "sh", "-c", script], stdin=subprocess.PIPE, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        said = b""
        while b"\n" not in said:
            said += os.read(ours, 1024)
        process.stdin.write(b"\n")
        process.stdin.close()
        while process.poll() is None or b"\x1b[0m" not in said:
            said += os.read(ours, 1024)
            if said.endswith(b"\x1b[0m"):
                break
    os.close(ours)
    assert said == b"one\r\ntwo\x1b[31m\r\n\x1b[0m"


def test_what_has_no_end_is_not_kept_and_the_limit_is_on_what_was_written():
    script = r"printf '\033]0;'; head -c 50000000 /dev/zero"
    assert shown("--sanitize", "--output", "none", script=script) == ""
    out = cli("run", "--sanitize", "--output", "1M", "--", "sh", "-c", script, stdin=subprocess.DEVNULL)
    assert (out.returncode, out.stdout) == (124, "")


def test_the_end_at_the_limit_is_clean_too():
    script = r"printf '\033[31maaaaaaaaaa'"
    out = cli("run", "--sanitize=keep-colour", "--output", "8", "--", "sh", "-c", script, stdin=subprocess.DEVNULL)
    assert (out.returncode, out.stdout) == (124, "\x1b[31maaa\x1b[0m")


def test_no_colour_stays_on_when_it_is_interrupted():
    ours, theirs = os.openpty()
    script = r"printf '\033[31mred\n'; sleep 100"
    with subprocess.Popen(
        [*RUN, "--sanitize=keep-colour", "--", "sh", "-c", script],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        said = b""
        while b"red" not in said:
            said += os.read(ours, 1024)
        process.send_signal(signal.SIGINT)
        assert process.wait(60 * SLOW) == 130
        while not said.endswith(b"\x1b[0m"):
            said += os.read(ours, 1024)  # OSError: it has ended without
    os.close(ours)


@pytest.mark.parametrize("other", ["--json", "--timings", "--learn"])
def test_where_it_would_do_nothing_it_is_refused(other):
    out = cli("run", "--sanitize", other, "--", "true", stdin=subprocess.DEVNULL)
    assert out.returncode == 125
    assert f"{other} cannot be used with --sanitize" in out.stderr


def test_an_unknown_mode_is_told():
    out = cli("run", "--sanitize=strp", "--", "true", stdin=subprocess.DEVNULL)
    assert out.returncode == 125 and "did you mean strip?" in out.stderr
