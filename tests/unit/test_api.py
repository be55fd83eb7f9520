"""The public names and their signatures, the command line and its exit codes are those of api.txt.

`python -m tests.unit.test_api` writes that file anew; what changes in it is for the CHANGELOG.
"""

from __future__ import annotations

import ast
import contextlib
import enum
import inspect
import io
import re
import types
import typing
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import pyjail
from pyjail import cli

WHERE = Path(__file__).with_name("api.txt")
MODULES = (
    "pyjail",
    "pyjail.aio",
    "pyjail.boxlite",
    "pyjail.cgroup",
    "pyjail.grading",
    "pyjail.images",
    "pyjail.interpreter",
    "pyjail.languages",
    "pyjail.precheck",
    "pyjail.sanitize",
    "pyjail.testing",
    "pyjail.records",
)
MADE_FOR_YOU = (  # by start(), by a box: nobody calls them
    "Process", "AsyncProcess", "AsyncReader", "AsyncWriter", "Execution", "ExecStdin", "ExecStdout", "ExecStderr",
    "Context",
    "SnapshotHandle", "SyncBox", "SyncExecution", "SyncExecStdout", "SyncExecStderr",
)  # fmt: skip
COMMANDS = re.compile(r"^    ([a-z]+) ", re.MULTILINE)


def _unpacked(call: object, name: str) -> list[str]:
    """The keywords behind ``**name: Unpack[SomeTypedDict]``."""
    while hasattr(call, "__wrapped__"):
        call = call.__wrapped__
    text = inspect.get_annotations(call).get(name)  # type: ignore[arg-type]
    found = re.fullmatch(r"Unpack\[(\w+)\]", str(text))
    if found is None:
        return [f"**{name}"]
    if found[1] == "How":
        return [f"{word}=None" for word in import_module("pyjail._images.commit").How.__annotations__]
    kinds = import_module("pyjail._spec.parameters")
    defaults = inspect.signature(pyjail.run).parameters
    words = typing.get_type_hints(getattr(kinds, found[1]))
    live = dict.fromkeys(("stdin", "stdout", "stderr"), pyjail.PIPE) if found[1] == "Live" else {}
    return [f"{word}={live.get(word, defaults[word].default)!r}" for word in defaults if word in words]


def signature(call: object) -> str:
    """Names, kinds and defaults of parameters, without their types."""
    try:
        found = inspect.signature(call)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return "(...)"
    words: list[str] = []
    keywords: list[str] = []
    for p in found.parameters.values():
        text = p.name if p.default is p.empty else f"{p.name}={p.default!r}"
        if p.kind is p.VAR_KEYWORD:
            keywords += _unpacked(call, p.name)
        elif p.kind is p.VAR_POSITIONAL:
            words.append("*" + text)
        elif p.kind is p.KEYWORD_ONLY:
            keywords.append(text)
        else:
            words.append(text)
    return re.sub(
        r" at 0x[0-9a-f]+", "", "(" + ", ".join([*words, *(["*", *sorted(keywords)] if keywords else [])]) + ")"
    )


def _class(where: str, kind: type) -> Iterator[str]:
    ours = {
        getattr(import_module(m), name) for m in MODULES[:-1] for name in import_module(m).__all__ if name[0].isupper()
    }
    bases = ", ".join(b.__name__ for b in kind.__mro__[1:-1] if b.__module__ == "builtins" or b in ours)
    call = "" if issubclass(kind, enum.Enum) or kind.__name__ in MADE_FOR_YOU else signature(kind)
    yield f"class {where}{call}" + (f": {bases}" if bases else "")
    if issubclass(kind, enum.Enum):
        yield from (f"  {member.name} = {member.value!r}" for member in kind)
        return
    for name in sorted(dir(kind)):
        theirs = OSError if issubclass(kind, BaseException) else str if issubclass(kind, str) else object
        if name.startswith("_") or hasattr(theirs, name):
            continue
        value = inspect.getattr_static(kind, name)
        if isinstance(value, staticmethod | classmethod | types.FunctionType):
            yield f"  {name}{signature(getattr(kind, name))}"
        else:
            yield f"  {name}"


def names() -> Iterator[str]:
    for where in MODULES:
        module = import_module(where)
        for name in sorted(module.__all__):
            value = getattr(module, name)
            path = f"{where}.{name}"
            if isinstance(value, type):
                yield from _class(path, value)
            elif isinstance(value, types.ModuleType):
                yield f"module {path}"
            elif callable(value):
                yield f"def {path}{signature(value)}"
            else:
                yield f"{path}: {type(value).__name__}"


def _help(*words: str) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.suppress(SystemExit):
        cli.main([*words, "--help"])
    return said.getvalue()


def command_line() -> Iterator[str]:
    """What each command's --help says that it takes."""
    for command in ["", *COMMANDS.findall(_help())]:
        text = _help(*([command] if command else []))
        found = sorted(set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", text)))
        yield " ".join(["pyjail", *([command] if command else []), *found])


def exit_codes() -> list[str]:
    """The lines of api.txt that tests/jail/cli/test_doors.py runs, for which there must be a jail: written by hand."""
    return [line for line in WHERE.read_text().splitlines() if " -> " in line]


def everything() -> str:
    return "\n".join([*names(), "", *command_line(), "", *exit_codes(), ""])


def test_names_signatures_and_command_line_are_what_they_were():
    assert everything().splitlines() == WHERE.read_text().splitlines()


def test_the_options_are_the_keywords_of_run():
    from pyjail._spec import commands
    from pyjail._spec.parameters import Options

    keywords = [p.name for p in inspect.signature(pyjail.run).parameters.values() if p.kind is p.KEYWORD_ONLY]
    options = set(typing.get_type_hints(Options))
    assert options | {"jail"} == set(keywords)
    assert set(commands.OPTIONS) | {"check"} == options


def spelled(tree: ast.AST) -> Iterator[str]:
    """Functions that have most of what `run` takes as parameters of their own."""
    words = {p.name for p in inspect.signature(pyjail.run).parameters.values() if p.kind is p.KEYWORD_ONLY}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            own = {a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)}
            if len(own & words) > 5:
                yield node.name


def test_the_keywords_of_run_are_spelled_out_where_it_is_and_where_a_command_is_made():
    """All other doors take ``**options: Unpack[...]`` of `_spec.parameters`."""
    src = Path(pyjail.__file__).parent
    found = {
        f"{path.relative_to(src)}:{name}" for path in src.rglob("*.py") for name in spelled(ast.parse(path.read_text()))
    }
    assert found == {"_run/run.py:run", "_spec/commands.py:make"}


@pytest.mark.parametrize("door", [pyjail.measure, pyjail.learn, pyjail.timings, pyjail.run, pyjail.start])
def test_a_door_refuses_what_it_does_not_take(door):
    with pytest.raises(TypeError, match="unexpected keyword argument 'nope'"):
        door(["true"], nope=1)
    for word in {"collect", "input"} - {*re.findall(r"\w+", signature(door))}:
        with pytest.raises(TypeError, match=f"unexpected keyword argument '{word}'"):
            door(["true"], **{word: ()})


if __name__ == "__main__":
    WHERE.write_text(everything())
