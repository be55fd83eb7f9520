"""The section of docs/agents.md."""

from __future__ import annotations

from tests.integrations import pages


def test_the_snippets_of_the_page_run_and_print_what_they_say():
    pages.check("Inspect AI")
