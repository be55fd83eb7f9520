"""Any order of submitting, waiting, cancelling, fetching and restarts of the whole service: each run is what it has to be."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from dataclasses import dataclass

import httpx
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

import pyjail
from pyjail import serve
from pyjail.serve.config import Admission, Config, Files, Jobs, Observe
from tests.host_side import keepers_of
from tests.jail.serve.served import PATIENCE
from tests.scripts import until

SCRIPTS = {"quick": "echo quick", "slow": "sleep 0.3; echo slow", "endless": "sleep 1000"}
ENDED = ("done", "cancelled")


@dataclass
class Known:
    """What a run is to be."""

    script: str
    ends: tuple[str, ...] = ()  # states of which one is its last
    seen: str = ""  # its end, once it was seen


class Service(RuleBasedStateMachine):
    """Two slots; runs that never end keep them until they are cancelled."""

    ids = Bundle("ids")

    def __init__(self) -> None:
        super().__init__()
        self.directory, self.runner = tempfile.mkdtemp(), asyncio.Runner()
        self.known: dict[str, Known] = {}
        self.keys: dict[str, tuple[str, str]] = {}
        self.runner.run(self.start())

    async def start(self) -> None:
        config = Config(
            state=self.directory, files=Files(floor=0), jobs=Jobs(attempts=1), admission=Admission(concurrent=2),
            drain=0, observe=Observe(log=False),
        )  # fmt: skip
        app = serve.app(config)
        self.life = app.router.lifespan_context(app)
        await self.life.__aenter__()
        transport = httpx.ASGITransport(app)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=PATIENCE)

    async def stop(self) -> None:
        await self.client.aclose()
        await self.life.__aexit__(None, None, None)

    def ask(self, method: str, path: str = "", **given) -> httpx.Response:
        return self.runner.run(self.client.request(method, f"/v1/runs{path}", **given))

    def teardown(self) -> None:
        for id, known in self.known.items():
            if known.script == "endless":
                self.ask("DELETE", f"/{id}")
        for id in self.known:
            assert self.look(id, self.ask("GET", f"/{id}", params={"wait": 50})) in ENDED
        self.runner.run(self.stop())
        self.runner.close()
        shutil.rmtree(self.directory)

    def look(self, id: str, answer: httpx.Response) -> str:
        """Its state, which is a possible one."""
        assert answer.status_code == 200, answer.text
        known, said = self.known[id], answer.json()
        state = said["state"]
        assert said["id"] == id and state in ("queued", "running", *ENDED)
        if state in ENDED:
            assert known.seen in ("", state) and (not known.ends or state in known.ends)
            known.seen = state
            assert state == "cancelled" or said["result"]["stdout"]["bytes"] == f"{known.script}\n"
        else:
            assert not known.seen and "result" not in said
        return state

    @rule(target=ids, script=st.sampled_from(sorted(SCRIPTS)), key=st.sampled_from(("", "", "k")))
    def submit(self, script, key):
        headers = {"Prefer": "respond-async"} | ({"Idempotency-Key": key} if key else {})
        answer = self.ask("POST", json={"args": ["sh", "-c", SCRIPTS[script]]}, headers=headers)
        first = self.keys.get(key)
        if first is not None and first[1] != script:
            assert answer.status_code == 422
            return first[0]
        assert answer.status_code == 202, answer.text
        id = answer.json()["id"]
        if first is not None:
            assert id == first[0]
        else:
            assert id not in self.known
            self.known[id] = Known(script, ("cancelled",) if script == "endless" else ())
            if key:
                self.keys[key] = id, script
        return id

    @rule(id=ids, wait=st.sampled_from((0, 0.05)))
    def fetch(self, id, wait):
        self.look(id, self.ask("GET", f"/{id}", params={"wait": wait}))

    @rule(id=ids)
    def cancel(self, id):
        assert self.look(id, self.ask("DELETE", f"/{id}")) in ENDED

    @rule()
    def restart(self):
        self.runner.run(self.stop())
        self.runner.run(self.start())

    @rule(id=st.sampled_from(("0" * 32, "x", "../files")))
    def fetch_another(self, id):
        assert self.ask("GET", f"/{id}").status_code in (404, 405)
        assert self.ask("DELETE", f"/{id}").status_code in (404, 405)

    @invariant()
    def no_more_runs_at_once_than_there_are_slots(self):
        running = [id for id in self.known if self.look(id, self.ask("GET", f"/{id}")) == "running"]
        assert len(running) <= 2


Service.TestCase.settings = settings(max_examples=12, stateful_step_count=12, deadline=None)
TestService = Service.TestCase


def test_no_keeper_of_it_is_left():
    def none() -> bool:
        pyjail.close()
        return keepers_of(os.getpid()) == []

    assert until(none, 30)  # a thread may look for the versions of languages still
