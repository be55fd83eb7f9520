"""`pyjail._base.records`: what it makes behaves as a frozen dataclass of the same fields."""

from __future__ import annotations

import collections
import copy
import dataclasses
import inspect
import pickle
import pprint
from typing import Any

import pytest

import pyjail
from pyjail._base import records
from tests.examples import given, st


@records.dataclass(frozen=True)
class Ours:
    """Documented."""

    name: str
    size: int = 3
    hidden: int | None = records.field(default=None, repr=False)
    more: dict[str, int] = records.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError(self.size)


@dataclasses.dataclass(frozen=True)
class Theirs:
    """Documented."""

    name: str
    size: int = 3
    hidden: int | None = dataclasses.field(default=None, repr=False)
    more: dict[str, int] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError(self.size)


PUBLIC = (
    pyjail.Limits,
    pyjail.Mount,
    pyjail.File,
    pyjail.Link,
    pyjail.Jail,
    pyjail.Result,
    pyjail.Usage,
    pyjail.Control,
)


def both(call: Any) -> list[Any]:
    """What a call comes to with each of them: its value as text, or the kind of error."""
    found = []
    for kind in (Ours, Theirs):
        try:
            found.append(repr(call(kind)).replace(kind.__name__, "It"))
        except Exception as e:
            found.append(type(e).__name__)
    return found


arguments = st.lists(st.one_of(st.integers(-1, 5), st.text(max_size=3)), max_size=5)
keywords = st.dictionaries(st.sampled_from(["name", "size", "hidden", "more", "nme"]), st.integers(-1, 5), max_size=5)


@given(arguments, keywords)
def test_it_takes_and_refuses_the_arguments_that_a_dataclass_does(args: list[Any], kwargs: dict[str, Any]) -> None:
    ours, theirs = both(lambda kind: kind(*args, **kwargs))
    assert ours == theirs


@given(keywords, keywords)
def test_equality_and_hash_go_by_the_fields(a: dict[str, Any], b: dict[str, Any]) -> None:
    def compare(kind: Any) -> Any:
        return kind(**{"name": 1, **a}) == kind(**{"name": 1, **b})

    ours, theirs = both(compare)
    assert ours == theirs
    same = [kind("a", 1, 2, 3) for kind in (Ours, Ours, Theirs)]
    assert hash(same[0]) == hash(same[1]) and same[0] == same[1] and same[0] != same[2]


@pytest.mark.parametrize(
    "call",
    [
        lambda kind: setattr(kind("a"), "size", 4),
        lambda kind: setattr(kind("a"), "other", 4),
        lambda kind: delattr(kind("a"), "size"),
        lambda kind: delattr(kind("a"), "other"),
        lambda kind: hash(kind("a")),  # a dict among the fields
        lambda kind: kind("a") < kind("b"),
        lambda kind: dataclasses.replace(kind("a"), size=9),
        lambda kind: dataclasses.replace(kind("a"), size=-9),
        lambda kind: dataclasses.replace(kind("a"), nme=9),
        lambda kind: dataclasses.asdict(kind("a", more={"x": 1})),
        lambda kind: dataclasses.astuple(kind("a")),
        lambda kind: [(f.name, f.default, f.default_factory, f.repr, f.init, f.kw_only) for f in dataclasses.fields(kind)],
        lambda kind: dataclasses.is_dataclass(kind) and dataclasses.is_dataclass(kind("a")),
        lambda kind: kind.__match_args__,
        lambda kind: kind.__doc__,
        lambda kind: str(inspect.signature(kind)),
        lambda kind: copy.copy(kind("a", 1)),
        lambda kind: copy.deepcopy(kind("a", 1, more={"x": 1})),
        lambda kind: pickle.loads(pickle.dumps(kind("a", 1, 2))),
        lambda kind: vars(kind(size=2, name="b")),
        lambda kind: kind.size,
        lambda kind: kind.more,
    ],
)  # fmt: skip
def test_it_behaves_as_a_dataclass(call: Any) -> None:
    ours, theirs = both(call)
    assert ours == theirs


def test_a_default_that_is_made_is_made_for_each() -> None:
    assert Ours("a").more is not Ours("a").more


