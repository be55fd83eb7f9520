"""Records are one line to look at, one documented document in JSON, and hashable, whatever a program wrote."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import json
import pickle
import subprocess
import sys
import textwrap

import pytest

import pyjail
from pyjail import (
    Control,
    Flow,
    Happening,
    Interaction,
    Jail,
    Learned,
    Limits,
    Mount,
    Receipt,
    Result,
    SeccompPolicy,
    SeccompRule,
    SpecError,
    Usage,
    Verdict,
)
from pyjail._base.documents import schema, schema_of
from pyjail._learn.learn import Refused
from pyjail.languages import Judgement, JudgeVerdict, TestResult
from pyjail.records import error as error_document
from tests.examples import given, st
from tests.records import closed, damaged, is_plain_html

data = st.one_of(st.none(), st.binary(max_size=80), st.text(st.characters(), max_size=80))
names = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.binary(max_size=20).map(lambda b: b.decode("utf-8", "surrogateescape")),
    st.just("base64:abc"),
)
numbers = st.one_of(st.none(), st.integers(0, 2**62))
seconds = st.one_of(st.none(), st.floats(0, 1e6))
usages = st.builds(
    Usage,
    cpu_time=seconds,
    wall_time=seconds,
    memory_peak=numbers,
    context_switches=st.one_of(st.none(), st.tuples(st.integers(0, 9), st.integers(0, 9))),
    pressure=st.one_of(st.none(), st.dictionaries(st.sampled_from(["cpu", "io"]), st.integers(0, 9))),
    quiet=st.one_of(st.none(), st.booleans()),
    noise=st.lists(st.text(max_size=9), max_size=2).map(tuple),
)
results = st.builds(
    Result,
    args=st.lists(st.one_of(names, st.binary(max_size=9)), min_size=1, max_size=3),
    returncode=st.integers(-64, 255),
    verdict=st.sampled_from(Verdict),
    stdout=data,
    stderr=data,
    usage=usages,
    limits=st.sampled_from([Limits(), Limits(cpus={0, 3}, memory=None), Limits(wall_time=1, cpu_time=0.5)]),
    receipt=st.lists(st.builds(Control, names, names, names, names, st.just("enforced")), max_size=3).map(Receipt),
    files=st.dictionaries(names, st.binary(max_size=9), max_size=3),
    uncollected=st.dictionaries(names, names, max_size=3),
    limits_hit=st.frozensets(st.sampled_from(["disk", "memory"])),
    error=st.one_of(st.none(), names),
)
RESULT = Result(["a"], 0, Verdict.OK, b"<script>alert(1)</script>\xff" * 9, "y" * 10**6, usage=Usage(cpu_time=0.1))
JAIL = Jail(
    rootfs="/r",
    mounts=(Mount.bind("/usr", "/u"), Mount.tmpfs("/t", "1M")),
    seccomp=SeccompPolicy("strict", ("pipe2",), rules=(SeccompRule("socket", "EPERM", ((0, 1),)),)),
    env={"A": "c", "B\udcff": "x\udcfe"},
)
RECORDS = [
    RESULT,
    Judgement("c", RESULT, (TestResult("<b>1", JudgeVerdict.OK, RESULT), TestResult("2", JudgeVerdict.SKIPPED))),
    pyjail.Measurement((RESULT, RESULT), pyjail.Repeat(2)),
    Interaction(
        "fault",
        "a",
        {"a": RESULT, "b": RESULT},
        (Flow(pyjail.Edge("a.stdout", "b.stdin", True), ((0.1, b"x\xff" * 10**5),), False, 2, 2, "a", 0.5),),
        (Happening(0.5, "a", "ended", None, Verdict.OK), Happening(0.6, "b", "closed", "stdin")),
        {"a": ("b.stdout",)},
        1.0,
    ),
    Learned(
        JAIL.seccomp,
        JAIL.mounts,
        {"/bin": "usr/bin", "/etc/x": b"\xff" * 9000, "/empty": None, "/\udcff": b""},
        {"read": 3},
        (Refused("socket", "EPERM", 2, "network"),),
        RESULT,
        JAIL,
    ),
]
kinds = pytest.mark.parametrize("record", RECORDS, ids=lambda r: type(r).__name__)


@given(results)
def test_a_result_comes_back_from_json_as_it_was(r):
    d = json.loads(json.dumps(r.to_dict(), allow_nan=False))
    json.dumps(d, ensure_ascii=False).encode("utf-8")  # as JSON is sent
    back = Result.from_dict(d)
    assert back == r and hash(back) == hash(r) == hash(copy.deepcopy(r))
    assert pickle.loads(pickle.dumps(r)) == r


@kinds
def test_every_document_comes_back_as_it_was(record):
    d = json.loads(json.dumps(record.to_dict(), ensure_ascii=False, allow_nan=False).encode("utf-8"))
    assert d["version"] == 1 and type(record).from_dict(d) == record
    assert hash(type(record).from_dict(d)) == hash(record)


@kinds
def test_every_document_is_what_the_schema_says_and_no_key_is_undocumented(record):
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator.check_schema(schema())
    d = json.loads(json.dumps(record.to_dict()))
    jsonschema.validate(d, closed(schema()))
    wrong = {**d, "version": 2}
    assert list(jsonschema.Draft202012Validator(schema()).iter_errors(wrong))
    jsonschema.validate(d, schema_of(type(record)))


@pytest.mark.parametrize(
    "error",
    [SpecError("a", 1, "no"), pyjail.HostError("c", "d", "e"), pyjail.SetupError("exec", 3, "\udcff", 2, "h")],
    ids=lambda e: type(e).__name__,
)
def test_an_error_is_a_document_with_what_it_says_and_the_way_out(error):
    jsonschema = pytest.importorskip("jsonschema")
    d = json.loads(json.dumps(error_document(error), ensure_ascii=False).encode("utf-8"))
    jsonschema.validate(d, closed(schema()))
    assert d["type"] == type(error).__name__ and d.get("hint", "") == getattr(error, "hint", "")


@pytest.mark.parametrize("cls", [Limits, Usage, Control, Result, Jail, Mount, SeccompPolicy, TestResult])
def test_the_schema_has_every_field(cls):
    assert {f.name for f in dataclasses.fields(cls)} <= set(schema()["$defs"][cls.__name__]["properties"])


@kinds
def test_a_newer_version_another_kind_and_damage_are_refused_in_words(record):
    cls, d = type(record), record.to_dict()
    with pytest.raises(SpecError, match="up to version 1"):
        cls.from_dict({**d, "version": 2})
    with pytest.raises(SpecError, match="is read as"):
        cls.from_dict({**d, "kind": "other"})
    assert cls.from_dict({**d, "of a newer pyjail": 1}) == record
    for name in d:
        for bad in (7, [7], {"7": 7}, "7", None):
            try:
                cls.from_dict({**d, name: bad})
            except SpecError as e:
                assert e.field
    for bad in (None, [], "x", {}):
        with pytest.raises(SpecError):
            cls.from_dict(bad)


def test_a_jail_comes_back_from_json_as_it_was():
    assert Jail.from_dict(json.loads(json.dumps(JAIL.to_dict(), ensure_ascii=False).encode("utf-8"))) == JAIL
    with pytest.raises(SpecError, match="hostname"):
        Jail.from_dict({"hostname": ""})


@kinds
def test_a_record_is_one_line_that_says_what_matters(record):
    line = repr(record)
    assert len(line) < 500 and "\n" not in line and line.startswith(f"<{type(record).__name__} "), line
    many = Result(["a" * 10**5], 0, Verdict.OK, b"", b"", files={f"{n}": b"x" for n in range(1000)}, exit_code=0)
    assert len(repr(many)) < 200 and "1000 files" in repr(many)
    assert str(record) == line and str(record.to_dict().get("verdict", "complete")) in line


def test_limits_and_jails_show_what_differs_from_the_default_as_one_writes_it():
    assert repr(Limits()) == "Limits()" and repr(Jail()) == "Jail()"
    assert repr(Limits(memory="64M", cpu_time=1, wall_time=5)) == "Limits(cpu_time=1.0, wall_time=5.0, memory='64M')"
    for made in (Limits(cpus={1, 2}, memory=None, core="1K", processes=2048), JAIL):
        assert eval(repr(made), vars(pyjail)) == made
    assert len(repr(pyjail.File(b"x" * 10**6))) < 200
    assert len(repr(pyjail.Test("1" * 10**6, "2" * 10**6))) < 400
    assert len(repr(pyjail.Party(["a"], files={"f": b"x" * 10**6}))) < 200


def test_whatever_is_public_shows_what_it_is():
    for module in (pyjail, pyjail.aio, pyjail.cgroup, pyjail.grading, pyjail.languages):
        for name in module.__all__:
            made = getattr(module, name)
            if isinstance(made, type) and not issubclass(made, BaseException):
                assert made.__repr__ is not object.__repr__, made


def test_no_line_moves_the_cursor_or_turns_the_text_around():
    evil = "a\x1b[2J\n\u202e\x07b"
    for record in (
        TestResult(evil, JudgeVerdict.OK),
        Result([evil], 1, Verdict.JAIL_ERROR, evil, evil.encode(), files={evil: b""}, error=evil),
        pyjail.grading.Correctness(evil, False, f"failed: {evil}", RESULT, RESULT),
        Receipt([Control(evil, "", "", "", "not_enforced")]),
    ):
        assert repr(record).isprintable(), repr(record)


def test_a_record_can_be_shown_when_there_is_no_fd_left():
    code = """
        import os, pyjail, resource
        r = pyjail.Result(["a"], 0, pyjail.Verdict.OK)
        taken = []
        try:
            while True: taken.append(os.open("/dev/null", os.O_RDONLY))
        except OSError: pass
        first = repr(r)
        for fd in taken: os.close(fd)
        print(first, repr(r))
    """
    out = subprocess.run(
        ["sh", "-c", 'ulimit -n 64; exec "$@"', "sh", sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert out.stdout == "<Result> <Result ok, exit None>\n", out


@kinds
def test_a_damaged_document_is_read_or_refused_in_words(record):
    for document in damaged(record, 300):
        with contextlib.suppress(SpecError):
            repr(type(record).from_dict(document))


@kinds
def test_a_notebook_gets_a_table_in_which_nothing_of_the_program_is_html(record):
    html = record._repr_html_()
    assert is_plain_html(html) and len(html) < 20_000


def test_pydantic_takes_and_gives_records():
    pydantic = pytest.importorskip("pydantic")
    model = pydantic.create_model("Answer", result=(Result, ...))
    answer = model(result=RESULT)
    back = model.model_validate_json(answer.model_dump_json())
    assert back.result == RESULT and answer.result is RESULT
    assert answer.model_dump()["result"] == RESULT.to_dict()
    assert model.model_json_schema()["properties"]["result"]["properties"]["verdict"]["enum"][0] == "ok"
    with pytest.raises(pydantic.ValidationError, match="version"):
        model.model_validate({"result": {**RESULT.to_dict(), "version": 9}})


def test_a_document_that_cannot_be_read_back_says_what_is_missing():
    class Mine(pyjail.records.Document):
        """Without a from_dict."""

    with pytest.raises(TypeError, match="Mine is a Document without a from_dict of its own: define one"):
        Mine.from_dict({})
