"""Whose turn it is: a bound that holds, an order that is fair, and no slot that is lost whoever leaves when."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyjail.serve.admission import Turns
from pyjail.serve.config import Admission, Token
from pyjail.serve.problem import Problem


def turns(concurrent=1, queue=100, patience=1000.0):
    return Turns(Admission(concurrent=concurrent, queue=queue, patience=patience))


async def settle():
    for _ in range(10):
        await asyncio.sleep(0)


class Clients:
    """Tasks that have a slot until they are told to leave it; ``order`` of who got one."""

    def __init__(self, made: Turns) -> None:
        self.turns, self.order = made, []
        self.gates: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def come(
        self, name: str, tenant: str, token: Token | None = None, patient: bool = False, count: int = 1
    ) -> None:
        self.gates[name] = asyncio.Event()

        async def stay():
            async with self.turns.slot(tenant, token, patient=patient, count=count):
                self.order.append(name)
                await self.gates[name].wait()

        self.tasks[name] = asyncio.create_task(stay())
        await settle()

    async def go(self, name: str) -> None:
        self.gates[name].set()
        await self.tasks[name]
        await settle()


def test_tenants_take_turns_and_those_of_one_are_served_in_the_order_of_coming():
    async def main():
        c = Clients(turns())
        await c.come("first", "a")
        for name in ("a1", "a2", "a3", "b1", "b2", "c1"):
            await c.come(name, name[0])
        for _ in range(7):
            await c.go(c.order[-1])
        assert c.order == ["first", "a1", "b1", "c1", "a2", "b2", "a3"]

    asyncio.run(main())


def test_a_share_is_a_bound_that_holds_nobody_else_up():
    async def main():
        c = Clients(turns(2))
        one = Token("a", "", concurrent=1)
        await c.come("a1", "a", one)
        await c.come("a2", "a", one)
        await c.come("b1", "b")
        assert c.order == ["a1", "b1"]
        await c.go("b1")
        assert c.order == ["a1", "b1"]  # a slot is free, and a2 may not have it
        await c.go("a1")
        assert c.order == ["a1", "b1", "a2"]
        await c.go("a2")
        assert c.turns.running == c.turns.waiting == 0

    asyncio.run(main())


def test_who_comes_when_the_queue_is_full_is_told_when_to_come_again():
    async def main():
        c = Clients(turns(1, queue=2))
        for name in ("1", "2", "3"):
            await c.come(name, name)
        with pytest.raises(Problem) as e:
            async with c.turns.slot("x"):
                pass
        assert (e.value.status, e.value.kind) == (503, "queue-full")
        assert 1 <= int(e.value.headers["Retry-After"]) <= 60
        await c.come("later", "x", patient=True)  # what is fetched later waits as long as it takes
        for name in ("1", "2", "3", "later"):
            await c.go(name)
        assert c.order[-1] == "later"

    asyncio.run(main())


def test_a_tenant_whose_share_of_the_queue_is_full_is_told_429():
    async def main():
        c = Clients(turns())
        token = Token("a", "", queue=1)
        await c.come("1", "a", token)
        await c.come("2", "a", token)
        with pytest.raises(Problem) as e:
            async with c.turns.slot("a", token):
                pass
        assert (e.value.status, e.value.kind) == (429, "share-full")
        assert "Retry-After" in e.value.headers
        await c.go("1")
        await c.go("2")

    asyncio.run(main())


def test_who_waits_in_vain_for_his_own_programs_is_told_429():
    async def main():
        c = Clients(turns(2, patience=0.01))
        one = Token("a", "", concurrent=1)
        await c.come("a1", "a", one)
        with pytest.raises(Problem) as e:
            async with c.turns.slot("a", one):
                pass
        assert (e.value.status, e.value.kind, c.turns.waiting) == (429, "share-full", 0) and e.value.retry
        await c.go("a1")

    asyncio.run(main())


def test_patience_ends_with_503_and_leaves_no_trace():
    async def main():
        c = Clients(turns(patience=0.01))
        await c.come("1", "a")
        with pytest.raises(Problem) as e:
            async with c.turns.slot("b"):
                pass
        assert e.value.kind == "no-turn"
        assert (c.turns.running, c.turns.waiting) == (1, 0)
        await c.go("1")

    asyncio.run(main())


def test_who_is_cancelled_in_the_instant_in_which_a_slot_becomes_free_costs_none():
    async def main():
        c = Clients(turns())
        await c.come("1", "a")
        await c.come("2", "b")
        await c.come("3", "c")
        c.tasks["2"].cancel()  # it has not run since when the slot is given on
        c.gates["1"].set()
        await settle()
        assert c.order == ["1", "3"]
        await c.go("3")
        assert (c.turns.running, c.turns.waiting) == (0, 0)

    asyncio.run(main())


def test_who_was_given_a_slot_and_is_cancelled_before_he_knows_gives_it_on():
    async def main():
        c = Clients(turns())
        await c.come("1", "a")
        await c.come("2", "b")
        await c.come("3", "c")
        c.gates["1"].set()
        await asyncio.sleep(0)
        c.tasks["2"].cancel()
        await settle()
        assert c.order[-1] == "3"
        await c.go("3")
        assert (c.turns.running, c.turns.waiting) == (0, 0)

    asyncio.run(main())


def test_who_needs_several_slots_gets_them_all_at_once_and_nobody_overtakes():
    async def main():
        c = Clients(turns(3))
        for name in ("a1", "a2"):
            await c.come(name, "a")
        await c.come("b", "b", count=3)
        for name in ("c1", "c2"):
            await c.come(name, "c")  # a slot is free, and kept for who came before
        assert (c.turns.running, c.turns.waiting, c.order) == (2, 3, ["a1", "a2"])
        await c.go("a1")
        assert c.order == ["a1", "a2"]
        await c.go("a2")
        assert (c.turns.running, c.turns.waiting, c.order[2:]) == (3, 2, ["b"])
        await c.go("b")
        assert (c.turns.running, c.turns.waiting, c.order[3:]) == (2, 0, ["c1", "c2"])

    asyncio.run(main())


def test_who_is_gone_while_slots_are_kept_for_him_keeps_none():
    async def main():
        c = Clients(turns(2))
        await c.come("a", "a")
        await c.come("large", "b", count=2)
        await c.come("c", "c")
        c.tasks["large"].cancel()
        await settle()
        assert (c.turns.running, c.turns.waiting, c.order) == (2, 0, ["a", "c"])

    asyncio.run(main())


def test_more_slots_than_there_are_or_than_a_share_are_refused_at_once():
    async def main():
        made = turns(3)
        for token, count in ((None, 4), (Token("a", "", concurrent=2), 3)):
            with pytest.raises(Problem) as refused:
                async with made.slot("a", token, count=count):
                    raise AssertionError
            assert (refused.value.status, refused.value.retry) == (422, 0)
        async with made.slot("a", Token("a", "", concurrent=2), count=2):
            assert made.running == 2
        assert (made.running, made.waiting) == (0, 0)

    asyncio.run(main())


def test_who_waits_for_his_share_alone_holds_nobody_up():
    async def main():
        c, token = Clients(turns(4, queue=1)), Token("a", "", concurrent=2)  # and the queue is full then
        await c.come("a1", "a", token)
        await c.come("a2", "a", token, count=2)
        await c.come("b", "b")
        assert c.order == ["a1", "b"]
        await c.go("a1")
        assert c.order == ["a1", "b", "a2"]

    asyncio.run(main())


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(0, 6))
def test_whoever_comes_leaves_and_is_cancelled_the_bounds_hold_and_no_slot_is_lost(seed, concurrent, queue):
    async def main():
        chance = random.Random(seed)
        made = turns(concurrent, queue, patience=0.002 if chance.random() < 0.3 else 1000.0)
        inside = {"all": 0}
        tokens = {"a": Token("a", "", concurrent=1), "b": Token("b", "", queue=1), "c": None}

        async def client(tenant):
            count = 1 if tenant == "a" or chance.random() < 0.7 else chance.randint(1, concurrent)
            try:
                async with made.slot(tenant, tokens[tenant], count=count):
                    inside["all"] += count
                    inside[tenant] = inside.get(tenant, 0) + count
                    assert inside["all"] <= concurrent
                    assert inside.get("a", 0) <= 1
                    assert made.waiting <= queue
                    try:
                        await asyncio.sleep(chance.choice((0, 0, 0.0005)))
                    finally:
                        inside["all"] -= count
                        inside[tenant] -= count
            except Problem as e:
                assert e.status in (429, 503)

        tasks = []
        for _ in range(40):
            tasks.append(asyncio.create_task(client(chance.choice("abc"))))
            if chance.random() < 0.4:
                chance.choice(tasks).cancel()
            for _ in range(chance.randrange(3)):
                await asyncio.sleep(0)
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            assert outcome is None or isinstance(outcome, asyncio.CancelledError), outcome
        assert (made.running, made.waiting, made._large) == (0, 0, 0)
        assert not made._lines and not made._shares and not made._of  # nothing is kept of who was here

    asyncio.run(main())
