"""Pictures of single figures, as PNG or SVG, from the same charts as the page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nnbench import files
from nnbench.contract.errors import NnbenchError
from nnbench.show.charts import theme

if TYPE_CHECKING:
    from pathlib import Path

    from nnbench.show.charts.figure import Figure
    from nnbench.show.charts.theme import Theme

WIDTH = 560  #: pixels of the plot itself
SUFFIXES = (".png", ".svg")


def check_suffix(path: Path) -> None:
    """Refuse a file name of another format; what is no regular file gets an SVG.

    Raises
    ------
    NnbenchError
        If the suffix is not known.
    """
    if path.suffix.lower() not in SUFFIXES and not files.is_stream(path):
        known = " or ".join(SUFFIXES)
        raise NnbenchError(f"cannot draw {path}: the name must end with {known}")


def draw(
    figure: Figure, path: Path, subtitle: str, look: Theme = "light", scale: float = 2.0
) -> None:
    """Write a figure to a file.

    Parameters
    ----------
    figure
        What to draw.
    path
        Its suffix says the format; without one that is known, it is SVG.
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
    if path.suffix.lower() == ".png":
        content = vl_convert.vegalite_to_png(spec, scale=scale, **options)
    else:
        content = vl_convert.vegalite_to_svg(spec, **options).encode()
    files.write_output(path, content)
