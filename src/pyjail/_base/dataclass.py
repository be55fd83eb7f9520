"""The real dataclass of a record that `records` made, for whoever asks for its fields, parameters or signature."""

from __future__ import annotations

import dataclasses
import inspect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def attribute(cls: Any, own: dict[str, Any], name: str, owner: Any) -> Any:
    """The attribute ``name`` of the dataclass of the fields of ``cls``, whose defaults are ``own``."""
    if name == "__signature__" and owner.__init__ is not cls.__init__:
        raise AttributeError(name)  # a subclass with its own
    body: dict[str, Any] = {"__annotations__": dict(cls.__annotations__), "__module__": cls.__module__}
    for key, value in own.items():
        if hasattr(value, "factory"):  # `_base.records.field`
            given = {"default_factory": value.factory} if value.factory else {"default": value.default}
            value = dataclasses.field(repr=value.repr, **given)
        body[key] = value
    real: Any = dataclasses.dataclass(frozen=True)(type(cls.__name__, (), body))
    real.__signature__ = inspect.signature(real)
    found = getattr(real, name)
    if name != "__signature__":
        setattr(cls, name, found)
    return found


def signature_of_tuple(cls: Any) -> inspect.Signature:
    """Of the constructor of a named tuple that `records` made."""
    if not hasattr(cls.__new__, "of_record"):
        raise AttributeError("__signature__")  # a subclass with its own
    defaults = cls._field_defaults
    kind, empty = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.empty
    return inspect.Signature([inspect.Parameter(name, kind, default=defaults.get(name, empty)) for name in cls._fields])
