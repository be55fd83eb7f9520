"""Whether data is what a JSON Schema says: of that language what `schema.json` uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Wrong = tuple[str, Any, str]  # where, what is there, what is wrong with it
_TYPES: dict[str, tuple[type, ...]] = {
    "object": (Mapping,),
    "array": (list, tuple),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


def wrong(value: Any, definitions: Mapping[str, Any], name: str, where: str, beyond: str = "") -> Wrong | None:
    """The first thing that is not as the definition ``name`` says, or None. ``beyond``: a definition that is not looked
    into where it is a part."""
    return _Check(definitions, beyond).part(value, definitions[name], where)


class _Check:
    def __init__(self, definitions: Mapping[str, Any], beyond: str) -> None:
        self.definitions, self.beyond = definitions, beyond

    def part(self, value: Any, schema: Mapping[str, Any], where: str) -> Wrong | None:
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            return None if name == self.beyond else self.part(value, self.definitions[name], where)
        if "anyOf" in schema:
            found = [self.part(value, one, where) for one in schema["anyOf"]]
            deeper = [f for f in found if f is not None and f[0] != where]
            return None if None in found else deeper[0] if deeper else (where, value, "is none of what may be here")
        if "const" in schema and value != schema["const"]:
            return where, value, f"{schema['const']!r} is needed"
        if "enum" in schema and value not in schema["enum"]:
            return where, value, f"one of {', '.join(map(repr, schema['enum']))} is needed"
        types = schema.get("type", ())
        types = [types] if isinstance(types, str) else types
        if types and not any(_is(value, one) for one in types):
            return where, value, f"{' or '.join(types)} is needed"
        if isinstance(value, Mapping):
            return self._object(value, schema, where)
        return self._array(value, schema, where) if isinstance(value, (list, tuple)) else None

    def _object(self, value: Mapping[str, Any], schema: Mapping[str, Any], where: str) -> Wrong | None:
        if len(value) > schema.get("maxProperties", len(value)):
            return where, value, "is to be empty"
        properties, others = schema.get("properties", {}), schema.get("additionalProperties")
        for name in schema.get("required", ()):
            if name not in value and name not in ("kind", "version"):
                return f"{where}.{name}", list(value), "this key is missing"
        for key, inner in value.items():
            part = properties.get(key, others)
            found = self.part(inner, part, f"{where}.{key}") if isinstance(part, Mapping) else None
            if found is not None:
                return found
        return None

    def _array(self, value: Sequence[Any], schema: Mapping[str, Any], where: str) -> Wrong | None:
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            return where, value, f"{schema['minItems']} of them are needed"
        first = schema.get("prefixItems", ())
        for number, inner in enumerate(value):
            part = first[number] if number < len(first) else schema.get("items")
            found = self.part(inner, part, f"{where}[{number}]") if part is not None else None
            if found is not None:
                return found
        return None


def _is(value: Any, kind: str) -> bool:
    return isinstance(value, _TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))
