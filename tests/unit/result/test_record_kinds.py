"""Every record that a user meets, whatever strangers have written into it, is a line, a table and a document."""

from __future__ import annotations

import contextlib
import json
import math
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

import pyjail
from pyjail import (
    Control,
    Jail,
    Limits,
    Mount,
    Result,
    SpecError,
    Usage,
    Verdict,
    grading,
    images,
    interpreter,
    languages,
)
from pyjail._base.documents import schema, schema_of
from pyjail._learn.learn import Refused
from pyjail._live.used import Used
from pyjail._selftest.report import Probe, Report, Row, Status
from pyjail.grading import _values
from pyjail.languages import Check, Judgement, JudgeVerdict, SubtaskResult, TestResult
from pyjail.records import Document
from tests.examples import given, st
from tests.records import check, damaged, public_records, schema_name

EVIL = "a\n\r\t\x1b[2J\u202e\udcff<script>alert(1)</script>&amp;" * 40
BYTES = b"\xff\x00<b>\n" * 1000
PATHS = {EVIL[:60]: BYTES, "base64:abc": b"", "": b"x"}
MOUNT = Mount.bind("/u/\udcff<b>\n", "/usr")
POLICY = pyjail.SeccompPolicy("strict", ("pipe2",), rules=(pyjail.SeccompRule("socket", "EPERM", ((0, 1),)),))
JAIL = Jail(
    mounts=(MOUNT,), seccomp=POLICY, env={f"A{EVIL[:50]}": EVIL}, rootfs="/\udcff\n<i>", network=pyjail.Egress(["*.a.org"]),
    writable_root="1M",
)  # fmt: skip
CONTACT = pyjail.Contact(EVIL, 443, False, 1, 2, 0.5, EVIL, EVIL)
RESULT = Result(
    [EVIL, BYTES, Path(EVIL[:30])], 1, Verdict.JAIL_ERROR, BYTES, EVIL, usage=Usage(cpu_time=0.1, noise=(EVIL,)),
    receipt=pyjail.Receipt([Control(EVIL, EVIL, EVIL, EVIL, "not_enforced")] * 50), files=PATHS,
    uncollected={EVIL: EVIL}, limits_hit=frozenset({"disk", "memory"}), syscall="socket", error=EVIL,
    egress=pyjail.Contacts((CONTACT,) * 3, 7),
)  # fmt: skip
EDGE = pyjail.Edge("a.stdout", "b.stdin", True)
FLOW = pyjail.Flow(EDGE, ((0.1, BYTES),), True, 7000, 1, "a", 0.5)
HAPPENING = pyjail.Happening(0.5, "a", "ended", None, Verdict.OK)
REFUSED = Refused("socket", "EPERM", 2, "network")
TESTED = TestResult(EVIL, JudgeVerdict.PARTIAL, RESULT, EVIL, 0.5, 1.0, RESULT)
SUBTASK = SubtaskResult(EVIL, JudgeVerdict.OK, 1.0, 2.0)
LANGUAGE = languages.Language("x", ("x", EVIL.replace("{", "")), "x.x", {"x": "-v"}, title=EVIL, env={"A": EVIL})
VALUE = (1, {(2, b"\xff"): {math.inf, "\udcff"}}, 1 << 20_000, -0.0, Decimal("NaN"), Fraction(1, 3), range(3), 2j)
CASE = grading.Case([VALUE, EVIL], BYTES, {EVIL: VALUE}, EVIL, None)
OF_CASE = grading.CaseResult(CASE, False, EVIL, VALUE, RESULT, RESULT)
SNAPSHOT = pyjail.Snapshot({p: (0o644, data) for p, data in PATHS.items()}, {EVIL: 0o755}, {EVIL: EVIL}, {EVIL: EVIL})
ROW, PROBE = Row("a.b", "a", EVIL, EVIL, Status.ESCAPED, EVIL), Probe("m", "s", 1, None, Status.ERROR, EVIL)
DISPLAY = interpreter.Display(
    EVIL,
    EVIL,
    json={"a": [1, None, EVIL]},
    data={"x": [1.5, "a"]},
    png="aGk=",
    is_main_result=True,
    extra={"a/b": EVIL},
    cut={"svg": EVIL},
)
LOGS, RAISED = interpreter.Logs((EVIL,), (EVIL, "")), interpreter.Raised(EVIL, EVIL, EVIL)
EXAMPLES = [
    RESULT, RESULT.egress, CONTACT, JAIL.network, *RESULT.receipt[:1], RESULT.receipt, RESULT.usage, JAIL, MOUNT, POLICY, *POLICY.rules, EDGE, FLOW, HAPPENING,
    REFUSED, TESTED, SUBTASK, LANGUAGE, CASE, OF_CASE, SNAPSHOT, ROW, PROBE,
    Limits(cpus={1, 3}, memory="1M"), pyjail.Repeat(2), pyjail.Spread(1.0, 0.5, 2.0), pyjail.File(BYTES, 0o700), pyjail.Link(EVIL[:100]),
    Judgement(EVIL, RESULT.__class__(["a"], 1, Verdict.OK, BYTES, EVIL), (TESTED,) * 3, (SUBTASK,)),
    pyjail.Measurement((RESULT,) * 3, pyjail.Repeat(3)), pyjail.Build(RESULT, False, "ab" * 32),
    pyjail.Interaction("fault", "a", {"a": RESULT}, (FLOW,), (HAPPENING,), {"a": ("b.stdout",)}, 1.0),
    pyjail.Learned(POLICY, (MOUNT,), {EVIL: EVIL, "/f": BYTES, "/d": None}, {"read": 3}, (REFUSED,), RESULT, JAIL),
    pyjail.Party([EVIL, BYTES], Limits(), "a", JAIL, {EVIL: Path("/x"), "b": EVIL, "c": pyjail.File("d"), "d": pyjail.Link("e")}, {"A": EVIL}, EVIL),
    pyjail.Subtask(EVIL, 30, (EVIL,) * 20), pyjail.Test(BYTES, EVIL, EVIL, Limits()), pyjail.Test(Path(__file__)),
    Check(EVIL, JudgeVerdict.MEMORY, JudgeVerdict.OK, EVIL),
    languages.Program(LANGUAGE, JAIL, EVIL, {EVIL: BYTES, "p": Path("/x")}, RESULT, EVIL, EVIL, EVIL, frozenset({EVIL})),
    pyjail.Finding("kernel", "no", EVIL, EVIL), grading.Test(EVIL, "failed", EVIL),
    grading.Correctness(EVIL, False, EVIL, RESULT, RESULT, [1, EVIL], EVIL),
    grading.FunctionReport((OF_CASE, OF_CASE)), grading.TestReport(False, EVIL, (grading.Test(EVIL, EVIL),), EVIL, RESULT, RESULT),
    Report((ROW,) * 3, (PROBE,), EVIL, EVIL, 1.5),
    pyjail.Plan((EVIL, "b"), ({"step": "exec", "what": EVIL, "why": EVIL},) * 30),
    pyjail.BoxProcess(3, 4711, (EVIL, "x"), EVIL[:15], True, 1.5, 4096),
    pyjail.RootChange("/" + EVIL, "changed", "file", 4711, 0o644), Used(0.5, 1 << 20, 3),
    DISPLAY, LOGS, RAISED, pyjail.precheck.Construct(1, 1, "import", EVIL, EVIL),
    pyjail.Execution((DISPLAY,) * 3, LOGS, RAISED, 7, Verdict.MEMORY, RESULT.usage, True, EVIL, EVIL, (EVIL,)),
    images.Image(
        EVIL, "sha256:" + "ab" * 32, "ab" * 32, EVIL, {"env": [EVIL], "user": EVIL, "labels": {EVIL: EVIL}}, 1, 2, {"device": 3},
        ({"digest": EVIL, "size": 1, "media_type": EVIL, "diff_id": EVIL},), {"source": EVIL},
    ),
    images.Bounds(unpacked="32G"), images.Registry("/a\n", token_hosts=(EVIL,)),
    images.Settings("/a\n", "1G", {"a.b:5": images.Registry(insecure=True)}),
    pyjail.Timings(RESULT, {"program": 5, "next": 1}, {"program": 4}, {}),
]  # fmt: skip
# What one writes, to be read back by Python: whole, or as long as what was written.
WHOLE = (Jail, Mount, pyjail.SeccompPolicy, pyjail.SeccompRule)
documents = pytest.mark.parametrize(
    "record", [r for r in EXAMPLES if isinstance(r, Document)], ids=lambda r: type(r).__name__
)


