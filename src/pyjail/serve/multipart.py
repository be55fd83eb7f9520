"""A multipart body, read as it comes: one file, and perhaps one short field beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from pyjail.serve.problem import Problem

_PARTS = 2
_HEADERS, _HEADER = 8, 2048  # of one part
_FIELD = 4096  # bytes of the field that is no file


class Form:
    """What a form says. Iterating it once gives the pieces of its ``file``; then ``name``, the file's own, and
    ``fields`` are known. Raises `Problem` 400, 413 or 422 meanwhile."""

    def __init__(self, kind: str, body: AsyncIterator[bytes], file: str = "file") -> None:
        _, options = parse_options_header(kind)
        boundary = options.get(b"boundary", b"")
        if not boundary:
            raise Problem(400, "multipart", "the Content-Type names no boundary")
        self.name, self.fields, self.whole = "", dict[str, str](), False
        self._body, self._wanted, self._seen = body, file, False
        self._parts, self._part, self._text = 0, "", bytearray()
        self._header, self._value, self._headers = bytearray(), bytearray(), dict[bytes, bytes]()
        self._pieces: list[bytes] = []
        try:
            self._parser = MultipartParser(boundary, {
                "on_part_begin": self._begin, "on_part_data": self._data, "on_part_end": self._end,
                "on_header_field": lambda data, a, b: self._header.extend(data[a:b]),
                "on_header_value": lambda data, a, b: self._value.extend(data[a:b]),
                "on_header_end": self._header_end, "on_headers_finished": self._headers_end, "on_end": self._all,
            }, max_header_count=_HEADERS, max_header_size=_HEADER)  # fmt: skip
        except FormParserError as e:
            raise _malformed(e) from None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._body:
            try:
                self._parser.write(chunk)
            except FormParserError as e:
                raise _malformed(e) from None
            pieces, self._pieces = self._pieces, []
            for piece in pieces:
                yield piece
        if not self.whole:
            raise Problem(400, "multipart", "the body ends before its last boundary")
        if not self._seen:
            raise Problem(422, "field", f"a form with a part {self._wanted!r} is needed", field=self._wanted)

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > _PARTS:
            raise Problem(413, "multipart", f"at most {_PARTS} parts are taken")
        self._headers.clear()

    def _header_end(self) -> None:
        self._headers[bytes(self._header).lower()] = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _headers_end(self) -> None:
        kind, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._part = options.get(b"name", b"").decode("utf-8", "replace")
        if kind != b"form-data" or not self._part:
            raise Problem(400, "multipart", "a part has no name")
        if self._part == self._wanted:
            if self._seen:
                raise Problem(422, "field", f"{self._wanted!r} is there twice", field=self._wanted)
            self._seen, self.name = True, options.get(b"filename", b"").decode("utf-8", "replace")
        self._text.clear()

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._part == self._wanted:
            self._pieces.append(data[start:end])
            return
        self._text += data[start:end]
        if len(self._text) > _FIELD:
            raise Problem(413, "multipart", f"a field has at most {_FIELD} bytes", field=self._part[:80])

    def _end(self) -> None:
        if self._part != self._wanted:
            try:
                self.fields[self._part] = self._text.decode()
            except UnicodeDecodeError:
                raise Problem(400, "multipart", "a field is no UTF-8", field=self._part[:80]) from None

    def _all(self) -> None:
        self.whole = True


def _malformed(e: FormParserError) -> Problem:
    return Problem(400, "multipart", "the body is no multipart/form-data" + (": " + str(e)[:120] if str(e) else ""))
