"""The hostile corpus of the selftest through HTTP: what is contained in process is contained there."""

from __future__ import annotations

from collections import Counter

import httpx
import pytest

import pyjail
from pyjail import Jail, Limits
from pyjail.serve import Config
from pyjail.serve.config import Admission, Edge
from tests.conftest import SLOW
from tests.jail.selftest.checks import not_in_a_guest
from tests.jail.serve.served import served
from tests.scripts import until

pytestmark = pytest.mark.timeout(1200)
ANY = Limits(**dict.fromkeys(Limits().to_dict()))


@not_in_a_guest
def test_every_attempt_ends_through_the_service_as_it_does_in_process(monkeypatch):
    here = pyjail.selftest()
    run, ways = pyjail.run, Counter()
    with (
        served(Config(maxima=ANY, admission=Admission(concurrent=2), edge=Edge(body=64 << 20))) as service,
        httpx.Client(base_url=service.url, timeout=600 * SLOW) as client,
    ):

        def over_http(args, limits=None, *, jail=None, collect=(), **more):
            if jail not in (None, Jail()) or more:  # what a request cannot ask for
                ways["in process"] += 1
                return run(args, limits, jail=jail, collect=collect, **more)
            ways["http"] += 1
            asked = {"args": [*map(str, args)], "limits": (limits or Limits()).to_dict(), "collect": list(collect)}
            answer = client.post("/v1/runs?receipt=true", json=asked)
            assert answer.status_code == 200, answer.text
            said = answer.json()
            if said["result"] is None:
                raise pyjail.ExecError("exec", None, said["fault"], 2)
            return pyjail.Result.from_dict(said["result"])

        monkeypatch.setattr(pyjail, "run", over_http)
        there = pyjail.selftest()
        assert until(lambda: not service.programs())
        assert "Traceback" not in service.log()
    assert ways["http"] > 80 and ways["http"] > 4 * ways["in process"], ways
    assert there.escaped == here.escaped == ()
    statuses = [{row.name: row.status for row in report.rows} for report in (here, there)]
    assert statuses[0] == statuses[1]
    assert [probe.name for probe in there.probes] == [probe.name for probe in here.probes]
