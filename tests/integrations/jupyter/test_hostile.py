"""A kernel that wants to harm its client or the host: by the directory it sees, its connections, what it says."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest
import zmq

from tests.host_side import alive, cgroups_of, fds, rss
from tests.integrations.jupyter.conftest import NAME, PATIENCE, sockets, until

WRITES = """
import os, socket
failed = []
def tried(name, do):
    try:
        do()
        print('done:', name)
    except OSError as e:
        failed.append(type(e).__name__)
here = '/run/jupyter/'
tried('make', lambda: open(here + 'new', 'w'))
for name in os.listdir(here):
    tried('write ' + name, lambda: open(here + name, 'r+b').write(b'x'))
    tried('unlink ' + name, lambda: os.unlink(here + name))
    tried('rename ' + name, lambda: os.rename(here + name, '/tmp/x'))
    tried('replace ' + name, lambda: os.rename('/box/link', here + name))
    tried('mode ' + name, lambda: os.chmod(here + name, 0o777))
    tried('link ' + name, lambda: os.link(here + name, '/box/hard' + name))
tried('mode', lambda: os.chmod(here, 0o777))
tried('bind', lambda: socket.socket(socket.AF_UNIX).bind(here + 's'))
tried('symlink', lambda: os.symlink('/run/docker.sock', here + 'l'))
tried('mkdir', lambda: os.mkdir(here + 'd'))
tried('up', lambda: os.listdir('/proc/1/root/tmp'))
print(len(failed))
"""


def test_it_can_change_nothing_of_the_directory_that_it_shares(start):
    kernel = start()
    before = sorted(os.listdir(f"{kernel.provisioner._place.root}/inside"))
    assert kernel.run(WRITES) == f"{6 * len(before) + 6}\n"
    assert sorted(os.listdir(f"{kernel.provisioner._place.root}/inside")) == before
    assert kernel.run("print('alive')") == "alive\n"


def test_the_host_s_side_is_found_nowhere_inside(start):
    kernel = start()
    peer = "import socket; s = socket.socket(socket.AF_UNIX); s.connect('/run/jupyter/host'); print(s.getpeername())"
    assert re.fullmatch(r"/proc/self/fd/\d+/host\n", kernel.run(peer))


def test_a_link_in_the_place_of_its_own_socket_leads_to_nothing_of_the_host(start, tmp_path):
    """With the usual arrangement the client's libzmq would follow it."""
    kernel = start()
    import socket

    victim = socket.socket(socket.AF_UNIX)
    path = f"/tmp/victim-{os.getpid()}"
    victim.bind(path)
    os.chmod(path, 0o777)
    victim.listen()
    victim.settimeout(1.5)
    try:
        assert (
            kernel.run(
                f"import os\nfor n in range(1, 6): os.unlink(f'/tmp/.kernel-{{n}}'); os.symlink({path!r}, f'/tmp/.kernel-{{n}}')\nprint(1)"
            )
            == "1\n"
        )
        other = kernel.manager.client()
        other.start_channels()
        with pytest.raises(TimeoutError):
            victim.accept()
        other.stop_channels()
        assert kernel.run("print('alive')") == "alive\n"  # who is joined already stays so
    finally:
        victim.close()
        os.unlink(path)


def test_who_kills_what_joins_it_is_ended(start, log):
    kernel = start()
    kernel.begin(
        "import os\nfor pid in os.listdir('/proc'):\n    if pid.isdigit() and int(pid) not in (1, os.getpid()): os.kill(int(pid), 9)"
    )
    assert kernel.dead() == -9
    assert kernel.info()["ended_by"] == "lost"
    assert "was ended by us: the process that joins it to its clients had ended" in log.text


FLOOD = """
import socket, time
kept = []
for _ in range(500):
    s = socket.socket(socket.AF_UNIX)
    s.setblocking(False)
    try:
        s.connect('/run/jupyter/host')
        kept.append(s)
    except BlockingIOError: break
print(len(kept) > 1)
"""


def test_connections_that_nobody_has_asked_for_take_nothing_of_the_client(start):
    kernel = start({"open_files": 1024})
    before = fds()
    assert kernel.run(FLOOD) == "True\n"
    time.sleep(0.5)
    assert fds() - before < 5
    assert kernel.run("print('alive')") == "alive\n"
    kernel.run("for s in kept: s.send(b'garbage')")  # on those that wait nothing is to be said
    other = kernel.manager.client()
    other.start_channels()
    assert kernel.dead() == -9
    assert kernel.info()["ended_by"] == "lost"
    other.stop_channels()


SENDS_FDS = """
import socket, threading
kept = [socket.socket(socket.AF_UNIX) for _ in range(8)]
sent, errors = [], []
def send(s):
    s.recv(1)
    try:
        for _ in range(200): sent.append(socket.send_fds(s, [b'x'], [0] * 50))
    except OSError as e: errors.append(str(e))
for s in kept:
    s.connect('/run/jupyter/host')
    threading.Thread(target=send, args=(s,), daemon=True).start()
"""


def test_file_descriptors_that_it_sends_along_do_not_arrive(start):
    kernel = start()
    kernel.run(SENDS_FDS)
    others = [kernel.manager.client() for _ in range(2)]
    before = fds()
    for other in others:
        other.start_channels()
    assert until(lambda: int(kernel.run("print(len(sent))")) > 0, 10)
    assert fds() - before < 120  # two clients have some 50; 50 of each message would be hundreds
    assert int(kernel.run("print(50 * len(sent))")) > 500
    for other in others:
        other.stop_channels()


