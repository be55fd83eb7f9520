"""An image in a registry: `RegistrySource` asks as the distribution specification says, and verifies what it gets.

Nothing that a registry sends decides more than the bytes of an image: a digest is checked before it is part of a path,
each blob's size and digest while it is read, and URLs that documents name are not used.
"""

from __future__ import annotations

import contextlib
import io
import re
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn, cast
from urllib.parse import quote

from pyjail._base.brief import printable
from pyjail._base.errors import SpecError
from pyjail._images.authorization import HUB, HUB_TOKENS, Authorization
from pyjail._images.bounds import Bounds, allowed
from pyjail._images.digests import Digest, digest
from pyjail._images.digests import shown as quoted
from pyjail._images.documents import ACCEPT, Descriptor
from pyjail._images.errors import ImageError
from pyjail._images.transport import FAULTS, Answer, Patience, Place, Web, place, shown

if TYPE_CHECKING:
    from pyjail._images.credentials import Credentials
    from pyjail._images.reference import Reference

VAGUE = (None, "application/json", "application/octet-stream", "text/plain")  # types that say nothing of a document
PROGRESS = 1 << 20  # bytes after which a fault is the first one again


def home(host: str, insecure: bool = False, ca: str | None = None) -> Place:
    """Who is spoken to at HOST[:PORT]: https; http where ``insecure``, and on this machine without ``ca``.

    Port 443 of this machine is spoken to by https all the same. SpecError: it is no host.

    >>> home("localhost:5000").scheme, home("ghcr.io").scheme
    ('http', 'https')
    """
    try:
        secure, plain = place(f"https://{host}/")[0], place(f"http://{host}/")[0]
    except ValueError as e:
        raise SpecError("image", host, f"its host {e}") from None
    if insecure or (secure.loopback and ca is None and plain.port != 443):
        return plain
    return secure