def test_every_record_has_an_example_here_and_a_definition_in_the_schema():
    records = public_records()
    assert {type(r) for r in EXAMPLES} == records - {pyjail.Session, pyjail.Box}
    assert {schema_name(cls) for cls in records} <= schema()["$defs"].keys()
    kinds = {
        d["properties"]["kind"]["const"] for d in schema()["$defs"].values() if "version" in d.get("properties", {})
    }
    told = (Path(__file__).parents[3] / "docs/data.md").read_text()
    assert {kind for kind in kinds if f"| `{kind}` |" not in told} == set()


@pytest.mark.parametrize("record", EXAMPLES, ids=lambda r: type(r).__name__)
def test_whatever_is_in_a_record_it_is_a_line_a_table_and_what_the_schema_says(record):
    check(record, 10_000 if isinstance(record, WHOLE) else 520)
    assert isinstance(schema_of(type(record))["properties"], dict)


@documents
def test_a_document_comes_back_as_it_was_and_newer_or_damaged_ones_are_refused_in_words(record):
    cls, text = type(record), json.dumps(record.to_dict())
    back = cls.from_dict(json.loads(text))
    assert json.dumps(back.to_dict()) == text
    with pytest.raises(SpecError, match="up to version 1"):
        cls.from_dict({**record.to_dict(), "version": 2})
    assert json.dumps(cls.from_dict({**record.to_dict(), "of a newer pyjail": 1}).to_dict()) == text
    for document in damaged(record, 100):
        with contextlib.suppress(SpecError):
            repr(cls.from_dict(document))


scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-(1 << 200), 1 << 200), st.floats(allow_nan=False), st.text(st.characters()), st.binary(),
    st.complex_numbers(allow_nan=False), st.decimals(allow_nan=False), st.fractions(), st.builds(range, st.integers(-9, 9), st.integers(-9, 9)),
)  # fmt: skip
plain = st.recursive(
    scalars | st.just(float("nan")),  # not in a set: its hash, so its place there, is another each time
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(scalars, inner, max_size=3),
        st.frozensets(scalars, max_size=3),
        st.dictionaries(scalars, inner, max_size=3).map(dict.items),
        st.binary(max_size=5).map(bytearray),
    ),
    max_leaves=9,
)


@given(plain)
def test_plain_data_of_a_check_comes_back_as_it_was(value):
    sent = json.dumps(_values.write("value", value), ensure_ascii=False, allow_nan=False).encode("utf-8")
    back = _values.read(json.loads(sent))
    assert type(back) is type(value) and repr(back) == repr(_values.read(_values.write("value", value)))
    if (
        value == value
        and isinstance(value, (tuple, list, int, str, bytes, Fraction, range))
        and "nan" not in repr(value).lower()
    ):
        assert back == value or "dict_" in repr(value)  # two views of one dict are not equal


def test_what_is_no_plain_data_is_refused_by_the_name_of_its_field():
    with pytest.raises(SpecError, match="expected"):
        grading.Case((), object()).to_dict()
    with pytest.raises(SpecError, match="task_id"):
        grading.Correctness(object(), True, "passed", RESULT, RESULT).to_dict()


class Odd:
    """As an array of numpy: it has no truth when it is compared."""

    def __ne__(self, other):
        return self

    def __bool__(self):
        raise ValueError("of more than one element")


def test_a_case_of_anything_can_be_shown():
    within: list = []
    within.append(within)
    deep: list = []
    for _ in range(10_000):
        deep = [deep]
    mapping: dict = {}
    mapping["x"] = mapping
    for value in (within, deep, mapping, Odd()):
        case = grading.Case([value], value, {"a": value})
        assert repr(case).startswith("Case(") and len(repr(case)) < 520 and "<table>" in case._repr_html_()
        with pytest.raises(SpecError):
            case.to_dict()


def test_a_value_that_cannot_be_shown_is_refused_all_the_same():
    with pytest.raises(SpecError, match="memory=<int that cannot be shown>: "):
        Limits(memory=10**5000)


def test_a_sparse_file_of_a_snapshot_stays_one():
    from pyjail._session.snapshot import Content

    sparse = Content(1 << 40, ((1 << 39, b"x"),))
    snap = pyjail.Snapshot({"f": (0o600, sparse)}, {}, {})  # type: ignore[dict-item]
    text = json.dumps(snap.to_dict())
    assert len(text) < 1000 and pyjail.Snapshot.from_dict(json.loads(text)) == snap
    for wrong in (
        [[0, {"bytes": "x"}], [0, {"bytes": "y"}]],
        [[1 << 40, {"bytes": "x"}]],
        [[-1, {"bytes": "x"}]],
        [[0, 1]],
    ):
        d = json.loads(text)
        d["files"]["f"]["pieces"] = wrong
        with pytest.raises(SpecError):
            pyjail.Snapshot.from_dict(d)


@pytest.mark.parametrize(
    "error",
    [
        pyjail.PolicyWarning("ptrace", "", "why"),
        pyjail.JailWarning("mounts", "a socket", "why"),
        pyjail.JailedProcessError(RESULT),
        pyjail.PoolExhaustedError(["a"], 1.0, 1, 0, "wait"),
        pyjail.images.StepError(1, 2, "run false", "runtime_error, exit code 1", RESULT),
        pyjail.OutputDecodeError(RESULT, "utf-8", b"\xff", 0, 1, "no"),
    ],
    ids=lambda e: type(e).__name__,
)
def test_errors_and_warnings_are_documents(error):
    jsonschema = pytest.importorskip("jsonschema")
    d = json.loads(json.dumps(error.to_dict(), ensure_ascii=False).encode("utf-8"))
    jsonschema.validate(d, schema())
    assert d["kind"] == "error" and d["type"] == type(error).__name__
