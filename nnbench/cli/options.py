"""Types of command-line values, which refuse what they cannot take; options of several commands."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nnbench.data.workloads import LARGEST

if TYPE_CHECKING:
    from click import Context, Parameter


class PositiveNumber(click.ParamType[float]):
    """A finite number above zero."""

    name = "number"

    def convert(self, value: Any, param: Parameter | None, ctx: Context | None) -> float:
        """Convert, or fail with a message."""
        try:
            number = float(value)
        except ValueError:
            self.fail(f"{value!r} is not a number", param, ctx)
        if not (math.isfinite(number) and number > 0):
            self.fail(f"{value} is not a positive number", param, ctx)
        return number


class Percentage(PositiveNumber):
    """A percentage above 0 and up to 100, kept as a fraction."""

    name = "percent"

    def convert(self, value: Any, param: Parameter | None, ctx: Context | None) -> float:
        """Convert, or fail with a message."""
        number = super().convert(str(value).removesuffix("%"), param, ctx)
        if number > 100:
            self.fail(f"{value} is more than 100 percent", param, ctx)
        return number / 100


class LayerSizes(click.ParamType[tuple[int, ...]]):
    """Units of the hidden layers with commas between them, or ``none``."""

    name = "units"

    def convert(self, value: Any, param: Parameter | None, ctx: Context | None) -> tuple[int, ...]:
        """Convert, or fail with a message."""
        if value == "none":
            return ()
        parts = [part.strip() for part in str(value).split(",")]
        if not all(re.fullmatch(r"[1-9][0-9]{0,8}", part) for part in parts):
            self.fail(f"{value!r} is no list of layer sizes such as 128,64 (or none)", param, ctx)
        return tuple(map(int, parts))


class Folder(click.Path):
    """A folder that may be there or not. An empty name is an unset variable, and no folder."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, file_okay=False)

    def convert(self, value: Any, param: Parameter | None, ctx: Context | None) -> Any:
        """Convert, or fail with a message."""
        if not value:
            self.fail("the name is empty", param, ctx)
        return super().convert(value, param, ctx)


POSITIVE_NUMBER = PositiveNumber()
PERCENTAGE = Percentage()
LAYER_SIZES = LayerSizes()
FOLDER = Folder()
FILE = click.Path(path_type=Path, dir_okay=False, allow_dash=True)
COUNT = click.IntRange(1, LARGEST)

SEED = click.option("--seed", type=click.IntRange(min=0), default=0, help="Of the first round.")
THREADS = click.option(
    "--threads", "-t", type=COUNT, default=1, help="CPU threads of each backend."
)
TIMEOUT = click.option(
    "--timeout", type=POSITIVE_NUMBER, default=300.0, help="Seconds after which a cell is killed."
)
