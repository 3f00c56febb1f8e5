"""Post every event of a run as JSON to an endpoint that the user names.

It takes part only if the environment variable ``NNBENCH_HTTP_OBSERVER`` holds a URL.
"""

from __future__ import annotations

import os
import warnings
from threading import Thread
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from nnbench import texts
from nnbench.contract import hookimpl
from nnbench.contract.errors import PluginWarning

if TYPE_CHECKING:
    from pathlib import Path

    from nnbench.records.cells import CellResult
    from nnbench.records.runs import RunInfo

URL = "NNBENCH_HTTP_OBSERVER"
HEADER = "NNBENCH_HTTP_OBSERVER_HEADER"  #: such as "Authorization: Bearer …"
LIMIT_S = 3.0  #: that one event may take, whatever the endpoint does
LATE = "no answer in time"


class HttpObserver:
    """Sends events until one fails: a dead endpoint costs a run ``LIMIT_S``, once."""

    def __init__(self) -> None:
        self.run_id = ""
        self.silent = False

    @hookimpl
    def nnbench_run_started(self, run: RunInfo, folder: Path) -> None:
        """Post what the run will be."""
        self.run_id, self.silent = uuid4().hex, False
        self.post("run_started", run=run, folder=str(folder.absolute()))

    @hookimpl
    def nnbench_cell_finished(self, result: CellResult) -> None:
        """Post a cell, but for its losses of single steps."""
        self.post("cell_finished", result=result)

    @hookimpl
    def nnbench_run_finished(self, run: RunInfo, folder: Path) -> None:
        """Post that the tables are written."""
        self.post("run_finished", run=run, folder=str(folder.absolute()))

    def post(self, event: str, **content: object) -> None:
        """Send one event, or warn and be silent for the rest of the run."""
        url = os.environ.get(URL)
        if not url or self.silent:
            return
        import msgspec

        record = texts.to_builtins({"event": event, "run_id": self.run_id, **content})
        for epoch in record.get("result", {}).get("epochs", []):
            del epoch["losses"]  # of single steps: they are many
        if problem := send_in_time(url, os.environ.get(HEADER), msgspec.json.encode(record)):
            self.silent = True
            text = f"the endpoint of {URL} did not take {event}: {problem}"
            warnings.warn(f"{text}; this run sends it no more", PluginWarning, stacklevel=2)


def send_in_time(url: str, header: str | None, body: bytes) -> str | None:
    """Return what went wrong, or None.

    ``header`` is one more line of the request, ``Name: value``. Each step of the connection has a
    time-out, but the name's look-up has none, and a server can answer byte by byte: hence the
    thread, which is left behind if it takes too long.
    """
    problems: list[str | None] = []
    sender = Thread(
        target=lambda: problems.append(send(url, header, body)),
        name="nnbench-http-observer",
        daemon=True,
    )
    sender.start()
    sender.join(LIMIT_S)
    return problems[0] if problems else LATE


def send(url: str, header: str | None, body: bytes) -> str | None:
    """Post JSON; what went wrong is said without texts that may quote the URL or the header."""
    from urllib.error import HTTPError, URLError
    from urllib.request import HTTPRedirectHandler, Request, build_opener

    class Stay(HTTPRedirectHandler):
        # A redirect would turn the POST into a GET, and show the header to others.
        def redirect_request(self, *_: Any, **__: Any) -> None:
            return None

    name, colon, value = (header or "").partition(":")
    if header and not colon:
        return "its header is not of the form Name: value"
    try:
        request = Request(url, body, {"Content-Type": "application/json"})  # noqa: S310 - see below
        if request.type not in {"http", "https"}:
            return "its URL is not one of http or https"
        if header:
            request.add_header(name.strip(), value.strip())
        build_opener(Stay).open(request, timeout=LIMIT_S).close()
    except HTTPError as error:
        error.close()
        return f"HTTP {error.code}"
    except Exception as error:  # noqa: BLE001 - whatever a URL, a header or a server leads to
        cause = error.reason if isinstance(error, URLError) else error
        if isinstance(cause, TimeoutError):
            return LATE
        return (isinstance(cause, OSError) and cause.strerror) or type(cause).__name__
    return None


observer = HttpObserver()
