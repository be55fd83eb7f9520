"""How records are made: `NamedTuple` as typing's, `dataclass` as dataclasses', frozen, and `once`, a property that is
kept. For what every process that imports pyjail needs: without generated code, and without `typing` and `inspect` and
what they import, together a third of the import (docs/adr/0013). What is rarely asked for is in `_base.dataclass`.

>>> @dataclass(frozen=True)
... class Point:
...     x: int
...     y: int = 0
>>> replace(Point(1), y=2)
Point(x=1, y=2)
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter

from pyjail._base import lazy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
    from dataclasses import field as field
    from dataclasses import replace as replace
    from functools import cached_property
    from typing import Any
    from typing import NamedTuple as NamedTuple

    once = cached_property

    def names(instance: Any) -> tuple[str, ...]: ...
    def hash_of(record: Any) -> int: ...
else:
    from _collections import _tuplegetter

    _MISSING = object()
    _names = {}  # of the classes made here; a dataclass that somebody derives may have more

    class field:  # as dataclasses.field
        """A default that is made for each instance, or that repr() leaves out."""

        def __init__(self, *, default=_MISSING, default_factory=None, repr=True):
            self.default, self.factory, self.repr = default, default_factory, repr

    class _Maker(type):
        def __new__(cls, name, bases, namespace):
            return _tuple(name, namespace)

    NamedTuple = type.__new__(_Maker, "NamedTuple", (), {})

    def _tuple(name, namespace):
        """What collections.namedtuple makes, which compiles a constructor for each: 10 us a field."""
        fields = tuple(namespace["__annotations__"])
        defaults = {field: namespace.pop(field) for field in fields if field in namespace}
        count, most = len(fields) - len(defaults), len(fields)  # as many it takes
        assert fields[count:] == tuple(defaults), f"{name}: a field without a default follows one that has one"

        def __new__(_cls, *values, **given):
            if given or not count <= len(values) <= most:
                values = _complete(name, fields, defaults, values, given)
            elif len(values) < most:
                values += last[len(values) - count :]
            return new(_cls, values)

        def _make(cls, iterable):
            values = tuple(iterable)
            if len(values) != most:
                raise TypeError(f"Expected {most} arguments, got {len(values)}")
            return new(cls, values)

        new, last = tuple.__new__, tuple(defaults.values())
        __new__.of_record = True
        __new__.__qualname__ = f"{name}.__new__"
        __new__.__module__ = namespace["__module__"]
        made = {
            "__slots__": (),
            "__new__": __new__,
            "__match_args__": fields,
            "__signature__": _Signature(),
            "_fields": fields,
            "_field_defaults": defaults,
            "_make": classmethod(_make),
            "_replace": _replace,
            "_asdict": _asdict,
            "__replace__": _replace,
            "__repr__": _repr,
            "__getnewargs__": _values,
            **{field: _tuplegetter(index, None) for index, field in enumerate(fields)},
        }
        return type(name, (tuple,), made | namespace)

    def _complete(name, fields, defaults, values, given):
        """All values, of those that a caller gave."""
        if len(values) > len(fields):
            raise TypeError(f"{name}() takes {len(fields)} arguments, {len(values)} were given")
        rest, found = fields[len(values) :], defaults | given
        if not given.keys() <= set(rest):
            field = next(field for field in given if field not in rest)
            told = "multiple values for argument" if field in fields else "an unexpected keyword argument"
            raise TypeError(f"{name}() got {told} {field!r}")
        try:
            return values + tuple([found[field] for field in rest])
        except KeyError as e:
            raise TypeError(f"{name}() missing 1 required argument: {e.args[0]!r}") from None

    def _replace(self, /, **changes):
        known = type(self)._fields
        if not changes.keys() <= set(known):
            raise ValueError(f"Got unexpected field names: {[name for name in changes if name not in known]!r}")
        return self._make([changes.get(name, value) for name, value in zip(known, self, strict=True)])

    def _asdict(self):
        return dict(zip(self._fields, self, strict=True))

    def _repr(self):
        text = ", ".join([f"{name}={value!r}" for name, value in zip(self._fields, self, strict=True)])
        return f"{type(self).__name__}({text})"

    def _values(self):
        return tuple(self)

    class _Signature:
        """Of a named tuple's constructor, made when it is asked for."""

        def __get__(self, instance, owner):
            with lazy.lock:
                from pyjail._base import dataclass as base_dataclass

            return base_dataclass.signature_of_tuple(owner)

    class once:
        """As functools.cached_property since Python 3.12: before, all instances share one lock, and the child of
        os.fork waits for a thread that it does not have. Two threads may both make it; the last one's is kept."""

        def __init__(self, make):
            self.make, self.__doc__ = make, make.__doc__

        def __set_name__(self, owner, name):
            self.name = name

        def __get__(self, instance, owner=None):
            if instance is None:
                return self
            value = instance.__dict__[self.name] = self.make(instance)
            return value

    def replace(instance, /, **changes):
        """A copy with some fields changed; checked as a new one."""
        if type(instance) in _names:
            return type(instance)(**{name: getattr(instance, name) for name in names(instance)} | changes)
        return _dataclasses().replace(instance, **changes)

    def names(instance):
        """The names of a record's fields, in their order."""
        return _names.get(type(instance)) or tuple([f.name for f in _dataclasses().fields(instance)])

    def _dataclasses():
        with lazy.lock:
            import dataclasses

        return dataclasses

    def dataclass(*, frozen, repr=True):
        """Of a class with at least two annotated names; ``frozen`` is there for the type checker's eye."""
        assert frozen
        return _make if repr else _make_quiet

    def _make_quiet(cls):
        """With the repr that it inherits or has."""
        return _make(cls, False)

    def _make(cls, with_repr=True):
        fields = tuple(cls.__annotations__)
        own = {name: cls.__dict__[name] for name in fields if name in cls.__dict__}
        factories, hidden = {}, set()
        template = dict.fromkeys(fields, _MISSING)
        for name, value in own.items():
            if isinstance(value, field):
                if not value.repr:
                    hidden.add(name)
                if value.factory is not None:
                    factories[name] = value.factory
                    delattr(cls, name)
                    continue
                value = value.default
                setattr(cls, name, value)
            template[name] = value
        shown = tuple(name for name in fields if name not in hidden)
        values_of = attrgetter(*fields)
        checked = hasattr(cls, "__post_init__")

        def __init__(self, *args, **given):
            if args:
                if len(args) > len(fields):
                    raise TypeError(f"{cls.__qualname__}() takes {len(fields)} arguments, {len(args)} were given")
                for name, value in zip(fields, args, strict=False):
                    if name in given:
                        raise TypeError(f"{cls.__qualname__}() got multiple values for argument {name!r}")
                    given[name] = value
            values = template | given
            if len(values) > len(fields):
                unknown = next(name for name in given if name not in template)
                raise TypeError(f"{cls.__qualname__}() got an unexpected keyword argument {unknown!r}")
            for name, factory in factories.items():
                if name not in given:
                    values[name] = factory()
            for name, value in values.items():
                if value is _MISSING:
                    raise TypeError(f"{cls.__qualname__}() missing 1 required argument: {name!r}")
            self.__dict__.update(values)
            if checked:
                self.__post_init__()

        def __create_fn__(self):
            text = ", ".join([f"{name}={getattr(self, name)!r}" for name in shown])
            return f"{type(self).__qualname__}({text})"

        def __repr__(self):
            return __create_fn__(self)

        __repr__.__wrapped__ = __create_fn__  # by this pprint knows a dataclass's own

        def __eq__(self, other):
            if other.__class__ is not self.__class__:
                return NotImplemented
            return values_of(self) == values_of(other)

        def __hash__(self):
            return hash(values_of(self))

        def __setattr__(self, name, value):
            if type(self) is cls or name in template:
                raise _frozen_error(f"cannot assign to field {name!r}")
            object.__setattr__(self, name, value)

        def __delattr__(self, name):
            if type(self) is cls or name in template:
                raise _frozen_error(f"cannot delete field {name!r}")
            object.__delattr__(self, name)

        def __replace__(self, /, **changes):  # of copy.replace, since Python 3.13
            return replace(self, **changes)

        for method in (__init__, __repr__, __eq__, __hash__, __setattr__, __delattr__, __replace__):
            if (method is __repr__ and not with_repr) or (method is __hash__ and "__hash__" in cls.__dict__):
                continue
            method.__qualname__ = f"{cls.__qualname__}.{method.__name__}"
            method.__module__ = cls.__module__
            setattr(cls, method.__name__, method)
        cls.__match_args__ = _names[cls] = fields
        for name in _Real.names:
            setattr(cls, name, _Real(cls, own, name))
        return cls

    def _hashable(value):
        """The same for equal values, mappings and lists too: what a record holds is not to be changed."""
        if isinstance(value, Mapping):
            return frozenset([(key, _hashable(of)) for key, of in value.items()])
        return tuple(map(_hashable, value)) if isinstance(value, (list, tuple)) else value

    def hash_of(record):
        """The hash of a record, a dataclass, whose fields hold mappings or lists: equal ones have the same."""
        return hash(_hashable(tuple([getattr(record, name) for name in names(record)])))

    def _frozen_error(text):
        return _dataclasses().FrozenInstanceError(text)

    class _Real:
        """An attribute of the real dataclass of these fields, made when it is asked for."""

        names = ("__dataclass_fields__", "__dataclass_params__", "__signature__")

        def __init__(self, cls, own, name):
            self.cls, self.own, self.name = cls, own, name

        def __get__(self, instance, owner):
            with lazy.lock:
                from pyjail._base import dataclass as base_dataclass

            return base_dataclass.attribute(self.cls, self.own, self.name, owner)
