"""A server that one command leaves in the background, and that later commands ask, eight of them at once."""

from __future__ import annotations

import asyncio

from pyjail import Jail, Limits
from pyjail.aio import Box

SERVER = """
import http.server

class Square(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(str(int(self.path[1:]) ** 2).encode())

http.server.ThreadingHTTPServer(("127.0.0.1", 8000), Square).serve_forever()
"""
ASK = """
import sys, time, urllib.request
for _ in range(100):
    try:
        print(urllib.request.urlopen("http://127.0.0.1:8000/" + sys.argv[1]).read().decode())
        break
    except OSError:
        time.sleep(0.1)
"""


async def main() -> None:
    async with Box(Jail(network="loopback"), Limits(memory="1G", processes=128)) as box:
        await box.write("server.py", SERVER)
        await box.write("ask.py", ASK)
        started = await box.run(["sh", "-c", "python3 server.py > log 2>&1 &"], orphans="keep")
        print("started:", started.verdict, [p.args[-1] for p in await box.processes() if p.kept])
        answers = await asyncio.gather(*(box.run(["python3", "ask.py", str(i)], text=True) for i in range(8)))
        print([int(r.stdout) for r in answers])
        await box.kill()
        print("left:", await box.processes())


if __name__ == "__main__":
    asyncio.run(main())
