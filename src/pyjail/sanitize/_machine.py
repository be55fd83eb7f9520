"""What a terminal would obey, told from what it would print: `Sanitizer`, a state machine on bytes."""

from __future__ import annotations

import re
from collections.abc import Callable

from pyjail import SpecError

MODES = ("strip", "keep-colour", "escape")
_PIECE = 1 << 16  # bytes that are looked at together
_LONGEST_SGR = 64  # bytes of the parameters of a colour that is kept

# A character of two bytes or more, as UTF-8 is well formed (Unicode 15, table 3-7).
_CHAR = re.compile(
    rb"[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]{2}|\xed[\x80-\x9f][\x80-\xbf]"
    rb"|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2}"
)
_BEGUN = re.compile(rb"(?:[\xc2-\xf4]|[\xe0-\xf4][\x80-\xbf]|[\xf0-\xf4][\x80-\xbf]{2})\Z")  # one that goes on later
_BIDI = re.compile(rb"\xd8\x9c|\xe2\x80[\x8e\x8f\xaa-\xae]|\xe2\x81[\xa6-\xa9]")
# Printed as it is, whatever the mode: no control of C0 but tab and newline, none of C1, none of bidi.
_PLAIN = re.compile(
    rb"(?:[\t\n -~]+|\xc2[\xa0-\xbf]|[\xc3-\xd7\xd9-\xdf][\x80-\xbf]|\xd8(?!\x9c)[\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]"
    rb"|\xe2(?!\x80[\x8e\x8f\xaa-\xae]|\x81[\xa6-\xa9])[\x80-\xbf]{2}|[\xe1\xe3-\xec\xee\xef][\x80-\xbf]{2}"
    rb"|\xed[\x80-\x9f][\x80-\xbf]|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2}"
    rb"|(?!" + _CHAR.pattern + rb")[\xa0-\xff])+"
)
# What `_special` would take out bit by bit: whole sequences but strings, controls, introducers that do not go on.
_GONE = rb"(?:(?:\x1b\[|\x9b|\xc2\x9b)[ -?]*[%b]|\x1b[ -/]*[0-OQ-WYZ`-~]|[\x1b\x9b]+(?=[\x1b\x80-\x9f])"
_GONE += (
    rb"|[\x00-\x07\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x8f\x91-\x97\x99\x9a\x9c]|\xc2[\x80-\x8f\x91-\x97\x99\x9a\x9c]%b)+"
)
_SGR = re.compile(rb"[0-9;:]*\Z")
_INTERMEDIATES = re.compile(rb"[ -/]+")
_PARAMETERS = re.compile(rb"[ -?]+")
_IN_STRING = re.compile(rb"[^\x07\x18\x1a\x1b\x80-\xff]+")
ESC, BEL, CAN, SUB, DEL = 0x1B, 0x07, 0x18, 0x1A, 0x7F
CSI, OSC, ST = 0x9B, 0x9D, 0x9C
_STRINGS = (0x90, 0x98, OSC, 0x9E, 0x9F)  # DCS, SOS, OSC, PM, APC
RESET = b"\x1b[0m"


