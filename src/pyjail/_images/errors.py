"""The errors of an image that is not acceptable, `ImageError`, and of a recipe, `StepError`."""

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


class StepError(JailError):
    """A step of a recipe that failed: no image has the name because of it. What was made before it is kept.

    Attributes: ``number`` (int, from 1) and ``total`` of the recipe's steps, ``step`` (str) what it does, ``why`` (str)
    the verdict and the end of what it wrote, ``result`` the whole `Result`; None: its program could not be started.

    >>> from pyjail import images
    >>> str(images.StepError(2, 3, "run false", "runtime error, exit code 1"))
    'step 2 of 3, run false: runtime error, exit code 1'
    """

    def __init__(self, number: int, total: int, step: str, why: str, result: Any = None) -> None:
        self.number, self.total, self.step, self.why, self.result = number, total, step, why, result
        super().__init__(f"step {number} of {total}, {step}: {why}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.number, self.total, self.step, self.why, self.result)
