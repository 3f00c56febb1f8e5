"""GitHub Markdown in which every text is shown as it is, whatever is in it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

MARKUP = re.compile(
    r"[\\`*<&|]"  # escapes, code, emphasis, tags, entities, the borders of cells
    r"|(?<!\w)_|_(?!\w)"  # emphasis, but not the underscores within a word
    r"|~(?=.*~)"  # strikethrough takes two
    r"|(?<=\])[(\[]"  # links and images
    r"|^>|^[#+-](?=[#\s]|$)"  # quotations, headings, lists
)


def one_line(text: str) -> str:
    """Return a text with spaces for line breaks and control characters."""
    printable = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(printable.split())


def escape(text: str) -> str:
    """Return a text as one line that is shown as it is."""
    return MARKUP.sub(r"\\\g<0>", one_line(text))


def code(text: str) -> str:
    """Return a text as a code span, in more backticks than it holds itself."""
    text = one_line(text)
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if longest else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table, the first column to the left, numbers to the right."""
    rule = ["---"] + ["---:"] * (len(headings) - 1)
    lines = [list(map(escape, headings)), rule, *(map(escape, row) for row in rows)]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)