class RegistrySource:
    """An image of a registry, read as `sources.opened` reads archives. Its `blob` is for several threads at once.

    Attributes: ``reference``; ``media_type`` (str or None), what the registry called its last `manifest`; ``origin``,
    what is to be kept with the image: reference, host, and whether a secret was used, which changes when it happens.

    ``credentials``: what `credentials.find` found. ``insecure``: http to this host. ``ca``: a file of certificates that
    its own is checked with instead of the system's. ``token_hosts``: hosts besides its own that may get the secret.
    """

    def __init__(
        self,
        reference: Reference,
        credentials: Credentials | None = None,
        insecure: bool = False,
        ca: str | None = None,
        bounds: Bounds | None = None,
        *,
        token_hosts: Sequence[str] = (),
        patience: Patience | None = None,
    ) -> None:
        if insecure and ca is not None:
            raise SpecError("insecure", insecure, "http has no certificates: either insecure=True or ca=")
        self.reference, self._bounds = reference, bounds or Bounds()
        where = home(reference.registry, insecure, ca)
        self._patience = patience or Patience()
        self._web = Web(where, ca, insecure, self._patience)
        hosts = (*token_hosts, HUB_TOKENS) if reference.registry == HUB else token_hosts
        self._authorization = Authorization(self._web, reference.name, credentials, hosts)
        self._base = f"{where.scheme}://{_netloc(where)}/v2/{quote(reference.name, safe='/')}"
        self._waited, self._lock = 0.0, threading.Lock()
        self.media_type: str | None = None
        self.origin: dict[str, Any] = {"reference": str(reference), "host": reference.host, "secret_used": False}

    def names(self) -> list[str]:
        """The tag that was asked for, if one was."""
        return [self.reference.tag] if self.reference.tag else []

    def manifest(self) -> bytes:
        """The index or manifest that the reference names, as it is there; by its digest when it has one, checked then.

        ImageError: there is none, nobody answers, it is too large, or it has another digest.
        """
        answer, raw = self._document(f"/manifests/{self.reference.wanted}", "manifest")
        self.media_type, what = answer.content_type, f"manifest of {self.reference}"
        if self.reference.digest:
            _check(raw, self.reference.digest, what, "the one that was asked for")
        told = answer.headers.get("docker-content-digest")
        if told:
            _check(raw, digest(told, f"registry {answer.where}"), what, "the one that the registry tells")
        return raw

    def blob(self, descriptor: Descriptor) -> BinaryIO:
        """The bytes of a layer, config or manifest; to be closed.

        They are counted and hashed while they are read: the last ones are given out only when size and digest are the
        descriptor's. What is cut off is asked for again from there. Errors as of `manifest`, from reading.
        """
        if not 0 <= descriptor.size <= self._bounds.compressed:
            most = f"more than {allowed('compressed', self._bounds.compressed)}"
            raise ImageError(f"blob {quoted(str(descriptor.digest))}", f"{descriptor.size:,} bytes, {most}")
        return cast("BinaryIO", Blob(self, descriptor))

    def waited(self, seconds: float) -> None:
        """So long for a blob. ImageError when that was too long in all."""
        with self._lock:
            self._waited += seconds
        if self._waited > self._patience.whole:
            why = f"its layers were waited for longer than {self._patience.whole:g} s in all"
            raise ImageError(f"registry {self._web.home}", why)

    def close(self) -> None:
        """Its connections."""
        self._web.close()

    def __enter__(self) -> RegistrySource:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def ask(self, path: str, headers: dict[str, str]) -> Answer:
        """The registry's answer, or that of a host to which it redirects, of status 200, 206 or 416. ImageError."""
        url, key = self._base + path, self._authorization
        for again in (True, False):
            sent = key.header
            answer = self._web.ask(url, headers | ({"Authorization": sent} if sent else {}))
            if answer.status != 401 or answer.where != self._web.home:
                break
            told = answer.headers.get_all("www-authenticate") or []
            if not again:
                self._refused(answer, path)
            answer.drop()
            key.renew(sent, told)
            self.origin["secret_used"] = key.secret_used
        if answer.status not in (200, 206, 416):
            self._refused(answer, path)
        return answer

    def _refused(self, answer: Answer, path: str) -> NoReturn:
        what = f"registry {answer.where}"
        if answer.status == 404:
            raise ImageError(what, f"there is no {self.reference.name}{path}: {answer.complaint()}")
        if answer.status in (401, 403):
            raise ImageError(what, f"it refuses {self._authorization.whose}: {answer.complaint()}")
        raise ImageError(what, f"{self.reference.name}{path}: {answer.complaint()}")

    def _document(self, path: str, bound: str) -> tuple[Answer, bytes]:
        faults, most = Faults(self._patience, f"registry {self._web.home}"), getattr(self._bounds, bound)
        while True:
            try:
                answer = self.ask(path, {"Accept": ", ".join(ACCEPT)})
                try:
                    if answer.status != 200:
                        self._refused(answer, path)
                    _unencoded(answer)
                    return answer, answer.document(most, allowed(bound, most))
                finally:
                    answer.close()
            except FAULTS as fault:
                faults.count(fault)


class Truncated(OSError):
    """The end of an answer that is not whole."""


class Faults:
    """Of one download: they are counted, and each is followed by a longer pause, until there are too many."""

    def __init__(self, patience: Patience, what: str) -> None:
        self._patience, self._what, self._number = patience, what, 0

    def forget(self) -> None:
        """There was progress."""
        self._number = 0

    def count(self, fault: BaseException) -> None:
        """Wait a while. ImageError instead, when it was the last try."""
        self._number += 1
        if self._number >= self._patience.tries:
            raise ImageError(self._what, f"cut off {self._number} times: {shown(fault)}") from None
        time.sleep(min(self._patience.pause * 2 ** (self._number - 1), self._patience.longest))


