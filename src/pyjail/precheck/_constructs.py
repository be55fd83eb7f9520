"""Constructs of a Python source: the standard library alone, for it also runs in jails, as a text."""

from __future__ import annotations

import ast
import warnings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

MOST = 100  # of what is told of one source
DUMPED = 200  # characters of a node

Found = tuple[int, int, str, str, str]  # line, column, rule, text, dump


def constructs(source: bytes, modules: Collection[str], calls: Collection[str], most_bytes: int) -> list[Found]:
    """Those of a file with these bytes, as its interpreter reads them: a byte order mark and a coding cookie count."""
    if len(source) > most_bytes:
        return [(1, 1, "complex", f"too large to check: {len(source)} bytes, at most {most_bytes} are", "")]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of strange escapes: the program's own matter
            tree = ast.parse(source)
        return _listed(tree, frozenset(modules), frozenset(calls))
    except SyntaxError as e:  # a NUL is one, too, or a ValueError in older interpreters
        where = f" (line {e.lineno})" if e.lineno else ""
        return [(e.lineno or 1, max(e.offset or 1, 1), "syntax", f"{e.msg}{where}", "")]
    except ValueError as e:
        return [(1, 1, "syntax", str(e), "")]
    except (MemoryError, RecursionError):
        return [(1, 1, "complex", "too complex to check", "")]


def _listed(tree: ast.AST, modules: Collection[str], calls: Collection[str]) -> list[Found]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom, ast.Call)):
            found += [(node.lineno, node.col_offset + 1, *told, node) for told in _of(node, modules, calls)]
    found.sort(key=lambda row: row[:2])
    return [(line, column, rule, text, dump(node)) for line, column, rule, text, node in found[:MOST]]


def _of(node: ast.AST, modules: Collection[str], calls: Collection[str]) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
        yield from (("import", f"import of {name[:DUMPED]}") for name in names if _first(name) in modules)
    elif isinstance(node, ast.ImportFrom):
        yield from _from(node, modules, calls)
    elif isinstance(node, ast.Call):
        name = _called(node.func)
        if name in calls:
            yield "call", f"call of {name}"
        elif name == "__import__" and node.args and isinstance(node.args[0], ast.Constant):
            named = node.args[0].value
            if isinstance(named, str) and _first(named) in modules:
                yield "import", f"import of {named[:DUMPED]}"


def _from(node: ast.ImportFrom, modules: Collection[str], calls: Collection[str]) -> Iterator[tuple[str, str]]:
    """``from os.path import join``, ``from .os import x``, ``from . import os``, ``from builtins import eval``."""
    base = node.module or ""
    if _first(base) in modules:
        yield "import", f"import of {base[:DUMPED]}"
        return
    for alias in node.names:
        if not base and _first(alias.name) in modules:
            yield "import", f"import of {alias.name[:DUMPED]}"
        elif base == "builtins" and alias.name in calls:
            yield "import", f"import of builtins.{alias.name}"


def _first(name: str) -> str:
    return name.partition(".")[0]


def _called(node: ast.AST) -> str:
    """The name of a function of Python's own that is called: ``eval``, ``builtins.eval``, ``__builtins__.eval``."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return node.attr if node.value.id in ("builtins", "__builtins__") else ""
    return ""


def dump(node: ast.AST, most: int = DUMPED) -> str:
    """As `ast.dump`, but cut: no node is too deep, no number too long for it."""
    text, size = [], 0
    for part in _parts(node):
        text.append(part)
        size += len(part)
        if size >= most:  # a generator that is not asked on goes no deeper
            break
    return "".join(text)[:most]


def _parts(node: object) -> Iterator[str]:
    if isinstance(node, ast.AST):
        yield f"{type(node).__name__}("
        separator = ""
        for name in node._fields:
            value = getattr(node, name, None)
            if value is None and getattr(type(node), name, ...) is None:
                continue
            yield f"{separator}{name}="
            yield from _parts(value)
            separator = ", "
        yield ")"
    elif isinstance(node, list):
        yield "["
        for n, item in enumerate(node):
            yield ", " if n else ""
            yield from _parts(item)
        yield "]"
    elif isinstance(node, (str, bytes)):
        yield repr(node[:DUMPED])
    elif isinstance(node, int) and node.bit_length() > 64:
        yield hex(node)[:DUMPED]
    else:
        yield repr(node)
