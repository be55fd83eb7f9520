"""How records look: a line, a table in a notebook, a JSON document. What that takes is loaded when one is looked at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pyjail._base import lazy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self


class Shown:
    """A record, to be derived from: its repr is one line, however much it holds; `to_dict` has its fields for JSON.

    A frozen dataclass with ``repr=False``, or a named tuple. Of its own it may have ``_words()``, what the line says
    after the class's name, and ``_table()``, the rows (name, value) of its table in a notebook.
    """

    __slots__ = ()
    _schema = ""  # its name in `schema.json`, where that is not the class's own

    def to_dict(self) -> dict[str, Any]:
        """Its fields in types that `json.dumps` takes, as docs/data.md has them."""
        with lazy.lock:
            from pyjail._base import plain

        return plain.part(self)

    def _words(self) -> Iterable[str]:
        """What the line says after the class's name; nothing: its fields, shortened."""
        return ()

    def __repr__(self) -> str:
        try:
            with lazy.lock:
                from pyjail._base import brief

            return brief.line(self, self._words())
        except (OSError, ImportError):  # no fd left to load it with: who logs an error must not meet another
            return f"<{type(self).__qualname__}>"

    def _repr_html_(self) -> str:
        with lazy.lock:
            from pyjail._base import brief

        return brief.html(self, self._table())

    def _table(self) -> Iterable[tuple[str, Any]]:
        """The rows of that table; nothing: its fields."""
        return ()


class Document(Shown):
    """A record that is a JSON document of its own: besides, it has `from_dict`, and pydantic takes it as a field."""

    __slots__ = ()

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        raise TypeError(f"{cls.__name__} is a Document without a from_dict of its own: define one")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        with lazy.lock:
            from pyjail._base import documents

        return documents.pydantic_schema(cls)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> Any:
        with lazy.lock:
            from pyjail._base import documents

        return documents.schema_of(cls)
