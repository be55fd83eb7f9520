"""The proxy's process and the way to it: real runs' sockets, its death, the embedder's, and forks."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyjail import HostError
from pyjail._egress import answer
from pyjail._egress import link as module
from pyjail._egress.link import Link
from tests.inside import Egress
from tests.jail.egress.world import CONNECTED, PATIENCE, Server, everything, open_fds, tunnel, until


@pytest.fixture
def link() -> Iterator[Link]:
    made = Link()
    yield made
    made.close()


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        yield made


def local(server: Server, **bounds: object) -> Egress:
    return Egress([f"127.0.0.0/8:{server.port}"], **bounds)


@contextlib.contextmanager
def run(link: Link, egress: Egress) -> Iterator[tuple[int, tuple[str, int]]]:
    """The number of a run, and where its program connects to."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        address = listening.getsockname()
        number = link.serve(listening.fileno(), egress)
    yield number, address


def connected(address: tuple[str, int], server: Server) -> socket.socket:
    sock = socket.create_connection(address, PATIENCE)
    assert tunnel(sock, f"127.0.0.1:{server.port}") == CONNECTED
    sock.sendall(b"hello")
    assert sock.recv(5) == b"hello"
    return sock


def gone(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    return True


def test_a_run_is_served_and_told(link, server):
    with run(link, local(server)) as (number, address):
        with connected(address, server):
            pass
        with socket.create_connection(address, PATIENCE) as sock:
            assert b" 403 " in tunnel(sock, "localhost:80")
            everything(sock)
        report = link.end(number)
    assert {(row.host, row.port, row.allowed, row.bytes_in, row.bytes_out) for row in report.rows} == {
        ("127.0.0.1", server.port, True, 5, 5),
        ("localhost", 80, False, 0, 0),
    }
    assert report.omitted == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, PATIENCE)


def test_a_name_is_resolved_by_this_hosts_resolver(link, server):
    """localhost is in everybody's /etc/hosts."""
    egress = Egress([f"localhost:{server.port}", f"127.0.0.0/8:{server.port}", f"::1/128:{server.port}"])
    with run(link, egress) as (number, address):
        with socket.create_connection(address, PATIENCE) as sock:
            assert tunnel(sock, f"localhost:{server.port}") == CONNECTED
            sock.sendall(b"no TLS")
            assert everything(sock) == b"RESET"
        (row,) = link.end(number).rows
    assert (row.host, row.allowed, row.bytes_out) == ("localhost", False, 0)
    assert "no TLS" in row.why


def test_rows_of_many_packets_come_all(link, server):
    with run(link, Egress()) as (number, address):
        for port in range(1, 151):
            with socket.create_connection(address, PATIENCE) as sock:
                tunnel(sock, f"{'x' * 60}.{'y' * 60}.{'z' * 60}.test:{port}")
                everything(sock)
        assert sorted(row.port for row in link.end(number).rows) == [*range(1, 151)]


def test_the_process_has_what_it_needs_and_no_more(link, server, monkeypatch):
    monkeypatch.setenv("SECRET", "x")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    monkeypatch.setenv("HOSTALIASES", "/nowhere")
    with open("/dev/zero") as inherited:
        os.set_inheritable(inherited.fileno(), True)
        with run(link, local(server)):
            proc = Path(f"/proc/{link.pid}")
            names = (
                {line.partition(b"=")[0] for line in (proc / "environ").read_bytes().split(b"\0")}
                if os.geteuid() == 0
                else set()
            )
            assert names <= {b"", b"LC_ALL", b"RES_OPTIONS", b"MALLOC_ARENA_MAX", b"LD_LIBRARY_PATH"}
            assert (proc / "comm").read_text() == "pyjail-egress\n"
            status = dict(line.split(":\t", 1) for line in (proc / "status").read_text().splitlines() if ":\t" in line)
            assert status["Uid"].split() == [str(os.geteuid() or 65534)] * 4
            if os.geteuid() == 0:
                assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
                assert status["Groups"].strip() == ""
                assert os.readlink(proc / "cwd") == "/"
                assert "/dev/zero" not in [os.readlink(path) for path in (proc / "fd").iterdir()]
            limits = (proc / "limits").read_text()
            assert all(
                " ".join(row.split()) in " ".join(limits.split())
                for row in ("Max core file size 0 0", "Max file size 0 0")
            )


def test_a_proxy_that_is_killed_resets_and_a_row_says_so(link, server):
    with run(link, local(server)) as (first, address), run(link, local(server)) as (second, _):
        sock = connected(address, server)
        pid = link.pid
        os.kill(pid, signal.SIGKILL)
        with sock:
            assert everything(sock) == b"RESET"  # a download that is cut does not look whole
        assert until(lambda: _refused(address))
        for number in (first, second):
            (row,) = link.end(number).rows
            assert (row.host, row.allowed) == ("", False)
            assert "proxy ended" in row.why
        assert not os.path.exists(f"/proc/{pid}")
    with run(link, local(server)) as (number, address):  # another one
        connected(address, server).close()
        assert link.pid != pid
        assert link.end(number).rows[0].allowed


def _refused(address: tuple[str, int]) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(address, PATIENCE) as sock:
        return everything(sock) == b"RESET"
    return True


