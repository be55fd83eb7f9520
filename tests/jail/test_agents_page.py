"""What docs/agents.md shows of pyjail itself; tests/integrations has the sections of other frameworks."""

from __future__ import annotations

import pytest

from tests import place
from tests.conftest import SLOW
from tests.integrations import pages

pytestmark = [pytest.mark.needs_cgroups, pytest.mark.skipif(SLOW > 1, reason=place.ELSEWHERE)]


@pytest.mark.parametrize("section", ["A box", "An interpreter", "BoxLite"])
def test_the_snippets_of_the_page_run_and_print_what_they_say(section):
    pages.check(section)
