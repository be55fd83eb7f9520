"""What ``files=`` and ``collect=`` ask for, validated before anything is started."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Mapping, Sequence

from pyjail._base import lazy
from pyjail._base.errors import SpecError
from pyjail._base.glob import Glob
from pyjail._base.records import NamedTuple
from pyjail._spec.jail import File, Link, text


class Input(NamedTuple):
    """One file to write: bytes, or a file of the host, which may be in a tree that is copied."""

    path: str
    mode: int
    data: bytes | None
    source: str | None
    tree: str | None = None
    kind: str = "file"  # "directory"; "link": data is where it leads


def check_inputs(files: object) -> tuple[Input, ...]:
    """Validate ``files=``; SpecError names the path at fault. Nothing is opened yet."""
    if files is None:
        return ()
    if not isinstance(files, Mapping):
        raise SpecError("files", files, "a mapping of relative paths to contents is needed")
    found: dict[str, Input] = {}
    for name, value in files.items():
        path = "" if name == "." and isinstance(value, os.PathLike) else relative("files", name)
        if path in found:
            raise SpecError("files", name, "names the same file as another entry")
        if isinstance(value, File):
            data = value.data
            found[path] = Input(path, value.mode, _encode(path, data) if isinstance(data, str) else data, None)
        elif isinstance(value, Link):
            found[path] = Input(path, 0o777, os.fsencode(value.target), None, None, "link")
        elif isinstance(value, (bytes, bytearray, memoryview)):
            found[path] = Input(path, 0o644, bytes(value), None)
        elif isinstance(value, str):
            found[path] = Input(path, 0o644, _encode(path, value), None)
        elif isinstance(value, os.PathLike):
            source = text("files", value)
            try:
                st = os.stat(source)
            except OSError as e:
                raise SpecError("files", value, _unread(path, source, e)) from None
            if stat.S_ISDIR(st.st_mode):
                _tree(found, path, source)
                continue
            if not stat.S_ISREG(st.st_mode):
                raise SpecError("files", value, f"the source of {path!r} is neither a regular file nor a directory")
            found[path] = Input(path, stat.S_IMODE(st.st_mode) & 0o777, None, source)
        else:
            raise SpecError("files", value, f"what {path!r} is to hold must be bytes, str, a Path, a File or a Link")
    for path in found:
        parent = os.path.dirname(path)
        while parent:
            if parent in found and found[parent].kind != "directory":
                raise SpecError("files", path, f"{parent!r} cannot be a file and a directory")
            parent = os.path.dirname(parent)
    return tuple(found.values())


def _unread(path: str, source: str, error: OSError) -> str:
    """Why a source cannot be read, and what may have been meant."""
    near: list[str] = []
    if isinstance(error, FileNotFoundError):
        import difflib

        with contextlib.suppress(OSError):
            near = difflib.get_close_matches(os.path.basename(source), os.listdir(os.path.dirname(source) or "."), 1)
    meant = f"; did you mean {os.path.join(os.path.dirname(source), near[0])!r}?" if near else ""
    return f"the source of {path!r} cannot be read: {error.strerror}{meant}"


def _tree(found: dict[str, Input], path: str, source: str, anywhere: bool = False) -> None:
    """All of a directory of the host, below ``path``; ``anywhere``: links may lead out of it."""
    if path:
        found[path] = Input(path, 0o755, None, None, None, "directory")
    with lazy.lock:
        from pyjail._spec import trees

    try:
        for inner, st, target in trees.entries(source, anywhere):
            name = f"{path}/{inner}" if path else inner
            if name in found:
                raise SpecError("files", name, "names the same file as another entry")
            if stat.S_ISDIR(st.st_mode):
                found[name] = Input(name, 0o755, None, None, None, "directory")
            elif target is not None:
                found[name] = Input(name, 0o777, os.fsencode(target), None, None, "link")
            else:
                found[name] = Input(name, stat.S_IMODE(st.st_mode) & 0o777, None, inner, source)
    except OSError as e:
        raise SpecError("files", source, f"cannot be read: {e.strerror}") from None


def check_copied(source: str) -> tuple[Input, ...]:
    """What a file or directory of the host comes to, with "" for its own path; links are what they are, wherever they
    lead. SpecError, OSError: it cannot be read."""
    st = os.stat(source)
    if stat.S_ISREG(st.st_mode):
        return (Input("", stat.S_IMODE(st.st_mode) & 0o777, None, source),)
    if not stat.S_ISDIR(st.st_mode):
        raise SpecError("src", source, "neither a regular file nor a directory")
    found: dict[str, Input] = {}
    _tree(found, "", source, anywhere=True)
    return (Input("", 0o755, None, None, None, "directory"), *found.values())


def _encode(path: str, content: str) -> bytes:
    try:
        return content.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as e:
        raise SpecError("files", path, f"its content cannot be written as UTF-8: {e.reason}") from None


def relative(field: str, name: object) -> str:
    """A relative path below /box: no "..", not absolute, not empty."""
    path = text(field, name)
    parts = [p for p in path.split("/") if p not in ("", ".")]
    if path.startswith("/") or ".." in parts or not parts:
        raise SpecError(field, name, 'a relative path below /box without ".." is needed')
    if any(len(os.fsencode(p)) > 255 for p in parts) or len(os.fsencode(path)) > 4000:
        raise SpecError(field, name, "longer than a path can be")
    return "/".join(parts)


def check_patterns(patterns: object) -> tuple[Glob, ...]:
    """Parse ``collect=``: pathlib-style globs, ``**`` recurses."""
    if isinstance(patterns, (str, bytes)) or not isinstance(patterns, (Sequence, set, frozenset)):
        raise SpecError("collect", patterns, "a sequence of patterns is needed")
    return tuple(Glob(relative("collect", p)) for p in patterns)
