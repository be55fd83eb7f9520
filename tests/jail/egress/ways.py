"""The ways to run a program, each with one that asks the proxy of its jail once, and is refused."""

from __future__ import annotations

import asyncio

import pytest

import pyjail
from pyjail import Jail, aio
from tests.jail.egress.jails import LIMITS, PYTHON, TALK

ONE = TALK + "\nprint(answer([head(f'host.test:{sys.argv[1]}')])[9:12])\n"


def one(port: int) -> list[str]:
    """A program that asks once, for this port, and is refused."""
    return [*PYTHON, ONE, str(port)]


def told(result: pyjail.Result) -> list[int]:
    """The ports that it asked for."""
    assert result.egress is not None, result
    return [row.port for row in result.egress.rows]


def by_run(of: Jail) -> pyjail.Result:
    return pyjail.run(one(7), LIMITS, jail=of)


def by_start(of: Jail) -> pyjail.Result:
    with pyjail.start(one(7), LIMITS, jail=of) as p:
        assert p.stdout is not None and p.stdout.read() == b"403\n"
    return p.result


def by_pool(of: Jail) -> pyjail.Result:
    with pyjail.Pool(2, jail=of, limits=LIMITS) as pool:
        return pool.run(one(7))


def by_session(of: Jail) -> pyjail.Result:
    with pyjail.Session(jail=of, limits=LIMITS) as session:
        session.write("x", "x")
        first = session.run(one(6))
        assert told(first) == [6]
        return session.run(one(7))


def by_interact(of: Jail) -> pyjail.Result:
    party = pyjail.Party(one(7), LIMITS, jail=of)
    i = pyjail.interact(party, pyjail.Party(["cat"], LIMITS), edges=["a.stdout -> b.stdin"])
    result: pyjail.Result = i.results["a"]
    return result


def by_measure(of: Jail) -> pyjail.Result:
    m = pyjail.measure(one(7), LIMITS, jail=of, repeat=pyjail.Repeat(2, 2))
    assert [told(r) for r in m.runs] == [[7]] * len(m.runs)
    result: pyjail.Result = m.runs[0]
    return result


def by_a_loop(of: Jail) -> pyjail.Result:
    return asyncio.run(aio.run(one(7), LIMITS, jail=of))


def by_trio(of: Jail) -> pyjail.Result:
    trio = pytest.importorskip("trio")

    async def main() -> pyjail.Result:
        return await aio.run(one(7), LIMITS, jail=of)

    result: pyjail.Result = trio.run(main)
    return result


def with_files(of: Jail) -> pyjail.Result:
    return pyjail.run(one(7), LIMITS, jail=of, files={"a": "x"}, collect=["a"], input=b"x")
