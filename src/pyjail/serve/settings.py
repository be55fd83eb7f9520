"""A `Config` of a TOML file, the environment and the command line, each over the one before, with its origins."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyjail
from pyjail import Limits, SpecError
from pyjail.serve import config_values, face_settings, tokens
from pyjail.serve.config import DEFAULTS, MAXIMA, Config
from pyjail.serve.config_values import known

DEFAULT = "default"
ENVIRONMENT = "PYJAIL_SERVE_"
FILE = f"{ENVIRONMENT}CONFIG"
_TABLES = ("jail", "limits", "languages", "images", "serve", "faces")
_APART = (
    "jail",
    "limits",
    "maxima",
    "languages",
    "tokens",
    "faces",
)  # fields of a Config that are read each in its way
_LIMITS = {"limits": DEFAULTS, "serve.maxima": MAXIMA}


@dataclass(frozen=True)
class Settings:
    """What a service is to be, and why.

    Attributes:
        origins: a file's path, a variable or an option for each name such as "serve.port" that has not its default.
        file: that was read; "" for none. images: whether it has an ``[images]`` table.
    """

    config: Config
    origins: Mapping[str, str]
    file: str = ""
    images: bool = False


def tables() -> dict[str, dict[str, dataclasses.Field[Any]]]:
    """{"serve": {key: field of `Config`}, "serve.admission": {key: field of its class}, ...}."""
    found: dict[str, dict[str, dataclasses.Field[Any]]] = {"serve": {}}
    for field in dataclasses.fields(Config):
        if field.name in _APART:
            continue
        inner: Any = field.default_factory
        if isinstance(inner, type) and dataclasses.is_dataclass(inner):
            found[f"serve.{field.name}"] = {f.name: f for f in dataclasses.fields(inner)}
        else:
            found["serve"][field.name] = field
    return found


def load(path: str | None, environ: Mapping[str, str], options: Mapping[str, tuple[str, Any]]) -> Settings:
    """All of it.

    Args:
        path: of a TOML file; None: $PYJAIL_SERVE_CONFIG, or none. options: {"serve.port": ("--port", "80")}.

    Raises:
        SpecError: what is wrong, by the name that it has where it stands. OSError: the file cannot be read.
    """
    path = path or environ.get(FILE) or None
    data = _read(path) if path else {}
    with config_values.of(f"{path}: " if path else ""):
        return _merged(data, path or "", environ, options)


def _read(path: str) -> dict[str, Any]:
    with open(path, "rb") as f:
        try:
            return tomllib.load(f)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
            raise SpecError("config", path, f"is not TOML: {e}") from None


class _Merger:
    """Values by their names, the later over the earlier, each with its origin."""

    def __init__(self) -> None:
        self.given: dict[str, Any] = {}
        self.limits: dict[str, dict[str, Any]] = {name: {} for name in _LIMITS}
        self.origins: dict[str, str] = {}

    def file(self, data: Mapping[str, Any], path: str) -> None:
        """What is in ``[serve]``, its tables, and ``[limits]``."""
        serve, schema = config_values.table(data, "serve"), tables()
        inner = [name.removeprefix("serve.") for name in schema if name != "serve"]
        known("serve", serve, [*schema["serve"], *inner, "maxima", "tokens"])
        for name, fields in schema.items():
            own = name.removeprefix("serve").lstrip(".")
            table = config_values.table(serve, own, "serve.") if own else serve
            if own:
                known(name, table, fields)
            for key in [key for key in table if key in fields]:
                self.given[f"{name}.{key}"] = config_values.typed(f"{name}.{key}", table[key], fields[key])
                self.origins[f"{name}.{key}"] = path
        for name in _LIMITS:
            within, _, own = name.rpartition(".")
            table = config_values.table(serve if within else data, own, f"{within}." if within else "")
            known(name, table, [f.name for f in dataclasses.fields(Limits)])
            self.limits[name] = table
            self.origins |= {f"{name}.{key}": path for key in table}

    def one(self, name: str, origin: str, value: Any) -> None:
        """One value as text, of a variable or an option."""
        table, _, key = name.rpartition(".")
        with config_values.named(origin):
            if table in _LIMITS:
                self.limits[table][key] = config_values.limit(key, value)
                Limits(**{key: self.limits[table][key]})
            else:
                self.given[name] = config_values.typed(name, value, tables()[table][key])
        self.origins[name] = origin

    def config(self) -> Config:
        """What they come to."""
        parts = {name.removeprefix("serve."): v for name, v in self.given.items() if name.count(".") == 1}
        schema = tables()
        for field in dataclasses.fields(Config):
            if f"serve.{field.name}" in schema:
                below = f"serve.{field.name}."
                inner: Any = field.default_factory
                parts[field.name] = inner(
                    **{n.removeprefix(below): v for n, v in self.given.items() if n.startswith(below)}
                )
        for name, usual in _LIMITS.items():
            with config_values.of(f"{name}."):
                parts[name.removeprefix("serve.")] = config_values.limits(usual, self.limits[name])
        parts["limits"] = config_values.below(parts["limits"], parts["maxima"], self.limits["limits"])
        return Config(**parts)


def _merged(
    data: dict[str, Any], path: str, environ: Mapping[str, str], options: Mapping[str, tuple[str, Any]]
) -> Settings:
    known("", data, _TABLES)
    named = {name: config_values.table(data, name) for name in _TABLES}
    merger = _Merger()
    merger.file(data, path)
    names, listed = variables(), named["serve"].get("tokens", [])
    if listed:
        merger.origins["serve.tokens"] = path
    for variable, value in environ.items():
        if not variable.startswith(ENVIRONMENT) or variable == FILE:
            continue
        known("", {f"${variable}": "..."}, [f"${name}" for name in names])
        if names[variable] == "serve.tokens":
            listed = tokens.parsed(value)
            merger.origins["serve.tokens"] = f"${variable}"
        else:
            merger.one(names[variable], f"${variable}", value)
    for name, (option, value) in options.items():
        merger.one(name, option, value)
    merged = merger.config()
    made = dataclasses.replace(
        merged, jail=pyjail.from_toml({"jail": named["jail"]})[0], tokens=tokens.of_tables(listed),
        faces=face_settings.checked(named["faces"], merged.maxima),
        languages=config_values.languages(named["languages"], path),
    )  # fmt: skip
    for table in ("jail", "faces", "languages"):
        merger.origins |= {f"{table}.{key}": path for key in named[table]}
    config_values.checked(made)
    face_settings.check_root(made.root)
    return Settings(made, merger.origins, path, bool(named["images"]))


def of_options(given: Iterable[str]) -> dict[str, tuple[str, Any]]:
    """What ``--set KEY=VALUE`` says, as `load` takes it. Raises SpecError."""
    names, found = set(variables().values()) - {"serve.tokens"}, dict[str, tuple[str, Any]]()
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise SpecError("--set", text, "KEY=VALUE is needed, such as serve.admission.queue=64")
        with config_values.named(f"--set {name}"):
            known("", {name: value}, names)
        found[name] = (f"--set {name}", value)
    return found


def variables() -> dict[str, str]:
    """{variable of the environment: the name whose value it is}."""
    found = {f"{ENVIRONMENT}TOKENS": "serve.tokens"}
    for table, fields in tables().items():
        own = table.removeprefix("serve").lstrip(".").upper()
        found |= {f"{ENVIRONMENT}{own}{'_' if own else ''}{key.upper()}": f"{table}.{key}" for key in fields}
    for table in _LIMITS:
        own = table.removeprefix("serve.").upper()
        found |= {f"{ENVIRONMENT}{own}_{f.name.upper()}": f"{table}.{f.name}" for f in dataclasses.fields(Limits)}
    return found
