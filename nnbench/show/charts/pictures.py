"""Pictures of single figures, as PNG or SVG, from the same charts as the page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nnbench.contract.errors import NnbenchError, ResultsError
from nnbench.runs import results
from nnbench.show.charts import theme

if TYPE_CHECKING:
    from pathlib import Path

    from nnbench.show.charts.figure import Figure
    from nnbench.show.charts.theme import Theme

WIDTH = 560  #: pixels of the plot itself
SUFFIXES = (".png", ".svg")


def check_suffix(path: Path) -> None:
    """Refuse a file name of another format.

    Raises
    ------
    NnbenchError
        If the suffix is not known.
    """
    if path.suffix.lower() not in SUFFIXES:
        known = " or ".join(SUFFIXES)
        raise NnbenchError(f"cannot draw {path}: the name must end with {known}")


def draw(
    figure: Figure, path: Path, subtitle: str, look: Theme = "light", scale: float = 2.0
) -> None:
    """Write a figure to a file, whole or not at all.

    Parameters
    ----------
    figure
        What to draw.
    path
        Its suffix says the format.
    subtitle
        What was run, since a picture stands alone.
    look
        Dark text on white, or light text on black.
    scale
        Pixels of a PNG for each of the figure's; an SVG has none.

    Raises
    ------
    ResultsError
        If the file cannot be written.
    """
    import vl_convert

    from nnbench.show.charts.figure import VEGA_LITE

    spec = {**figure.spec(WIDTH), "title": {"text": figure.title, "subtitle": subtitle}}
    config = theme.config(theme.INK[look], theme.PAPER[look]) | {"padding": 16}
    options: dict[str, Any] = {
        "vl_version": VEGA_LITE,
        "config": config,
        "allowed_base_urls": [],
    }
    if path.suffix.lower() == ".svg":
        content = vl_convert.vegalite_to_svg(spec, **options).encode()
    else:
        content = vl_convert.vegalite_to_png(spec, scale=scale, **options)
    write(path, content)


def write(path: Path, content: bytes) -> None:
    """Write a file that a user named, whole or not at all.

    Raises
    ------
    ResultsError
        If it cannot be written.
    """
    try:
        results.write(path, content)
    except OSError as error:
        raise ResultsError(f"cannot write {path}: {error.strerror}") from error
