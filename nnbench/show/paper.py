"""Tables for a paper or a page of one's own: LaTeX in the style of booktabs, and HTML, as pandas writes them."""

from __future__ import annotations

import hashlib
from html import escape
from typing import TYPE_CHECKING

from nnbench.figures.columns import BARS
from nnbench.show.exports import library
from nnbench.texts import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pandas.io.formats.style import Styler
    from pandas.io.formats.style_render import CSSDict

    from nnbench.show.text import Sheet

#: What means something to LaTeX, or what its usual fonts lack.
TEX = str.maketrans(
    {
        **{sign: "\\" + sign for sign in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "×": r"$\times$",
        "±": r"$\pm$",
        "≥": r"$\geq$",
        "−": "$-$",
        "–": "--",
        "µ": r"$\mu$",
        **{bar: rf"\rule{{0.4em}}{{{0.2 * height:.1f}ex}}" for height, bar in enumerate(BARS, 1)},
    }
)
RULES: list[CSSDict] = [  # of the same look as booktabs'
    {"selector": "", "props": "border-collapse: collapse; font-variant-numeric: tabular-nums"},
    {"selector": "caption", "props": "text-align: left"},
    {"selector": "thead", "props": "border-top: 2px solid; border-bottom: 1px solid"},
    {"selector": "tbody", "props": "border-bottom: 2px solid"},
    {"selector": "th, td", "props": "padding: 0.2em 0.8em; text-align: right"},
    {"selector": "th:first-child, td:first-child", "props": "text-align: left"},
]


def latex(sheet: Sheet) -> str:
    r"""Return a table for LaTeX, which needs ``\usepackage{booktabs}``.

    Raises
    ------
    NnbenchError
        If pandas or Jinja2 is not installed; so does :func:`html`.
    """
    columns = "l" + "r" * (len(sheet.headings) - 1)
    styled = _styled(sheet, lambda text: text.translate(TEX))
    return str(styled.to_latex(hrules=True, column_format=columns, position_float="centering"))


def html(sheet: Sheet) -> str:
    """Return a table for HTML: an element, and a style of its own."""
    return str(_styled(sheet, escape).set_table_styles(RULES).to_html())


def _styled(sheet: Sheet, written: Callable[[str], str]) -> Styler:
    """Return a table whose texts are shown as they are."""
    pandas = library("pandas", "pandas", extra="analysis")
    library("jinja2", "Jinja2", extra="analysis")

    def texts(line: Sequence[str]) -> list[str]:
        return [written(one_line(text)) for text in line]

    frame = pandas.DataFrame(map(texts, sheet.rows), columns=texts(sheet.headings))
    styled: Styler = frame.style.hide(axis="index").set_caption(written(one_line(sheet.title)))
    content = hashlib.sha256(repr(sheet).encode()).hexdigest()  # the same table has the same name
    return styled.set_uuid(content[:8])