def test_a_subclass_may_be_a_dataclass_and_has_its_own_signature() -> None:
    @dataclasses.dataclass(frozen=True)
    class More(Ours):
        extra: int = 7

    assert repr(More("a", 1)).endswith("More(name='a', size=1, more={}, extra=7)")
    assert list(inspect.signature(More).parameters) == ["name", "size", "hidden", "more", "extra"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        More("a").extra = 1  # type: ignore[misc]

    class Plain(Ours):
        pass

    plain = Plain("a")
    plain.note = 1  # type: ignore[attr-defined]
    assert plain != Ours("a")
    with pytest.raises(dataclasses.FrozenInstanceError):
        plain.size = 1  # type: ignore[misc]


@pytest.mark.parametrize("kind", PUBLIC)
def test_the_public_records_are_dataclasses_to_whoever_asks(kind: Any) -> None:
    assert dataclasses.is_dataclass(kind)
    names = [f.name for f in dataclasses.fields(kind)]
    assert list(inspect.signature(kind).parameters) == names == list(kind.__match_args__)
    required = [f.name for f in dataclasses.fields(kind) if f.default is f.default_factory is dataclasses.MISSING]
    with pytest.raises(TypeError, match="nonsense"):
        kind(**dict.fromkeys(required, "x"), nonsense=1)


def test_a_subclass_checks_its_own_way() -> None:
    class House(pyjail.Limits):
        def __post_init__(self) -> None:
            super().__post_init__()
            if self.memory is None or self.memory > 64 << 20:  # type: ignore[operator]
                raise ValueError("house limit")

    with pytest.raises(ValueError, match="house limit"):
        House(memory="1G")
    small = House(memory="1M")
    with pytest.raises(ValueError, match="house limit"):
        records.replace(small, memory="1G")
    assert records.replace(small, cpu_time=1) == House(memory="1M", cpu_time=1)
    assert list(inspect.signature(House).parameters) == list(inspect.signature(pyjail.Limits).parameters)


def test_a_dataclass_of_ones_own_keeps_its_fields() -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Labelled(pyjail.Limits):
        label: str = "none"

    @dataclasses.dataclass(frozen=True)
    class Team(pyjail.Jail):
        name: str = dataclasses.field(kw_only=True)

    assert records.replace(Labelled(label="a"), cpu_time=1).label == "a"
    assert Labelled(label="a").to_dict()["label"] == "a"
    assert records.replace(Team(name="a"), fresh=True) == Team(name="a", fresh=True)


def test_pprint_shows_a_field_a_line() -> None:
    assert pprint.pformat(Ours("a" * 50, more={"b" * 40: 1}), width=60).count("\n") == 2
    assert pprint.pformat(pyjail.Mount.bind("/" + "a" * 90)).count("\n") == len(dataclasses.fields(pyjail.Mount)) - 2


def test_pattern_matching_finds_the_fields() -> None:
    match pyjail.Limits(cpu_time=2):
        case pyjail.Limits(cpu_time=seconds, memory=memory):
            assert (seconds, memory) == (2.0, 256 << 20)
        case _:
            raise AssertionError("no match")


class Place(records.NamedTuple):
    path: str
    kind: str = "dir"
    size: int = 0


Real = collections.namedtuple("Place", "path kind size", defaults=("dir", 0))


@given(
    st.lists(st.integers(), max_size=4),
    st.dictionaries(st.sampled_from(["path", "kind", "size", "other"]), st.integers()),
)
def test_a_named_tuple_is_made_as_that_of_collections(values, given):
    def made(cls):
        try:
            return tuple(cls(*values, **given))
        except TypeError:
            return TypeError

    assert made(Place) == made(Real)


def test_a_named_tuple_is_used_as_that_of_collections():
    one, other = Place("/a", size=3), Real("/a", size=3)
    for of in (one, other):
        assert (
            of == ("/a", "dir", 3)
            and hash(of) == hash(("/a", "dir", 3))
            and repr(of) == "Place(path='/a', kind='dir', size=3)"
        )
        assert of._asdict() == {"path": "/a", "kind": "dir", "size": 3} and of._replace(kind="file").kind == "file"
        assert of._make("abc") == ("a", "b", "c") and copy.deepcopy(of) == of
        with pytest.raises(ValueError, match="wrong"):
            of._replace(wrong=1)
        with pytest.raises(TypeError):
            of._make("ab")
        with pytest.raises(AttributeError):
            of.path = "/b"
        match of:
            case Place(path, "dir", size=3) | Real(path, "dir", size=3):
                assert path == "/a"
            case _:
                raise AssertionError
    assert inspect.signature(Place) == inspect.signature(Real) and Place._fields == Real._fields
    assert Place._field_defaults == Real._field_defaults and pickle.loads(pickle.dumps(one)) == one
