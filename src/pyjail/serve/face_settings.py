"""``[faces.NAME]`` tables, checked: which keys there are, and what their values are."""

from __future__ import annotations

import dataclasses
import posixpath
from collections.abc import Mapping
from typing import Any

from pyjail import Limits, SpecError
from pyjail.serve import config_values
from pyjail.serve.config_values import known, table

_ALL = {"enabled": "bool", "limits": "limits"}
KEYS: Mapping[str, Mapping[str, str]] = {  # of a face: what each of its keys is
    "boxer": {"images": "texts", "output": "int", "upload": "int"},
    "codebox": {"programs": "texts", "timeout": "float"},
    "secure-sandbox": {"rate": "int", "window": "float", "concurrent": "int", "code": "int", "output": "int"},
    "go-judge": {"src_prefix": "directories"},
    "judge0": {"delete": "bool", "additional_files": "bool", "compiler_options": "bool"},
    "piston": {"compile_limits": "limits"},
    "snekbox": {"executables": "texts"},
    "sandboxfusion": {"compile_limits": "limits"},
}


def checked(given: Mapping[str, Any], maxima: Limits) -> dict[str, dict[str, Any]]:
    """The tables, with numbers for sizes and times. SpecError; a limit above ``maxima`` is one, too."""
    known("faces", given, KEYS)
    found = {}
    for face in given:
        kinds = {**_ALL, **KEYS[face]}
        values = table(given, face, "faces.")
        known(f"faces.{face}", values, kinds)
        found[face] = {key: _value(f"faces.{face}.{key}", value, kinds[key], maxima) for key, value in values.items()}
    return found


def check_root(root: str) -> None:
    """SpecError unless it says whose paths are at the root."""
    if root not in ("seeds", "none", *KEYS):
        raise SpecError("serve.root", root, f"seeds, none or a face is needed: {', '.join(KEYS)}")


def _value(name: str, value: Any, kind: str, maxima: Limits) -> Any:
    if kind == "limits":
        return _limits(name, value, maxima)
    if kind == "texts":
        if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
            raise SpecError(name, value, "a table of texts is needed")
        return dict(value)
    if kind == "directories":
        return _directories(name, value)
    return config_values.of_kind(name, value, kind)


def _directories(name: str, value: Any) -> tuple[str, ...]:
    found: tuple[str, ...] = config_values.of_kind(name, value, "tuple[str, ...]")
    for one in found:
        if not one.startswith("/") or posixpath.normpath(one) != one or one in ("/", "//"):
            raise SpecError(name, one, "the path of a directory is needed, such as /srv/tests")
    return found


def _limits(name: str, value: Any, maxima: Limits) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise SpecError(name, value, "a table of limits is needed")
    known(name, value, [field.name for field in dataclasses.fields(Limits)])
    with config_values.of(f"{name}."):
        made = Limits(**value)
    for key in value:
        usual, most = getattr(made, key), getattr(maxima, key)
        if isinstance(most, (int, float)) and not (isinstance(usual, (int, float)) and usual <= most):
            raise SpecError(f"{name}.{key}", usual, f"serve.maxima.{key} is {most:.15g}, which is less")
    return {key: getattr(made, key) for key in value}
