"""The error of an image that is not acceptable: `ImageError`."""

from __future__ import annotations

from pyjail._base.errors import JailError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class ImageError(JailError, ValueError):
    """An image, archive, manifest or answer of a registry that is not acceptable; nothing of it is in the store.

    Attributes: ``what`` (str) names the part at fault, such as "layer 2, entry 'etc/x'"; ``why`` (str) is the rule that
    it breaks, or the bound that it exceeds, and the fix where there is one.

    >>> from pyjail import images
    >>> str(images.ImageError("layer 1", "its digest is another one"))
    'layer 1: its digest is another one'
    """

    def __init__(self, what: str, why: str) -> None:
        self.what = what
        self.why = why
        super().__init__(f"{what}: {why}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.what, self.why)
