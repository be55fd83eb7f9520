"""Who takes part in `pyjail.interact`, and the pipes between them, as frozen, checked data. No I/O here."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pyjail._base import records
from pyjail._base.errors import SpecError
from pyjail._base.shown import Shown
from pyjail._spec.jail import Jail, Limits, Mount

MOST_PARTIES = 256
PIPES = "/pipes"  # where a party finds its named pipes
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")
_TEXT = re.compile(r"\s*(\S+?)\s*->\s*(\S+)\s*")
Args = Sequence[str | bytes | os.PathLike[str]]


@dataclass(frozen=True, repr=False)
class Party(Shown):
    """One program of an interaction, in a jail of its own.

    Attributes:
        args, limits, jail, files, env, cwd, collect: as in `pyjail.run`; each party has limits of its own.
        name: letters, digits, "_" and "-". Default: "a", "b", ... by position.
        input: bytes for its stdin, when no edge leads there. Default: empty.

    What no edge takes away of stdout and stderr is captured as in `pyjail.run`.

    >>> import pyjail
    >>> pyjail.Party(["./solution"], pyjail.Limits(cpu_time=2), name="solution").name
    'solution'
    """

    args: Args
    limits: Limits | None = None
    name: str | None = None
    jail: Jail | None = None
    files: Mapping[str, Any] | None = None
    env: Mapping[str, str] | None = None
    cwd: str | os.PathLike[str] | None = None
    input: bytes | None = None
    collect: Sequence[str] = ()

    __hash__ = records.hash_of

    def to_dict(self) -> dict[str, Any]:
        """In types that `json.dumps` takes."""
        from pyjail._base.plain import sources

        return {**super().to_dict(), "files": sources(self.files)}


@dataclass(frozen=True, repr=False)
class Edge(Shown):
    """One pipe: what ``source`` writes, ``target`` reads. Both are "PARTY.STREAM".

    Attributes:
        source: of stream stdout, stderr, or any other name: then a named pipe, /pipes/NAME, in the party's jail.
        target: of stream stdin, or a named pipe.
        sigpipe: what happens to the writer when the reader is gone. True: the next write raises SIGPIPE (EPIPE where
            that is ignored), as with any pipe. False: it may write on, into the transcript alone. None, the default:
            as `interact` says.

    >>> import pyjail
    >>> str(pyjail.Edge("manager.to_a", "a.stdin"))
    'manager.to_a -> a.stdin'
    """

    source: str
    target: str
    sigpipe: bool | None = None

    def __post_init__(self) -> None:
        for field, value, wrong in (("source", self.source, ("stdin",)), ("target", self.target, ("stdout", "stderr"))):
            parts = value.split(".") if isinstance(value, str) else []
            if len(parts) != 2 or not all(map(_NAME.fullmatch, parts)):
                raise SpecError(field, value, '"PARTY.STREAM" is needed, such as "a.stdout"')
            if parts[1] in wrong:
                raise SpecError(field, value, f"{parts[1]} is no {field} of bytes")
        if self.sigpipe is not None and not isinstance(self.sigpipe, bool):
            raise SpecError("sigpipe", self.sigpipe, "True, False or None is needed")
        if self.source.split(".")[0] == self.target.split(".")[0]:
            raise SpecError("edges", str(self), "a pipe from a party to itself: it would wait for its own answers")

    def __str__(self) -> str:
        return f"{self.source} -> {self.target}"

    @property
    def writer(self) -> str:
        """The name of the party that writes."""
        return self.source.split(".")[0]

    @property
    def reader(self) -> str:
        """The name of the party that reads."""
        return self.target.split(".")[0]


def is_named(end: str) -> bool:
    """Whether this end of an edge is a named pipe."""
    return end.split(".")[1] not in ("stdin", "stdout", "stderr")


def check_parties(given: Sequence[Any]) -> dict[str, Party]:
    """By name, in order. SpecError names the one at fault."""
    if not 1 <= len(given) <= MOST_PARTIES:
        raise SpecError("parties", len(given), f"1 to {MOST_PARTIES} parties can take part")
    found: dict[str, Party] = {}
    seen: list[Any] = []
    for i, one in enumerate(given):
        party = one if isinstance(one, Party) else Party(one)
        if isinstance(one, Party) and any(one is other for other in seen):
            raise SpecError("parties", one.name or one.args, "this party is given twice: make another Party for it")
        seen.append(one)
        name = party.name if party.name is not None else _default_name(i)
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise SpecError("name", name, 'up to 64 letters, digits, "_" and "-" are needed')
        if name in found:
            raise SpecError("parties", name, "two parties have this name")
        if party.jail is not None and not isinstance(party.jail, Jail):
            raise SpecError("jail", party.jail, f"a pyjail.Jail is needed for party {name!r}")
        found[name] = replace(party, name=name)
    return found


def _default_name(i: int) -> str:
    return chr(ord("a") + i) if i < 26 else f"p{i}"


def check_edges(given: Any, parties: Mapping[str, Party], sigpipe: bool) -> tuple[Edge, ...]:
    """The edges, ``sigpipe`` filled in. SpecError names the one at fault."""
    names = list(parties)
    if given is None:
        if len(names) != 2:
            raise SpecError("edges", None, f"with {len(names)} parties, say which pipes join them")
        a, b = names
        given = [(f"{a}.stdout", f"{b}.stdin"), (f"{b}.stdout", f"{a}.stdin")]
    if isinstance(given, (str, bytes, Edge)) or not isinstance(given, Iterable):
        raise SpecError(
            "edges", given, 'a sequence is needed, of Edge, ("a.stdout", "b.stdin") or "a.stdout -> b.stdin"'
        )
    found = []
    ends: set[str] = set()
    for one in given:
        edge = _edge(one)
        for end, party in ((edge.source, edge.writer), (edge.target, edge.reader)):
            if party not in parties:
                raise SpecError("edges", str(edge), f"there is no party {party!r}, but {', '.join(names)}")
            if end in ends:
                raise SpecError("edges", str(edge), f"{end} has an edge already, and a pipe has but two ends")
            ends.add(end)
        if edge.target.endswith(".stdin") and parties[edge.reader].input is not None:
            raise SpecError("input", edge.reader, f"its stdin is the end of {edge}")
        found.append(edge if edge.sigpipe is not None else replace(edge, sigpipe=sigpipe))
    return tuple(found)


def _edge(one: Any) -> Edge:
    if isinstance(one, Edge):
        return one
    if isinstance(one, str):
        match = _TEXT.fullmatch(one)
        if match is None:
            raise SpecError("edges", one, '"PARTY.STREAM -> PARTY.STREAM" is needed')
        return Edge(match[1], match[2])
    if isinstance(one, (tuple, list)) and len(one) == 2:
        return Edge(*one)
    raise SpecError("edges", one, 'Edge, ("a.stdout", "b.stdin") or "a.stdout -> b.stdin" is needed')


def with_pipes(jail: Jail | None, names: Iterable[str]) -> Jail | None:
    """The party's jail with its named pipes. Files of its own root, so there is no directory to fill."""
    pipes = tuple(Mount("pipe", f"{PIPES}/{name}", ro=False) for name in names)
    if not pipes:
        return jail
    jail = jail or Jail()
    return replace(jail, mounts=(*jail.mounts, *pipes))
