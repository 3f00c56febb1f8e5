"""Post every event of a run as JSON to an endpoint that the user names.

It takes part only if the environment variable ``NNBENCH_HTTP_OBSERVER`` holds a URL.
"""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING
from uuid import uuid4

from nnbench.contract import hookimpl
from nnbench.contract.errors import PluginWarning

if TYPE_CHECKING:
    from pathlib import Path

    from nnbench.records import CellResult, RunInfo

URL = "NNBENCH_HTTP_OBSERVER"
HEADER = "NNBENCH_HTTP_OBSERVER_HEADER"  #: such as "Authorization: Bearer …"
LIMIT_S = 3.0  #: that one event may take, whatever the endpoint does


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
        from nnbench.observers import posting

        body = posting.encode({"event": event, "run_id": self.run_id, **content})
        if problem := posting.post(url, os.environ.get(HEADER), body, LIMIT_S):
            self.silent = True
            text = f"the endpoint of {URL} did not take {event}: {problem}"
            warnings.warn(f"{text}; this run sends it no more", PluginWarning, stacklevel=2)


observer = HttpObserver()
