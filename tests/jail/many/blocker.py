"""Runs that take the places of a pool."""

from __future__ import annotations

import os
import threading

import pyjail


class Blocker:
    """Runs that take their places until they are let go."""

    def __init__(self, run, count: int = 1) -> None:
        self.reader, self.writer = os.pipe()
        self.results: list[pyjail.Result] = []
        call = lambda: self.results.append(run(["cat"], stdin=self.reader))  # noqa: E731
        self.threads = [threading.Thread(target=call) for _ in range(count)]

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def release(self) -> None:
        if self.writer >= 0:
            os.close(self.writer)
            self.writer = -1

    def __exit__(self, *error) -> None:
        self.release()
        for t in self.threads:
            t.join()
        os.close(self.reader)