class Blob(io.RawIOBase):
    """The bytes of one descriptor."""

    def __init__(self, source: RegistrySource, descriptor: Descriptor) -> None:
        self._source, self._size, self._digest = source, descriptor.size, digest(str(descriptor.digest), "a blob")
        self._media_type = descriptor.media_type if descriptor.media_type in ACCEPT else None
        self._path = f"/{'manifests' if self._media_type else 'blobs'}/{self._digest}"
        self._what = f"blob {self._digest}"
        self._hash = self._digest.hasher()
        self._faults = Faults(source._patience, self._what)
        self._answer: Answer | None = None
        self._at = self._at_fault = 0
        self._done = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        if self._done or not len(buffer):
            return 0
        view = memoryview(buffer).cast("B")[: self._size - self._at]
        count = self._receive(view)
        self._hash.update(view[:count])
        self._at += count
        if self._at == self._size:
            self._finish()
        return count

    def _receive(self, view: memoryview) -> int:
        """Bytes that came, at least one but of an empty blob; asked for again as long as there is patience."""
        begun = time.monotonic()
        try:
            return self._received(view)
        finally:
            self._source.waited(time.monotonic() - begun)

    def _received(self, view: memoryview) -> int:
        while True:
            try:
                if self._answer is None:
                    self._answer = self._open()
                if not len(view) or (count := self._answer.readinto(view)):
                    return count if len(view) else 0
                raise Truncated(f"it ended after {self._at} of {self._size} bytes")
            except FAULTS as fault:
                self._drop()
                if self._at - self._at_fault >= PROGRESS:
                    self._faults.forget()
                self._at_fault = self._at
                self._faults.count(fault)

    def _open(self) -> Answer:
        headers = {"Accept": self._media_type} if self._media_type else {}
        if self._at:
            headers["Range"] = f"bytes={self._at}-"
        answer = self._source.ask(self._path, headers)
        try:
            self._check(answer)
            if answer.status == 200:  # from its beginning again: a server may ignore Range
                self._skip(answer, self._at)
        except BaseException:
            answer.close()
            raise
        return answer

    def _check(self, answer: Answer) -> None:
        """ImageError of an answer that is not for these bytes."""
        _unencoded(answer)
        if self._media_type and answer.content_type not in (self._media_type, *VAGUE):
            told = printable(str(answer.content_type)[:100])
            raise ImageError(self._what, f"the registry calls it {told!r}, its index {self._media_type!r}")
        rest = self._size
        if answer.status == 206 and self._at:
            told, rest = answer.headers.get("content-range", ""), self._size - self._at
            if not re.fullmatch(rf"bytes {self._at}-{self._size - 1}/({self._size}|\*)", told):
                asked = f"bytes {self._at}-{self._size - 1} were asked for"
                raise ImageError(self._what, f"{asked}, and the answer is {printable(told[:100])!r}")
        elif answer.status != 200:
            raise ImageError(self._what, f"the answer is {answer.status}, not the bytes that were asked for")
        if answer.length not in (None, rest):
            raise ImageError(self._what, f"there are {answer.length} bytes, and {rest} in its descriptor")

    def _skip(self, answer: Answer, count: int) -> None:
        waste = memoryview(bytearray(min(count, 1 << 16)))
        while count:
            got = answer.readinto(waste[: min(count, len(waste))])
            if not got:
                raise Truncated(f"it ended before byte {self._at}")
            count -= got

    def _finish(self) -> None:
        more, answer = 0, self._answer
        if answer is not None and answer.length is None:  # only its end tells
            with contextlib.suppress(*FAULTS):
                more = answer.readinto(memoryview(bytearray(1)))
        self._drop()
        self._done = True
        if more:
            raise ImageError(self._what, f"there are more bytes than the {self._size} of its descriptor")
        found = self._hash.hexdigest()
        if found != self._digest.hex:
            raise ImageError(self._what, f"its digest is {self._digest.algorithm}:{found}")

    def _drop(self) -> None:
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.close()

    def close(self) -> None:
        if not self.closed:
            self._drop()
        super().close()


def _unencoded(answer: Answer) -> None:
    told = answer.headers.get("content-encoding", "identity")
    if told.lower() != "identity":
        raise ImageError(f"registry {answer.where}", f"it encodes as {printable(told[:40])!r}, which nobody asked for")


def _check(raw: bytes, wanted: Digest, what: str, which: str) -> None:
    hasher = wanted.hasher()
    hasher.update(raw)
    if hasher.hexdigest() != wanted.hex:
        raise ImageError(what, f"its digest is {wanted.algorithm}:{hasher.hexdigest()}, not {which}")


def _netloc(where: Place) -> str:
    return f"{f'[{where.host}]' if ':' in where.host else where.host}:{where.port}"
