"""What `served` starts: the real service, as the pickled Config on standard input says, on a port that is free.

The first line on standard output is the port, once it answers there; the log goes to standard error.
"""

from __future__ import annotations

import pickle
import socket
import sys

import uvicorn

from pyjail import serve
from pyjail.serve import protocol


class Server(uvicorn.Server):
    """One that tells its port."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and sockets:
            print(sockets[0].getsockname()[1], flush=True)


def main() -> None:
    config: serve.Config = pickle.load(sys.stdin.buffer)
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((config.address, 0))
    options = protocol.options(config.edge)
    Server(uvicorn.Config(serve.app(config), log_level="info", **options)).run([listening])


if __name__ == "__main__":
    main()
