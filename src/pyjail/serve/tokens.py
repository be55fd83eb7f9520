"""Tokens as a configuration has them: never the secret, only its digest."""

from __future__ import annotations

import datetime
import hashlib
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from pyjail import SpecError
from pyjail.serve.config import Token
from pyjail.serve.config_values import RATE, known, typed

ROLES = ("run", "read", "metrics", "admin")
_BYTES = 32
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


def new(name: str, role: str = "run") -> tuple[str, str]:
    """(the secret, the table for a configuration): the secret is kept nowhere."""
    secret = secrets.token_urlsafe(_BYTES)
    token = _token({"name": name, "role": role, "sha256": hashlib.sha256(secret.encode()).hexdigest()}, "token")
    lines = [f"{key} = {json.dumps(getattr(token, key))}" for key in ("name", "role", "sha256")]
    return secret, "\n".join(["[[serve.tokens]]", *lines])


def of_tables(given: Any) -> tuple[Token, ...]:
    """From ``[[serve.tokens]]``."""
    if not isinstance(given, Sequence) or not all(isinstance(table, Mapping) for table in given):
        raise SpecError("serve.tokens", given, "[[serve.tokens]] tables are needed")
    found = tuple(_token(table, f"serve.tokens[{n}]") for n, table in enumerate(given, 1))
    for n, token in enumerate(found):
        if any(other.sha256 == token.sha256 for other in found[:n]):
            raise SpecError(f"serve.tokens[{n + 1}].sha256", "...", "two tokens have the same secret")
    return found


def parsed(text: str) -> list[dict[str, str]]:
    """From "NAME:ROLE:SHA256, ...", as a variable has them."""
    found = []
    for part in filter(None, re.split(r"[\s,]+", text)):
        words = part.split(":")
        if len(words) != 3:
            raise SpecError("$PYJAIL_SERVE_TOKENS", "...", "NAME:ROLE:SHA256 is needed for each token")
        found.append(dict(zip(("name", "role", "sha256"), words, strict=True)))
    if not found:  # such as a variable that a template left empty: nobody would need a token
        raise SpecError("$PYJAIL_SERVE_TOKENS", text, "is empty: NAME:ROLE:SHA256 is needed for each token")
    return found


def _token(given: Mapping[str, Any], where: str) -> Token:
    known(where, given, [field.name for field in fields(Token)])
    for key in ("name", "sha256"):
        if key not in given:
            raise SpecError(f"{where}.{key}", None, "is missing")
    values = {field.name: given[field.name] for field in fields(Token) if field.name in given}
    if isinstance(values.get("expires"), datetime.date):
        values["expires"] = _instant(values["expires"])
    made = Token(**{f.name: typed(f"{where}.{f.name}", values[f.name], f) for f in fields(Token) if f.name in values})
    if not _NAME.fullmatch(made.name):
        raise SpecError(f"{where}.name", made.name, "1 to 64 letters, digits, '.', '_' or '-' are needed")
    if not _DIGEST.fullmatch(made.sha256):
        why = "the SHA-256 of the secret is needed, 64 hexadecimal digits; `pyjail serve token new` makes one"
        raise SpecError(f"{where}.sha256", "...", why)  # it may be the secret itself
    if made.role not in ROLES:
        raise SpecError(f"{where}.role", made.role, f"one of {', '.join(ROLES)} is needed")
    if made.rate and not RATE.fullmatch(made.rate):
        raise SpecError(f"{where}.rate", made.rate, "a rate such as 10/minute is needed")
    if made.concurrent == 0:
        raise SpecError(f"{where}.concurrent", 0, "at least 1 is needed")
    return made


def _instant(given: datetime.date) -> float:
    """Without a time zone, it is UTC."""
    at = given if isinstance(given, datetime.datetime) else datetime.datetime.combine(given, datetime.time())
    return (at if at.tzinfo else at.replace(tzinfo=datetime.UTC)).timestamp()
