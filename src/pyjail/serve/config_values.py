"""Values of a configuration, checked: what a TOML file, a variable or an option says of one field."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import ipaddress
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pyjail import Limits, SpecError
from pyjail import languages as all_languages
from pyjail.serve import hosts
from pyjail.serve.config import Config

_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
_AT_LEAST_ONE = (
    "concurrent", "connections", "connections_per_client", "attempts", "body", "file", "share", "unread", "window",
)  # fmt: skip
_MOST_AT_ONCE = 4096  # of `pyjail.aio.set_concurrency`
_ORIGIN = re.compile(r"https?://[^/?#\s@,;'\"]+")  # no more than one source of a Content-Security-Policy
RATE = re.compile(r"[1-9]\d*\s*/\s*([1-9]\d*\s*)?(second|minute|hour|day)s?")


def known(where: str, table: Mapping[str, Any], names: Iterable[str]) -> None:
    """SpecError for a key that is none of ``names``; it names the nearest right one."""
    names = list(names)
    for key in table:
        if key not in names:
            near = _near(key, names)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(names))}"
            raise SpecError(f"{where}.{key}".lstrip("."), table[key], f"there is no such key; {hint}")


def _near(key: str, names: Sequence[str]) -> list[str]:
    """The nearest; of several, one of the same letters."""
    return sorted(difflib.get_close_matches(key, names), key=lambda name: sorted(name) != sorted(key))[:1]


def table(data: Mapping[str, Any], name: str, within: str = "") -> dict[str, Any]:
    """The table of that name, empty where there is none."""
    found = data.get(name, {})
    if not isinstance(found, dict):
        raise SpecError(f"{within}{name}", found, f"a [{within}{name}] table is needed")
    return dict(found)


@contextlib.contextmanager
def of(where: str) -> Iterator[None]:
    """What is wrong inside is said of this file, or this table, unless a variable or an option says it."""
    try:
        yield
    except SpecError as e:
        if e.field.startswith(("$", "--")):
            raise
        raise SpecError(f"{where}{e.field}", e.value, e.reason) from None


@contextlib.contextmanager
def named(name: str) -> Iterator[None]:
    """What is wrong inside is said of this variable or option."""
    try:
        yield
    except SpecError as e:
        raise SpecError(name, e.value, e.reason) from None


def typed(name: str, value: Any, field: dataclasses.Field[Any]) -> Any:
    """``value`` as this field has it; text where it comes from a variable or an option."""
    return of_kind(name, value, str(field.type), field.name in _AT_LEAST_ONE)


def of_kind(name: str, value: Any, kind: str, positive: bool = False) -> Any:
    """``value`` as one of this type, which is named as annotations are."""
    if kind == "bool":
        return _bool(name, value)
    if kind.startswith("tuple"):
        return _texts(name, value)
    if kind == "str":
        if not isinstance(value, str) or "\0" in value:
            raise SpecError(name, value, "text is needed")
        return value
    return _number(name, value, kind, positive)


def _bool(name: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in (*_TRUE, *_FALSE):
        return value.lower() in _TRUE
    raise SpecError(name, value, "true or false is needed")


def _texts(name: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if not isinstance(value, (list, tuple)) or not all(isinstance(part, str) and part for part in value):
        raise SpecError(name, value, 'a list of texts is needed, such as ["a", "b"]')
    return tuple(value)


def _number(name: str, value: Any, kind: str, positive: bool) -> Any:
    """Seconds are floats, or text such as "30s"; all else are whole numbers, or sizes such as "16M"."""
    if isinstance(value, bool):
        raise SpecError(name, value, "a number is needed")
    if isinstance(value, str):
        value = _of_text(name, value, kind)
    if not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        raise SpecError(name, value, "a number of at least 0 is needed")
    if kind.startswith("int"):
        if not isinstance(value, int):
            raise SpecError(name, value, "a whole number is needed")
        if positive and value < 1:
            raise SpecError(name, value, "at least 1 is needed")
        return value
    return float(value)


def _of_text(name: str, text: str, kind: str) -> float | int:
    if text.isascii() and text.isdigit() and len(text) < 20:
        return int(text)
    if kind.startswith("float") and re.fullmatch(r"0*\.0+", text):
        return 0.0
    size = not kind.startswith("float")
    try:  # as limits are typed
        found = Limits(disk=text).disk if size else Limits(wall_time=text).wall_time
    except SpecError as e:
        raise SpecError(name, text, 'a whole number is needed, or a size such as "16M"' if size else e.reason) from None
    if found is None:
        raise SpecError(name, text, "a number is needed")
    return found


def limit(name: str, value: Any) -> Any:
    """A limit's value that comes as text."""
    if (
        not isinstance(value, str)
        or value == "none"
        or name not in ("processes", "inodes", "open_files", "collect_files", "cpus")
    ):
        return value
    try:
        return float(value) if name == "cpus" else int(value)
    except ValueError:
        raise SpecError(name, value, "a number is needed") from None


