"""HTTP as registries need it: bounded patience, questions that are asked again, redirects that take no secret along.

A header or a document has to arrive within a time, a blob at a rate; nothing is read that has no bound.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import io
import ipaddress
import json
import re
import socket
import ssl
import threading
import time
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple, cast
from urllib.parse import quote, urljoin, urlsplit

from pyjail._base.brief import printable
from pyjail._images.errors import ImageError

REDIRECTS = 5
AGAIN = (429, 500, 502, 503, 504)
FAULTS = (OSError, http.client.HTTPException)  # of a connection: worth another one


class Patience(NamedTuple):
    """How long a server may take, in seconds, and how often it is asked again."""

    idle: float = 30.0  # without a byte
    answer: float = 60.0  # for a whole header, or a whole document
    window: float = 60.0  # of waiting for a blob, in which there have to come...
    least: int = 64 << 10  # ...so many bytes
    tries: int = 5
    pause: float = 0.5  # before the second try; twice as long each time
    longest: float = 30.0  # pause that a server may ask for
    whole: float = 12 * 3600.0  # of waiting for all blobs of one image


class Place(NamedTuple):
    """Who is spoken to."""

    scheme: str
    host: str
    port: int

    @property
    def loopback(self) -> bool:
        """Whether it is this machine, by its name."""
        return self.host == "localhost" or _is_loopback(self.host)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.scheme == "https" else 80) else f"{host}:{self.port}"


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def place(url: str) -> tuple[Place, str]:
    """(who, path with its query) of an absolute http or https URL. ValueError where it is none, or has a user in it."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise ValueError("is no http or https URL of a host")
    if not re.fullmatch(r"[a-z0-9._:-]+", parts.hostname):
        raise ValueError("has a host of other characters")
    path = quote(parts.path or "/", safe="%/:=&~+!$,;'@()*[]")
    query = quote(parts.query, safe="%/:=&?~+!$,;'@()*[]")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return Place(parts.scheme, parts.hostname, port), f"{path}?{query}" if query else path


class _Paced(io.RawIOBase):
    """What a socket brings: until a moment, or at a rate. Only the time is counted that was spent waiting here."""

    def __init__(self, sock: socket.socket, patience: Patience) -> None:
        self._sock, self._patience = sock, patience
        self._raw = sock.makefile("rb", buffering=0)
        self._waited, self._came = 0.0, 0
        self._until: float | None = None
        self.whole()

    def whole(self) -> None:
        """From now on all has to come within the time of one answer."""
        self._until = time.monotonic() + self._patience.answer

    def steadily(self) -> None:
        """From now on there has to come something all the time."""
        self._until = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        begun, patience = time.monotonic(), self._patience
        left = patience.idle if self._until is None else min(patience.idle, self._until - begun)
        if left <= 0:
            raise TimeoutError(f"its answer took longer than {patience.answer:g} s")
        self._sock.settimeout(left)
        count = self._raw.readinto(buffer)
        self._waited += time.monotonic() - begun
        self._came += count or 0
        if self._waited > patience.window:
            if self._until is None and self._came < patience.least:
                raise TimeoutError(f"it brought {self._came} bytes in {self._waited:.0f} s")
            self._waited, self._came = 0.0, 0
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    """One that is read at our pace."""

    def __init__(self, patience: Patience, sock: socket.socket, **options: Any) -> None:
        super().__init__(sock, **options)
        self.fp.close()
        self.pace = _Paced(sock, patience)
        self.fp = io.BufferedReader(self.pace, 1 << 16)


