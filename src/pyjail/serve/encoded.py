"""JSON of what is short: `encoded`."""

from __future__ import annotations

import json
from typing import Any

from pydantic_core import PydanticSerializationError, to_json


def encoded(content: Any) -> bytes:
    """It in UTF-8, in a quarter of the time that `json` takes.

    >>> encoded({"a": ["é", 1, None]}).decode()
    '{"a":["é",1,null]}'
    """
    try:
        return to_json(content, inf_nan_mode="null")
    except PydanticSerializationError:  # half a surrogate pair, which is told as "?"
        return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
