"""What the documents name exists."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_test_that_the_list_of_incidents_names_exists():
    text = (ROOT / "docs/incidents.md").read_text()
    named, file = 0, ""
    for match in re.finditer(r"`([a-z]+/test_[a-z_]+\.py)?(?:::(test_[a-z0-9_]+))?(\[[^\]]*\])?`", text):
        path, test, _ = match.groups()
        file = path or file
        if path or test:
            source = (ROOT / "tests" / file).read_text()
            assert test is None or f"def {test}(" in source, match[0]
            named += 1
    assert named > 50


def test_links_between_documents_lead_somewhere():
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "csrc/README.md"]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), (page.name, target)


def test_every_phase_of_a_run_is_explained():
    from pyjail._timings import AFTER, PHASES

    text = (ROOT / "docs/timings.md").read_text()
    assert [n for n in (*PHASES, AFTER) if f"| `{n}` | " not in text] == []
