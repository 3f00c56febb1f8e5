"""Charts of a run, for the HTML page, and as pictures for papers and READMEs.

A chart is a drawing; only ``plot --figure``, which users type, calls it otherwise. Numbers come from
``nnbench.figures``; here they are only drawn. The libraries for that are an extra, and imported where
they are used.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Literal

from nnbench.contract.errors import NnbenchError, install_hint

if TYPE_CHECKING:
    from collections.abc import Callable

    from nnbench.runs.run import Run
    from nnbench.runs.sweep import Sweep
    from nnbench.show.charts.base import Chart

    Draw = Callable[[Run, dict[str, str]], Chart]
    DrawSweep = Callable[[Sweep, dict[str, str]], Chart]

Theme = Literal["light", "dark"]
LIBRARIES = ("altair", "jinja2", "vl_convert")
#: The charts of a run by the name that users type, in the order of the page: module and function.
CHARTS = {
    "ratios": "times:ratios",
    "accuracy": "training:accuracy",
    "loss": "training:losses",
    "deviation": "training:deviations",
    "rounds": "times:rounds",
    "phases": "times:phases",
    "ceiling": "times:ceiling",
}
#: Those of absolute times, or of what is a machine's own: of unlike machines each kind has its own.
OF_A_KIND = {"accuracy", "rounds", "phases", "ceiling"}


#: Those of a run with all of its points.
OF_SWEEPS = {"scaling": "scaling:chart"}


def chart(name: str) -> Draw:
    """Return the function that draws one of CHARTS."""
    draw: Draw = resolve_name(f"{__name__}.{CHARTS[name]}")
    return draw


def chart_of_sweep(name: str) -> DrawSweep:
    """Return the function that draws one of OF_SWEEPS."""
    draw: DrawSweep = resolve_name(f"{__name__}.{OF_SWEEPS[name]}")
    return draw


def require_libraries() -> None:
    """Refuse to go on without the libraries that draw.

    Raises
    ------
    NnbenchError
        If one of them is not installed, or lacks its docstrings, which it reads.
    """
    missing = [name for name in LIBRARIES if not find_spec(name)]
    if missing:
        text = f"{', '.join(missing)} not installed: {install_hint('report')}"
        raise NnbenchError(f"charts need libraries of their own; {text}")
    if sys.flags.optimize > 1:
        raise NnbenchError(
            "charts need docstrings of their libraries: leave out -OO, or PYTHONOPTIMIZE"
        )
