"""Two jails: one leaves a message where the other looks, at the same time and one after the other.

The message is made up for each pair and told to the first one only, as ``scene["message"]``.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import socket
import struct
from typing import Any

from pyjail._selftest.attacks.toolkit import Scene, act, attack, note, peek, quietly, show

SHARED = "/dev/shm"
EVERYBODY = 0x3F3F3F3F  # KEYCTL_SETPERM


@attack("passes a message by an abstract socket", "isolate 2.6: abstract sockets between jails")
class abstract_socket:
    @staticmethod
    def leave(scene: Scene) -> Any:
        s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        s.bind("\0" + scene["name"])
        return s

    @staticmethod
    def look(scene: Scene) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            act("connect", s.connect, "\0" + scene["name"])


@attack("passes a message by files in /box, /tmp and /dev/shm", "files of the run before", needs=("own_tmp",))
class files:
    @staticmethod
    def leave(scene: Scene) -> Any:
        for where in ("/box", "/tmp", SHARED):
            with contextlib.suppress(OSError), open(f"{where}/{scene['name']}", "w") as f:
                f.write(scene["message"])

    @staticmethod
    def look(scene: Scene) -> None:
        for where in ("/box", "/tmp", SHARED, "/var/tmp", "/run"):
            peek(f"{where}/{scene['name']}")


@attack("passes a message by SysV shared memory, semaphores and queues", "nsjail#231: IPC outlives its processes")
class sysv:
    @staticmethod
    def leave(scene: Scene) -> Any:
        key = scene["shm_key"] ^ 1
        for name, args in (("shmget", (key, 4096, 0o1666)), ("semget", (key, 1, 0o1666)), ("msgget", (key, 0o1666))):
            quietly(name, *args)

    @staticmethod
    def look(scene: Scene) -> None:
        key = scene["shm_key"] ^ 1
        for name, args in (("shmget", (key, 0, 0)), ("semget", (key, 0, 0)), ("msgget", (key, 0))):
            found = quietly(name, *args)
            note(name, found, -found)


@attack("passes a message by a POSIX message queue", "isolate 2.6: mqueue")
class mqueue:
    @staticmethod
    def leave(scene: Scene) -> Any:
        quietly("mq_open", scene["name"].encode() + b"2\0", os.O_CREAT | os.O_RDWR, 0o666, None)

    @staticmethod
    def look(scene: Scene) -> None:
        found = quietly("mq_open", scene["name"].encode() + b"2\0", os.O_RDONLY | os.O_NONBLOCK, 0, None)
        note("mq_open", found, -found)


@attack("passes a message by keyrings", "isolate 2.4: keyrings between jails")
class keyrings:
    @staticmethod
    def leave(scene: Scene) -> Any:
        for ring in (-4, -3, -5):
            data = scene["message"].encode()
            key = quietly("add_key", b"user\0", scene["name"].encode() + b"-pair\0", data, len(data), ring)
            quietly("keyctl", 5, key, EVERYBODY)

    @staticmethod
    def look(scene: Scene) -> None:
        for ring in (-3, -4, -5):
            found = quietly("keyctl", 10, ring, b"user\0", scene["name"].encode() + b"-pair\0", 0)
            if found > 0:
                note("the other's key", found)
                buffer = ctypes.create_string_buffer(256)
                quietly("keyctl", 11, found, buffer, 255)
                show("keyring", buffer.value)


@attack("passes a message by its command line, environment and memory", "processes of another run", needs=("proc",))
class processes:
    @staticmethod
    def leave(scene: Scene) -> Any:
        with contextlib.suppress(OSError):
            if os.fork() == 0:
                try:
                    os.setsid()
                    if os.fork() == 0:
                        os.execv("/bin/sh", ["sh", "-c", "sleep 600; :", scene["message"]])
                finally:
                    os._exit(0)

    @staticmethod
    def look(scene: Scene) -> None:
        del scene
        for pid in filter(str.isdigit, os.listdir("/proc")):
            if int(pid) != os.getpid():
                peek(f"/proc/{pid}/cmdline")


@attack("kills the other jail", "kill(-1) with the ids of another run", at_once_only=True)
class signals:
    @staticmethod
    def leave(scene: Scene) -> Any:
        del scene

    @staticmethod
    def look(scene: Scene) -> None:
        del scene
        for target in (-1, *range(2, 40)):
            if target != os.getpid():
                with contextlib.suppress(OSError):
                    os.kill(target, 9)


@attack(
    "signals by locks on a shared file",
    "isolate 2.6: flock, fcntl",
    known_limit="locks of files that jails share; seccomp=strict or a rootfs for each has none (ADR 0005)",
)
class locks:
    @staticmethod
    def leave(scene: Scene) -> Any:
        kept = []
        for path in (scene["program"], "/etc/passwd", "/bin/sh"):
            with contextlib.suppress(OSError):
                kept.append(os.open(path, os.O_RDONLY))
                for lock, how in ((fcntl.lockf, fcntl.LOCK_SH), (fcntl.flock, fcntl.LOCK_EX)):
                    with contextlib.suppress(OSError):
                        lock(kept[-1], how)
        return kept

    @staticmethod
    def look(scene: Scene) -> None:
        for path in (scene["program"], "/etc/passwd", "/bin/sh"):
            try:
                f = os.open(path, os.O_RDONLY)
            except OSError:
                continue
            try:
                fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                note(f"{path} is locked by another", 0)
            except OSError:
                pass
            for command in (fcntl.F_GETLK, 36):
                with contextlib.suppress(OSError):
                    lock = fcntl.fcntl(f, command, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))
                    if struct.unpack_from("h", lock)[0] != fcntl.F_UNLCK:
                        note(f"{path} is locked by another", 0)


@attack("connects to a port of the other jail", "ports of the run before, TIME_WAIT", needs=("loopback",))
class ports:
    @staticmethod
    def leave(scene: Scene) -> Any:
        s = socket.socket()
        s.bind(("127.0.0.1", scene["port"]))
        s.listen(1)
        return s

    @staticmethod
    def look(scene: Scene) -> None:
        with socket.socket() as s:
            s.settimeout(1)
            act("connect", s.connect, ("127.0.0.1", scene["port"]))
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", scene["port"]))
            except OSError:
                note("the port is taken", 0)


@attack("sees or takes what the other jail's proxy does", "one list for all who share a proxy", needs=("egress",))
class proxies:
    @staticmethod
    def leave(scene: Scene) -> Any:
        s = socket.create_connection(("127.0.0.1", 3128), 10)
        s.sendall(f"CONNECT {scene['name']}.invalid:443 HTTP/1.1\r\n".encode())  # not all of it: it waits
        return s

    @staticmethod
    def look(scene: Scene) -> None:
        with socket.create_connection(("127.0.0.1", 3128), 10) as s:
            s.sendall(b"\r\n\r\n")
            answer = s.recv(4096)
        note("it hears the other's request", 0 if scene["name"].encode() in answer else -1, errno.EACCES)
        with open("/proc/self/net/tcp") as f:  # our own end and the proxy's, which waits or is over
            others = [line for line in f.read().splitlines()[1:] if " 01 " in line]
        note("it sees the other's connections", 0 if len(others) > 2 else -1, errno.EACCES)
