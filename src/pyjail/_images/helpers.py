"""Programs that keep passwords, as docker calls them: ``docker-credential-NAME get``, the host on stdin, JSON back."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time

from pyjail._base.errors import HostError

SECONDS = 10.0
BYTES = 64 << 10  # of an answer
NOT_FOUND = b"credentials not found in native keychain"  # the protocol's word for: I know nobody there


def ask(helper: object, server: str, control: str, path: str) -> tuple[str, str] | None:
    """(user, secret) that the helper named in the file ``path`` knows for ``server``; None: it says that it knows none.

    HostError, which names ``control``: there is no such helper, or it fails, takes over 10 s, or answers for another
    host. Nothing that it wrote is in the error. What it leaves running in its process group after a fault is killed.
    """

    def failed(cause: str) -> HostError:
        return HostError(
            control, f"docker-credential-{helper}: {cause}", f"mend it, remove it from {path}, or use credentials=None"
        )

    if not isinstance(helper, str) or not re.fullmatch(r"[a-z0-9-]{1,64}", helper):
        raise HostError(control, f"{path}: a helper's name of other characters than a-z, 0-9 and -", "mend that file")
    program = shutil.which(f"docker-credential-{helper}")
    if program is None:
        raise failed("there is no such program in $PATH")
    try:
        text, status = _run(program, server.encode())
    except (OSError, TimeoutError) as e:
        raise failed(e.strerror or str(e)) from None
    if status:
        if NOT_FOUND in text:
            return None
        raise failed(f"it ended with {status}")
    try:
        told = json.loads(text)
        user, secret, host = told["Username"], told["Secret"], told.get("ServerURL")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise failed("its answer is no JSON object with Username and Secret") from None
    if not (isinstance(user, str) and isinstance(secret, str) and user and secret):
        raise failed("its answer has an empty Username or Secret")
    if host not in (None, "", server) and _host(host) != _host(server):
        raise failed("its answer is for another host")
    return user, secret


def _host(server: object) -> str:
    return re.sub(r"^https?://", "", str(server)).partition("/")[0]


def _run(program: str, question: bytes) -> tuple[bytes, int]:
    """(stdout, status) of one that ended in time. TimeoutError; OSError also when it writes too much."""
    process = subprocess.Popen(
        [program, "get"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        bufsize=0,
    )
    assert process.stdin and process.stdout
    try:
        with process.stdin, process.stdout:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(question)  # of less than a pipe holds
            process.stdin.close()
            text = _read(process, process.stdout.fileno(), time.monotonic() + SECONDS)
        return text, process.wait()
    except BaseException:
        if process.returncode is None:  # so its group is still its own
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise


def _read(process: subprocess.Popen[bytes], fd: int, until: float) -> bytes:
    """What it wrote until it ended: others may hold its end of the pipe for longer."""
    os.set_blocking(fd, False)
    text = b""
    while True:
        ended = _has_ended(process.pid)
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(fd, 1 << 16):
                text += chunk
                if len(text) > BYTES:
                    raise OSError(f"its answer is longer than {BYTES} bytes")
        if ended:
            return text
        if time.monotonic() > until:
            raise TimeoutError(f"it takes longer than {SECONDS:g} s")
        time.sleep(0.01)


def _has_ended(pid: int) -> bool:
    """Without taking its status, so that its group is not another's yet."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:  # SIGCHLD is ignored here
        return True
