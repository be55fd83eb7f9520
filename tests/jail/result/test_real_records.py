"""Real records of every kind, and what each command prints with --json, are what the schema says."""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path

import pytest

import pyjail
from pyjail import Jail, Limits, Mount, SpecError, grading, images, interpreter, languages
from pyjail.records import Document
from tests import place
from tests.jail.cli.test_cli import cli
from tests.records import check, closed, is_plain_html, public_records, schema

HOSTILE = r"""
printf '\377<b>\n' > "$(printf 'a\nb\377')"; ln -s "$(printf '\377<i>')" "$(printf 'l\033[2J')"
printf '\377<script>\n'; printf '\377&\n' >&2
"""
SOURCE = "def f(x):\n    return {x: (x, b'\\xff', float('inf'))} if x < 3 else exit()\n"
BOXED = {  # what there is none of where there is no box
    pyjail.Box, pyjail.BoxProcess, interpreter.Display, interpreter.Execution, interpreter.Logs, interpreter.Raised,
}  # fmt: skip


# Asks its proxy for what is refused.
ASKS = """import socket
with socket.create_connection(("127.0.0.1", 3128), 30) as s:
    s.sendall(b"CONNECT <b>\\xff:443 HTTP/1.1\\r\\n\\r\\n"), s.recv(1)
"""


async def used():
    async with await pyjail.aio.start(["cat"]) as p:
        return p.used()


def real():
    """One of each, all of them made by running."""
    r = pyjail.run(["sh", "-c", HOSTILE], collect=("**",), env={"A": "\udcff"})
    assert r.ok and len(r.files) == 1, r
    yield from (r, r.usage, r.limits, r.receipt, r.receipt[0])
    yield from pyjail.precheck.check_jailed("import os")
    yield asyncio.run(used())
    network = pyjail.Egress(["pypi.org"])
    asked = pyjail.run(["python3", "-c", ASKS], jail=Jail(network=network))
    assert asked.egress and len(asked.egress.rows) == 1, asked
    yield from (network, asked, asked.egress, asked.egress.rows[0])
    with pyjail.Session(Jail(mounts=(Mount.tmpfs("/x", "1M"),)), limits=Limits(memory="64M")) as s:
        s.run(["sh", "-c", HOSTILE])
        yield s.build(["sh", "-c", "echo x > y"], ("y",))
        yield s.snapshot()
        yield s
        yield s.jail
        yield s.jail.mounts[0]
    yield s
    if place.CGROUPS:
        with pyjail.Box(limits=Limits(memory="64M")) as b:
            b.run(["sh", "-c", HOSTILE])
            with b.start(["cat"]) as p:
                yield b.processes()[0]
                p.kill()
            yield b
        yield b
    m = pyjail.measure(["true"], repeat=pyjail.Repeat(2, 2))
    yield from (m, m.repeat, m["wall_time"])
    i = pyjail.interact(
        pyjail.Party(["echo", "x"], files={"f": "x"}), pyjail.Party(["cat"]), edges=["a.stdout -> b.stdin"]
    )
    yield from (i, i.flows[0], i.flows[0].edge, i.happenings[0], pyjail.Party(["a"], files={"f": pyjail.File("x")}))
    yield from (pyjail.File("x"), pyjail.Link("x"))
    policy = pyjail.SeccompPolicy(rules=(pyjail.SeccompRule("socket", "EPERM"),))
    found = pyjail.learn(
        ["python3", "-c", "import socket\ntry: socket.socket()\nexcept OSError: pass"], jail=Jail(seccomp=policy)
    )
    yield from (found, found.refused[0], policy, policy.rules[0])
    tests = [pyjail.Test("3", "3", "<b>\n"), pyjail.Test("4", "5", "\udcff")]
    judged = pyjail.judge_source("bash", "cat", tests, subtasks=[pyjail.Subtask("all\n", 5, ("*",))])
    yield from (judged, judged.results[1], judged.subtasks[0], tests[1], pyjail.Subtask("all\n", 5, ("*",)))
    program = languages.prepare("bash", "cat")
    yield from (program, program.language, languages.check(program.language)[0])
    yield from pyjail.doctor()[:3]
    yield from (pyjail.plan(["true", "\udcff"]), pyjail.timings(["true"]))
    report = grading.check_function(SOURCE, "f", [((1,), {1: (1, b"\xff", float("inf"))}), ((2,), 2), ((3,), 3)])
    assert [r.passed for r in report.results] == [True, False, False], report
    yield from (report, report.results[0], report.results[0].case)
    tested = grading.run_tests(
        {"s.py": "def f(): return 1\n"}, {"test_s.py": "from s import f\ndef test(): assert f() == 2\n"}, ["s"]
    )
    yield from (tested, tested.tests[0])
    problem = {"task_id": "a/0", "prompt": "", "entry_point": "f", "test": "def check(f): print('<b>\\n'); f(1)\n"}
    yield grading.check_correctness(problem, SOURCE)
    if place.CGROUPS:
        with pyjail.Interpreter() as python:
            cell = python.run(
                "print('<b>\\udcff'.encode('utf-8', 'replace')); display({'application/json': [1]}, raw=True); 1 / 0"
            )
            assert cell.error is not None and len(cell.results) == 1, cell
        yield from (cell, cell.results[0], cell.logs, cell.error)
    with tempfile.TemporaryDirectory() as home:
        Path(home, "tree/bin").mkdir(parents=True)
        settings = images.Settings.from_toml(
            {"images": {"path": f"{home}/store", "hosts": {"a.b": {"insecure": True}}}}
        )
        yield images.load(f"dir:{home}/tree", "real:1", settings=settings)
        yield from (settings, settings.bounds, settings.host("a.b"))
        Path(home, "tree/bin/sh").write_bytes(Path("/bin/busybox").read_bytes())
        Path(home, "tree/bin/sh").chmod(0o755)
        with pyjail.Session(Jail(rootfs=f"{home}/tree", writable_root="1M")) as s:
            s.run(["sh", "-c", HOSTILE.replace("printf", "cd /bin; printf", 1)])
            yield s.root_changes()[0]
    tried = pyjail.selftest(only=["files", "processes", "limits"])
    yield from (tried, tried.rows[0], tried.probes[0])


