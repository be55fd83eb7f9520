"""`OutputDecodeError`, which has a whole `Result`."""

from __future__ import annotations

from pyjail._base.errors import JailError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyjail._result.completed import Completed


class OutputDecodeError(JailError, UnicodeDecodeError):
    """With ``errors="strict"``: the program wrote what is no text of that encoding. It ran to its end all the same.

    Attributes: ``result`` (`Result`, its stdout and stderr as bytes), and those of `UnicodeDecodeError`.

    >>> import pyjail
    >>> try:
    ...     pyjail.run(["printf", r"\\377"], text=True, errors="strict")
    ... except pyjail.OutputDecodeError as e:
    ...     print(e.result.verdict, e.result.stdout)
    ok b'\\xff'
    """

    __module__ = "pyjail"

    def __init__(self, result: Completed, encoding: str, data: bytes, start: int, end: int, reason: str) -> None:
        self.result = result
        UnicodeDecodeError.__init__(self, encoding, data, start, end, reason)

    def __str__(self) -> str:
        told = f'{UnicodeDecodeError.__str__(self)}. errors="replace" takes it' if self.object else self.reason
        return f"what the program wrote is no such text: {told}; .result has the bytes"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.result, self.encoding, self.object, self.start, self.end, self.reason)
