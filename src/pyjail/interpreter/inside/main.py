"""The interpreter's side of its channel: take a cell, run it, tell its end, until the other end is closed."""

from __future__ import annotations

import _signal
import os
import sys

from .cells import Cells
from .channel import Channel
from .hooks import install
from .values import Shower

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

RUN, SETTLE, HELLO = b"x", b"s", b"h"


def main(most: int, most_together: int, figures: tuple[str, ...], paths: tuple[str, ...]) -> NoReturn:
    """Serve. ``paths``: more directories that modules are imported from."""
    channel = Channel(0)
    streams: list[Any] = [sys.stdout, sys.stderr]
    for stream in streams:
        stream.reconfigure(line_buffering=True)
    sys.argv[:] = [""]
    for path in paths:
        os.makedirs(path, exist_ok=True)
        sys.path.append(path)
    shower = Shower(channel.send, most, most_together, figures)
    namespace: dict[str, Any] = vars(sys.modules["__main__"])
    cells = Cells(channel, shower, namespace)
    _signal.signal(_signal.SIGINT, cells.note)
    _signal.signal(_signal.SIGURG, lambda number, frame: None)  # whoever waits in the kernel looks for signals then
    install(cells, shower)
    while True:
        what, payload = channel.receive()
        if what == RUN:
            cells.run(int.from_bytes(payload[:4], "big"), payload[4:].decode("utf-8", "surrogatepass"))
        else:
            if what == SETTLE:
                cells.settle()
            channel.send({"type": "here"})
