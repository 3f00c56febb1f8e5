"""Post JSON to a URL within a time. What went wrong is said without the URL and the header."""

from __future__ import annotations

from threading import Thread
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, Request, build_opener

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

LATE = "no answer in time"


class _Stay(HTTPRedirectHandler):
    """Follows no redirect: it would turn the POST into a GET, and show the header to others."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def encode(event: Mapping[str, object]) -> bytes:
    """Return an event as JSON, without the losses of single steps: they are many."""
    content = msgspec.to_builtins(event)
    for epoch in content.get("result", {}).get("epochs", []):
        del epoch["losses"]
    return msgspec.json.encode(content)


def post(url: str, header: str | None, body: bytes, limit_s: float) -> str | None:
    """Return what went wrong, or None.

    ``header`` is one more line of the request, ``Name: value``. Each step of the connection has a
    time-out, but the name's look-up has none, and a server can answer byte by byte: hence the
    thread, which is left behind if it takes too long.
    """
    problems: list[str | None] = []
    sender = Thread(
        target=lambda: problems.append(_attempt(url, header, body, limit_s)),
        name="nnbench-http-observer",
        daemon=True,
    )
    sender.start()
    sender.join(limit_s)
    return problems[0] if problems else LATE


def _attempt(url: str, header: str | None, body: bytes, limit_s: float) -> str | None:
    name, colon, value = (header or "").partition(":")
    if header and not colon:
        return "its header is not of the form Name: value"
    try:
        request = Request(url, body, {"Content-Type": "application/json"})  # noqa: S310 - see below
        if request.type not in {"http", "https"}:
            return "its URL is not one of http or https"
        if header:
            request.add_header(name.strip(), value.strip())
        build_opener(_Stay).open(request, timeout=limit_s).close()
    except Exception as error:  # noqa: BLE001 - whatever a URL, a header or a server leads to
        return _explain(error)
    return None


def _explain(error: Exception) -> str:
    """Name an error; most texts are left out, for they may quote the URL or the header."""
    if isinstance(error, HTTPError):
        error.close()
        return f"HTTP {error.code}"
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, TimeoutError):
        return LATE
    return (isinstance(cause, OSError) and cause.strerror) or type(cause).__name__