class Sanitizer:
    """Lets no control sequence through, and printable text unchanged, a piece at a time; how a stream is cut into
    pieces changes nothing. It holds a few bytes at most, whatever comes.

    Taken out are the sequences of ECMA-48: ESC and what belongs to it, CSI, and OSC, DCS, APC, PM, SOS with all up to
    their end (ST; BEL for OSC), in 7 and in 8 bits, as UTF-8 or bare. Of single controls only tab and newline stay.
    What is no UTF-8 stays, but for bytes 80 to 9F, which are controls of 8-bit terminals.

    Args:
        mode: "strip", "keep-colour" (colours and the like, ``CSI ... m``, stay, and are reset at the end), or "escape"
            (nothing is taken out, controls are shown: ``^[``, ``\\\\x9b``, ``\\\\u202e``).
        carriage: carriage returns stay: a program can write over its line. backspace: so do backspaces.
        bidi: so do controls of the direction of text.

    >>> from pyjail import sanitize
    >>> s = sanitize.Sanitizer()
    >>> s.feed(b"a\\x1b]0;ti") + s.feed(b"tle\\x07b\\x1b[31mc") + s.end()
    b'abc'
    """

    def __init__(
        self, mode: str = "strip", *, carriage: bool = True, backspace: bool = False, bidi: bool = False
    ) -> None:
        if mode not in MODES:
            raise SpecError("sanitize", mode, f"one of {', '.join(MODES)} is needed")
        self._mode, self._bidi = mode, bidi
        self._kept = {0x09, 0x0A} | ({0x0D} if carriage else set()) | ({0x08} if backspace else set())
        final = b"@-ln-~" if mode == "keep-colour" else b"@-~"
        more = b"" if bidi else b"|" + _BIDI.pattern
        self._gone = None if mode == "escape" else re.compile(_GONE % (final, more))
        self._held = b""  # of a character that may go on
        self._coloured = False
        self._out: list[bytes] = []
        # A function, not a method, which would be a circle: who cleans much would wait for the collector.
        self._state: Callable[[Sanitizer, bytes, int], int] = Sanitizer._ground
        self._sgr: bytearray | None = None  # parameters of what may be a colour
        self._bell = False  # ends the string, too

    def feed(self, data: bytes | bytearray | memoryview) -> bytes:
        """What comes out by it."""
        view, out = memoryview(data).cast("B"), []
        for at in range(0, len(view), _PIECE):
            piece = self._held + bytes(view[at : at + _PIECE])
            begun = _BEGUN.search(piece, max(0, len(piece) - 3))
            self._held = piece[begun.start() :] if begun else b""
            self._take(piece[: begun.start()] if begun else piece)
            out.append(self._given())  # before the next: a byte that is a value of its own takes fifty
        return b"".join(out)

    def end(self) -> bytes:
        """What comes out at the end; it is as new then."""
        held, self._held = self._held, b""
        self._take(held)
        if self._coloured:
            self._out.append(RESET)
        self._coloured, self._state = False, Sanitizer._ground
        return self._given()

    def _given(self) -> bytes:
        out, self._out = b"".join(self._out), []
        return out

    def _take(self, piece: bytes) -> None:
        at = 0
        while at < len(piece):
            at = self._state(self, piece, at)

    # ---- states: the next place in the piece ----

    def _ground(self, piece: bytes, at: int) -> int:
        plain = _PLAIN.match(piece, at)
        if plain:
            self._out.append(plain[0])
            return plain.end()
        gone = self._gone.match(piece, at) if self._gone is not None else None
        return gone.end() if gone else self._special(piece, at)

    def _escape(self, piece: bytes, at: int) -> int:
        """Behind ESC and bytes between it and its final one."""
        byte = piece[at]
        if 0x20 <= byte < 0x30:
            self._state = Sanitizer._intermediate
        elif 0x40 <= byte < 0x60:
            self._c1(byte + 0x40)
        elif 0x30 <= byte < DEL:
            self._state = Sanitizer._ground
        else:
            return self._special(piece, at)
        return at + 1

    def _intermediate(self, piece: bytes, at: int) -> int:
        more = _INTERMEDIATES.match(piece, at)
        if more:
            return more.end()
        if not 0x30 <= piece[at] < DEL:
            return self._special(piece, at)
        self._state = Sanitizer._ground
        return at + 1

    def _control(self, piece: bytes, at: int) -> int:
        """Behind CSI."""
        parameters = _PARAMETERS.match(piece, at)
        if parameters:
            if self._sgr is not None:
                self._sgr += parameters[0][: _LONGEST_SGR + 1]
                if len(self._sgr) > _LONGEST_SGR:
                    self._sgr = None
            return parameters.end()
        byte = piece[at]
        if not 0x40 <= byte < DEL:
            return self._special(piece, at)
        if byte == 0x6D and self._sgr is not None and _SGR.match(self._sgr):
            self._out.append(b"\x1b[" + bytes(self._sgr) + b"m")
            self._coloured = self._sgr.strip(b"0;") != b""
        self._state = Sanitizer._ground
        return at + 1

    def _string(self, piece: bytes, at: int) -> int:
        """Behind OSC and the like."""
        inside = _IN_STRING.match(piece, at)
        if inside:
            return inside.end()
        byte = piece[at]
        if byte in (ESC, CAN, SUB):
            self._state = Sanitizer._escape if byte == ESC else Sanitizer._ground
        elif byte == BEL:
            self._state = Sanitizer._ground if self._bell else self._state
        else:
            char = _CHAR.match(piece, at)
            code = byte if char is None else piece[at + 1] if byte == 0xC2 else 0
            if code == ST:
                self._state = Sanitizer._ground
            return char.end() if char else at + 1
        return at + 1

    # ---- what is not plain ----

    def _special(self, piece: bytes, at: int) -> int:
        """One control, or one character; in a sequence, one that does not belong there."""
        byte = piece[at]
        if byte < 0x20 or byte == DEL:
            self._c0(byte)
            return at + 1
        char = _CHAR.match(piece, at)
        if char is None:
            if 0x80 <= byte < 0xA0:
                self._c1(byte)
            else:
                self._printed(piece[at : at + 1])
            return at + 1
        text = char[0]
        if byte == 0xC2 and text[1] < 0xA0:
            self._c1(text[1])
        elif self._bidi or not _BIDI.match(text):
            self._printed(text)
        else:
            self._state = Sanitizer._ground
            if self._mode == "escape":
                self._out.append(f"\\u{ord(text.decode()):04x}".encode())
        return char.end()

    def _printed(self, text: bytes) -> None:
        self._out.append(text)
        self._state = Sanitizer._ground  # whatever sequence it stood in has no end

    def _c0(self, byte: int) -> None:
        """In a sequence, too, a terminal does what a control says, and goes on with the sequence."""
        if byte in self._kept:
            self._out.append(bytes((byte,)))
        elif self._mode == "escape":
            self._out.append(b"^" + bytes((byte ^ 0x40,)))
        elif byte == ESC:
            self._state = Sanitizer._escape
        elif byte in (CAN, SUB):
            self._state = Sanitizer._ground

    def _c1(self, code: int) -> None:
        if self._mode == "escape":
            self._out.append(f"\\x{code:02x}".encode())
            return
        self._state = Sanitizer._ground
        if code == CSI:
            self._state, self._sgr = Sanitizer._control, bytearray() if self._mode == "keep-colour" else None
        elif code in _STRINGS:
            self._state, self._bell = Sanitizer._string, code == OSC
