"""The shape of the house: exports, docstrings, one list of steps in the order in which they happen."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import pyjail
from tests import c_code

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src" / "pyjail"


def modules():
    for path in SRC.rglob("*.py"):
        name = ".".join(path.relative_to(SRC).with_suffix("").parts)
        yield (name if name == "__init__" else name.removesuffix(".__init__")), path


BELOW = (
    "boxlite",
    "cli",
    "grading",
    "interpreter",
    "integrations",
    "precheck",
    "sanitize",
    "_selftest",
)  # rooms that are made of public names alone, as anybody's program is
PUBLIC = (
    "pyjail",
    "pyjail.aio",
    "pyjail.cgroup",
    "pyjail.grading",
    "pyjail.images",
    "pyjail.interpreter",
    "pyjail.languages",
    "pyjail.precheck",
    "pyjail.records",
    "pyjail.sanitize",
)
MODULES = {
    "pyjail.integrations": "[!_]*.py",
    "pyjail.serve": "command.py",
}  # where modules are public: they are not imported, most need frameworks


def foreign(tree, room):
    """What is imported from pyjail, or asked of what was imported, and is neither public nor of this room."""
    ours = {}  # {name in this file: what of pyjail it is}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "pyjail":
                    ours[(alias.asname or alias.name).split(".")[0]] = "pyjail"
                    if alias.name not in PUBLIC:
                        yield alias.name
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "pyjail":
            if f"{node.module}.".startswith(f"pyjail.{room}."):
                continue
            public = importlib.import_module(node.module).__all__ if node.module in PUBLIC else ()
            if node.module in MODULES:
                public = [path.stem for path in (SRC / node.module.split(".")[1]).glob(MODULES[node.module])]
            for alias in node.names:
                ours[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                if alias.name not in public:
                    yield f"{node.module}.{alias.name}"
    for node in ast.walk(tree):
        asked = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ours
        if asked and re.match(r"_(?!_)", node.attr):
            yield f"{ours[node.value.id]}.{node.attr}"


def test_below_the_line_public_names_alone_are_used():
    found = {
        name: [*foreign(ast.parse(path.read_text()), name.split(".")[0])]
        for name, path in modules()
        if name.split(".")[0] in BELOW
    }
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


@pytest.mark.parametrize(
    "line",
    ["from pyjail._run import run as _run", "from pyjail._run.run import run", "import pyjail._run.run", "from pyjail import nope",
     "import pyjail\npyjail._run.run(['true'])", "if TYPE_CHECKING:\n    from pyjail._plan.compile import Template",
     "from pyjail.integrations._kernel import place", "from pyjail.integrations import _kernel", "from pyjail._policy import lint", "from pyjail.languages._judge import judge_source", "from pyjail._selftest.report import Row"],
)  # fmt: skip
def test_what_is_not_public_is_seen_below_the_line(line):
    assert [*foreign(ast.parse(line), "cli")] != []
    public = "import pyjail\nfrom pyjail import run, aio\nfrom pyjail.integrations import kernels\nfrom pyjail.cli import ending\nfrom pyjail.records import head\n"
    assert [*foreign(ast.parse(f"{public}pyjail.__version__"), "cli")] == []


def test_a_turn_alone_sends_requests_to_a_keeper_and_reads_reports():
    allowed = {"OP_RUN": {"_run.turn"}, "OP_ARM": {"_run.ahead"}, "parse_report": {"_verdict.outcome", "_plan.report"}}
    for name, path in modules():
        words = {n.attr if isinstance(n, ast.Attribute) else n.id for n in ast.walk(ast.parse(path.read_text()))
                 if isinstance(n, (ast.Attribute, ast.Name))}  # fmt: skip
        assert not {word for word, where in allowed.items() if word in words and name not in where}, name


TEXT_ALONE = re.compile(r"os\.(fspath|fsencode|fsdecode|path\.(basename|dirname|join|normpath))$")
READS = re.compile(
    r"(open|os\..*|sys\.modules.*|socket\..*|subprocess\..*|(machine\.)?(host|probe|read|entries|kind_of))$"
)


def reads(tree):
    """Calls that find something out: of the machine, of this process, of files."""
    calls = {ast.unparse(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call)}
    return {call for call in calls if READS.match(call) and not TEXT_ALONE.match(call)}


def test_policy_touches_nothing():
    found = {name: reads(ast.parse(path.read_text())) for name, path in modules() if name.startswith("_policy.")}
    assert len(found) > 15
    assert {name: calls for name, calls in found.items() if calls} == {}


@pytest.mark.parametrize("line", ["open('/etc/passwd')", "os.getcwd()", "os.path.realpath(x)", "machine.host().arch"])
def test_a_policy_that_looks_around_is_seen(line):
    assert reads(ast.parse(line)) != set() == reads(ast.parse("os.path.basename(x), struct.pack('I', 1)"))


def test_exports_are_sorted_documented_and_public():
    assert sorted(pyjail.__all__) == sorted(set(pyjail.__all__))
    for name in pyjail.__all__:
        value = getattr(pyjail, name)
        if callable(value):
            assert value.__doc__, name
            assert value.__module__ == "pyjail", name
    assert not [
        n
        for n in vars(pyjail)
        if not n.startswith("_")
        and n not in pyjail.__all__
        and n not in ("annotations", "aio", "cgroup", "cli", "integrations", "languages", "policy", "serve")
    ]


def test_type_checkers_are_told_of_the_names_that_there_are():
    """`__init__.pyi` names each where it is, and no other."""
    stub = ast.parse((SRC / "__init__.pyi").read_text())
    told = {}
    for node in stub.body:
        if isinstance(node, ast.ImportFrom):
            told |= {alias.name: (node.module, alias.asname) for alias in node.names}
    (listed,) = (ast.literal_eval(n.value) for n in stub.body if isinstance(n, ast.Assign))
    assert sorted(told) == sorted(listed) == sorted(pyjail.__all__)
    for name, (module, other) in told.items():
        assert other is None, name
        assert getattr(importlib.import_module(module), name) is getattr(pyjail, name), name


@pytest.mark.parametrize(
    "name",
    [
        "pyjail",
        "pyjail.aio",
        "pyjail.cgroup",
        "pyjail.grading",
        "pyjail.interpreter",
        "pyjail.languages",
        "pyjail.precheck",
        "pyjail.records",
        "pyjail.sanitize",
        "pyjail.testing",
    ],
)
def test_completion_shows_public_names_alone(name):
    module = importlib.import_module(name)
    assert dir(module) == sorted(module.__all__)
    assert all(hasattr(module, public) for public in module.__all__)


# Of `import pyjail`: what a first run needs before its keeper is on its way. Downwards only, but for what
# boxes need of it (docs/adr/0022).
MOST_FILES, MOST_LINES = 32, 5950


def test_the_import_executes_no_more_than_its_budget():
    code = "import sys, pyjail; print(*[f for n, m in sys.modules.items() if n.split('.')[0] == 'pyjail' and (f := getattr(m, '__file__', None) or '').endswith('.py')], sep='\\n')"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    files = [Path(line) for line in out.splitlines()]
    assert 10 < len(files) <= MOST_FILES, sorted(files)
    assert sum(len(file.read_text().splitlines()) for file in files) <= MOST_LINES


def test_types_are_seldom_ignored():
    """Downwards only."""
    assert sum(path.read_text().count("type: ignore") for _, path in modules()) <= 11


def test_import_is_light():
    code = "import sys, pyjail; print([m for m in ('pyseccomp', 'cgroupspy', 'rich', 'asyncio', 'ctypes', 'concurrent.futures', 'subprocess', 'typing', 'dataclasses', 'inspect') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_run_does_not_load_cgroupspy_or_pyseccomp_again():
    hints = typing.get_type_hints(pyjail.run)
    assert hints["return"] is pyjail.Result


def test_steps_are_listed_in_the_order_in_which_they_happen():
    """The enum, and the first mention of each step in the code that takes them, agree."""
    enum = re.search(r"enum pj_step \{(.*?)\};", (ROOT / "csrc/plan.h").read_text(), re.S)[1]
    listed = re.findall(r"STEP_[A-Z_]+", re.sub(r"/\*.*?\*/", "", enum, flags=re.S))
    functions = c_code.functions()
    for function, first, last, twice in (
        ("template_make", "STEP_PRIVATE", "STEP_SECCOMP", {"STEP_INIT", "STEP_MOUNT"}),  # named before, for another one
        ("program_arm", "STEP_CGROUP_ENTER", "STEP_CLOSE_REST", set()),
        ("program_start", "STEP_FD", "STEP_EXEC", set()),
    ):
        seen = list(dict.fromkeys(re.findall(r"STEP_[A-Z_]+", c_code.expanded(functions, function))))
        between = [s for s in listed[listed.index(first) : listed.index(last) + 1] if s not in twice]
        assert [s for s in seen if s in between] == between, function
    body = functions["program_arm"].body
    calls = ("setresuid", "__NR_capset", "NO_NEW_PRIVS", "landlock_restrict_self", "status_note()", "CLOSE_REST")
    order = [body.index(text) for text in calls]
    assert order == sorted(order)


def test_every_step_of_the_enum_is_used_or_documented():
    source = "".join(p.read_text() for p in (ROOT / "csrc").glob("*.c"))
    enum = re.search(r"enum pj_step \{(.*?)\};", (ROOT / "csrc/plan.h").read_text(), re.S)[1]
    steps = set(re.findall(r"STEP_[A-Z_]+", enum)) - {"STEP_NONE", "STEP_COUNT"}
    assert {s for s in steps if s not in source} == set()
    documented = (ROOT / "docs/steps.md").read_text()
    assert {s for s in steps if f"`{s.removeprefix('STEP_').lower()}`" not in documented} == set()
