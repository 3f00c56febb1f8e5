"""A TOML file in memory: its table, and where in it each key stands, for errors that say so."""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from nnbench.contract.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KeyPath = tuple[str | int, ...]  #: keys from the root down, and indices of arrays

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


# tomllib keeps no positions, so the lines of keys come from a scanner of our own.

TOKEN = re.compile(
    r"""
    (?P<ignored> [ \t\r]+ | \#[^\n]* )
  | (?P<newline> \n )
  | (?P<mark> [\[\]{}=,] )
  | (?P<text> \"{3} (?: \\. | [^\\] )*? \"{3,5}   # multi-line strings may end in two quotes more
            | '{3} .*? '{3,5}
            | " (?: \\. | [^"\\] )* "
            | ' [^']* '
            | [^\s\[\]{}=,\#"']+ )
    """,
    re.VERBOSE | re.DOTALL,
)


class Token(NamedTuple):
    """A piece of the source; a string is one piece."""

    text: str
    line: int  #: that it starts on, from 1


def key_lines(source: str) -> dict[KeyPath, int]:
    """Return the line of every key, table and array element of a valid document, by its path."""
    return _Scanner(source).scan()


class _Scanner:
    """Reads tokens; the document is known to be valid, so it looks only for what ends what."""

    def __init__(self, source: str) -> None:
        self.tokens = _tokenize(source)
        self.at = 0
        self.lines: dict[KeyPath, int] = {}
        self.lengths: dict[KeyPath, int] = {}  # of arrays of tables

    def scan(self) -> dict[KeyPath, int]:
        """Read statement by statement."""
        table: KeyPath = ()
        while self.at < len(self.tokens):
            if self.peek() == "\n":
                self.at += 1
            elif self.peek() == "[":
                table = self.header()
            else:
                self.pair(table)
        return self.lines

    def peek(self) -> str:
        """Return the next token's text; the end counts as a line's end."""
        return self.tokens[self.at].text if self.at < len(self.tokens) else "\n"

    def header(self) -> KeyPath:
        """Read ``[table]`` or ``[[table]]`` and return its path."""
        line = self.tokens[self.at].line
        is_array = self.tokens[self.at + 1].text == "["
        self.at += 1 + is_array
        path: KeyPath = ()
        *parents, last = self.key("]")
        for part in parents:
            path = self.current((*path, part), line)
        path = (*path, last)
        if is_array:
            self.note(path, line)
            self.lengths[path] = self.lengths.get(path, 0) + 1
        self.at += 1 + is_array
        return self.current(path, line)

    def current(self, path: KeyPath, line: int) -> KeyPath:
        """Return the path, or for an array of tables that of its last one, and note it."""
        self.note(path, line)
        if path in self.lengths:
            path = (*path, self.lengths[path] - 1)
            self.note(path, line)
        return path

    def pair(self, table: KeyPath) -> None:
        """Read ``key = value``."""
        line = self.tokens[self.at].line
        path = table
        for part in self.key("="):
            path = (*path, part)
            self.note(path, line)
        self.at += 1
        self.value(path)

    def value(self, path: KeyPath) -> None:
        """Read a value, and what lies in it."""
        if self.peek() == "{":
            for _ in self.items("}"):
                self.pair(path)
        elif self.peek() == "[":
            for index in self.items("]"):
                self.note((*path, index), self.tokens[self.at].line)
                self.value((*path, index))
        else:
            while self.peek() not in {"\n", ",", "]", "}"}:
                self.at += 1

    def items(self, end: str) -> Iterator[int]:
        """Stop at every item of an array or an inline table; whoever asks reads the item."""
        self.at += 1
        index = 0
        while self.peek() != end:
            if self.peek() in {"\n", ","}:
                self.at += 1
            else:
                yield index
                index += 1
        self.at += 1

    def key(self, end: str) -> list[str]:
        """Read a key, dotted or not, up to what follows it."""
        raw = ""
        while self.peek() != end:
            raw += self.peek()
            self.at += 1
        parts: list[str] = []
        level: Any = tomllib.loads(f"{raw} = 0")
        while isinstance(level, dict):
            [(part, level)] = level.items()
            parts.append(part)
        return parts

    def note(self, path: KeyPath, line: int) -> None:
        """Keep where a path is met first."""
        self.lines.setdefault(path, line)


def _tokenize(source: str) -> list[Token]:
    tokens, line = [], 1
    for match in TOKEN.finditer(source):
        if match.lastgroup != "ignored":
            tokens.append(Token(match[0], line))
        line += match[0].count("\n")
    return tokens
