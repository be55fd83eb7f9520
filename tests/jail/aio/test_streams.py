"""aio.start: streams."""

from __future__ import annotations

import signal
import sys
import time

import anyio
import pytest

from pyjail import DEVNULL, STDOUT, Limits, SpecError, TimeoutExpired, Verdict, aio
from pyjail.aio._reader import _Pieces
from tests.conftest import SLOW
from tests.examples import examples, given, st
from tests.jail.aio.loops import FOREVER

LIMITS = Limits(cpu_time=10 * SLOW, wall_time=30 * SLOW)


def test_a_conversation(everywhere):
    async def main():
        async with await aio.start(["cat"], LIMITS) as p:
            for line in (b"one\n", b"two\n"):
                p.stdin.write(line)
                await p.stdin.drain()
                assert await p.stdout.readline() == line
            assert p.poll() is None and p.result is None and p.returncode is None
            p.stdin.close()
            assert await p.wait() == 0
            assert await p.stdout.read() == b"" and p.stdout.at_eof()
        assert (p.returncode, p.poll(), await p.wait(0)) == (0, 0, 0)
        assert p.result.verdict is Verdict.OK

    everywhere(main)


def test_text(everywhere):
    async def main():
        async with await aio.start(["printf", r"a\r\n\303\244\nend"], LIMITS, text=True) as p:
            assert await p.stdout.readline() == "a\n"
            assert [line async for line in p.stdout] == ["ä\n", "end"]
        async with await aio.start(["cat"], LIMITS, text=True) as p:
            with pytest.raises(SpecError):
                p.stdin.write(b"bytes")
            p.stdin.write("ö")
            await p.stdin.close()
            assert await p.stdout.read() == "ö"

    everywhere(main)


def test_ways_to_read(everywhere):
    async def main():
        async with await aio.start(["sh", "-c", "printf 123456; sleep 0.2; printf 789; echo; printf x"], LIMITS) as p:
            assert await p.stdout.read(2) == b"12"
            assert await p.stdout.read(0) == b""
            assert await p.stdout.readexactly(6) == b"345678"
            assert await p.stdout.readline() == b"9\n"
            with pytest.raises(EOFError) as e:
                await p.stdout.readexactly(5)
            assert e.value.partial == b"x"
            assert [await p.stdout.readline(), await p.stdout.read(), await p.stdout.read(5)] == [b"", b"", b""]

    everywhere(main)


def test_a_line_without_end_does_not_fill_our_memory(everywhere):
    async def main():
        async with await aio.start(["sh", "-c", "exec tr '\\0' x </dev/zero"], LIMITS) as p:
            p.stdout.limit = 100_000
            with pytest.raises(ValueError, match="100000"):
                await p.stdout.readline()
            p.kill()

    everywhere(main)


def test_more_than_a_pipe_holds_goes_both_ways(everywhere):
    data = bytes(range(256)) * 8000

    async def main():
        async with await aio.start(["cat"], LIMITS) as p:
            p.stdin.write(data)  # the pipe takes a part of it
            closing = p.stdin.close()  # the rest goes on its own while we read
            assert p.stdin.closed
            with pytest.raises(ValueError):
                p.stdin.write(b"x")
            assert await p.stdout.read() == data
            await closing
        async with await aio.start(["cat"], LIMITS) as p:
            assert await p.communicate(data) == (data, b"")
        assert p.result.ok

    everywhere(main)


def test_a_reader_that_is_gone_is_told_by_drain(everywhere):
    async def main():
        async with await aio.start(["sh", "-c", "exec <&-; echo x; sleep 100"], FOREVER) as p:
            await p.stdout.readline()
            p.stdin.write(b"x" * 1_000_000)
            with pytest.raises(BrokenPipeError):
                await p.stdin.drain()
            p.kill()
            assert await p.wait() == -signal.SIGKILL

    everywhere(main)


def test_communicate(everywhere):
    async def main():
        async with await aio.start(["sh", "-c", "cat; echo error >&2; exit 3"], LIMITS, text=True) as p:
            assert await p.communicate("ä") == ("ä", "error\n")
        assert p.returncode == 3
        async with await aio.start(["sh", "-c", "echo a; sleep 100"], FOREVER, stderr=STDOUT) as p:
            with pytest.raises(TimeoutExpired) as e:
                await p.communicate(timeout=1)
            assert (e.value.stdout, e.value.stderr) == (b"a\n", None)
            assert await p.stdout.readline() == b"a\n"  # still to be read
            p.kill()
        async with await aio.start(["cat"], LIMITS, stdin=DEVNULL) as p:
            with pytest.raises(SpecError):
                await p.communicate(b"x")

    everywhere(main)


@pytest.mark.parametrize("text", [False, True])
def test_how_much_was_read_does_not_make_the_next_read_dearer(text):
    """Each byte is joined once: what is read after 32 MiB takes what it takes after none."""
    write = "import os, time; n = os.write(1, b'12345678\\n' * {0}); {1}"
    fill = write.format((32 << 20) // 9, "time.sleep(60)")

    async def main():
        async with await aio.start([sys.executable, "-I", "-c", fill], LIMITS, text=text) as p:
            with anyio.move_on_after(2 * SLOW):
                await p.stdout.read()
            began = time.process_time()
            for _ in range(5000):
                assert len(await p.stdout.readline()) == 9
            spent = time.process_time() - began
            p.kill()
        async with await aio.start(["head", "-c", str(80 << 20), "/dev/zero"], LIMITS, text=text) as p:
            assert len(await p.stdout.readexactly(80 << 20)) == 80 << 20
        return spent

    assert anyio.run(main) < 20 * SLOW  # it was a minute


@examples(200)
@given(st.lists(st.text("ab\n", max_size=6)), st.data(), st.booleans())
def test_pieces_are_what_one_string_would_be(pieces, data, text):
    empty, newline = ("", "\n") if text else (b"", b"\n")
    left, whole = _Pieces(empty), empty
    for piece in pieces:
        piece = piece if text else piece.encode()
        left.add(piece)
        whole += piece
        assert left.find(newline) == whole.find(newline)
        n = data.draw(st.integers(0, 8))
        taken = left.take(n)
        assert taken == whole[:n]
        whole = whole[n:]
        if data.draw(st.booleans()):
            left.put_back(taken)
            whole = taken + whole
        assert (left.find(newline), left.size, left.all()) == (whole.find(newline), len(whole), whole)
    while left.size:
        at = left.find(newline) + 1 or left.size
        assert left.take(at) == whole[:at]
        whole = whole[at:]


def test_communicate_loses_neither_input_nor_output_to_a_timeout(everywhere):
    async def main():
        async with await aio.start(["sh", "-c", "echo first; sleep 0.5; wc -c"], LIMITS) as p:
            with pytest.raises(TimeoutExpired):
                await p.communicate(b"x" * 200_000, timeout=0.2)
            assert await p.communicate() == (b"first\n200000\n", b"")

    everywhere(main)