@pytest.mark.timeout(600)  # it makes one of each, and each takes as long as others leave it
def test_a_real_one_of_every_record_is_a_line_a_table_and_what_the_schema_says():
    met = set()
    for record in real():
        met.add(type(record))
        d = check(record, 1000 if isinstance(record, (Jail, pyjail.SeccompPolicy)) else 300)
        if isinstance(record, Document):
            back = type(record).from_dict(d)
            assert back == record and hash(back) == hash(record), record
    assert met == public_records() - (set() if place.CGROUPS else BOXED)


def test_a_session_tells_what_stands():
    with pyjail.Session(limits=Limits(memory="64M"), inodes=100) as s:
        s.run(["sh", "-c", "exit 3"])
        d = s.to_dict()
        told = {name: d[name] for name in ("state", "closed", "runs", "disk", "inodes", "memory_peak", "cpu_time")}
        assert told == {
            "state": "idle", "closed": None, "runs": 1, "disk": 64 << 20, "inodes": 100, "memory_peak": s.memory_peak,
            "cpu_time": s.cpu_time,
        }  # fmt: skip
        assert Limits(**d["limits"]) == s.limits and Jail.from_dict(d["jail"]) == s.jail
        assert [pyjail.Result.from_dict(r) for r in d["results"]] == s.results
        with s.start(["cat"]) as p:
            assert s.to_dict()["state"] == "running" and "1 runs: running" in repr(s)
            p.kill()
    assert (s.to_dict()["state"], s.to_dict()["closed"]) == ("closed", "this session is closed")


