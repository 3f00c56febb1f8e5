"""JSON files of pytest-benchmark: one for each backend's process, joined into one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from nnbench import files

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def join(parts: Iterable[Path], target: Path) -> None:
    """Write the benchmarks of several files into one; an empty one had none."""
    found = (part.read_bytes() for part in parts if part.exists())
    contents = [json.loads(content) for content in found if content]
    if contents:
        benchmarks = [item for content in contents for item in content["benchmarks"]]
        joined = {**contents[0], "benchmarks": benchmarks}
        files.write_output(target, json.dumps(joined, indent=4).encode())
