"""The attacks of `pyjail.selftest` through HTTP: they come to what they come to in process, and nothing is left."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest

import pyjail
from pyjail import Jail, Limits, Result
from pyjail.serve import Config
from pyjail.serve.config import Admission
from tests import place
from tests.conftest import SLOW
from tests.jail.selftest.checks import not_in_a_guest
from tests.jail.serve.served import Served, served
from tests.scripts import until

NO_MAXIMA = Limits(**{name: None for name in Limits().to_dict() if name not in ("core", "collect", "collect_files")})


class OverHTTP:
    """`pyjail.run` by ``POST /v1/runs``. A service for each jail, as the jail is the service's, not the request's.

    Attributes: ``verdicts`` of each attack, in order; ``sent``: how many runs went over HTTP.
    """

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._run = pyjail.run
        self._clients: dict[Jail, httpx.Client] = {}
        self.verdicts: dict[str, list[str]] = {}
        self.sent = 0

    def in_process(self, args: list[str], limits: Limits | None = None, **given: Any) -> Result:
        return self._told(args, self._run(args, limits, **given))

    def over_http(
        self,
        args: list[str],
        limits: Limits | None = None,
        *,
        jail: Jail | None = None,
        collect: Any = (),
        **streams: Any,
    ) -> Result:
        if streams:  # what no request can say: a terminal, the stdin that holds one run while another one looks
            return self._told(args, self._run(args, limits, jail=jail, collect=collect, **streams))
        asked = {"args": args, "limits": (limits or Limits()).to_dict(), "collect": list(collect)}
        answer = self._client(jail or Jail()).post("/v1/runs?receipt=true", json=asked)
        assert answer.status_code == 200, answer.text
        self.sent += 1
        said = answer.json()
        if said["result"] is None:
            raise pyjail.ProgramNotFoundError("exec", None, said["fault"], errno.ENOENT)
        return self._told(args, Result.from_dict(said["result"]))

    def _client(self, jail: Jail) -> httpx.Client:
        key = replace(jail, fresh=False) if not jail.mounts else jail  # a mount is of a directory that goes away
        if key not in self._clients:
            service = self._stack.enter_context(
                served(Config(jail=key, maxima=NO_MAXIMA, admission=Admission(concurrent=4)))
            )
            self._stack.callback(self._quiet, service)
            self._clients[key] = self._stack.enter_context(httpx.Client(base_url=service.url, timeout=120 * SLOW))
        return self._clients[key]

    def _quiet(self, service: Served) -> None:
        assert until(lambda: not service.programs())
        assert "Traceback" not in service.log()

    def _told(self, args: list[str], result: Result) -> Result:
        if args[-1].startswith('{"modules"'):
            job = json.loads(args[-1])
            name = f"{job['attack']} {job.get('role', '')}".strip()
            self.verdicts.setdefault(name, []).append(result.verdict.value)
        return result


@contextmanager
def door(monkeypatch: pytest.MonkeyPatch, way: str) -> Iterator[OverHTTP]:
    with ExitStack() as stack:
        found = OverHTTP(stack)
        with monkeypatch.context() as patched:
            patched.setattr(pyjail, "run", getattr(found, way))
            yield found


@not_in_a_guest
@pytest.mark.timeout(1200)
def test_the_corpus_through_http_has_the_verdicts_of_runs_in_process(monkeypatch):
    jail = Jail(strict=place.CGROUPS)
    with door(monkeypatch, "in_process") as ours:
        before = pyjail.selftest(jail)
    with door(monkeypatch, "over_http") as theirs:
        after = pyjail.selftest(jail)
    assert theirs.sent > 100 and len(after.rows) > 100
    assert not after.escaped and after.ok, [
        row for row in (*after.rows, *after.probes) if row.status.value in ("escaped", "error")
    ]
    assert {row.name: row.status for row in after.rows} == {row.name: row.status for row in before.rows}
    assert {p.name: p.status for p in after.probes} == {p.name: p.status for p in before.probes}
    assert theirs.verdicts == ours.verdicts
