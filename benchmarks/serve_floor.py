"""What HTTP in Python costs by itself, with the loop and the parser of `pyjail serve`.

``python -m benchmarks.serve_floor BYTES`` serves a constant of that length, by uvicorn alone: a request's body is read,
nothing else is done. ``python -m benchmarks.serve_floor run`` runs what it is asked for by `pyjail.aio.run` and answers
with the verdict, behind no framework: nothing is checked, counted, logged, bounded or told besides.
"""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import sys

import httptools
import uvicorn
import uvloop

from benchmarks.serve_client import LIMITS
from pyjail import Jail, aio

_JAIL = Jail()


def main() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(f"at the floor on 127.0.0.1:{listener.getsockname()[1]}", flush=True)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_runs(listener) if sys.argv[1] == "run" else _constant(listener, int(sys.argv[1])))


async def _constant(listener: socket.socket, length: int) -> None:
    content = b"x" * length
    start = {
        "type": "http.response.start", "status": 200,
        "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())],
    }  # fmt: skip

    async def app(scope, receive, send):
        while (await receive()).get("more_body"):
            pass
        await send(start)
        await send({"type": "http.response.body", "body": content})

    config = uvicorn.Config(app, loop="uvloop", http="httptools", lifespan="off", log_config=None, access_log=False)
    await uvicorn.Server(config).serve([listener])


async def _runs(listener: socket.socket) -> None:
    server = await asyncio.get_running_loop().create_server(_Bare, sock=listener)
    gc.collect()
    gc.freeze()
    async with server:
        await server.serve_forever()


class _Bare(asyncio.Protocol):
    """A connection whose requests come one after the other."""

    def connection_made(self, transport):
        self._transport, self._parser, self._body = transport, httptools.HttpRequestParser(self), b""
        self._tasks = set()

    def data_received(self, data):
        self._parser.feed_data(data)

    def on_body(self, body):
        self._body += body

    def on_message_complete(self):
        task = asyncio.get_running_loop().create_task(self._run(json.loads(self._body)["args"]))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._body = b""

    async def _run(self, args):
        result = await aio.run(args, LIMITS, jail=_JAIL)
        said = b'{"verdict":"%s"}' % result.verdict.value.encode()
        self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(said), said))


if __name__ == "__main__":
    main()
