"""LangChain's own suite for sandboxes, unchanged and whole, against a box: with the deepagents that it is written for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from langchain_tests.integration_tests import SandboxIntegrationTests

from pyjail.integrations.langchain import PyjailSandbox


class TestPyjailSandbox(SandboxIntegrationTests):
    @pytest.fixture(scope="class")
    def sandbox(self) -> Iterator[PyjailSandbox]:
        with PyjailSandbox() as sandbox:
            yield sandbox
