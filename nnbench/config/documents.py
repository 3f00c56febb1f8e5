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
LARGEST = 1 << 18  #: bytes of a document: tomllib takes hundreds for each of them
DEEPEST = 32  #: keys and brackets in one another: a few are meant, and tomllib takes their square in memory
LONGEST = 200  #: characters of what tomllib says
MOST_PARSED = (
    1 << 22
)  #: characters, to find the line of an error: one far down in a long file has none
#: What says how deep a document goes, and what hides that: comments, and strings, which may lack their end.
TOKEN = re.compile(
    r"""\#[^\n]*+"""
    r'''|"""(?:[^"\\]|\\.|\\\Z|"(?!""))*+(?:"{3,5})?'''
    r"""|'''(?:[^']|'(?!''))*+(?:'{3,5})?"""
    r"""|"(?:[^"\\\n]|\\.|\\\Z)*+"?"""
    r"""|'[^'\n]*+'?"""
    r"|[\[\]{}.,\n]",
    re.DOTALL,
)
CLOSINGS = ("", "\n]", "\n]]", "\n]}", "\n]]}")  #: what may be missing where a document is cut
POSITION = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")
PLAINER = {  #: of messages, by their beginning
    "Cannot overwrite a value": "this key has a value already",
    "Exceeds the limit": "a number has thousands of digits",
}


@dataclass(frozen=True, slots=True)
class Document:
    """What a TOML file says."""

    path: Path
    table: dict[str, Any]
    source: str

    def locate(self, at: KeyPath, text: str) -> Path:
        """Return a path that the file names, which is relative to its folder.

        Raises
        ------
        ConfigError
            If no path can be so, with the line of ``at``.
        """
        if "\0" in text:
            raise self.error(at, "a path cannot hold the character NUL")
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
        return Document(path, parse(source), source)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _error(path, line, "this is not UTF-8") from error
    except ValueError as error:
        position = POSITION.search(str(error))
        at = int(position[1] or content.count(b"\n") + 1) if position else None
        text = shorten(POSITION.sub("", str(error)), LONGEST)
        plainer = next((told for start, told in PLAINER.items() if text.startswith(start)), text)
        raise _error(path, at, f"invalid TOML: {plainer}") from error


def parse(source: str) -> dict[str, Any]:
    """Return what a TOML document says, in little time and memory whatever it is.

    Raises
    ------
    ValueError
        If it is no TOML, has a number that Python does not take, or is too long or too deep to be meant.
    """
    if len(source) > LARGEST:
        raise ValueError(f"it has more than {LARGEST:,} characters")
    levels = [
        0
    ]  # of each bracket that is open: how many points there are in the key or number in it
    for token in TOKEN.finditer(source):
        match token[0]:
            case "[" | "{":
                levels.append(0)
            case "]" | "}" if len(levels) > 1:
                levels.pop()
            case ".":
                levels[-1] += 1
            case ",":
                levels[-1] = 0
            case "\n" if len(levels) == 1:
                levels[0] = 0
        if len(levels) + sum(levels) > DEEPEST:  # as for tomllib, up to where that finds a mistake
            line = source.count("\n", 0, token.start()) + 1
            text = f"keys and brackets are more than {DEEPEST} deep in one another"
            raise ValueError(f"{text} (at line {line}, column 1)")
    return tomllib.loads(source)


def shorten(text: str, longest: int) -> str:
    """Return the beginning of a text."""
    return text if len(text) <= longest else f"{text[:longest]}…"


def _error(path: Path, line: int | None, problem: str) -> ConfigError:
    where = f"{path}:{line}" if line else str(path)
    return ConfigError(f"{where}: {problem}")


def line_of(source: str, path: KeyPath) -> int | None:
    """Return the line on which a key or an item of a document starts.

    tomllib keeps no positions. But cut after any line the document is one too, unless the cut falls
    into a value; into an array, once that is closed. The first of these that has the key tells. None for a
    key that is not there, or would take long to find.
    """
    lines = source.split("\n")
    start, left = 0, MOST_PARSED
    for end in range(1, len(lines) + 1):
        part = "\n".join(lines[:end]).removesuffix("\r")
        for closing in CLOSINGS:
            left -= len(part)
            if left < 0:
                return None
            try:
                table = tomllib.loads(part + closing)
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
