"""The arguments of `run`, validated before anything is started."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

from pyjail._base import lazy, units
from pyjail._base.errors import SpecError
from pyjail._base.records import NamedTuple
from pyjail._spec.jail import CAPTURED, NULL, Env, Jail, Limits, inside, text, with_python

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyjail._spec import inputs as spec_inputs

MOST_BYTES = 8 << 20  # of arguments and environment; the kernel's own bound is a quarter of the stack limit


Decode = tuple[str, str, str]  # encoding, errors of what is read, errors of what is written


class Command(NamedTuple):
    """One validated call of `run`."""

    args: Any  # as given, for the result
    input: bytes | None
    argv: tuple[bytes, ...]
    limits: Limits
    jail: Jail
    env: Env
    cwd: str
    stdio: tuple[str, str, str]  # `NULL`, `CAPTURED`, `GIVEN` or `MERGED`, of each stream
    fds: tuple[int, ...]
    files: tuple[spec_inputs.Input, ...]
    collect: tuple[Any, ...]
    decode: Decode | None
    timeout: float | None
    attach: Callable[[int], None] | None = None  # see `Keeper`; for a fresh one only
    read_only: bool = False  # a session's /box is only read
    terminal: bool = False  # stdin is a terminal, to be the controlling one
    keep: bool = False  # what it leaves behind in a box lives on


def make(
    args: Any,
    limits: Limits | None = None,
    jail: Jail | None = None,
    /,
    *,
    input: Any = None,
    stdin: object = None,
    stdout: object = None,
    stderr: object = None,
    env: Mapping[str, str] | None = None,
    cwd: object = None,
    files: Mapping[str, object] | None = None,
    collect: Sequence[Any] = (),
    text: object = False,
    encoding: Any = None,
    errors: Any = None,
    timeout: float | str | None = None,
    universal_newlines: object = None,
    capture_output: object = None,
    **unknown: object,
) -> Command:
    """The one way from what a caller wrote to a `Command`. SpecError names the argument at fault, TypeError one that
    there is not."""
    if unknown:
        raise TypeError(unexpected(next(iter(unknown))))
    if universal_newlines is not None or capture_output is not None:
        text = _given().text_mode(text, universal_newlines, capture_output, stdout, stderr)
    key = None
    if (
        env is cwd is files is stdin is stdout is stderr is timeout is None
        and not collect
        and type(args) in _SEQUENCES
        and {*map(type, args)} == _STRINGS
    ):
        key = (*args, id(limits), id(jail), text, encoding, errors)
        try:
            found = _made.get(key)
        except TypeError:  # an encoding that is none
            found = key = None
        if found is not None:
            rest = found[2]
            data = None if input is None else _input(input, rest[_DECODE])
            return _new(Command, (args, data, *rest))
    if limits is None:
        limits = _DEFAULT_LIMITS
    elif not isinstance(limits, Limits):
        raise SpecError("limits", limits, "a pyjail.Limits is needed")
    if jail is None:
        jail = _DEFAULT_JAIL
    elif not isinstance(jail, Jail):
        raise SpecError("jail", jail, "a pyjail.Jail is needed")
    decode = None
    if text or encoding or errors:
        decode = (encoding or "utf-8", errors or "replace", errors or "strict")
        _given().check_codec(*decode[:2])
    argv = _argv(args)
    environment: Any = jail.env if env is None else env if isinstance(env, Env) else Env(env)
    if jail.python is not None:
        environment = with_python(environment)
    if jail.deterministic:
        with lazy.lock:
            from pyjail._spec import deterministic

        environment = deterministic.environment(environment)
    if not isinstance(jail.network, str):
        with lazy.lock:
            from pyjail._spec import proxied

        environment = proxied.environment(environment)
    if sum(map(len, argv)) + sum(map(len, environment.packed)) > MOST_BYTES:
        raise SpecError("args", f"{len(argv)} arguments", f"with env they may be {MOST_BYTES} bytes in all")
    modes: tuple[str, str, str] = _CAPTURE
    fds: tuple[int, ...] = ()
    if stdin is not None or stdout is not None or stderr is not None:
        modes, fds = _given().streams(input, stdin, stdout, stderr)
    inputs: tuple[spec_inputs.Input, ...] = ()
    patterns: tuple[Any, ...] = ()
    if files or collect:
        with lazy.lock:
            from pyjail._spec import inputs as spec_inputs

        inputs = spec_inputs.check_inputs(files) if files else ()
        patterns = spec_inputs.check_patterns(collect) if collect else ()
    if (inputs or patterns) and any(m.dst == "/box" and m.kind == "bind" for m in jail.mounts):
        raise SpecError("files" if inputs else "collect", "...", "/box is a bind of yours: use that directory itself")
    made = Command(
        args=args,
        input=_input(input, decode),
        argv=argv,
        limits=limits,
        jail=jail,
        env=environment,
        cwd="/box" if cwd is None else inside("cwd", cwd),
        stdio=modes,
        fds=fds,
        files=inputs,
        collect=patterns,
        decode=decode,
        timeout=units.seconds("timeout", timeout),
    )
    if key is not None and sum(map(len, argv)) <= SMALL:
        if len(_made) >= MOST_MADE:
            _made.clear()
        _made[key] = limits, jail, made[2:]
    return made


OPTIONS = (*(make.__kwdefaults__ or ()),)


def unexpected(name: str) -> str:
    """What a TypeError says of an option that there is not."""
    return f"unexpected keyword argument {name!r}"


_DEFAULT_LIMITS = Limits()
_DEFAULT_JAIL = Jail()
_SEQUENCES, _STRINGS = (list, tuple), {str}
_DECODE = Command._fields.index("decode") - 2
_new = tuple.__new__
# Many callers run one command again and again, under the same objects: those stay alive here, so that their ids stay
# theirs.
SMALL, MOST_MADE = 4096, 64
_made: dict[tuple[Any, ...], tuple[Limits, Jail, tuple[Any, ...]]] = {}


def _given() -> Any:
    with lazy.lock:
        from pyjail._spec import given

    return given


def _argv(args: Any) -> tuple[bytes, ...]:
    if isinstance(args, (str, bytes)) or not isinstance(args, Sequence):
        raise SpecError("args", args, "a sequence of arguments is needed, never a shell string")
    if not args:
        raise SpecError("args", args, "an empty sequence names no program")
    argv = tuple(
        [a.encode() if type(a) is str and a.isascii() and "\0" not in a else os.fsencode(text("args", a)) for a in args]
    )
    if not argv[0]:
        raise SpecError("args", args, "the program's name is empty")
    return argv


def _input(value: Any, decode: Decode | None) -> bytes | None:
    if value is None:
        return None
    if isinstance(value, str):
        if decode is None:
            raise SpecError("input", value, "bytes are needed unless text=True or encoding= is given")
        try:
            return value.encode(decode[0], decode[2])
        except UnicodeEncodeError as e:
            raise SpecError("input", value, str(e)) from None
    if isinstance(value, (bytes, bytearray, memoryview)):
        if decode is not None:
            raise SpecError("input", value, "str is needed with text=True or encoding=")
        return bytes(value)
    raise SpecError("input", value, "bytes are needed (str with text=True)")


_CAPTURE = (NULL, CAPTURED, CAPTURED)
