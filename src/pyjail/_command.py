"""The arguments of `run`, validated before anything is started."""

from __future__ import annotations

import codecs
import fcntl
import os
import stat
from collections.abc import Callable, Mapping, Sequence

from pyjail import _lazy, _units
from pyjail._errors import SpecError
from pyjail._records import NamedTuple
from pyjail._spec import DEVNULL, PIPE, STDOUT, Env, Jail, Limits, inside, text, with_python

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyjail import _inputs

MOST_BYTES = 8 << 20  # of arguments and environment; the kernel's own bound is a quarter of the stack limit


NULL, CAPTURED, GIVEN, MERGED = "null", "captured", "fd", "stdout"  # what a stream is: enum pj_stdio
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
    files: tuple[_inputs.Input, ...]
    collect: tuple[Any, ...]
    decode: Decode | None
    timeout: float | None
    attach: Callable[[int], None] | None = None  # see `Keeper`; for a fresh one only
    read_only: bool = False  # a session's /box is only read
    terminal: bool = False  # stdin is a terminal, to be the controlling one


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
        text = _text_mode(text, universal_newlines, capture_output, stdout, stderr)
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
        _check_codec(*decode[:2])
    argv = _argv(args)
    environment: Any = jail.env if env is None else env if isinstance(env, Env) else Env(env)
    if jail.python is not None:
        environment = with_python(environment)
    if jail.deterministic:
        with _lazy.lock:
            from pyjail import _deterministic

        environment = _deterministic.environment(environment)
    if sum(map(len, argv)) + sum(map(len, environment.packed)) > MOST_BYTES:
        raise SpecError("args", f"{len(argv)} arguments", f"with env they may be {MOST_BYTES} bytes in all")
    modes, fds = _stdio(input, stdin, stdout, stderr)
    inputs: tuple[_inputs.Input, ...] = ()
    patterns: tuple[Any, ...] = ()
    if files or collect:
        with _lazy.lock:
            from pyjail import _inputs

        inputs = _inputs.check_inputs(files) if files else ()
        patterns = _inputs.check_patterns(collect) if collect else ()
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
        timeout=_units.seconds("timeout", timeout),
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


def _text_mode(text: Any, universal_newlines: Any, capture_output: Any, stdout: Any, stderr: Any) -> bool:
    """Whether text is wanted, in `subprocess`'s other words; SpecError where they mean what is not done here."""
    if capture_output is not None:
        if capture_output is not True:
            why = "both are captured, and nothing is inherited: stdout= and stderr= take a file, or pyjail.DEVNULL"
            raise SpecError("capture_output", capture_output, why)
        if stdout is not None or stderr is not None:
            raise SpecError("capture_output", True, "cannot be given together with stdout or stderr")
    if universal_newlines is not None and not isinstance(universal_newlines, bool):
        raise SpecError("universal_newlines", universal_newlines, "True or False is needed, as for text")
    return bool(text or universal_newlines)


def _check_codec(encoding: Any, errors: Any) -> None:
    for field, value in (("encoding", encoding), ("errors", errors)):
        if not isinstance(value, str):
            raise SpecError(field, value, "a codec's name is needed")
    try:
        codecs.lookup_error(errors)
        with _lazy.lock:  # encodings.NAME is imported
            b"".decode(encoding, errors)
            "".encode(encoding)
    except (LookupError, ValueError) as e:
        raise SpecError("encoding", (encoding, errors), str(e)) from None


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


def _stdio(input: Any, stdin: Any, stdout: Any, stderr: Any) -> tuple[tuple[str, str, str], tuple[int, ...]]:
    """(what each stream is, the caller's fds in order)."""
    if input is None and stdin is None and stdout is None and stderr is None:
        return _CAPTURE, ()
    if input is not None and stdin is not None:
        raise SpecError("stdin", stdin, "cannot be given together with input")
    modes, fds = [], []
    for name, value, default in (
        ("stdin", stdin, NULL),
        ("stdout", stdout, CAPTURED),
        ("stderr", stderr, CAPTURED),
    ):
        if value is None or (value == PIPE and isinstance(value, int) and name != "stdin"):
            modes.append(default)
        elif isinstance(value, int) and value == DEVNULL:
            modes.append(NULL)
        elif isinstance(value, int) and value == STDOUT and name == "stderr":
            modes.append(MERGED)
        else:
            modes.append(GIVEN)
            fds.append(_fd(name, value))
    return (modes[0], modes[1], modes[2]), tuple(fds)


_CAPTURE = (NULL, CAPTURED, CAPTURED)


def _fd(name: str, value: Any) -> int:
    """The caller's fd. A directory, or an O_PATH fd, would be a door out of the jail."""
    try:
        fd = value if isinstance(value, int) and not isinstance(value, bool) else value.fileno()
    except (AttributeError, OSError, ValueError):
        raise SpecError(name, value, "a file or an open fd is needed") from None
    if not isinstance(fd, int) or fd < 0:
        raise SpecError(name, value, "a file or an open fd is needed")
    try:
        mode = os.fstat(fd).st_mode
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    except (OSError, OverflowError):
        raise SpecError(name, value, "this fd is not open") from None
    if stat.S_ISDIR(mode) or stat.S_ISLNK(mode) or flags & os.O_PATH:
        raise SpecError(name, value, "a directory's fd would let the program out of its root")
    if stat.S_ISCHR(mode) and os.isatty(fd):
        with _lazy.lock:
            from pyjail._terminal import Terminal

        if not isinstance(value, Terminal):  # whichever way it was opened: TCSETS asks for no right to read or write
            raise SpecError(name, value, _TERMINAL)
    return fd


_TERMINAL = (
    "this is a terminal: the program could read what is typed there, and switch off echo and ^C. "
    "Capture it and print what comes, or hand it over by pyjail.Terminal(...)"
)
