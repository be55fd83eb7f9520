"""What is put up on the host to be reached: listeners, shared memory, a message queue, a key."""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import socket
from typing import Any

from pyjail._selftest.attacks.toolkit import quietly

IPC_CREAT_EXCL, IPC_RMID = 0o3000, 0
USER_KEYRING = -4
NEEDED_BY = {"tcp4": "ipv4", "udp4": "ipv4", "tcp6": "ipv6", "abstract": "abstract", "path": "path_socket"}


class Listeners:
    """Sockets of the host that nobody else knows of. Whoever connects came from a jail."""

    def __init__(self, name: str, path: str) -> None:
        self.open: dict[str, socket.socket] = {}
        self.missing: dict[str, str] = {}
        self.told: dict[str, Any] = {"abstract": name, "socket": path, "tcp4": 0, "udp4": 0, "tcp6": 0}

    def make(self) -> None:
        """Open them."""
        name, path = self.told["abstract"], self.told["socket"]
        for key, family, kind, address in (
            ("tcp4", socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
            ("udp4", socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
            ("tcp6", socket.AF_INET6, socket.SOCK_STREAM, ("::1", 0)),
            ("abstract", socket.AF_UNIX, socket.SOCK_STREAM, "\0" + name),
            ("path", socket.AF_UNIX, socket.SOCK_STREAM, path),
        ):
            try:
                s = socket.socket(family, kind)
                self.open[key] = s
                s.bind(address)
                if kind == socket.SOCK_STREAM:
                    s.listen(16)
                s.setblocking(False)
                if isinstance(address, tuple):
                    self.told[key] = s.getsockname()[1]
                elif address == path:
                    os.chmod(path, 0o777)
            except OSError as e:
                self.missing[NEEDED_BY[key]] = f"the host cannot listen there itself ({key}): {e.strerror or e}"

    def inside(self) -> dict[str, Any]:
        """What attempts are told."""
        return self.told

    def changes(self) -> list[str]:
        """Who connected or sent something."""
        found = []
        for key, s in self.open.items():
            with contextlib.suppress(OSError):  # EAGAIN: nobody else
                while True:
                    if s.type == socket.SOCK_DGRAM:
                        s.recv(4096)
                    else:
                        s.accept()[0].close()
                    found.append(f"the host's {key} listener was reached")
        return found

    def close(self) -> None:
        """Close them."""
        for s in self.open.values():
            s.close()


class Ipc:
    """A segment of SysV shared memory with a queue of the same key, a file in /dev/shm, a POSIX queue, a key."""

    def __init__(self, name: str, secret: bytes) -> None:
        self.name, self.secret = name.encode(), secret
        self.missing: dict[str, str] = {}
        self.dev_shm = f"/dev/shm/{name}"
        self.key = 2 * (1 + secrets.randbelow(1 << 29))  # even: pairs.py uses the next one
        self.shm = self.queue = self.mq = self.user_key = -1

    def make(self) -> None:
        """Put them up."""
        secret = self.secret
        self.shm = quietly("shmget", self.key, 4096, IPC_CREAT_EXCL | 0o666)
        self.queue = quietly("msgget", self.key, IPC_CREAT_EXCL | 0o666)
        if self.shm < 0:
            self.missing["sysv"] = "this host has no SysV shared memory"
        else:
            self._attach()
        if self.queue >= 0:
            quietly("msgsnd", self.queue, (1).to_bytes(8, "little") + secret, len(secret), 0o4000)
        try:
            with open(self.dev_shm, "wb") as f:
                f.write(secret)
            os.chmod(self.dev_shm, 0o666)
        except OSError:
            self.missing["dev_shm"] = "this host has no /dev/shm that the caller can write to"
        self.mq = quietly("mq_open", self.name + b"\0", os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666, None)
        if self.mq < 0:
            self.missing["mqueue"] = "this host has no POSIX message queues"
        self.user_key = quietly("add_key", b"user\0", self.name + b"\0", secret, len(secret), USER_KEYRING)
        if self.user_key < 0:
            self.missing["keyring"] = "the caller can make no keys on this host"
        quietly("keyctl", 5, self.user_key, 0x3F3F3F3F)  # KEYCTL_SETPERM: whoever can name it may have it

    def _attach(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.shmat.restype = ctypes.c_void_p
        libc.shmat.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int]
        libc.shmdt.argtypes = [ctypes.c_void_p]
        address = libc.shmat(self.shm, None, 0)
        if address in (None, ctypes.c_void_p(-1).value):
            self.missing["sysv"] = "the host's shared memory cannot be attached"
            return
        ctypes.memmove(address, self.secret, len(self.secret))
        libc.shmdt(address)

    def inside(self) -> dict[str, Any]:
        """What attempts are told."""
        return {"shm_key": self.key, "dev_shm": self.dev_shm}

    def changes(self) -> list[str]:
        """What is no longer as it was."""
        if "dev_shm" in self.missing:
            return []
        try:
            with open(self.dev_shm, "rb") as f:
                if f.read() == self.secret:
                    return []
        except OSError:
            pass
        with open(self.dev_shm, "wb") as f:
            f.write(self.secret)
        return [f"{self.dev_shm} was changed"]

    def close(self) -> None:
        """Take it all away."""
        if self.shm >= 0:
            quietly("shmctl", self.shm, IPC_RMID, None)
        if self.queue >= 0:
            quietly("msgctl", self.queue, IPC_RMID, None)
        quietly("mq_unlink", self.name + b"\0")
        if self.mq >= 0:
            os.close(self.mq)
        if self.user_key > 0:
            quietly("keyctl", 9, self.user_key, USER_KEYRING)  # KEYCTL_UNLINK
        with contextlib.suppress(OSError):
            os.unlink(self.dev_shm)
