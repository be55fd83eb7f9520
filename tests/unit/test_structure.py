"""The shape of the house: layers, exports, docstrings, one list of steps in the order in which they happen."""

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
LAYERS = (
    {"_errors", "_rare_errors", "_subprocess_errors", "_units", "_records", "_dataclass", "_usage", "_noise", "_shown", "_parameters", "_brief", "_plain", "_documents", "_verdicts", "_completed", "_undecoded", "_result_words", "_usage_words", "_result_document", "_spec_document", "_conformity", "_seccomp_spec", "_limits", "_spec", "_result", "_machine", "_history", "_native", "_lazy", "_fds", "_glob", "_terminal", "_given"},
    {"_host", "_host_seldom", "_subordinate_ids", "_interpreter", "_interpreter_asked", "_needed", "policy", "_opens", "policy.seen", "policy.mounts", "policy.asked_for", "policy.bpf", "policy.filters", "policy.shipped", "policy.seccomp", "policy.profiles", "policy.ids", "policy.rlimits",
     "policy.landlock", "policy.cgroup", "policy.counters", "policy.delegation", "policy.obstacles", "policy.advice", "policy.lint",
     "policy.learned", "policy.cores", "policy.same", "_toml", "_config", "_config_file", "_inputs", "_trees", "_deterministic", "policy.filter"},
    {"languages._language"},
    {"languages._values", "languages._classes", "languages._table", "languages._judgement"},
    {"languages._test"},
    {"_elf", "_owner", "_stale", "_cgroup_files", "_cgroup", "_janitor", "_bring_up", "_refusal", "_missing", "_enter_leaf"},
    {"_plan", "_wire", "_requests", "_texts", "_report", "_places"},
    {"_explain", "_id_maps", "_talk", "_keeper", "_shared", "_snapshot", "_ptrace", "_idle", "_gate", "_threads",
     "_upkeep", "_pinning"},
    {"_spare"},
    {"_mountinfo"},
    {"_view"},
    {"_verdict"},
    {"_receipt"},
    {"_files", "_command", "_outcome", "_prepare", "_attempts", "_turn", "_run", "_observe", "_minimal_root", "_not_found", "_learn", "_warm", "_pool",
     "_executor", "_loops", "_flight", "_timings", "aio", "_streams", "_process", "_communicate", "_workspace", "_box", "_steps", "_preview", "_profile", "_artefacts", "_build", "_session_turn", "_session", "_measure",
     "_awriter", "_areader", "_aprocess", "_astart", "_waits", "_parties", "_interaction", "_relay", "_scene", "_referee",
     "_interact", "_twin", "_asession"},
    {"cgroup"},
    {"languages._cpus", "languages._tools"},
    {"languages._submission"},
    {"languages._program"},
    {"languages._checker"},
    {"languages._judge"},
    {"languages._check"},
    {"languages"},
    {"__init__"},
    {"testing", "records"},
    {"grading.inside", "grading.inside.encoding", "grading.inside.frames"},
    {"grading.inside.candidate", "grading.inside.proxy", "grading.inside.report"},
    {"grading.inside.problem"},
    {"grading.inside.collect"},
    {"grading.inside.cases", "grading.inside.files"},
    {"grading.inside.checker"},
    {"grading._values"},
    {"grading._pair"},
    {"grading._judge"},
    {"grading._correctness"},
    {"grading._function", "grading._files"},
    {"grading"},
    {"_doctor.finding", "_doctor.attempts", "_doctor.examination"},
    {"_doctor.machine", "_doctor.fences", "_doctor.cgroups", "_doctor.proof"},
    {"_doctor"},
    {"_selftest", "_selftest.report"},
    {"_selftest.attacks", "_selftest.attacks.numbers"},
    {"_selftest.attacks.toolkit"},
    {"_selftest.attacks.files", "_selftest.attacks.bound", "_selftest.attacks.proc", "_selftest.attacks.processes",
     "_selftest.attacks.namespaces", "_selftest.attacks.mounts", "_selftest.attacks.privileges",
     "_selftest.attacks.kernel", "_selftest.attacks.network", "_selftest.attacks.ipc", "_selftest.attacks.pairs",
     "_selftest.attacks.bombs", "_selftest.attacks.measures"},
    {"_selftest.applicable", "_selftest.canaries", "_selftest.host_ipc", "_selftest.inside", "_selftest.integrity",
     "_selftest.interpreter", "_selftest.judge"},
    {"_selftest.pairs", "_selftest.probes", "_selftest.scene"},
    {"_selftest.runner"},
    {"cli.ending", "cli.bring_out", "cli.progress", "cli.through"},
    {"cli.complaint", "cli.step_line"},
    {"cli.doctor", "cli.languages", "cli.learned", "cli.plan", "cli.selftest", "cli.session", "cli.timings"},
    {"cli.options"},
    {"cli.run"},
    {"cli"},
    {"__main__"},
)  # fmt: skip
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def modules():
    for path in SRC.rglob("*.py"):
        name = ".".join(path.relative_to(SRC).with_suffix("").parts)
        yield (name if name == "__init__" else name.removesuffix(".__init__")), path


