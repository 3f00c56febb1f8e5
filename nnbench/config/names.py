"""What users type for a workload: a name, one with changes as in the tables, or a TOML file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

import msgspec

from nnbench import catalog
from nnbench.config import workload_file
from nnbench.config.check import PLACE
from nnbench.config.run_table import RunTable
from nnbench.config.schema import FULL
from nnbench.contract.errors import NnbenchError
from nnbench.data.workloads import OVERRIDES, derive

if TYPE_CHECKING:
    from nnbench.data.workloads import Workload

SUFFIX = ".toml"
CHANGES = re.compile(r"\+(?=[a-z_]+=)")  # mnist+epochs=1+batch_size=8
CHANGE = re.compile(r",(?=[a-z_]+=)")  # hidden=128,64,epochs=1


def find(text: str) -> Workload:
    """Return the workload that a user named.

    Raises
    ------
    NnbenchError
        If there is none of that name, or the file holds none.
    """
    known = catalog.workloads()
    if text in known:
        return known[text]
    if text.endswith(SUFFIX):
        return workload_file.read(Path(text))
    base, *changes = CHANGES.split(text)
    workload = catalog.find("workload", base, known)
    for change in changes:
        workload = derive(workload, dict(map(_read, CHANGE.split(change))))
    return workload


def _read(change: str) -> tuple[str, Any]:
    """Read ``key=value`` as :func:`nnbench.data.workloads.derive` writes it."""
    key, _, text = change.partition("=")
    if key not in OVERRIDES:
        raise NnbenchError(f"no change {key!r} of a workload; known: {', '.join(OVERRIDES)}")
    value: str | list[str] | None = text
    if key == "hidden":
        value = [] if text == "none" else text.split(",")
    elif text == (FULL if key == "batch_size" else "none"):
        value = None
    try:
        return key, msgspec.convert(
            value, get_type_hints(RunTable, None, None, True)[key], strict=False
        )
    except msgspec.ValidationError as error:
        raise NnbenchError(f"{change}: {PLACE.sub('', str(error))}") from error
