"""The house: which room may use which, and nothing else. CONTRIBUTING.md has a sentence about each."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src" / "pyjail"
ROOMS = {
    "_base": "",
    "_core": "_base",
    "_images": "_base",
    "_spec": "_base _images",
    "_egress": "_base _spec _result",
    "_host": "_base _core",
    "_policy": "_base _spec _host",
    "_result": "_base _spec",
    "_cgroups": "_base _core _host _policy",
    "_plan": "_base _core _images _spec _host _policy _cgroups",
    "_keeper": "_base _core _spec _host _policy _cgroups _plan",
    "_verdict": "_base _core _spec _host _policy _result _plan _keeper",
    "_run": "_base _core _spec _host _policy _result _cgroups _plan _keeper _verdict _egress",
    "_live": "_base _spec _result _keeper _verdict _run",
    "_many": "_base _spec _policy _result _plan _keeper _verdict _run",
    "_learn": "_base _spec _host _policy _result _plan _run",
    "_session": "_base _core _images _spec _policy _result _plan _keeper _verdict _run _live",
    "_box": "_base _core _egress _spec _host _policy _result _cgroups _plan _keeper _verdict _run _live _session",
    "_interact": "_base _core _spec _result _keeper _run _live",
    "languages": "_base _spec _result _plan _run _many _learn",
    "_doctor": "_base _images _spec _host _policy _result _cgroups _plan _run",
    "images": "__init__ _base _images _spec languages",
    "records": "_base",
    "cgroup": "_host _cgroups _plan _run",
    "aio": "_base _spec _result _keeper _verdict _run _live _many _session _box _interact languages grading interpreter",
    "testing": "_run",
    "__init__": "_base _spec _run",
    # of public names alone, as anybody's program is
    "grading": "__init__ records languages",
    "cli": "__init__ images records languages integrations precheck sanitize serve",
    "boxlite": "__init__ aio images interpreter languages",
    "integrations": "__init__ aio interpreter",
    "interpreter": "__init__ records",
    "precheck": "__init__ aio records",
    "sanitize": "__init__",
    "serve": "__init__ aio images languages precheck sanitize testing",
    "_selftest": "__init__ images records",
    "__main__": "cli",
}
FILES = {"__init__.py", "__init__.pyi", "__main__.py", "cgroup.py", "records.py", "schema.json", "py.typed"}
# In tests of what users see: a private module that is imported, asked for or replaced, in code or in a program's text.
PRIVATE = re.compile(
    r"""(?<!["'`\w.])pyjail\.(_[a-z]\w+) | (?:from|import)\ pyjail\.(\w+)[\w.]*(?:\._\w|\ import\ .*\b_\w) | setattr\("pyjail\.(\w+)""", re.X
)  # fmt: skip
THEIRS = {
    "_exit",
    "_fields",
    "_log_destroy_pending",
    "_replace",
    "_repr_html_",
    "_set_running_loop",
}  # of Python and Jupyter
BESIDE = {"jail/grading/tasks"}  # folders of tests that are no room: what the tests of one read


def modules() -> dict[str, Path]:
    """All of them, by their dotted name below pyjail."""
    found = {}
    for path in SRC.rglob("*.py"):
        name = ".".join(path.relative_to(SRC).with_suffix("").parts)
        found[name if name == "__init__" else name.removesuffix(".__init__")] = path
    return found


MODULES = modules()


def room(name: str) -> str:
    return name.split(".")[0]


def imports(name: str, tree: ast.AST) -> list[tuple[str, str]]:
    """(module, name taken from it or "") of all that a module imports of pyjail: early, late, or for type checkers."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(a.name, "") for a in node.names if a.name.split(".")[0] == "pyjail"]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:  # of the parts that run inside
                base = ".".join(["pyjail", *name.split(".")[: -node.level], *([base] if base else [])])
            if base.split(".")[0] == "pyjail":
                found += [(base, a.name) for a in node.names]
    resolved = []
    for module, taken in found:
        below = module.removeprefix("pyjail").lstrip(".")
        inner = f"{below}.{taken}".lstrip(".")
        if inner in MODULES or inner == "_core.native":
            resolved.append((inner, ""))
        else:
            resolved.append((below or "__init__", taken))
    return resolved


GRAPH = {name: imports(name, ast.parse(path.read_text())) for name, path in MODULES.items()}


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Names that come back to themselves, by what they name."""
    done: set[str] = set()
    found: list[list[str]] = []

    def visit(name: str, way: list[str]) -> None:
        if name in way:
            found.append([*way[way.index(name) :], name])
        elif name not in done:
            for other in sorted(graph.get(name, ())):
                visit(other, [*way, name])
            done.add(name)

    for name in sorted(graph):
        visit(name, [])
    return found


def test_every_module_lies_in_a_room_and_few_files_beside_them():
    assert {room(name) for name in MODULES} == set(ROOMS)
    assert {p.name for p in SRC.iterdir() if p.is_file()} <= FILES
    assert len(FILES) <= 8


def test_a_room_imports_only_rooms_of_its_row():
    wrong = {
        f"{name} -> {other}"
        for name, taken in GRAPH.items()
        for other, _ in taken
        if room(other) != room(name) and room(other) not in ROOMS[room(name)].split()
    }
    assert wrong == set()


def test_the_table_allows_no_more_than_is_used():
    used = {r: {room(o) for n, taken in GRAPH.items() if room(n) == r for o, _ in taken} - {r} for r in ROOMS}
    assert {r: sorted(set(row.split()) - used[r]) for r, row in ROOMS.items() if set(row.split()) - used[r]} == {}


def test_no_circle_of_modules_or_of_rooms():
    assert circles({name: {other for other, _ in taken} - {name} for name, taken in GRAPH.items()}) == []
    assert circles({r: set(row.split()) for r, row in ROOMS.items()}) == []


def test_between_rooms_only_names_without_an_underscore_are_used():
    wrong = set()
    for name, path in MODULES.items():
        ours = {}  # names of this file that are modules of another room
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("pyjail"):
                continue
            for alias in node.names:
                module = f"{node.module}.{alias.name}".removeprefix("pyjail.")
                if module in MODULES and room(module) != room(name):
                    ours[alias.asname or alias.name] = module
        for other, taken in GRAPH[name]:
            if room(other) != room(name) and any(part.startswith("_") for part in [*other.split(".")[1:], taken]):
                wrong.add(f"{name}: {other}.{taken}")
        for node in ast.walk(ast.parse(path.read_text())):
            asked = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ours
            if asked and node.attr.startswith("_") and not node.attr.startswith("__"):
                wrong.add(f"{name}: {ours[node.value.id]}.{node.attr}")
    assert wrong == set()


@pytest.mark.parametrize("graph", [{"a": {"b"}, "b": {"a"}}, {"a": {"b"}, "b": {"c"}, "c": {"d", "b"}}, {"a": {"a"}}])
def test_a_circle_is_seen(graph):
    assert circles(graph)


def test_files_stay_small():
    places = ("src", "tests", "benchmarks", "examples", "csrc")
    files = [path for place in places for kind in ("py", "c", "h") for path in (ROOT / place).rglob(f"*.{kind}")]
    assert {str(path): n for path in files if (n := len(path.read_text().splitlines())) > 400} == {}


def folders(tests: Path) -> set[str]:
    """Those below tests/unit and tests/jail, such as jail/run."""
    files = [path for tier in ("unit", "jail") for path in (tests / tier).rglob("*.py")]
    return {below for path in files if "/" in (below := path.parent.relative_to(tests).as_posix())}


def astray(found: set[str]) -> set[str]:
    rooms = {name.removeprefix("_") for name in ROOMS if not name.startswith("__")}
    return {f for f in found - BESIDE if f.count("/") > 1 or f.split("/")[1] not in rooms}


def test_tests_lie_in_folders_that_have_the_names_of_rooms():
    found = folders(ROOT / "tests")
    assert {"jail/run", "unit/spec"} | BESIDE <= found
    assert astray(found) == set()


@pytest.mark.parametrize("path", ["jail/pools/test_x.py", "unit/run/more/test_x.py", "jail/_run/test_x.py"])
def test_a_folder_of_tests_that_is_no_room_is_seen(tmp_path, path):
    for each in (path, "jail/grading/tasks/__init__.py", "unit/test_x.py", "jail/selftest/test_x.py"):
        (tmp_path / each).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / each).touch()
    assert astray(folders(tmp_path)) == {path.rpartition("/")[0]}


def reached(text: str, own: str) -> set[str]:
    """Rooms and attributes that a test looks into; not those of the room ``own``, which it is about."""
    found = {next(filter(None, match.groups())) for match in PRIVATE.finditer(text)}
    tree = ast.parse(text)
    about = {"self", "cls"}  # and names of this file that are modules of its room
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith((f"pyjail._{own}", f"pyjail.{own}")):
            about |= {alias.asname or alias.name for alias in node.names}
    for node in ast.walk(tree):
        asked = isinstance(node, ast.Attribute) and not (isinstance(node.value, ast.Name) and node.value.id in about)
        if asked and re.match(r"_(?!_)", node.attr) and node.attr not in THEIRS:
            found.add(node.attr)
    return found - {own, f"_{own}"}


def test_tests_of_what_users_see_look_inside_of_their_own_room_alone():
    """What else they need of it is in tests/inside.py."""
    found = {}
    for tier in ("jail", "escape"):
        for path in (ROOT / "tests" / tier).rglob("*.py"):
            below = path.relative_to(ROOT / "tests" / tier).parts
            found[f"{tier}/{'/'.join(below)}"] = reached(path.read_text(), below[0] if len(below) > 1 else "-")
    assert len(found) > 80
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


@pytest.mark.parametrize(
    "text",
    ["from pyjail._plan import prepare", "import pyjail._plan.prepare", "from pyjail.aio._reader import _Pieces",
     "from pyjail.languages import _judge", "import pyjail\npyjail._host.machine.host()", "p._turn.keeper.pid",
     "aio._source.gate", "executor._pool", "m.setattr('pyjail._spec.trees.MOST', 5)".replace("'", '"'),
     "code = '''\n    from pyjail._cgroups import janitor\n    janitor.watch(path)\'''"],
)  # fmt: skip
def test_a_test_that_looks_into_another_room_is_seen(text):
    assert reached(text, "run") != set()
    mine = "from pyjail._run import turn\nturn._f()\nimport pyjail\npyjail._run.run.idle\nos._exit(0)\n'pyjail._plan.x'\nself._x"
    assert reached(mine, "run") == set()