def test_a_run_that_begins_after_the_proxys_death_has_a_new_one(link, server):
    with run(link, local(server)) as (old, _):
        os.kill(link.pid, signal.SIGKILL)
        assert until(lambda: gone(link.pid))
        with run(link, local(server)) as (number, address):
            connected(address, server).close()
            assert "proxy ended" in link.end(old).rows[0].why
            assert link.end(number).rows[0].allowed


def test_a_proxy_that_is_stopped_is_given_up(link, server, monkeypatch):
    monkeypatch.setattr(answer, "ANSWER_S", 0.5)
    with run(link, local(server)) as (number, _):
        pid = link.pid
        os.kill(pid, signal.SIGSTOP)
        assert "does not answer" in link.end(number).rows[0].why
        assert not os.path.exists(f"/proc/{pid}")


def test_a_control_socket_that_somebody_closes_is_noticed(link, server):
    with run(link, local(server)) as (number, _):
        pid = link.pid
        os.close(link.sock.fileno())
        assert "closed" in link.end(number).rows[0].why
        assert not os.path.exists(f"/proc/{pid}")


def test_who_cannot_start_one_is_told_why(link, server, monkeypatch):
    for program, why in (("/bin/false", "ended"), ("/nowhere", "No such file")):
        monkeypatch.setattr(module, "_interpreter", lambda program=program: program)
        with pytest.raises((HostError, OSError), match=why):
            with run(link, local(server)):
                pass
        assert link.sock is None
    monkeypatch.undo()
    monkeypatch.setattr(sys, "executable", "/usr/bin/uwsgi")
    monkeypatch.setattr(sys, "base_exec_prefix", "/nowhere")
    with pytest.raises(HostError, match="no interpreter"):
        with run(link, local(server)):
            pass


def test_threads_share_one(link, server):
    failures = []

    def work() -> None:
        for _ in range(10):
            with run(link, local(server)) as (number, address):
                connected(address, server).close()
                if [row.allowed for row in link.end(number).rows] != [True]:
                    failures.append(number)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_lists_are_as_many_as_one_likes(link, server, monkeypatch):
    monkeypatch.setattr(module, "MOST_POLICIES", 4)
    for size in range(1000, 1012):
        with run(link, local(server, size=size)) as (number, address):
            with connected(address, server) as sock, contextlib.suppress(OSError):
                sock.sendall(b"x" * size)
                assert everything(sock).endswith(b"RESET")
            assert f"more than {size} bytes" in link.end(number).rows[0].why
        assert len(link.policies) <= 4


def test_a_thousand_runs_at_once(link, server):
    if os.sysconf("SC_OPEN_MAX") < 1500:
        pytest.skip("this process may not have 1,500 fds")
    runs = []
    for _ in range(1000):
        with run(link, local(server)) as made:
            runs.append(made)
    for _, address in runs[::50]:
        connected(address, server).close()
    rows = [link.end(number).rows for number, _ in runs]
    assert [len(found) for found in rows] == [int(n % 50 == 0) for n in range(1000)]
    assert len(os.listdir(f"/proc/{link.pid}/fd")) < 64 if os.geteuid() == 0 else True


HOLDING = """
import os, socket, sys, time
from pyjail._egress.link import link
from pyjail._egress.rules import Egress
with socket.create_server(("127.0.0.1", 0)) as listening:
    link.serve(listening.fileno(), Egress())
"""


@pytest.mark.parametrize("end", ["pass", "os._exit(3)", "os.kill(os.getpid(), 9)", "os.fork() or time.sleep(1000)"])
def test_the_proxy_ends_with_its_embedder(end):
    code = HOLDING + f"print(link.pid, flush=True)\nif not sys.stdin.read(1):\n    {end}\n"
    if "fork" in end:  # by C code, which closes nothing: the child has a copy of the control socket
        code = code.replace("os.fork()", "__import__('ctypes').CDLL(None).fork()").replace(
            "time.sleep(1000)", "(print(os.getpid(), flush=True), time.sleep(1000))"
        )
        code += "os.kill(os.getpid(), 9)\n"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    pid, child = int(process.stdout.readline()), 0
    assert not gone(pid)
    process.stdin.close()
    if "fork" in end:
        child = int(process.stdout.readline())
    process.stdout.close()
    process.wait(PATIENCE)
    assert until(lambda: gone(pid))
    if child:
        assert not gone(child)
        os.kill(child, signal.SIGKILL)


def test_a_forked_child_has_its_own(link, server):
    with run(link, local(server)) as (number, address):
        child = os.fork()
        if not child:
            code = 1
            with contextlib.suppress(BaseException):
                assert link.sock is None
                assert link.runs == set()
                with run(link, local(server)) as (mine, there):
                    connected(there, server).close()
                    code = 0 if link.end(mine).rows[0].allowed else 2
                link.close()
            os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        connected(address, server).close()
        assert [row.allowed for row in link.end(number).rows] == [True]


def test_nothing_is_left_after_close(link, server):
    fds = open_fds()
    with run(link, local(server)) as (number, _):
        pid = link.pid
        link.close()
        assert not os.path.exists(f"/proc/{pid}")
        assert "proxy ended" in link.end(number).rows[0].why
    assert until(lambda: open_fds() <= fds)
