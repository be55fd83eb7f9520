"""How many terminals may be open: of one tenant, and of all."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from pyjail.serve.config import Terminals
from pyjail.serve.problem import Problem
from pyjail.serve.terminal import Open


@pytest.mark.parametrize(
    ("tenants", "status"),
    [("aab", 0), ("aaa", 429), ("aabb", 503), ("abcd", 503)],
    ids=["room", "share", "all", "each"],
)
def test_there_is_a_bound_for_each_and_one_for_all(tenants, status):
    there = Open(Terminals(count=3, share=2))
    with ExitStack() as stack:
        for tenant in tenants[:-1]:
            stack.enter_context(there.one(tenant))
        if status:
            with pytest.raises(Problem) as e:
                stack.enter_context(there.one(tenants[-1]))
            assert e.value.status == status and int(e.value.headers["Retry-After"]) > 0
        else:
            stack.enter_context(there.one(tenants[-1]))
    with there.one("a"), there.one("a"), there.one("d"):  # those that ended do not count
        pass
