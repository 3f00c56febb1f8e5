"""A TOML file in memory, and errors that say where in it something is wrong."""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nnbench.config.positions import key_lines
from nnbench.contract.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from nnbench.config.positions import KeyPath

POSITION = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")
PLAINER = {"Cannot overwrite a value": "this key has a value already"}  # of tomllib's messages


@dataclass(frozen=True, slots=True)
class Document:
    """What a TOML file says, and on which lines."""

    path: Path
    table: dict[str, Any]
    lines: dict[KeyPath, int]

    def locate(self, text: str) -> Path:
        """Return a path that the file names, which is relative to its folder."""
        # Unlike its namesake in pathlib, expanduser takes every text.
        return self.path.absolute().parent / os.path.expanduser(text)  # noqa: PTH111 - see above

    def error(self, at: KeyPath, problem: str) -> ConfigError:
        """Return an error that names the file and, where a key is to blame, its line."""
        return _error(self.path, self.lines.get(at), problem)


def read(path: Path) -> Document:
    """Read a TOML file.

    Raises
    ------
    ConfigError
        If it cannot be read, is not UTF-8, or is no TOML.
    """
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:  # a path may hold what no path can
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"cannot read {path}: {reason}") from error
    try:
        source = content.decode("utf-8-sig")
        return Document(path, tomllib.loads(source), key_lines(source))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _error(path, line, "this is not UTF-8") from error
    except (ValueError, RecursionError) as error:  # tomllib's own, and Python's limits
        raise _invalid(path, str(error), content.count(b"\n") + 1) from error


def _invalid(path: Path, message: str, last: int) -> ConfigError:
    position = POSITION.search(message)
    line = int(position[1] or last) if position else None
    text = POSITION.sub("", message)
    return _error(path, line, f"invalid TOML: {PLAINER.get(text, text)}")


def _error(path: Path, line: int | None, problem: str) -> ConfigError:
    where = f"{path}:{line}" if line else str(path)
    return ConfigError(f"{where}: {problem}")
