"""The proxy of a jail that has an `Egress`: what it might reach besides what the list names."""

from __future__ import annotations

import errno
import ipaddress
import socket

from pyjail._selftest.attacks.toolkit import Scene, attack, note, show

PROXY = ("127.0.0.1", 3128)
FORMS = (
    "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0.0.0.0", "localhost", "localhost.", "[::1]",
    "[::ffff:127.0.0.1]", "[::127.0.0.1]", "a@127.0.0.1",
)  # fmt: skip
SPECIAL = (
    "169.254.169.254", "169.254.170.2", "168.63.129.16", "[fd00:ec2::254]", "10.0.0.1", "172.17.0.1", "192.168.0.1",
    "100.64.0.1", "[fe80::1]", "[fc00::1]", "224.0.0.1", "255.255.255.255",
)  # fmt: skip


def _listed(scene: Scene, host: str, port: int) -> bool:
    """Whether a rule of this jail opens it on purpose."""
    for rule in scene["rules"]:
        network, _, number = rule.rpartition(":") if rule.rpartition("/")[2].partition(":")[1] else (rule, "", "443")
        try:
            opened = ipaddress.ip_network(network)
            if int(number) == port and opened.prefixlen >= 8 and ipaddress.ip_address(host.strip("[]")) in opened:
                return True  # (All of the internet opens nothing that is special.)
        except ValueError:  # a name, in the list or as a target
            if int(number) == port and network == host:
                return True
    return False


def _ask(request: str, label: str, more: bytes = b"") -> None:
    """What the proxy says to a request that it is to refuse."""
    try:
        with socket.create_connection(PROXY, 10) as s:
            s.sendall(request.encode() + more)
            answer = b""
            while len(answer) < 65536 and (part := s.recv(4096)):
                answer += part
    except OSError as e:
        note(label, -1, e.errno or errno.EIO)
        return
    show(label, answer)
    note(label, 0 if answer.split(b" ")[1:2] == [b"200"] else -1, errno.EACCES)


def _both(scene: Scene, host: str, port: int) -> None:
    if not _listed(scene, host, port):
        target = f"{host}:{port}"
        _ask(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n", f"tunnel to {target}", b"x")
        _ask(f"GET http://{target}/ HTTP/1.1\r\nHost: {target}\r\n\r\n", f"http to {target}")


@attack(
    "asks the proxy for a listener of the host",
    "BoxLite's host alias reached 127.0.0.1 past its list",
    needs=("egress", "ipv4"),
)
def host(scene: Scene) -> None:
    for form in FORMS:
        _both(scene, form, scene["tcp4"])


@attack(
    "asks the proxy for a cloud's metadata and for private networks",
    "SSRF by a proxy: 169.254.169.254",
    needs=("egress",),
)
def special(scene: Scene) -> None:
    for address in SPECIAL:
        _both(scene, address, 80)
        _both(scene, address, 443)


@attack(
    "asks the proxy for a host that is not in its list",
    "CVE-2025-66479: an empty list that meant all",
    needs=("egress",),
)
def relay(scene: Scene) -> None:
    for name in ("unlisted.invalid", "unlisted.invalid.", "127.0.0.1.unlisted.invalid"):
        for port in (22, 25, 53, 80, 443, 3128):
            _both(scene, name, port)


@attack("hides a second request behind one that is refused", "request smuggling", needs=("egress", "ipv4"))
def smuggled(scene: Scene) -> None:
    second = f"GET http://127.0.0.1:{scene['tcp4']}/ HTTP/1.1\r\nHost: x\r\n\r\n"
    first = "GET http://unlisted.invalid/ HTTP/1.1\r\nHost: x\r\n"
    if not _listed(scene, "127.0.0.1", scene["tcp4"]):
        for head in (
            "\r\n",
            f"Content-Length: {len(second)}\r\n\r\n",
            "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "\nX: y\r\n\r\n",
        ):
            _ask(first + head + second, f"behind {head!r}")


@attack("takes the proxy's port", "a stolen listener hears what others ask", needs=("egress",))
def port(scene: Scene) -> None:
    del scene
    for address in ("127.0.0.1", "0.0.0.0"):
        for option in (0, socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            with socket.socket() as s:
                try:
                    if option:
                        s.setsockopt(socket.SOL_SOCKET, option, 1)
                    s.bind((address, PROXY[1]))
                    s.listen(1)
                    note(f"listen on {address}:{PROXY[1]}", 0)
                except OSError as e:
                    note(f"listen on {address}:{PROXY[1]}", -1, e.errno or errno.EIO)
