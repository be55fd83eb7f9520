"""A program's stdout and stderr, passed on to ours as they come, `Limits.output` of each at most.

Through pipes: the program has none of our own fds. Those may be a terminal, which can be read and set by whoever has it
(see `Terminal`), or a file that is open for more than writing.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import selectors
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

import pyjail
from pyjail import DEVNULL, PIPE, STDOUT, Result, Verdict

if TYPE_CHECKING:
    from pyjail.sanitize import Sanitizer

CHUNK = 65536


def run(
    given: dict[str, Any],
    stdout: TextIO | None,
    stderr: TextIO | None,
    start: Callable[..., pyjail.Process] = pyjail.start,
    sanitize: str | None = None,
) -> Result:
    """One run with these parameters of `pyjail.start`; ``sanitize``: a mode of `pyjail.sanitize`. OSError when what
    comes cannot be written."""
    ours = [stdout, stderr]
    for stream in ours:
        if stream is not None:
            stream.flush()
    one = _same(stdout, stderr)  # then what is written to both is to come in order
    process = start(
        **given,
        stdout=DEVNULL if stdout is None else PIPE,
        stderr=STDOUT if one else DEVNULL if stderr is None else PIPE,
    )
    with process:
        targets = [s.fileno() if s is not None else -1 for s in ours]
        beyond = _pass_on(process, targets, given["limits"].output, sanitize)
        if beyond:
            process.kill()
        process.wait()
    result = process.result
    assert result is not None
    if beyond and result.verdict is not Verdict.JAIL_ERROR:
        return replace(result, verdict=Verdict.OUTPUT, limits_hit=frozenset({*result.limits_hit, "output"}))
    return result


def _same(a: TextIO | None, b: TextIO | None) -> bool:
    return a is not None and b is not None and os.path.samestat(os.fstat(a.fileno()), os.fstat(b.fileno()))


def _machine(mode: str | None) -> Sanitizer | None:
    if mode is None:
        return None
    from pyjail.sanitize import Sanitizer

    return Sanitizer(mode)


def _shown(machine: Sanitizer | None, data: bytes, last: bool) -> bytes:
    return data if machine is None else machine.feed(data) + (machine.end() if last else b"")


def _pass_on(process: pyjail.Process, targets: list[int], limit: int | None, sanitize: str | None) -> bool:
    """Until both end; True as soon as one has more than the limit."""
    with selectors.DefaultSelector() as selector:
        streams: dict[int, BinaryIO] = {}
        for stream, target in zip((process.stdout, process.stderr), targets, strict=True):
            if stream is not None:
                selector.register(stream, selectors.EVENT_READ, [target, limit, _machine(sanitize)])
                streams[stream.fileno()] = stream
        try:
            while selector.get_map():
                for key, _ in selector.select():
                    target, left, machine = key.data
                    data = os.read(key.fd, CHUNK)
                    fits = data if left is None else data[:left]
                    gone = not _written(target, _shown(machine, fits, not data))
                    if len(fits) < len(data):
                        return True
                    if not data or gone:  # our end is closed: the program's next write is SIGPIPE, as it would be there
                        selector.unregister(key.fileobj)
                        streams[key.fd].close()
                    elif left is not None:
                        key.data[1] = left - len(data)
        finally:
            for key in selector.get_map().values():  # interrupted, or at the limit: no colour stays on
                target, _, machine = key.data
                _written(target, _shown(machine, b"", True))
    return False


def _written(fd: int, data: bytes) -> bool:
    """Write all; False when who read it wants no more."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BrokenPipeError:
            return False
        except BlockingIOError:  # somebody else has set O_NONBLOCK
            with contextlib.suppress(InterruptedError):
                select.select([], [fd], [])
    return True


@contextlib.contextmanager
def standard_input() -> Iterator[int | None]:
    """Ours, or None where that is a terminal. O_NONBLOCK, which the program can set for us too, is put back."""
    fd = None if sys.stdin is None or sys.stdin.isatty() else sys.stdin.fileno()
    flags = 0 if fd is None else fcntl.fcntl(fd, fcntl.F_GETFL)
    try:
        yield fd
    finally:
        if fd is not None:
            fcntl.fcntl(fd, fcntl.F_SETFL, flags)