class Answer:
    """A status, headers, and a body that is read by `document` or `readinto`; closed by whoever has it."""

    def __init__(self, web: Web, connection: http.client.HTTPConnection, response: _Response, where: Place) -> None:
        self._web, self._connection, self._response = web, connection, response
        self._closed = False
        self.where = where
        self.status = response.status
        self.headers = response.headers

    @property
    def length(self) -> int | None:
        """Bytes of the body that are promised; None: not told."""
        return self._response.length

    @property
    def content_type(self) -> str | None:
        """Its media type without parameters, in lower case."""
        told = self.headers.get("content-type")
        return None if told is None else str(told).partition(";")[0].strip().lower() or None

    def document(self, most: int, rule: str = "") -> bytes:
        """The whole body. ImageError when it is larger than ``most`` bytes, as ``rule`` says; a connection's faults as
        they are."""
        self._response.pace.whole()
        rule = rule or f"{most:,} bytes, and no more are read"
        if (self.length or 0) > most:
            raise ImageError(f"registry {self.where}", f"a document of {self.length:,} bytes, more than {rule}")
        body = self._response.read(most + 1)
        if len(body) > most:
            raise ImageError(f"registry {self.where}", f"a document of more than {rule}")
        if self._response.length:  # of a read() with a number, http.client does not say so
            raise http.client.IncompleteRead(body, self._response.length)
        self.close()
        return body

    def readinto(self, buffer: memoryview) -> int:
        """Bytes of the body that were read into it; 0: there are no more."""
        self._response.pace.steadily()
        return self._response.readinto(buffer)

    def complaint(self) -> str:
        """What a registry says of a failure, for people: status and message, at most 200 characters."""
        text = ""
        with contextlib.suppress(
            *FAULTS, ImageError, ValueError, TypeError, LookupError, AttributeError, RecursionError
        ):
            said = json.loads(self.document(8 << 10))
            first = said["errors"][0] if "errors" in said else said
            text = str(first.get("message") or first.get("details") or first.get("code") or "")
        self.close()
        return f"{self.status} {printable(text[:200])}".rstrip()

    def drop(self) -> None:
        """Read what is left of it, when that is little, so that the connection can be kept; then `close`."""
        if (self.length or 0) <= 8 << 10 and not self._response.chunked:
            with contextlib.suppress(*FAULTS, ImageError):
                self.document(8 << 10)
        self.close()

    def close(self) -> None:
        """The connection is kept when the body was read to its end, else it ends. Once: then it may be another's."""
        if self._closed:
            return
        self._closed = True
        done, will_close = self._response.isclosed(), self._response.will_close
        self._response.close()
        if done and not will_close:
            self._web.keep(self.where, self._connection)
        else:
            self._connection.close()


