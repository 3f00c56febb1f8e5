"""The noise floor of each machine: what ``nnbench selftest`` measured, kept for ``compare``.

It lies in the user's data folder, by the machine's fingerprint.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from nnbench import results
from nnbench.analysis import DEFAULT_FLOOR
from nnbench.errors import ResultsError

if TYPE_CHECKING:
    from nnbench.environment import Environment

FILE = "noise-floors.json"


def path() -> Path:
    """Return the file that holds the floors."""
    import platformdirs

    return Path(platformdirs.user_data_path("nnbench")) / FILE


def load(environment: Environment) -> float:
    """Return a machine's floor, a fraction; the default where it was never measured."""
    return _read().get(environment.machine_fingerprint, DEFAULT_FLOOR)


def save(environment: Environment, floor: float) -> Path:
    """Keep a machine's floor and return the file.

    Raises
    ------
    ResultsError
        If the file cannot be written.
    """
    target = path()
    floors = {**_read(), environment.machine_fingerprint: floor}
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        results.write(target, msgspec.json.format(msgspec.json.encode(floors)))
    except OSError as error:
        raise ResultsError(f"cannot write {target}: {error.strerror}") from error
    return target


def _read() -> dict[str, float]:
    """Return all floors; a damaged file counts as none, since it can be measured again."""
    try:
        return msgspec.json.decode(path().read_bytes(), type=dict[str, float])
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return {}
