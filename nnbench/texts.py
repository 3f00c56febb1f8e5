"""Text that others wrote, as it may be shown: names, messages and reasons of plugins, workers and files.

It is kept as it was written, and made harmless where it goes out. There it is known what it could do harm to,
and nothing comes in another way than was thought of. What a format itself makes of some characters, such as those
of Markdown, HTML or XML, that format takes care of besides. The name of a file need not even be a text: what of it is
none stands as an escape wherever it is shown or recorded.
"""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

NO_BREAK = "\N{NO-BREAK SPACE}"
#: What a CI server would obey in a log: GitHub's commands, at the start of a line however that came about, and those
#: of GitHub (the older ones), Azure Pipelines and TeamCity, anywhere.
COMMAND = re.compile(
    r":(?=:(?:add-mask|add-matcher|add-path|debug|echo|endgroup|error|group|notice|remove-matcher"
    r"|save-state|set-env|set-output|stop-commands|warning)\b)|\#(?=\#(?:vso|teamcity)?\[)",
    re.IGNORECASE,
)
#: In JSON, which has escaped what is below; the second of two # can only stand in a text.
ESCAPED = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]|(?<=#)#")
FORMULA = re.compile(r"^[=+\-@]")


def safe(text: str) -> str:
    """Return a text with a space for each character that is none to be seen.

    These are line breaks and control characters, by which a terminal is told what to do, and those that turn
    the order of others around.
    """
    if text.isprintable():
        return text
    shown = recordable(text)
    return "".join(c if c.isprintable() or c == NO_BREAK else " " for c in shown)


def one_line(text: str) -> str:
    """Return a text as one line that does nothing to a terminal, and is no command to whoever reads a log."""
    return COMMAND.sub(r"\g<0> ", re.sub(" +", " ", safe(text)).strip(" "))


def in_json(text: str) -> str:
    r"""Return JSON that says the same, with ``\u`` for what is none to be seen, and for what would be a command."""
    return ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def recordable(text: str) -> str:
    r"""Return a text that UTF-8 has: bytes of a file's name that are none stand as ``\xff``."""
    try:
        content = text.encode(
            "utf-8", "surrogateescape"
        )  # Python reads such bytes as half a character
    except UnicodeEncodeError:  # a half that stands for no byte
        content = text.encode("utf-8", "backslashreplace")
    return content.decode("utf-8", "backslashreplace")


def to_builtins(value: object, **how: Any) -> Any:
    """Return a value as msgspec's function of this name does, with texts that can be recorded."""
    return _recordable(msgspec.to_builtins(value, **how))


def _recordable(value: Any) -> Any:
    match value:
        case str():
            return recordable(value)
        case dict():
            return {_recordable(key): _recordable(each) for key, each in value.items()}
        case list() | tuple():
            return [_recordable(each) for each in value]
        case _:
            return value


def encode(value: object, **how: Any) -> bytes:
    """Return a value as JSON, with texts that can be recorded; ``how`` is for msgspec."""
    try:
        return msgspec.json.encode(value, **how)
    except UnicodeEncodeError:
        return msgspec.json.encode(to_builtins(value, **how))


def csv_text(lines: Iterable[Iterable[object]]) -> str:
    r"""Return lines of CSV, ended by ``\n``, with quotes around whatever needs them; texts are in one line."""
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows(map(field, line) for line in lines)
    return written.getvalue()


def field(value: object) -> object:
    """Return a value as a field of CSV: a text in one line that no spreadsheet takes for a formula."""
    if not isinstance(value, str):
        return value
    text = one_line(value)
    return f"'{text}" if FORMULA.match(text) else text
