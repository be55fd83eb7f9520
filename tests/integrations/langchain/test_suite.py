"""LangChain's own suite for sandboxes, unchanged, against a box and the present deepagents, whose base class it does not
quite know yet. tests/integrations/langchain_suite has all of it with the deepagents that it is written for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from langchain_tests.integration_tests import SandboxIntegrationTests

from pyjail.integrations.langchain import PyjailSandbox

OLDER = {  # tests of what deepagents 0.7 does otherwise, by its own contract, in code that no sandbox has written
    "test_glob": "glob gives absolute paths, which rules of permission need",
    "test_glob_basic_pattern": "glob gives absolute paths",
    "test_glob_hidden_files_explicitly": "glob gives absolute paths",
    "test_glob_with_character_class": "glob gives absolute paths",
    "test_glob_with_question_mark": "glob gives absolute paths",
    "test_glob_with_directories": "glob gives regular files only",
    "test_write_existing_file_fails": "write replaces what there is",
}


class TestPyjailSandbox(SandboxIntegrationTests):
    @pytest.fixture(scope="class")
    def sandbox(self) -> Iterator[PyjailSandbox]:
        with PyjailSandbox() as sandbox:
            yield sandbox

    @pytest.fixture(autouse=True)
    def older(self, request: pytest.FixtureRequest) -> None:
        if reason := OLDER.get(request.node.originalname):
            request.applymarker(pytest.mark.xfail(reason=reason, strict=True))
