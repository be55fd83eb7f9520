"""What HTTP in Python costs by itself: ``python -m benchmarks.serve_floor BYTES`` serves a constant of that length, by uvicorn alone.

The loop and the parser are those of `pyjail serve`. A request's body is read, nothing else is done.
"""

from __future__ import annotations

import asyncio
import socket
import sys

import uvicorn


def main() -> None:
    content = b"x" * int(sys.argv[1])
    start = {
        "type": "http.response.start", "status": 200,
        "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())],
    }  # fmt: skip

    async def app(scope, receive, send):
        while (await receive()).get("more_body"):
            pass
        await send(start)
        await send({"type": "http.response.body", "body": content})

    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(f"a constant on 127.0.0.1:{listener.getsockname()[1]}", flush=True)
        config = uvicorn.Config(app, loop="uvloop", http="httptools", lifespan="off", log_config=None, access_log=False)
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(uvicorn.Server(config).serve([listener]))


if __name__ == "__main__":
    main()
