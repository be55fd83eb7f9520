"""The host's network: its own listeners, other machines, its Unix sockets."""

from __future__ import annotations

import contextlib
import errno
import os
import socket

from pyjail._selftest.attacks.toolkit import Scene, attack, note, show

# A packet that went out and was not answered is no refusal: ETIMEDOUT is missing here.
NO_WAY = ("EAFNOSUPPORT", "ENETUNREACH", "EACCES", "EPERM", "ENOSYS", "EADDRNOTAVAIL", "ENETDOWN", "EHOSTUNREACH")


def _reach(family: int, kind: int, address: tuple[str, int] | str, label: str) -> None:
    try:
        with socket.socket(family, kind) as s:
            s.settimeout(1)
            s.connect(address)
            s.send(b"x")
            note(label, 0)
            show(label, s.recv(256))
    except TimeoutError:
        note(label, -1, errno.ETIMEDOUT)
    except OSError as e:
        note(label, -1, e.errno or errno.EIO)


@attack(
    "connects to a listener of the host on 127.0.0.1", "CVE-2024-29021: Judge0 reached its database", needs=("ipv4",)
)
def loopback(scene: Scene) -> None:
    for address in ("127.0.0.1", "127.1.2.3", "0.0.0.0"):  # the last one is a way to write "this machine"
        _reach(socket.AF_INET, socket.SOCK_STREAM, (address, scene["tcp4"]), f"tcp {address}")


@attack("connects to a listener of the host on ::1", "CVE-2024-29021; filters that forgot IPv6", needs=("ipv6",))
def loopback6(scene: Scene) -> None:
    for address in ("::1", "::", "::ffff:127.0.0.1"):
        port = scene["tcp4"] if "127" in address else scene["tcp6"]
        _reach(socket.AF_INET6, socket.SOCK_STREAM, (address, port), f"tcp {address}")


@attack("sends a datagram to the host", "UDP needs no answer to leak", needs=("ipv4",))
def datagram(scene: Scene) -> None:
    with contextlib.suppress(OSError):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.sendto(scene["name"].encode(), ("127.0.0.1", scene["udp4"]))


@attack("asks a cloud's metadata service", "SSRF for credentials: 169.254.169.254", errnos=NO_WAY)
def metadata(scene: Scene) -> None:
    del scene
    _reach(socket.AF_INET, socket.SOCK_STREAM, ("169.254.169.254", 80), "169.254.169.254:80")
    _reach(socket.AF_INET, socket.SOCK_STREAM, ("169.254.170.2", 80), "169.254.170.2:80")
    if socket.has_ipv6:
        _reach(socket.AF_INET6, socket.SOCK_STREAM, ("fd00:ec2::254", 80), "[fd00:ec2::254]:80")


@attack("reaches machines near and far", "a judge as a bot: private and public addresses", errnos=NO_WAY)
def machines(scene: Scene) -> None:
    for address in ("10.0.0.1", "172.17.0.1", "192.168.0.1", "192.0.2.1", "198.51.100.1", *scene["nameservers"]):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        _reach(family, socket.SOCK_STREAM, (address, 53), f"tcp {address}")
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as s:
                s.connect((address, 53))
                note(f"udp {address}", 0 if s.send(b"x") == 1 else -1)
        except OSError as e:
            note(f"udp {address}", -1, e.errno or errno.EIO)


@attack(
    "connects to an abstract socket of the host", "CVE-2020-15257: containerd's abstract socket", needs=("abstract",)
)
def abstract(scene: Scene) -> None:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
        _reach(socket.AF_UNIX, kind, "\0" + scene["abstract"], "abstract socket")


@attack(
    "connects to a socket in a directory of the host", "sockets of databases and agents in /tmp", needs=("path_socket",)
)
def path_socket(scene: Scene) -> None:
    for base in ("", "/proc/1/root", "/proc/self/root"):
        with contextlib.suppress(OSError):
            _reach(socket.AF_UNIX, socket.SOCK_STREAM, base + scene["socket"], base + scene["socket"])


SOCKETS = (
    "/run/docker.sock", "/var/run/docker.sock", "/run/containerd/containerd.sock", "/run/podman/podman.sock",
    "/run/dbus/system_bus_socket", "/run/systemd/private", "/run/systemd/journal/stdout", "/run/snapd.socket",
    "/tmp/.X11-unix/X0", "/run/user/0/bus", "/dev/log",
)  # fmt: skip


@attack("connects to sockets of daemons", "docker.sock gives root")
def daemons(scene: Scene) -> None:
    del scene
    for path in (*SOCKETS, f"/run/user/{os.getuid()}/bus"):
        _reach(socket.AF_UNIX, socket.SOCK_STREAM, path, path)
        _reach(socket.AF_UNIX, socket.SOCK_DGRAM, path, path)


@attack("listens where the host could connect to", "a backdoor that waits", needs=("no_network",), errnos=NO_WAY)
def listen(scene: Scene) -> None:
    del scene
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        try:
            with socket.socket(family, socket.SOCK_STREAM) as s:
                s.bind((address, 0))
                s.listen(1)
                note(f"listen on {address}", 0)
        except OSError as e:
            note(f"listen on {address}", -1, e.errno or errno.EIO)
