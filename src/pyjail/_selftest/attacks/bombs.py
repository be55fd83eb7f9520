"""Using up everything. The runs of this group have small limits; what was used is counted outside."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import threading
import time

from pyjail._selftest.attacks.toolkit import Scene, attack, note, quietly

MIB = 1 << 20


@attack("forks without end, in sessions of their own", "the fork bomb", needs=("processes",), expect=("wall_time",),
        limits={"processes": 16}, short=True)  # fmt: skip
def forks(scene: Scene) -> None:
    del scene
    while True:
        with contextlib.suppress(OSError):
            if os.fork() == 0:
                os.setsid()


@attack(
    "starts threads without end",
    "threads that are not counted as processes",
    needs=("processes",),
    limits={"processes": 16},
)
def threads(scene: Scene) -> None:
    del scene
    stop = threading.Event()
    for _ in range(64):
        try:
            threading.Thread(target=stop.wait, daemon=True).start()
        except RuntimeError:
            break
    stop.set()


@attack("takes memory without end", "the host's own processes are killed first", needs=("memory",), expect=("memory",),
        limits={"memory": 32 * MIB})  # fmt: skip
def memory(scene: Scene) -> None:
    del scene
    kept = []
    while True:
        kept.append(b"x" * MIB)


@attack(
    "takes memory without end, in children",
    "one process killed, its siblings go on",
    needs=("memory", "processes"),
    expect=("memory",),
    limits={"memory": 32 * MIB},
)
def memory_of_children(scene: Scene) -> None:
    for _ in range(4):
        if os.fork() == 0:
            memory(scene)
    time.sleep(600)


@attack("fills shared memory", "nsjail#231: files in /dev/shm are memory", needs=("memory",), expect=("memory", "ok"),
        limits={"memory": 32 * MIB, "file_size": 512 * MIB})  # fmt: skip
def shared_memory(scene: Scene) -> None:
    del scene
    for i in range(64):
        with contextlib.suppress(OSError), open(f"/dev/shm/{i}", "wb") as f:
            for _ in range(4):
                f.write(b"x" * MIB)


@attack("fills kernel memory with pipes", "memory that is no process's", needs=("memory",), expect=("memory", "ok"),
        limits={"memory": 32 * MIB})  # fmt: skip
def pipes(scene: Scene) -> None:
    del scene
    for _ in range(120):
        try:
            into = os.pipe()[1]
            fcntl.fcntl(into, 1031, MIB)  # F_SETPIPE_SZ
            os.set_blocking(into, False)
            os.write(into, b"x" * MIB)
        except OSError:
            pass


@attack("floods its standard output", "snekbox#81: output that fills the service's memory", expect=("output",),
        limits={"output": MIB})  # fmt: skip
def output(scene: Scene) -> None:
    del scene
    while True:
        os.write(1, b"x" * 65536)


@attack("floods its standard error output", "snekbox#81", expect=("output",), limits={"output": MIB})
def error_output(scene: Scene) -> None:
    del scene
    while True:
        os.write(2, b"x" * 65536)


@attack(
    "fills the disk", "a work directory without end", needs=("own_tmp",), limits={"disk": 2 * MIB, "memory": 64 * MIB}
)
def disk(scene: Scene) -> None:
    del scene
    for where in ("/box", "/tmp"):
        written = 0
        for i in range(8):
            with contextlib.suppress(OSError), open(f"{where}/{i}", "wb", buffering=0) as f:
                written += f.write(b"x" * MIB)
        note(f"{written} bytes in {where}", 0 if written > 2 * MIB else -1, 28)


@attack("makes files without end", "inodes run out for everybody", needs=("own_tmp",), limits={"inodes": 64})
def inodes(scene: Scene) -> None:
    del scene
    for where in ("/box", "/tmp"):
        made = 0
        for i in range(200):
            with contextlib.suppress(OSError):
                os.mkdir(f"{where}/{i}")
                made += 1
        note(f"{made} directories in {where}", 0 if made > 64 else -1, 28)


@attack("leaves a process behind", "nohup sleep &", needs=())
def orphans(scene: Scene) -> None:
    del scene
    with contextlib.suppress(OSError):
        if os.fork() == 0:
            try:
                os.setsid()
                for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
                    signal.signal(number, signal.SIG_IGN)
                if os.fork() == 0:
                    for fd in range(3):
                        os.close(fd)
                time.sleep(600)
            finally:
                os._exit(1)


@attack("stops everybody, so that nobody can end", "rings of SIGSTOP", expect=("wall_time",), short=True)
def stopped(scene: Scene) -> None:
    del scene
    with contextlib.suppress(OSError):
        if os.fork() == 0:
            while True:
                with contextlib.suppress(OSError):
                    os.kill(-1, signal.SIGSTOP)
    while True:
        signal.pause()


@attack("goes on without its first thread, ignoring every signal", "cgroup.kill that misses zombie leaders",
        expect=("wall_time", "cpu_time"), short=True)  # fmt: skip
def leaderless(scene: Scene) -> None:
    del scene
    for number in set(range(1, 65)) - {signal.SIGKILL, signal.SIGSTOP, 32, 33}:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=signal.pause).start()
    threading.Thread(target=time.sleep, args=(600,)).start()
    quietly("exit", 0)
