"""A TOML file in memory, and errors that say where in it something is wrong."""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nnbench import files
from nnbench.contract.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

KeyPath = tuple[str | int, ...]  #: keys from the root down, and indices of arrays
LARGEST = 1 << 20  #: bytes of a file
MOST_LINES = 500  #: in which the line of an error is looked for
CLOSINGS = ("", "\n]", "\n]]", "\n]}", "\n]]}")  #: what may be missing where a document is cut
POSITION = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")
PLAINER = {"Cannot overwrite a value": "this key has a value already"}  # of tomllib's messages


@dataclass(frozen=True, slots=True)
class Document:
    """What a TOML file says."""

    path: Path
    table: dict[str, Any]
    source: str

    def locate(self, text: str) -> Path:
        """Return a path that the file names, which is relative to its folder."""
        # Unlike its namesake in pathlib, expanduser takes every text.
        return self.path.absolute().parent / os.path.expanduser(text)  # noqa: PTH111 - see above

    def error(self, at: KeyPath, problem: str) -> ConfigError:
        """Return an error that names the file and, where a key is to blame, its line."""
        return _error(self.path, line_of(self.source, at), problem)


def read(path: Path) -> Document:
    """Read a TOML file.

    Raises
    ------
    ConfigError
        If it cannot be read, is not UTF-8, or is no TOML.
    """
    try:
        content = files.read_regular(path, LARGEST)
    except (OSError, ValueError) as error:  # a path may hold what no path can
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"cannot read {path}: {reason}") from error
    try:
        source = content.decode("utf-8-sig")
        return Document(path, tomllib.loads(source), source)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _error(path, line, "this is not UTF-8") from error
    except (ValueError, RecursionError) as error:  # tomllib's own, and Python's limits
        position = POSITION.search(str(error))
        at = int(position[1] or content.count(b"\n") + 1) if position else None
        text = POSITION.sub("", str(error))
        raise _error(path, at, f"invalid TOML: {PLAINER.get(text, text)}") from error


def _error(path: Path, line: int | None, problem: str) -> ConfigError:
    where = f"{path}:{line}" if line else str(path)
    return ConfigError(f"{where}: {problem}")


def line_of(source: str, path: KeyPath) -> int | None:
    """Return the line on which a key or an item of a document starts.

    tomllib keeps no positions. But cut after any line the document is one too, unless the cut falls
    into a value; into an array, once that is closed. The first of these that has the key tells. None for a
    key that is not there, and in a document of more than MOST_LINES.
    """
    lines = source.split("\n")
    start = 0
    for end in range(1, len(lines) + 1 if len(lines) <= MOST_LINES else 0):
        for closing in CLOSINGS:
            try:
                table = tomllib.loads("\n".join(lines[:end]).removesuffix("\r") + closing)
            except tomllib.TOMLDecodeError:
                continue
            if _holds(table, path):
                return start + 1
            start = end
            break
    return None


def _holds(value: Any, path: KeyPath) -> bool:
    for key in path:
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError):
            return False
    return bool(path)