def test_a_session_of_an_event_loop_tells_the_same():
    async def main():
        async with pyjail.aio.Session() as s:
            await s.run(["true"])
            return s.to_dict(), s._repr_html_(), repr(s)

    d, html, line = asyncio.run(main())
    pytest.importorskip("jsonschema").validate(d, closed(schema()))
    assert is_plain_html(html) and (d["kind"], d["runs"]) == ("session", 1) and len(line) < 300


@pytest.mark.parametrize(
    ("args", "kind"),
    [
        (["run", "--json", "--collect", "*", "--", "sh", "-c", HOSTILE], "result"),
        (["run", "--json", "--learn", "--", "true"], "learned"),
        (["run", "--json", "--memory", "12Q", "--", "true"], "failure"),
        (["run", "--json", "--", "/no\nsuch <b>"], "failure"),
        (["run", "--json", "--nonsense"], "failure"),
        (["run", "--json", "--language", "bash", "SOURCE/ok.sh"], "result"),
        (["run", "--json", "--language", "c", "SOURCE/bad.c"], "not_compiled"),
        (["plan", "--json", "--", "a\n<b>"], "plan"),
        (["plan", "--json", "--config", "SOURCE/c.toml", "--", "true"], "plan"),
        (["doctor", "--json"], "doctor"),
        (["check", "--json", "SOURCE/bad.c"], "precheck"),
        (["selftest", "--json", "--only", "files"], "selftest"),
        (["languages", "--json", "--check", "bash", "c"], "languages"),
        (["session", "--json", "SOURCE/steps.json"], "steps"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value[:3]),
)
def test_what_a_command_prints_as_json_is_a_document_of_the_schema(args, kind, tmp_path):
    jsonschema = pytest.importorskip("jsonschema")
    (tmp_path / "ok.sh").write_text("echo ok")
    (tmp_path / "bad.c").write_text("int main( {")
    (tmp_path / "c.toml").write_text('[jail.seccomp]\nallow = ["ptrace"]\n')
    (tmp_path / "steps.json").write_text(json.dumps([{"command": HOSTILE}, {"command": ["/no\nsuch"]}]))
    if not place.CGROUPS and args[0] in ("selftest", "languages", "session"):
        args = [*args[:2], "--no-strict", *args[2:]]
    out = cli(*[arg.replace("SOURCE", str(tmp_path)) for arg in args])
    d = json.loads(out.stdout)
    if kind == "not_compiled" and d["kind"] == "failure":
        pytest.skip("there is no C compiler here")
    jsonschema.validate(d, closed(schema()))
    assert (d["kind"], d["version"]) == (kind, 1)


def test_a_warning_and_an_error_of_a_real_policy_are_documents():
    jsonschema = pytest.importorskip("jsonschema")
    (warning,) = pyjail.lint(pyjail.SeccompPolicy(allow=("ptrace",)))
    with pytest.raises(SpecError) as e:
        Limits(memory="12Q")
    for one in (warning, e.value):
        jsonschema.validate(one.to_dict(), closed(schema()))
        assert one.to_dict()["type"] == type(one).__name__


def test_what_is_no_record_is_one_line_too(tmp_path):
    with pyjail.JailExecutor(3) as executor:
        assert repr(executor).startswith("<pyjail.JailExecutor of 3: 0 running, 0 waiting, ")
    assert repr(pyjail.ArtefactCache(tmp_path, limit="1M")) == f"<ArtefactCache '{tmp_path}' of 1M, 0 hits, 0 misses>"

    async def main():
        async with await pyjail.aio.start(["cat"]) as p:
            first = repr(p.stdin), repr(p.stdout)
            await p.communicate()
            return [*first, repr(p.stdin), repr(p.stdout)]

    assert asyncio.run(main()) == [
        "<AsyncWriter: open, 0 bytes waiting>", "<AsyncReader: open>",
        "<AsyncWriter: closed, 0 bytes waiting>", "<AsyncReader: closed>",
    ]  # fmt: skip
