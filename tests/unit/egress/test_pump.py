"""Two connections joined: how they end."""

from __future__ import annotations

import asyncio
import socket
import struct

from pyjail._egress.pump import CutError, Pump


def pair() -> tuple[socket.socket, socket.socket]:
    """Of TCP: ours, and who is at the other end."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        theirs = socket.create_connection(server.getsockname())
        ours, _ = server.accept()
    ours.setblocking(False)
    return ours, theirs


def joined(drive) -> str:
    """What the pump says of its end; ``drive(client, server)`` is a thread's, with their other ends."""

    async def run() -> str:
        loop = asyncio.get_running_loop()
        (client, program), (server, host) = pair(), pair()
        with client, program, server, host:
            pump = Pump(loop, client, server, lambda n: "", lambda n: "")
            thread = loop.run_in_executor(None, drive, program, host)
            try:
                await asyncio.wait_for(pump.run(), 30)
            except CutError as e:
                return str(e)
            finally:
                await thread
            return ""

    return asyncio.run(run())


def test_both_sides_that_end_are_an_end():
    def drive(program, host):
        program.sendall(b"ask")
        program.shutdown(socket.SHUT_WR)
        assert host.recv(10) == b"ask"
        host.sendall(b"told")
        host.close()
        assert program.recv(10) == b"told"

    assert joined(drive) == ""


def reset(sock: socket.socket) -> None:
    """Close it as who leaves something unread does."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def test_a_program_that_has_what_it_wants_may_close_as_it_likes():
    """pip leaves the last record of TLS unread: the kernel says that with a reset."""

    def drive(program, host):
        program.sendall(b"ask")
        assert host.recv(10) == b"ask"
        host.sendall(b"told")
        assert program.recv(10) == b"told"
        reset(program)

    assert joined(drive) == ""


def test_a_host_that_resets_has_broken_it():
    def drive(program, host):
        program.sendall(b"ask")
        assert host.recv(10) == b"ask"
        reset(host)

    assert "broke" in joined(drive)
