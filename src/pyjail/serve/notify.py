"""What the service manager is told (sd_notify(3)): one datagram each."""

from __future__ import annotations

import os
import socket


def notify(state: str) -> bool:
    """Whether somebody was told: ``READY=1``, ``STOPPING=1``, ``STATUS=...``."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(path.replace("@", "\0", 1) if path.startswith("@") else path)
            sock.sendall(state.encode())
        except OSError:  # that it cannot be told is no reason to stop
            return False
    return True
