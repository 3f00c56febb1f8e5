"""Small facts of a machine that are kept between runs, in one JSON file of the user's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec

from nnbench import files

if TYPE_CHECKING:
    from pathlib import Path

    from nnbench.records import Environment

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Store(Generic[T]):
    """One file: a value of some type for each machine's fingerprint."""

    name: str
    type: type[T]

    @property
    def path(self) -> Path:
        """The file."""
        import platformdirs

        return platformdirs.user_data_path("nnbench") / self.name

    def load(self, environment: Environment) -> T | None:
        """Return what is kept of a machine, or None."""
        return self._read().get(environment.machine_fingerprint)

    def save(self, environment: Environment, value: T) -> Path:
        """Keep a machine's value and return the file.

        Raises
        ------
        ResultsError
            If the file cannot be written.
        """
        values = {**self._read(), environment.machine_fingerprint: value}
        files.write_output(self.path, msgspec.json.format(msgspec.json.encode(values)))
        return self.path

    def _read(self) -> dict[str, T]:
        """Return all values; a damaged file counts as none, since it can be measured again."""
        try:
            content = self.path.read_bytes()
            kind = dict[str, self.type]  # type: ignore[name-defined]  # known when this runs
            return msgspec.json.decode(content, type=kind)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            return {}