def limits(usual: Limits, given: Mapping[str, Any]) -> Limits:
    """``usual``, with what is given; without a ``wall_time`` it follows ``cpu_time``."""
    if "cpu_time" in given and "wall_time" not in given:
        given = {**given, "wall_time": Limits(cpu_time=given["cpu_time"]).wall_time}
    return replace(usual, **given)


def below(limits: Limits, most: Limits, given: Mapping[str, Any]) -> Limits:
    """``limits``, of which those that nobody gave are not above ``most``."""
    lower: dict[str, Any] = {}
    for field in dataclasses.fields(Limits):
        usual, bound = getattr(limits, field.name), getattr(most, field.name)
        if field.name not in given and isinstance(bound, (int, float)) and not isinstance(usual, frozenset):
            lower[field.name] = bound if usual is None else min(usual, bound)
    return replace(limits, **lower)


def languages(given: Mapping[str, Any], path: str) -> dict[str, Any]:
    """``[languages.NAME]`` tables of this file over those that there are; empty without any."""
    try:
        return dict(all_languages.load(path)) if given else {}
    except SpecError as e:
        raise SpecError(e.field.removeprefix(f"{path}: "), e.value, e.reason) from None  # (Ours names it, too.)


def checked(config: Config) -> None:
    """What fields must be together, and what their texts must be."""
    if config.port > 65535:
        raise SpecError("serve.port", config.port, "a number from 0 to 65535 is needed")
    if config.admission.concurrent > _MOST_AT_ONCE:
        why = f"at most {_MOST_AT_ONCE} jails are run at once"
        raise SpecError("serve.admission.concurrent", config.admission.concurrent, why)
    for name in ("origins", "embed"):
        for origin in getattr(config.edge, name):
            if not _ORIGIN.fullmatch(origin) or (name == "origins" and hosts.origin(origin) is None):
                raise SpecError(f"serve.edge.{name}", origin, "an origin such as https://example.org is needed")
    for proxy in config.edge.proxies:
        try:
            _ = proxy == "local" or ipaddress.ip_network(proxy)
        except ValueError as e:
            raise SpecError("serve.edge.proxies", proxy, f"an address or a network is needed: {e}") from None
    for host in config.edge.hosts:
        if hosts.parse(host) is None:
            raise SpecError("serve.edge.hosts", host, "a name such as run.example.org is needed")
    if config.admission.rate and not RATE.fullmatch(config.admission.rate):
        raise SpecError("serve.admission.rate", config.admission.rate, "a rate such as 60/minute is needed")
    host, colon, port = config.observe.metrics.rpartition(":")
    if config.observe.metrics and not (host and colon and port.isdigit() and int(port) <= 65535):
        raise SpecError("serve.observe.metrics", config.observe.metrics, "ADDRESS:PORT is needed")
    for table, part in (("places", config.places), ("terminals", config.terminals)):
        if not part.idle:
            raise SpecError(f"serve.{table}.idle", part.idle, "more than 0 is needed")
    if config.places.idle > config.places.longest_idle:
        most = f"serve.places.longest_idle is {config.places.longest_idle:g}, which is less"
        raise SpecError("serve.places.idle", config.places.idle, most)
    if not config.places.lifetime:
        raise SpecError("serve.places.lifetime", config.places.lifetime, "more than 0 is needed")
    if config.precheck not in ("off", "warn", "reject"):
        raise SpecError("serve.precheck", config.precheck, "off, warn or reject is needed")
    for field in dataclasses.fields(Limits):
        usual, most = getattr(config.limits, field.name), getattr(config.maxima, field.name)
        if isinstance(most, (int, float)) and not (isinstance(usual, (int, float)) and usual <= most):
            if isinstance(usual, frozenset):
                continue
            raise SpecError(f"limits.{field.name}", usual, f"serve.maxima.{field.name} is {most:.15g}, which is less")
