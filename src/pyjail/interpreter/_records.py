"""What comes of a cell, as frozen data: `Execution`."""

from __future__ import annotations

from binascii import a2b_base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pyjail import Usage, Verdict
from pyjail.records import Document, Record, hash_of

MIMES = {  # what a format is called where it comes from
    "text": "text/plain", "html": "text/html", "markdown": "text/markdown", "svg": "image/svg+xml", "png": "image/png",
    "jpeg": "image/jpeg", "pdf": "application/pdf", "latex": "text/latex", "json": "application/json",
    "javascript": "application/javascript", "data": "application/vnd.pyjail.data+json",
}  # fmt: skip
FORMATS = tuple(MIMES)
ENDED = "InterpreterEnded"


@dataclass(frozen=True, repr=False)
class Display(Record):
    """One rich result, in all forms that the cell has given; those that it has not are None.

    Attributes:
        text, html, markdown, svg, latex, javascript: as text.
        png, jpeg, pdf: base64 as in a notebook; `raw` has the bytes.
        json: of plain types. data: the columns of a table, {name: [values]}.
        is_main_result: whether it is the value of the cell's last expression; others were shown by ``display()``, or
            are figures.
        extra: forms of other MIME types, {type: text}.
        cut: what was too large or no such thing, {format or MIME type: why}.
    """

    text: str | None = None
    html: str | None = None
    markdown: str | None = None
    svg: str | None = None
    png: str | None = None
    jpeg: str | None = None
    pdf: str | None = None
    latex: str | None = None
    json: Any = None
    javascript: str | None = None
    data: Any = None
    is_main_result: bool = False
    extra: Mapping[str, str] = field(default_factory=dict)
    cut: Mapping[str, str] = field(default_factory=dict)

    __hash__ = hash_of

    def formats(self) -> tuple[str, ...]:
        """The names of the forms that it has.

        >>> Display(text="1", html="<b>1</b>").formats()
        ('text', 'html')
        """
        return tuple(name for name in FORMATS if getattr(self, name) is not None)

    def raw(self, name: str) -> bytes:
        """A form as a file would have it: "png", "svg", "html" ... KeyError when there is none of this name.

        >>> Display(png="aGk=").raw("png")
        b'hi'
        """
        value = getattr(self, name) if name in FORMATS else None
        if not isinstance(value, str):
            raise KeyError(name)
        return a2b_base64(value) if name in ("png", "jpeg", "pdf") else value.encode("utf-8", "surrogatepass")

    def to_dict(self) -> dict[str, Any]:
        """In types that `json.dumps` takes; ``json`` and ``data`` as JSON's text."""
        from json import dumps

        texts = {name: None if (value := getattr(self, name)) is None else dumps(value) for name in ("json", "data")}
        return {**super().to_dict(), **texts}

    def _words(self) -> Iterator[str]:
        yield " ".join(self.formats()) or "nothing"
        if self.text is not None:
            yield f"text={self.text[:60]!r}"
        if self.cut:
            yield f"cut: {' '.join(self.cut)}"


@dataclass(frozen=True, repr=False)
class Logs(Record):
    """What a cell and the programs that it started wrote, in pieces as they came.

    ``"".join(logs.stdout)`` is all of it.
    """

    stdout: tuple[str, ...] = ()
    stderr: tuple[str, ...] = ()


@dataclass(frozen=True, repr=False)
class Raised(Record):
    """What ended a cell: an exception (its class's name, its text, the traceback), or the end of its interpreter.

    ``name`` is "InterpreterEnded" then, ``value`` says why, and there is no traceback.
    """

    name: str
    value: str
    traceback: str = ""

    def _words(self) -> Iterator[str]:
        yield f"{self.name}: {self.value[:120]!r}"


@dataclass(frozen=True, repr=False)
class Execution(Document):
    """What came of one cell. Frozen, picklable; `to_dict` and `from_dict` are inverse and JSON-able.

    Attributes:
        results: each `Display`, in order. logs: `Logs`. error: `Raised`, or None. All that is the program's own word.
        execution_count: the cell's number since its interpreter was started, from 1.
        verdict: OK; RUNTIME_ERROR, it raised; WALL_TIME, its ``timeout`` passed; else what ended the interpreter.
        usage: ``usage.wall_time`` is the cell's; when the interpreter has ended, all numbers are of its whole life.
        interrupted: it was interrupted, by its timeout or by `Interpreter.interrupt`.
        ended: why the interpreter ended in this cell; "" when it did not. The next cell starts a new one.
        lost: why the state of earlier cells was lost before this one; "" when it was not, or there was none.
        cut: what is not here because it was too much, a line each.
    """

    results: tuple[Display, ...] = ()
    logs: Logs = field(default_factory=Logs)
    error: Raised | None = None
    execution_count: int = 0
    verdict: Verdict = Verdict.OK
    usage: Usage = field(default_factory=Usage)
    interrupted: bool = False
    ended: str = ""
    lost: str = ""
    cut: tuple[str, ...] = ()

    __hash__ = hash_of

    @property
    def text(self) -> str | None:
        """The main result as text: the repr() of the cell's last expression; None when it has none."""
        return next((r.text for r in self.results if r.is_main_result), None)

    @property
    def ok(self) -> bool:
        """True when the verdict is OK."""
        return self.verdict is Verdict.OK

    @property
    def restarted(self) -> bool:
        """Whether this cell ran in a new interpreter, because the one before had ended: ``lost`` says why."""
        return bool(self.lost)

    def _words(self) -> Iterator[str]:
        yield f"[{self.execution_count}] {self.verdict.value}"
        if self.error is not None:
            yield f"{self.error.name}: {self.error.value[:80]!r}"
        if self.text is not None:
            yield f"text={self.text[:60]!r}"
        if self.restarted:
            yield "restarted"

    def to_dict(self) -> dict[str, Any]:
        """Everything, in types that `json.dumps` takes: an "execution" of docs/data.md."""
        from pyjail.records import head, pack

        return {**head("execution"), **super().to_dict(), "text": pack(self.text), "restarted": self.restarted}

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> Execution:
        """The inverse of `to_dict`. Raises SpecError for what is no such document."""
        from pyjail.records import check, reading, unpack, unpacked

        d = check(d, "execution")
        with reading("execution"):
            usage = {name: value for name, value in d["usage"].items() if name in Usage.__dataclass_fields__}
            if usage.get("context_switches") is not None:
                usage["context_switches"] = tuple(usage["context_switches"])
            usage["noise"] = tuple(map(unpack, usage.get("noise", ())))
            error = d.get("error")
            return cls(
                tuple(map(_display, d["results"])),
                Logs(*(tuple(map(unpack, d["logs"][name])) for name in ("stdout", "stderr"))),
                None if error is None else Raised(**unpacked(Raised, error)),
                d["execution_count"], Verdict(d["verdict"]), Usage(**usage), d["interrupted"],
                unpack(d["ended"]), unpack(d["lost"]), tuple(map(unpack, d["cut"])),
            )  # fmt: skip


def _display(d: Mapping[str, Any]) -> Display:
    from json import loads

    from pyjail.records import unpack

    values: dict[str, Any] = {name: unpack(d.get(name)) for name in FORMATS}
    for name in ("json", "data"):
        values[name] = None if values[name] is None else loads(values[name])
    for name in ("extra", "cut"):
        values[name] = {key: unpack(text) for key, text in d.get(name, {}).items()}
    return Display(**values, is_main_result=d["is_main_result"])
