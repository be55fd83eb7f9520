"""go-judge's ``/stream``, without programs: which streams go over it, and who takes nothing of them."""

from __future__ import annotations

import asyncio
import json

import pytest

from pyjail.serve.faces import go_judge_stream
from pyjail.serve.job import Outcome
from tests.unit.serve.face_desk import Desk, result


class Line:
    """One on which these messages come, and then nothing. ``stuck``: it takes nothing."""

    def __init__(self, *messages, stuck=False):
        self.messages, self.stuck, self.said = list(messages), stuck, []

    async def receive(self):
        if not self.messages:
            await asyncio.sleep(3600)
        return self.messages.pop(0)

    async def send(self, data):
        if self.stuck:
            await asyncio.sleep(3600)
        self.said.append(data)

    async def close(self, code, reason):
        raise AssertionError


def request(*files, **more):
    return b"\x01" + json.dumps({"cmd": [{"args": ["x"], "files": one, **more} for one in files]}).encode()


def test_who_takes_nothing_is_waited_for_up_to_a_bound():
    class Writing(Desk):
        async def run(self, job, watcher=None):
            try:
                for _ in range(1 + go_judge_stream.UNSENT // 65536):
                    watcher.wrote("stdout", bytes(65536))
                await asyncio.sleep(3600)
                raise AssertionError
            finally:
                ended.append(job.args)

    ended = []
    asyncio.run(
        asyncio.wait_for(go_judge_stream.talk(Line(request([None, {"streamOut": True}]), stuck=True), Writing()), 60)
    )
    assert ended == [("x",)]


def test_what_is_not_streamed_is_not_sent_and_a_terminal_has_one_stream():
    class Writing(Desk):
        async def run(self, job, watcher=None):
            assert not hasattr(watcher, "started")  # its input has an end
            for name in ("stdout", "stderr"):
                watcher.wrote(name, name.encode())
            return Outcome(result())

    line = Line(request([None, None, {"streamOut": True}]))
    asyncio.run(go_judge_stream.talk(line, Writing()))
    assert [one for one in line.said if one[0] == 2] == [b"\x02\x02stderr"]
    line = Line(request([None, None, {"streamOut": True}], tty=True))
    asyncio.run(go_judge_stream.talk(line, Writing()))
    assert line.said[0] == b"\x02\x02stdout"


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (b"", "first message"), (b"\x03\x00x", "first message"), (b"\x01{", "line 1"), (b'\x01{"cmd": 1}', "a cmd with files"), (b'\x01{"cmd": [1]}', "a cmd with files"),
        (request([None]), "no stream"), (request([None, {"streamIn": True}]), "streamIn is of fd 0"), (request([{"streamOut": True}]), "streamOut of fd 1 and 2"),
        (request([None, None, None, {"streamOut": True}]), "fd 1 and 2"), (request([{"streamIn": True}, {"src": "/etc/passwd"}]), "name and max"),
    ],
)  # fmt: skip
def test_what_cannot_be_streamed_is_said(message, text):
    line, desk = Line(message), Desk()
    asyncio.run(go_judge_stream.talk(line, desk))
    (said,) = line.said
    assert (said[0], text in json.loads(said[1:])["error"], desk.jobs) == (1, True, [])
