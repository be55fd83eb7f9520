"""What a registry wants to be told before it answers: a password, or a token from the server that it names.

A secret goes to the registry's own host, or to a token server on that host or on one that the caller names; no other
server ever sees it. Tokens stay in memory.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from pyjail._base.brief import printable
from pyjail._images.credentials import Credentials
from pyjail._images.errors import ImageError
from pyjail._images.transport import Answer, Place, Web, place

HUB, HUB_TOKENS = "registry-1.docker.io", "auth.docker.io"  # the one registry of which this is known
TOKEN_BYTES = 64 << 10
_WORD = re.compile(r"[ \t,]*([A-Za-z0-9!#$%&'*+.^_`|~-]+)")
_VALUE = re.compile(r'[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^ \t,"]*))')


def challenges(headers: Sequence[str]) -> list[tuple[str, dict[str, str]]]:
    """(scheme, parameters) of each challenge in WWW-Authenticate headers, names in lower case, up to what is none."""
    found: list[tuple[str, dict[str, str]]] = []
    for header in headers:
        at = 0
        while word := _WORD.match(header, at):
            at = word.end()
            value = _VALUE.match(header, at)
            if value is None:
                found.append((word[1].lower(), {}))
            elif found:
                text = value[2] if value[1] is None else re.sub(r"\\(.)", r"\1", value[1])
                found[-1][1].setdefault(word[1].lower(), text)
                at = value.end()
            else:
                break
    return found


class Authorization:
    """The header for one repository of one registry, once it was asked for. Used by several threads at once.

    ``header`` (str or None) is what to send to the registry; ``secret_used`` (bool) whether a password or an identity
    token was sent to anybody.
    """

    def __init__(self, web: Web, name: str, credentials: Credentials | None, token_hosts: Sequence[str]) -> None:
        self._web, self._name, self._credentials = web, name, credentials
        self._token_hosts = {host.lower() for host in token_hosts}
        self._lock = threading.Lock()
        self.header: str | None = None
        self.secret_used = False
        self._what = f"registry {web.home}"

    def renew(self, sent: str | None, headers: Sequence[str]) -> None:
        """A `header` for these challenges of the registry, which got ``sent``. ImageError: it cannot be had."""
        with self._lock:
            if self.header != sent:  # another thread was quicker
                return
            told = challenges(headers)
            bearer = next((found for scheme, found in told if scheme == "bearer"), None)
            if bearer is not None:
                self.header = f"Bearer {self._token(bearer)}"
            elif any(scheme == "basic" for scheme, _ in told):
                if sent is not None:
                    raise ImageError(self._what, f"it refuses {self.whose}")
                self.header = self._basic("it wants a user and a password")
                self.secret_used = True
            else:
                schemes = ", ".join(scheme for scheme, _ in told) or "nothing"
                raise ImageError(self._what, f"it wants {printable(schemes[:100])}: Basic and Bearer are known here")

    @property
    def whose(self) -> str:
        """Who asks, for errors."""
        return (
            "who has no credentials" if self._credentials is None else f"the credentials of {self._credentials.user!r}"
        )

    def _basic(self, wish: str) -> str:
        if self._credentials is None:
            raise ImageError(
                self._what, f'{wish}: credentials=("USER", "PASSWORD"), or credentials="config" after `docker login`'
            )
        if self._credentials.identity:
            raise ImageError(self._what, f"{wish}, and there is an identity token only: log in again")
        user, secret = self._credentials.user, self._credentials.secret
        if ":" in user:
            raise ImageError(self._what, "a user with a colon cannot be sent")
        return f"Basic {base64.b64encode(f'{user}:{secret}'.encode()).decode()}"

    def _token(self, challenge: dict[str, str]) -> str:
        realm = challenge.get("realm", "")
        try:
            where, _ = place(realm)
        except ValueError as e:
            raise ImageError(self._what, f"its token server {e}: {printable(realm[:200])!r}") from None
        self._check(where)
        asked = {"service": challenge["service"]} if "service" in challenge else {}
        asked["scope"] = f"repository:{self._name}:pull"  # ours, whatever the registry would like
        headers, body, url = {"Accept": "application/json"}, None, realm
        if self._credentials is None:
            url = _with(realm, asked)
        elif self._credentials.identity:
            asked |= {"grant_type": "refresh_token", "client_id": "pyjail", "refresh_token": self._credentials.secret}
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            body = urlencode(asked).encode()
        else:
            url = _with(realm, {**asked, "account": self._credentials.user})
            headers["Authorization"] = self._basic("its token server wants a user and a password")
        self.secret_used |= self._credentials is not None
        return self._read(self._web.ask(url, headers, body, redirects=0), where)

    def _check(self, where: Place) -> None:
        """Nothing is sent to a token server that the registry may not name."""
        home = self._web.home
        same = where.host == home.host
        if where.scheme != "https" and (home.scheme == "https" or not self._web.allows(where)):
            raise ImageError(self._what, f"its token server is http://{where}: https is needed")
        if self._credentials is not None and not same and where.host not in self._token_hosts:
            raise ImageError(
                self._what,
                f"its token server is on another host, {where}, and would get your secret: "
                f"token_hosts=({where.host!r},) if that is right",
            )

    def _read(self, answer: Answer, where: Place) -> str:
        what = f"token server {where}"
        if 300 <= answer.status < 400:
            answer.drop()
            raise ImageError(what, "it redirects, and a secret is not taken along")
        if answer.status in (401, 403):
            said = answer.complaint()
            raise ImageError(what, f"it refuses {self.whose}: {said}")
        if answer.status != 200:
            raise ImageError(what, f"it gives no token: {answer.complaint()}")
        try:
            told: Any = json.loads(answer.document(TOKEN_BYTES + 4096))
            token = told.get("token") or told.get("access_token")
        except (ValueError, AttributeError, RecursionError):
            raise ImageError(what, "its answer is no JSON object") from None
        finally:
            answer.close()
        if not isinstance(token, str) or not re.fullmatch(r"[\x21-\x7e]{1,65536}", token):
            raise ImageError(what, "its answer has no token that could be sent")
        return token


def _with(url: str, query: dict[str, str]) -> str:
    return f"{url.partition('#')[0]}{'&' if '?' in url else '?'}{urlencode(query)}"
