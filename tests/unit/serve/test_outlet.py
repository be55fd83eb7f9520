"""Lines for standard error: whoever writes one waits for nobody, and what is dropped is counted and told."""

from __future__ import annotations

import os
import threading
import time
from collections import deque

import pytest

from pyjail.serve.outlet import Outlet

PATIENCE = 30


@pytest.fixture
def pipe():
    """(fd to read, fd to write), closed in the end."""
    ends = list(os.pipe())
    yield ends
    for fd in ends:
        os.close(fd)


def outlet(fd, most=4 << 20):
    return Outlet(fd, lambda lines: f"dropped {lines}", most)


def lines(fd, count):
    """So many, from there."""
    found = b""
    while found.count(b"\n") < count:
        found += os.read(fd, 1 << 16)
    return found.splitlines()


def until(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_lines_come_whole_and_in_their_order(pipe):
    made = outlet(pipe[1])
    for number in range(1000):
        made.put(f"line {number} \ud800")
    made.end()
    assert lines(pipe[0], 1000) == [f"line {number} \\ud800".encode() for number in range(1000)]
    assert made.dropped == 0


def test_lines_of_several_threads_are_all_there(pipe):
    made = outlet(pipe[1])
    threads = [threading.Thread(target=lambda: [made.put("x" * 20) for _ in range(500)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert lines(pipe[0], 2000) == [b"x" * 20] * 2000
    for thread in threads:
        thread.join()
    made.end()


@pytest.mark.parametrize("blocking", [True, False])
def test_who_writes_does_not_wait_for_who_reads_and_what_is_dropped_is_told(pipe, blocking):
    os.set_blocking(pipe[1], blocking)
    made = outlet(pipe[1], most=300_000)
    for _ in range(1000):
        made.put("x" * 999)  # more than a pipe and what may wait
    assert made.dropped >= 1000 - (300_000 + (1 << 16)) // 1000 - 1
    kept = 1000 - made.dropped
    said = lines(pipe[0], kept + 1)
    assert said == [*[b"x" * 999] * kept, b"dropped %d" % made.dropped]
    made.put("again")
    assert lines(pipe[0], 1) == [b"again"]
    made.end()


def test_its_end_does_not_wait_for_ever_for_who_reads(pipe):
    made = outlet(pipe[1])
    for _ in range(200):
        made.put("x" * 999)
    made.end()
    made.put("late")
    assert made.dropped == 1
    lines(pipe[0], 200)
    made._thread.join(PATIENCE)
    assert not made._thread.is_alive()


def test_a_reader_that_is_gone_ends_nothing():
    read, write = os.pipe()
    os.close(read)
    made = outlet(write)
    made.put("x")
    until(lambda: made.dropped == 1)
    made.put("x")
    until(lambda: made.dropped == 2)
    made.end()
    os.close(write)


def test_what_comes_after_its_end_is_written_too(pipe):
    made = outlet(pipe[1])
    for text in ("one", "two", "three"):
        made.put(text)
        made.end()
        assert lines(pipe[0], 1) == [text.encode()]
        assert made._thread is None
    assert made.dropped == 0


def test_a_line_that_is_said_while_another_is_taken_holds_up_nothing(pipe):
    """As by `__del__`, whenever something is collected."""
    made = outlet(pipe[1])

    class Lines(deque):
        def append(self, line):
            if line == b"outer\n":
                made.put("inner")
            super().append(line)

    made._lines = Lines()
    thread = threading.Thread(target=made.put, args=("outer",), daemon=True)
    thread.start()
    assert sorted(lines(pipe[0], 2)) == [b"inner", b"outer"]
    thread.join(PATIENCE)
    made.end()


def test_nothing_to_say_takes_no_thread(pipe):
    before = threading.active_count()
    outlet(pipe[1]).end()
    assert threading.active_count() == before
