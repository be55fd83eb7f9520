"""What README and docs/ tell a user to type, typed: snippets, commands, examples. Pages with tests of their own have them
beside those of their subject."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pyjail import Jail, Limits, images, languages
from tests import place
from tests.conftest import SLOW
from tests.scripts import script

ROOT = Path(__file__).resolve().parents[2]
PYJAIL = f"{sys.executable} -m pyjail"
quick = pytest.mark.skipif(SLOW > 1, reason=place.ELSEWHERE)  # in an emulated guest they take minutes


def snippets(page: str, language: str = "python") -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), re.S)


def promised(code: str) -> list[str]:
    """What the comments behind and below the calls of print say that they print."""
    return re.findall(r"(?:print\(.*|^ *)\)  # (.*)", code, re.M)


@quick
@pytest.mark.needs_cgroups
def test_the_snippets_of_the_readme_run_one_after_the_other():
    code = "".join(snippets("README.md"))
    out = script(code, timeout=100)
    assert (out.returncode, out.stderr) == (0, "")
    lines = out.stdout.splitlines()
    for text in promised(code):
        for line in text.split(", ") if text.startswith("ok, ") else [text]:
            assert line in lines, line
    assert "memory 268435456" in out.stdout


PAGES = [
    f"docs/{name}.md"
    for name in (
        "run",
        "box",
        "boxlite",
        "configuration",
        "data",
        "coming-from",
        "embedding",
        "images",
        "network",
        "rootfs",
        "tuning",
        "interpreter",
    )
]


@quick
@pytest.mark.needs_cgroups
@pytest.mark.parametrize("page", PAGES)
def test_the_snippets_of_a_page_run_and_print_what_they_say(page):
    for code in snippets(page):
        out = script(code)
        assert (out.returncode, out.stderr) == (0, ""), code
        lines = out.stdout.splitlines()
        said = promised(code) + [line.lstrip()[2:] for line in code.splitlines() if line.lstrip().startswith("# ")]
        assert [line for line in said if line not in lines and not line.startswith("empty")] == [], out.stdout


# These have tests of their own: the last two in tests/jail/images/test_build.py and tests/jail/egress/test_jails_index.py,
# from the one index that there is.
LONG = ("languages --check", "selftest", "doctor", "image build data", "run --image data")


@quick
@pytest.mark.needs_cgroups
@pytest.mark.parametrize("page", ["README.md", "docs/command-line.md", "docs/configuration.md", "docs/builds.md"])
def test_commands_run(page, tmp_path):
    tried = 0
    for block in snippets(page, "sh"):
        for line in block.replace("/tmp/", f"{tmp_path}/").splitlines():
            if not any(f"pyjail {long}" in line for long in LONG) and not line.startswith(("./dev", ". ")):
                out = subprocess.run(
                    ["sh", "-c", line.replace("pyjail ", f"{PYJAIL} ")],
                    stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=ROOT, timeout=100, check=False,
                )  # fmt: skip
                said = re.search(r"exit (\d+)", line)
                assert out.returncode == (int(said[1]) if said else 0), (line, out.stderr)
                tried += 1
    assert tried >= 3


def test_the_example_s_configuration(tmp_path):
    path = ROOT / "examples/config/judge.toml"
    assert Jail.from_toml(path).deterministic and Jail.from_toml(path).mounts[0].dst == "/share"
    assert (Limits.from_toml(path).cpu_time, Limits.from_toml(path).address_space) == (5, None)
    assert languages.load(path)["awk"].extensions == (".awk",)
    settings = images.Settings.from_toml(ROOT / "examples/config/images.toml")
    assert (settings.bounds.unpacked, settings.host("registry.example:5000").ca) == (32 << 30, "/etc/ssl/company.pem")


def example(name: str, timeout: float = 60) -> list[str]:
    out = script(
        f"import runpy; runpy.run_path({str(ROOT / 'examples' / name)!r}, run_name='__main__')", timeout=timeout
    )
    assert (out.returncode, out.stderr) == (0, "")
    return out.stdout.splitlines()


@quick
@pytest.mark.needs_cgroups
def test_a_prompt_lives_on_within_limits():
    assert example("repl.py", timeout=100) == [
        "kept from line to line: 3628800", "interrupted: KeyboardInterrupt", "still there: 3628801 None",
        "ended by: memory", "terminal: ok after 24 80, 50 132 and an interrupt", "at once: ['144', '1156']",
    ]  # fmt: skip


@quick
@pytest.mark.needs_cgroups
def test_an_agent_s_machine():
    lines = example("box_agent.py")
    assert lines[-2:] == ["repaired: True", "taken back: True []"]
    assert [line for line in lines if line.startswith("[")][1].endswith("-> runtime_error, exit code 1")
    assert "['passed'] -> ok, exit code 0" in lines
    lines = example("box_server.py")
    assert lines[0].startswith("started: ok [") and "server.py" in lines[0]  # the shell's child may not be Python yet
    assert lines[1:] == [str([i * i for i in range(8)]), "left: []"]


@quick
@pytest.mark.needs_cgroups
def test_cells_remember_each_other_and_their_end_is_told():
    assert example("cells.py") == [
        "[1] ok", "[2] ok sum of [0, 1, 4, 9, 16] text 30", "[3] ok text/svg # text/svg #### text/svg #########",
        "[4] ok from a child text 0", "[5] runtime_error TypeError: list indices must be integers or slices, not str",
        "[6] wall_time KeyboardInterrupt: ", "[7] ok text [0, 1, 4, 9, 16]", "[8] runtime_error InterpreterEnded: it exited with 1",
        "[1] runtime_error (a new interpreter: it exited with 1) NameError: name 'squares' is not defined", "again: 5 [0, 1, 4, 9, 16]",
    ]  # fmt: skip


@quick
def test_measures_and_runs_without_chance():
    lines = example("measure.py")
    assert [line.split()[0] for line in lines[:2]] == ["loop", "formula"]
    assert lines[2:5] == [
        "less CPU: formula", "two runs agree, deterministic: True", "two runs agree, as usual: False",
    ]  # fmt: skip
    assert all(line.startswith("  deterministic ") for line in lines[5:]) and len(lines) == 10


@quick
def test_functions_and_test_files_are_graded():
    lines = example("functions.py")
    assert [line.split(";")[0] for line in lines[:5]] == [
        "right: 4 of 4", "wrong for none: 3 of 4", "equals everything: 0 of 4", "exits with 0: 0 of 4", "never ends: 0 of 4",
    ]  # fmt: skip
    reasons = [line.partition("; ")[2].partition(":")[0] for line in lines[:5]]
    assert reasons == ["", "failed", "refused", "crashed", "timed out"]
    assert lines[5] == "test file, right: passed"
    assert lines[6].startswith("test file, replaces unittest: failed: 1 of 1 tests")


@quick
def test_the_demo_judges_with_what_can_be_enforced_for_who_runs_it():
    chosen = ["sum_ok.py", "sum_network.py", "sum_fork_bomb.c"]
    out = subprocess.run(
        [sys.executable, ROOT / "examples/contest/judge.py", *chosen],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert out.returncode == 0, out.stdout + out.stderr
    if place.CGROUPS:
        assert "3 of 3 submissions got the verdict they deserve" in out.stdout and out.stderr == ""
    else:
        assert "2 of 2" in out.stdout and "sum_fork_bomb.c (needs a limit on processes)" in out.stdout
        assert out.stderr.startswith("Judging without ") and len(out.stderr.splitlines()) == 2