def imports(path):
    """Modules of pyjail that this file imports at run time."""
    tree = ast.parse(path.read_text())
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "pyjail":
            base = (node.module or "").removeprefix("pyjail").lstrip(".")
            for alias in node.names:
                full = f"{base}.{alias.name}".lstrip(".")
                yield full if full in LEVEL else base or "__init__"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "pyjail":
                    yield alias.name.removeprefix("pyjail").lstrip(".") or "__init__"


def test_every_module_has_a_layer():
    assert {name for name, _ in modules()} | {"_native"} == set(LEVEL)


def test_a_lower_layer_never_imports_a_higher_one():
    wrong = [
        (name, other)
        for name, path in modules()
        for other in imports(path)
        if LEVEL[other] > LEVEL[name]
        and (name, other) not in {("_spec", "_config"), ("_limits", "_config")}  # from_toml, on demand
    ]
    assert wrong == []


BELOW = ("cli", "grading")  # rooms that are made of public names alone, as anybody's program is
PUBLIC = ("pyjail", "pyjail.aio", "pyjail.cgroup", "pyjail.grading", "pyjail.languages", "pyjail.records")


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
     "from pyjail._policy import lint", "from pyjail.languages._judge import judge_source", "from pyjail._selftest.report import Row"],
)  # fmt: skip
def test_what_is_not_public_is_seen_below_the_line(line):
    assert [*foreign(ast.parse(line), "cli")] != []
    public = (
        "import pyjail\nfrom pyjail import run, aio\nfrom pyjail.cli import ending\nfrom pyjail.records import head\n"
    )
    assert [*foreign(ast.parse(f"{public}pyjail.__version__"), "cli")] == []


def test_a_turn_alone_sends_requests_to_a_keeper_and_reads_reports():
    allowed = {"OP_RUN": {"_turn"}, "OP_ARM": {"_turn"}, "parse_report": {"_outcome", "_report"}}
    for name, path in modules():
        words = {n.attr if isinstance(n, ast.Attribute) else n.id for n in ast.walk(ast.parse(path.read_text()))
                 if isinstance(n, (ast.Attribute, ast.Name))}  # fmt: skip
        assert not {word for word, where in allowed.items() if word in words and name not in where}, name


def test_policy_touches_nothing():
    for name, path in modules():
        if name.startswith("policy"):
            calls = {ast.unparse(n.func) for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)}
            assert not {c for c in calls if c == "open" or c.startswith(("os.", "socket.", "subprocess."))}, name


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
        and n not in ("annotations", "aio", "cgroup", "cli", "languages", "policy")
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
    ["pyjail", "pyjail.aio", "pyjail.cgroup", "pyjail.grading", "pyjail.languages", "pyjail.records", "pyjail.testing"],
)
def test_completion_shows_public_names_alone(name):
    module = importlib.import_module(name)
    assert dir(module) == sorted(module.__all__)
    assert all(hasattr(module, public) for public in module.__all__)


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


def test_files_stay_small():
    long = {name: n for name, path in modules() if (n := len(path.read_text().splitlines())) > 400}
    assert long == {}
