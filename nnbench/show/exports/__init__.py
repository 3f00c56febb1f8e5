"""Results in other forms: for the terminal, for Markdown, and for the tools that people use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

#: The module and the function that make the bytes of each format from the folder of a run.
FORMATS = {
    "parquet": ("samples", "to_parquet"),
    "csv": ("samples", "to_csv"),
    "pytest-benchmark": ("pytest_benchmark", "to_json"),
    "github-action-benchmark": ("trackers", "to_github_action_benchmark"),
    "bencher": ("trackers", "to_bencher"),
    "junit": ("junit", "to_xml"),
    "step-summary": ("step_summary", "to_markdown"),
}
BINARY = {"parquet"}


def convert(folder: Path, name: str) -> bytes:
    """Return a run in one of FORMATS.

    Raises
    ------
    NnbenchError
        If the folder holds no run, or nothing that the format could hold.
    """
    module, function = FORMATS[name]
    converted: bytes = getattr(import_module(f"{__name__}.{module}"), function)(folder)
    return converted
