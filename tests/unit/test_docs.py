"""What the documents name exists."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest

import pyjail
from pyjail.cli import options

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "csrc/README.md"]


def test_every_test_that_the_list_of_incidents_names_exists():
    text = (ROOT / "docs/incidents.md").read_text()
    named, file = 0, ""
    for match in re.finditer(r"`((?:[a-z]+/)+test_[a-z_]+\.py)?(?:::(test_[a-z0-9_]+))?(\[[^\]]*\])?`", text):
        path, test, _ = match.groups()
        file = path or file
        if path or test:
            source = (ROOT / "tests" / file).read_text()
            assert test is None or f"def {test}(" in source, match[0]
            named += 1
    assert named > 50


def test_links_between_documents_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), (page.name, target)


def test_every_phase_of_a_run_is_explained():
    from pyjail._run.timings import AFTER, PHASES

    text = (ROOT / "docs/timings.md").read_text()
    assert [n for n in (*PHASES, AFTER) if f"| `{n}` | " not in text] == []


def commands():
    """(page, words) of every ``pyjail`` command in a block of shell, pipes and redirections cut off."""
    for page in PAGES:
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.S):
            for line in block.splitlines():
                words = list(shlex.shlex(line, posix=True, punctuation_chars=True))
                while "pyjail" in words:
                    words = words[words.index("pyjail") + 1 :]
                    end = next((i for i, word in enumerate(words) if word in ("|", "<", ">")), len(words))
                    yield page.name, words[:end]


@pytest.mark.parametrize(("page", "words"), [*commands()], ids=lambda v: v if isinstance(v, str) else " ".join(v))
def test_commands_have_options_that_exist(page, words):
    options.parser().parse_args(words)


def test_there_are_commands():
    assert len([*commands()]) > 30


def test_every_example_is_named_by_the_index_and_what_it_names_is_there():
    index = (ROOT / "docs/README.md").read_text()
    for path in (ROOT / "examples").iterdir():
        assert path.name.startswith(("_", ".")) or f"`examples/{path.name}`" in index, path.name
    for page in PAGES:
        for named in re.findall(r"\bexamples/[\w/.]*\w", page.read_text()):
            assert (ROOT / named).exists(), (page.name, named)


def test_every_page_is_in_the_index():
    index = (ROOT / "docs/README.md").read_text()
    for page in ROOT.glob("docs/*.md"):
        assert page.name == "README.md" or f"({page.name})" in index, page.name


def test_every_decision_has_a_number_a_status_and_a_row_of_the_index():
    pages = {p.name: p.read_text() for p in sorted((ROOT / "docs/adr").glob("*.md")) if p.name != "README.md"}
    rows = []
    for number, (name, text) in enumerate(pages.items(), 1):
        head = re.match(
            rf"# {number:04d}: (.+)\n\nStatus: (proposed|accepted|superseded(?: in part)? by ([\d, ]+))\.\n", text
        )
        assert head, name
        later = (head[3] or "").split(", ") if head[3] else []
        assert all(any(other.startswith(f"{n}-") for other in pages) and int(n) > number for n in later), name
        rows.append(f"| [{number:04d}]({name}) | {head[1]} | {head[2]} |")
    assert (ROOT / "docs/adr/README.md").read_text().split("|---|---|---|\n")[1].splitlines() == rows


@pytest.mark.parametrize(
    ("page", "files"),
    [("configuration.md", ["config/judge.toml", "config/images.toml"]), ("builds.md", ["config/steps.toml"])],
)
def test_files_that_a_page_shows_are_the_examples(page, files):
    blocks = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / page).read_text(), re.S)
    for shown, file in zip(blocks, files, strict=True):
        assert tomllib.loads(shown) == tomllib.loads((ROOT / "examples" / file).read_text())


def test_the_recipe_that_the_page_shows_is_the_example():
    page, example = (ROOT / "docs/images.md").read_text(), (ROOT / "examples/image/image.toml").read_text()
    assert f"```toml\n{example}```\n" in page


def test_every_test_that_a_page_names_is_there_and_runs_as_root_and_as_a_user():
    page, found = (ROOT / "docs/audit.md").read_text(), set()
    user = re.search(r"chosen='(.*?)'", (ROOT / "dev").read_text(), re.S)[1].split()
    for unit, file, name in re.findall(r"`(unit )?(\w+)::(test_\w+)`", page):
        path = f"tests/{'unit' if unit else 'jail'}/images/test_{file}.py"
        assert f"\ndef {name}(" in (ROOT / path).read_text(), (path, name)
        assert any(path == chosen or path.startswith(f"{chosen}/") for chosen in user), path
        found.add((path, name))
    assert len(found) > 50


def in_integrations(names):
    """Whether there is such a module, and it lists such a name."""
    if not names:
        return True
    place = ROOT / "src/pyjail/integrations" / names[0]
    source = next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.exists()), None)
    return bool(source) and (len(names) == 1 or f'"{names[1]}"' in source.read_text().partition("__all__")[2])


def test_names_of_pyjail_exist():
    for page in [*PAGES, *ROOT.glob("examples/**/*.py")]:
        for named in re.findall(r"\bpyjail((?:\.[A-Za-z_]\w*)+)", page.read_text()):
            found = pyjail
            if named in (".toml", ".service", ".socket"):  # a file of this name
                continue
            if named.startswith(".integrations"):  # needs its framework, so it is read, not imported
                assert in_integrations(named.split(".")[2:]), (page.name, f"pyjail{named}")
                continue
            for name in named[1:].split("."):
                assert hasattr(found, name), (page.name, f"pyjail{named}")
                found = getattr(found, name)


def test_containers_are_deployed_with_what_doctor_says():
    from pyjail._policy import advice

    page = (ROOT / "docs/deploy.md").read_text().replace(" \\\n       ", "")
    needs = (advice.SYSCALLS, advice.APPARMOR, advice.PROC, advice.CGROUPS)
    for engine in ("docker", "podman"):
        assert f"    {advice.container(engine, needs).splitlines()[0]}\n" in page, engine
    pod = advice.container("kubernetes", needs)
    for line in re.search(r"```yaml\n(.*?)```", page, re.S)[1].splitlines():
        key = line.strip().partition(":")[0]
        if key in ("hostUsers", "runtimeClassName", "env", "seccompProfile", "appArmorProfile", "procMount"):
            assert line.strip() in pod, line
