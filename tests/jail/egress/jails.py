"""Programs in jails that have an `Egress`, and what they ask its proxy for."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
from typing import Any

import pyjail
from pyjail import Contacts, Egress, Jail, Limits
from tests.conftest import SLOW
from tests.inside import egress_link, idle_keepers

PYTHON = (sys.executable, "-I", "-c")
LIMITS = Limits(wall_time=60 * SLOW, cpu_time=30 * SLOW)

# Sends what it is told by a line of JSON (a list of pieces, as latin-1), each on a connection of its own; prints what
# came back, all of it: "reset" and the like of what did not.
TALK = """
import json, socket, sys, time

def connect(address=("127.0.0.1", 3128), patience=30):
    return socket.create_connection(address, patience)

def said(sock):
    data = b""
    try:
        while part := sock.recv(65536):
            data += part
    except OSError as e:
        data += b" " + type(e).__name__.encode()
    return data.decode("latin-1")

def answer(pieces):
    with connect() as sock:
        try:
            for piece in pieces:
                sock.sendall(piece.encode("latin-1"))
                time.sleep(0.02 * (len(pieces) > 1))
        except OSError:
            pass
        return said(sock)

def head(target, method="CONNECT"):
    return f"{method} {target} HTTP/1.1\\r\\nHost: {target}\\r\\n\\r\\n"
"""
ANSWERS = TALK + "\nprint(json.dumps([answer(pieces) for pieces in json.load(sys.stdin)]))\n"


def nobody_served() -> bool:
    """No run but those that keepers without work have left as they were, for their next ones."""
    link = egress_link()
    resting = {keeper.contact.number for keeper in idle_keepers() if keeper.contact is not None}
    return link.runs == resting and link.asked == {}


def jail(*rules: str, **bounds: Any) -> Jail:
    return Jail(network=Egress(rules, **bounds))


def python(code: str, *args: str, of: Jail, **options: Any) -> pyjail.Result[str]:
    """A program in such a jail, with what `TALK` has."""
    return pyjail.run([*PYTHON, TALK + code, *args], LIMITS, jail=of, text=True, **options)


def answers(of: Jail, *requests: str | list[str], **options: Any) -> tuple[list[str], Contacts]:
    """What came back for each of them, and what is told of them."""
    pieces = json.dumps([[one] if isinstance(one, str) else one for one in requests])
    r = pyjail.run([*PYTHON, ANSWERS], LIMITS, jail=of, text=True, input=pieces, **options)
    assert r.ok, (r, r.stderr)
    assert r.egress is not None
    return json.loads(r.stdout), r.egress


def connects(*targets: str) -> list[str]:
    """Requests for tunnels."""
    return [f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n" for target in targets]


def status(answer: str) -> str:
    """Of an answer of the proxy's own."""
    return answer.split(" ", 2)[1] if answer.startswith("HTTP/1.1 ") else answer


def own_address() -> str:
    """One that this machine has besides those of lo; "" where it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, contextlib.suppress(OSError):
        sock.connect(("192.0.2.1", 9))  # nothing is sent
        return str(sock.getsockname()[0])
    return ""