SERVER = """
import os, socket, threading
os.unlink('/tmp/.kernel-1')
server = socket.socket(socket.AF_UNIX)
server.bind('/tmp/.kernel-1')
server.listen()
GREETING = b'\\xff' + bytes(8) + b'\\x7f' + b'\\x03\\x01' + b'NULL'.ljust(20, b'\\0') + b'\\0' + bytes(31)
READY = b'\\x05READY' + b'\\x0bSocket-Type' + (6).to_bytes(4, 'big') + b'ROUTER'
def serve():
    while True:
        c, _ = server.accept()
        def one():
            try:
                c.sendall(GREETING + b'\\x04' + bytes([len(READY)]) + READY)
                said = b''
                while b'Socket-Type' not in said: said += c.recv(1)  # before that libzmq wants no messages, and gives up
                HOSTILE(c)
            except OSError: pass
        threading.Thread(target=one, daemon=True).start()
threading.Thread(target=serve, daemon=True).start()
"""
HUGE = "HOSTILE = lambda c: (c.sendall(b'\\x02' + (1 << 62).to_bytes(8, 'big') + bytes(1 << 20)), c.recv(1 << 20), c.recv(1))"
LONG = """
def HOSTILE(c):
    c.sendall(b'\\x02' + (1 << 30).to_bytes(8, 'big'))
    while True: c.sendall(bytes(1 << 20))
"""
MANY = """
def HOSTILE(c):
    while True: c.sendall((b'\\x02' + (1 << 17).to_bytes(8, 'big') + bytes(1 << 17)) * 16)
"""
NOISE = "HOSTILE = lambda c: [c.sendall(os.urandom(1 << 16)) for _ in range(16)]"


def newly_joined(kernel):
    """Another client's socket, on the channel that is hostile now."""
    sock = kernel.manager.connect_shell()
    with contextlib.suppress(zmq.Again):  # no more, once libzmq has given it up
        while not sock.poll(20):
            sock.send(b"hello", zmq.NOBLOCK)
            if kernel.poll() is not None:
                break
    return sock


@pytest.mark.parametrize("hostile", [HUGE, NOISE], ids=["a frame of 4 EiB", "noise"])
def test_what_is_no_message_does_not_harm_the_client(start, hostile):
    kernel = start()
    before = rss()
    kernel.run(hostile + SERVER)
    sock = newly_joined(kernel)
    assert not sock.poll(1000) or hostile is NOISE  # some of that may happen to be a message
    assert rss() - before < 64 << 20
    sock.close(0)
    assert kernel.run("print('alive')") == "alive\n"


@pytest.mark.parametrize("hostile", [LONG, MANY], ids=["a frame without end", "messages without end"])
def test_what_has_no_end_ends_the_kernel_at_its_limit(start, hostile):
    kernel = start({"output": "64M"})
    before = rss()
    kernel.run(hostile + SERVER)
    sock = newly_joined(kernel)
    assert kernel.dead() == -9
    assert kernel.info()["ended_by"] == "output"
    assert rss() - before < 160 << 20
    sock.close(0)


def test_what_it_printed_last_is_one_printable_line(start, log):
    kernel = start()
    code = "import os\nfor fd in range(3, 200):\n    try: os.write(fd, b'\\x1b[31m\\nERROR forged\\n') if os.path.exists(f'/proc/self/fd/{fd}') and 'pipe' in os.readlink(f'/proc/self/fd/{fd}') else 0\n    except OSError: pass\nos._exit(1)"
    kernel.begin(code)
    assert kernel.dead() == 1

    def told() -> list[str]:
        return [r.getMessage() for r in log.records if "has ended with 1" in r.getMessage()]

    assert until(lambda: told() != [])  # who logs it sees the end as we do, not before
    (line,) = told()
    assert "ERROR forged" in line
    assert line.isprintable()


def test_a_client_that_is_killed_leaves_nothing_that_runs_and_its_directory_to_the_next(start):
    code = f"""
import os, signal
from jupyter_client.manager import KernelManager
km = KernelManager(kernel_name={NAME!r})
km.start_kernel()
kc = km.client()
kc.start_channels()
kc.wait_for_ready(timeout={PATIENCE})
from tests.host_side import keepers_of
print(os.getpid(), km.provisioner._place.root, *keepers_of(os.getpid()), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    out = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=False)
    assert out.returncode == -signal.SIGKILL
    pid, root, *keepers = out.stdout.split()
    assert len(keepers) >= 3
    assert until(lambda: not any(alive(int(p)) for p in keepers) and not cgroups_of(int(pid)), 10)
    assert os.path.isdir(root)
    start()
    assert not os.path.isdir(root)


def test_a_start_that_is_cancelled_leaves_nothing(jupyter):
    import asyncio

    from jupyter_client.manager import AsyncKernelManager

    async def begin(seconds):
        manager = AsyncKernelManager(kernel_name=NAME)
        task = asyncio.ensure_future(manager.start_kernel())
        await asyncio.sleep(seconds)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            cancelled.append(seconds)
        if manager.has_kernel:  # it was there already
            await manager.shutdown_kernel(now=True)

    cancelled = []
    for seconds in (0.005, 0.03, 0.06, 0.1):
        asyncio.run(begin(seconds))
        assert sockets() == []
        assert not [t for t in threading.enumerate() if t.name == "pyjail-kernel"]
    assert cancelled
