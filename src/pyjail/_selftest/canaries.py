"""What is put up on the host to be found or changed: files and a process. Each says what happened to it."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from typing import Any

from pyjail._selftest.attacks.privileges import tiny_program

SHOWN = "/pyjail-selftest"  # where the attempts of bound.py find a directory of ours
WRITTEN = "/pyjail-selftest-file"  # what those of written.py have in their root
ORIGINAL = b"original " * 1000


class Files:
    """A directory in the host's temporary one, a file in the caller's home, and one in each directory ``beside`` the
    interpreter. Everybody may write to the former (read the last), so that nothing but the jail stands in the way.
    Sticky, as /tmp: other users of the host cannot replace what is in it."""

    def __init__(self, name: str, secret: bytes, forbidden: Iterable[str], beside: Iterable[str]) -> None:
        self.directory = os.path.join(os.path.realpath(tempfile.gettempdir()), name + "-host")
        self.canary = f"{self.directory}/canary"
        self.bound = f"{self.directory}/bound"
        self.root = f"{self.directory}/root"  # what a root that may be written to is made of
        self.home = os.path.join(os.path.expanduser("~"), "." + name)
        self.forbidden = [p + end for p in forbidden for end in ("", ".d", ".l")]
        self.missing: dict[str, str] = {}
        self.kept = {self.canary: (secret, 0o666), self.home: (secret, 0o666), f"{self.bound}/file": (ORIGINAL, 0o666)}
        self.kept |= {f"{self.root}{WRITTEN}": (ORIGINAL, 0o666), f"{self.root}/deep/in/it": (ORIGINAL, 0o666)}
        self.beside = [f"{directory}/.{name}" for directory in beside]
        self.kept |= dict.fromkeys(self.beside, (secret, 420))
        with contextlib.suppress(KeyError):
            self.kept[f"{self.bound}/setuid"] = (tiny_program(os.uname().machine), 0o4755)
        self.tops = (self.directory, self.bound, self.root, f"{self.root}/deep", f"{self.root}/deep/in")
        self.ours = {*self.kept, *self.tops, f"{self.directory}/socket"}

    def make(self) -> None:
        """Put them up."""
        for directory in self.tops:
            os.mkdir(directory, 0o700)
            os.chmod(directory, 0o1777)
        for path, (data, mode) in list(self.kept.items()):
            try:
                _write(path, data, mode)
            except OSError:
                if path not in (self.home, *self.beside):
                    raise
                del self.kept[path]
                if path == self.home:
                    self.missing["home"] = "the caller's home directory cannot be written to"
        self.beside = [path for path in self.beside if path in self.kept]
        if not self.beside:
            self.missing["beside"] = "beside this interpreter the caller can write only to what this jail shows"

    def changes(self) -> list[str]:
        """What is no longer as it was; it is put right again."""
        found = []
        for path, (data, mode) in self.kept.items():
            now = _read(path)
            if now != (data, mode):
                found.append(f"{path} was {'removed' if now is None else 'changed'}")
                _write(path, data, mode)
        for top in self.tops:
            for entry in os.listdir(top):
                if f"{top}/{entry}" not in self.ours:
                    found.append(f"{top}/{entry} was made")
                    _remove(f"{top}/{entry}")
        for path in self.forbidden:
            if os.path.lexists(path):
                found.append(f"{path} was made")
                _remove(path)
        return found

    def close(self) -> None:
        """Take it all away."""
        shutil.rmtree(self.directory, ignore_errors=True)
        for path in (*self.forbidden, self.home, *self.beside):
            if os.path.lexists(path):
                _remove(path)


def _write(path: str, data: bytes, mode: int) -> None:
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, data)
        os.fchmod(fd, mode)
    finally:
        os.close(fd)


def _read(path: str) -> tuple[bytes, int] | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.read(fd, 1 << 20), stat.S_IMODE(os.fstat(fd).st_mode)
    finally:
        os.close(fd)


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            os.unlink(path)


_PROCESS = """
import ctypes, os, signal, sys
def seen(number, frame): os.write(1, b"signal %d\\n" % number)
for number in range(1, 65):
    try: signal.signal(number, seen)
    except (OSError, ValueError): pass
secret = ctypes.create_string_buffer(os.environb[b"CANARY"])
os.write(1, b"%d\\n" % ctypes.addressof(secret))
while os.read(0, 1): pass
"""


class Process:
    """A process of the caller with the secret in its arguments, environment and memory; it tells of each signal."""

    process: subprocess.Popen[bytes] | None = None

    def __init__(self, secret: bytes) -> None:
        self.secret = secret

    def make(self) -> None:
        """Start it. It ends when its standard input does, with us at the latest."""
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _PROCESS, self.secret.decode()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"CANARY": self.secret.decode()},
            cwd="/",
            start_new_session=True,
            bufsize=0,
        )
        assert self.process.stdout is not None
        self.address = int(self.process.stdout.readline())
        os.set_blocking(self.process.stdout.fileno(), False)

    def inside(self) -> dict[str, Any]:
        """What attempts are told."""
        assert self.process is not None
        return {"pid": self.process.pid, "address": self.address}

    def changes(self) -> list[str]:
        """Signals that it got, and its end."""
        assert self.process is not None
        assert self.process.stdout is not None
        heard = self.process.stdout.read() or b""
        found = [f"a process of the host got {line.decode()}" for line in heard.splitlines()]
        if self.process.poll() is not None:
            found.append(f"a process of the host was ended ({self.process.returncode})")
            self.close()
            self.make()
        return found

    def close(self) -> None:
        """End it."""
        if self.process is None:
            return
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
