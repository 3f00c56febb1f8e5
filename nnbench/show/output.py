"""The console that tables are printed on."""

from __future__ import annotations

import sys

from rich.console import Console

WIDE = 160  #: columns of the tables in a pipe


class Terminal(Console):
    """Standard output, as wide as the terminal or WIDE; a reader who leaves is an error here too."""

    def __init__(self) -> None:
        super().__init__(width=None if sys.stdout.isatty() else WIDE)

    def on_broken_pipe(self) -> None:
        """Leave the exit code to nnbench.cli."""
        raise  # noqa: PLE0704 - called while BrokenPipeError is handled
