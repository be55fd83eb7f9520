"""The section of docs/agents.md, the example, and those of docstrings."""

from __future__ import annotations

from tests.integrations import pages


def test_the_snippets_of_the_page_run_and_print_what_they_say():
    pages.check("smolagents")


def test_the_example_repairs_its_program():
    assert "start <= out[-1][1]" in pages.run("examples/agents/repair_smolagents.py").splitlines()[-1]


def test_the_examples_of_docstrings_run():
    pages.docstrings("smolagents")
