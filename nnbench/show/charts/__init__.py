"""Runs that people look at: charts, an HTML page of them, and pictures for papers and READMEs.

Numbers come from ``nnbench.figures.frames``, and text from ``nnbench.figures.values``; here they are only drawn.
The libraries for that are an extra, and imported where they are used.
"""

from __future__ import annotations

from importlib.util import find_spec

from nnbench.contract.errors import NnbenchError, install_hint

LIBRARIES = ("altair", "jinja2", "vl_convert")


def require_libraries() -> None:
    """Refuse to go on without the libraries that draw.

    Raises
    ------
    NnbenchError
        If one of them is not installed.
    """
    missing = [name for name in LIBRARIES if not find_spec(name)]
    if missing:
        text = f"{', '.join(missing)} not installed: {install_hint('report')}"
        raise NnbenchError(f"charts need libraries of their own; {text}")