class Web:
    """Connections to one registry, and to those whom it names. Used by several threads at once.

    ``home`` is the registry; ``plain`` allows http to that host, which is always allowed to this machine; ``ca`` is a
    file of certificates, for the registry instead of the system's, for others besides them.
    """

    def __init__(self, home: Place, ca: str | None, plain: bool, patience: Patience) -> None:
        self.home, self.patience = home, patience
        self._ca, self._plain = ca, plain
        self._lock = threading.Lock()
        self._idle: dict[Place, list[http.client.HTTPConnection]] = {}
        self._contexts: dict[bool, ssl.SSLContext] = {}

    def keep(self, where: Place, connection: http.client.HTTPConnection) -> None:
        """For the next question to the same place."""
        with self._lock:
            self._idle.setdefault(where, []).append(connection)

    def close(self) -> None:
        """All connections that nobody reads from."""
        with self._lock:
            idle, self._idle = self._idle, {}
        for connection in (c for some in idle.values() for c in some):
            connection.close()

    def allows(self, where: Place) -> bool:
        """Whether it may be spoken to: https always; http to this machine, not on behalf of others, and as wished."""
        if where.scheme == "https":
            return True
        return (where.loopback and self.home.loopback) or (self._plain and where.host == self.home.host)

    def ask(
        self,
        url: str,
        headers: dict[str, str],
        body: bytes | None = None,
        redirects: int = REDIRECTS,
    ) -> Answer:
        """The answer to GET, or with a body to POST, asked again where that may help.

        ImageError: nobody answered, or it redirects too often, or to where nothing is sent.
        """
        why = ""
        for number in range(self.patience.tries):
            try:
                answer = self._follow(url, headers, body, redirects)
            except FAULTS as fault:
                _raise_if_final(self.home, fault)
                why, pause = shown(fault), self.patience.pause * 2**number
            else:
                if answer.status not in AGAIN:
                    return answer
                pause = self._pause(answer, number)
                why = answer.complaint()
            if number + 1 < self.patience.tries:
                time.sleep(min(pause, self.patience.longest))
        where, _ = place(url)
        raise ImageError(f"registry {where}", f"no answer after {self.patience.tries} tries: {why}")

    def _pause(self, answer: Answer, number: int) -> float:
        told = answer.headers.get("retry-after", "")
        pause: float = self.patience.pause * 2**number
        if re.fullmatch(r"[0-9]{1,12}", told):
            pause = float(told)
        elif told:
            with contextlib.suppress(ValueError, TypeError, OverflowError):  # no date: as without one
                pause = max(parsedate_to_datetime(told).timestamp() - time.time(), 0.0)
        if pause > self.patience.longest:
            raise ImageError(
                f"registry {answer.where}", f"{answer.complaint()}: it asks to come again in {pause:.0f} s"
            )
        return pause

    def _follow(self, url: str, headers: dict[str, str], body: bytes | None, redirects: int) -> Answer:
        for _ in range(redirects + 1):
            where, path = place(url)
            answer = self._one(where, path, headers, body)
            if not redirects or answer.status not in (301, 302, 303, 307, 308):
                return answer
            target = answer.headers.get("location", "")
            answer.drop()
            url, headers = self._redirected(url, where, target, headers)
        raise ImageError(f"registry {where}", f"it redirects more than {redirects} times")

    def _redirected(self, url: str, where: Place, target: str, headers: dict[str, str]) -> tuple[str, dict[str, str]]:
        """(where to ask next, with which headers): a secret stays with whom it was meant for, and https stays https."""
        try:
            url = urljoin(url, target)
            there, _ = place(url)
        except ValueError as e:
            raise ImageError(f"registry {where}", f"its redirect {e}: {printable(target[:200])!r}") from None
        if where.scheme == "https" != there.scheme or not self.allows(there):
            raise ImageError(f"registry {where}", f"it redirects to {there} without https")
        if there != where:
            headers = {name: value for name, value in headers.items() if name.lower() != "authorization"}
        return url, headers

    def _one(self, where: Place, path: str, headers: dict[str, str], body: bytes | None) -> Answer:
        headers = {"User-Agent": "pyjail", "Accept-Encoding": "identity", **headers}
        with self._lock:
            kept = self._idle.get(where)
            old = kept.pop() if kept else None
        for connection in [old, None] if old else [None]:  # one that was kept may have ended meanwhile
            used = connection or self._connect(where)
            try:
                used.request("GET" if body is None else "POST", path, body, headers)
                response = cast("_Response", used.getresponse())
            except FAULTS:
                used.close()
                if connection is None:
                    raise
            except BaseException:
                used.close()
                raise
            else:
                return Answer(self, used, response, where)
        raise AssertionError("unreachable")

    def _connect(self, where: Place) -> http.client.HTTPConnection:
        if not self.allows(where):
            raise ImageError(f"registry {where}", "http is spoken to this machine only: https, or insecure=True")
        made: http.client.HTTPConnection
        if where.scheme == "https":
            made = http.client.HTTPSConnection(
                where.host, where.port, timeout=self.patience.idle, context=self._context(where.host == self.home.host)
            )
        else:
            made = http.client.HTTPConnection(where.host, where.port, timeout=self.patience.idle)
        cast("Any", made).response_class = functools.partial(_Response, self.patience)
        made.connect()
        peer = str(made.sock.getpeername()[0])
        if (
            where.scheme == "http" and not self._plain and not _is_loopback(peer)
        ):  # a name that is only called localhost
            made.close()
            raise ImageError(f"registry {where}", f"http is spoken to this machine only, and this is {peer}")
        return made

    def _context(self, home: bool) -> ssl.SSLContext:
        with self._lock:
            if home not in self._contexts:
                try:
                    context = ssl.create_default_context(cafile=self._ca if home else None)
                    if self._ca and not home:
                        context.load_verify_locations(self._ca)
                except OSError as e:
                    raise ImageError(f"registry {self.home}", f"ca={self._ca!r} cannot be used: {shown(e)}") from None
                self._contexts[home] = context
            return self._contexts[home]


def shown(fault: BaseException) -> str:
    """A fault of a connection in few words."""
    if isinstance(fault, OSError) and fault.strerror:
        return printable(str(fault.strerror)[:200])
    return printable(f"{fault}"[:200]) or type(fault).__name__


def _raise_if_final(home: Place, fault: BaseException) -> None:
    """ImageError of a fault that stays, however often it is tried."""
    what = f"registry {home}"
    if isinstance(fault, ssl.SSLCertVerificationError):
        raise ImageError(what, f"its certificate is refused: {fault.verify_message}: name its CA by ca=FILE") from None
    if isinstance(fault, ssl.SSLError) and re.search("WRONG_VERSION|RECORD_LAYER", str(fault)):
        raise ImageError(what, "it does not speak TLS: insecure=True if it is meant to speak http") from None
    if isinstance(fault, socket.gaierror):
        raise ImageError(what, f"its name is not known: {shown(fault)}") from None
    if isinstance(fault, ConnectionRefusedError):
        raise ImageError(what, "nobody listens there: connection refused") from None
    if isinstance(fault, http.client.InvalidURL):
        raise ImageError(what, f"an address that cannot be sent: {shown(fault)}") from None
