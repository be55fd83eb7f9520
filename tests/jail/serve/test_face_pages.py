"""What the pages for those who come from other services show: each request, sent by curl as it stands, has that answer."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.jail.serve.served import PATIENCE, Served, served

PAGES = Path(__file__).parents[3] / "docs/faces"
URL = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def service() -> Iterator[Served]:
    with served() as running:
        yield running


def shown(said: Any, page: Any) -> bool:
    """Whether all that the page shows is in what was said."""
    if isinstance(page, dict):
        return all(name in said and shown(said[name], value) for name, value in page.items())
    if isinstance(page, list):
        return len(said) == len(page) and all(map(shown, said, page))
    return bool(said == page)


@pytest.mark.parametrize("page", sorted(PAGES.glob("*.md")), ids=lambda page: page.stem)
def test_the_request_that_a_page_shows_has_the_answer_that_it_shows(service: Served, page: Path):
    text = page.read_text()
    (command,) = re.findall(r"```bash\n(curl .*?)```", text, re.DOTALL)
    (answer,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    assert f"{URL}/{page.stem}/" in command and command.count(URL) == 1
    asked = ["sh", "-c", command.replace("curl", "curl -f", 1).replace(URL, service.url)]
    done = subprocess.run(asked, capture_output=True, timeout=PATIENCE, check=True)
    said = json.loads(done.stdout)
    assert shown(said, json.loads(answer)), said


def test_each_face_has_a_page_that_the_list_names():
    named = re.findall(r"\(faces/(.*?)\.md\)", (PAGES.parent / "faces.md").read_text())
    assert sorted(named) == sorted(page.stem for page in PAGES.glob("*.md"))
    assert len(named) == 8
