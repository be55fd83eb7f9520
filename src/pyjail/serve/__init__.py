"""An HTTP service for jails: ``pyjail serve``, or `app` for a server of one's own.

It needs ``pip install 'pyjail-linux[serve]'``.

>>> from pyjail.serve import Config
>>> Config().address
'127.0.0.1'
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyjail.serve.config import Config as Config

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["Config", "app"]


def app(config: Config | None = None) -> FastAPI:
    """An ASGI application that serves as ``config`` says; default `Config()`.

    Its lifespan starts and ends what it needs. Raises ImportError where the extra ``serve`` is not installed.
    """
    from pyjail.serve import application

    return application.make(Config() if config is None else config)
