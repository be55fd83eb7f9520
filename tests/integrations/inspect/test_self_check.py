"""Inspect's own conformance checks of a sandbox: all, but for the one that makes users as root."""

from __future__ import annotations

import pytest
from inspect_ai.util._sandbox import self_check
from inspect_ai.util._sandbox.self_check import *  # noqa: F403

pytestmark = pytest.mark.anyio
NOT_HERE = {
    "test_exec_as_user": "a box has one user and no root, so nobody in it can add another",
}


@pytest.fixture
def sandbox_env(request, sandbox):
    if reason := NOT_HERE.get(request.node.originalname):
        request.node.add_marker(pytest.mark.xfail(reason=reason, strict=True))
    return sandbox


def test_all_checks_of_inspect_are_here():
    there = [name for name in dir(self_check) if name.startswith("test_")]
    assert set(there) <= set(globals())
    assert len(there) >= 44
