"""Tables for a paper: whatever is in a text, it is shown as it is."""

from html.parser import HTMLParser

import pytest

from nnbench.contract.errors import NnbenchError
from nnbench.figures.columns import BARS
from nnbench.show import exports, paper
from nnbench.show.text import Sheet

SHEET = Sheet(
    "Time (5% of a_b & more)",
    ["backend", "× numpy", "every"],
    [["a_b{$x$} <i>", "0.5", "▁█"], ["c\\d\n~^#", "–", "1 ± 2"]],
)


def test_table_for_latex_has_rules_and_no_sign_that_means_something():
    lines = paper.latex(SHEET).splitlines()
    assert [line for line in lines if line.endswith("rule")] == [
        *(r"\toprule", r"\midrule", r"\bottomrule")
    ]
    assert r"\begin{tabular}{lrr}" in lines
    assert r"\caption{Time (5\% of a\_b \& more)}" in lines
    assert r"backend & $\times$ numpy & every \\" in lines
    low, high = (rf"\rule{{0.4em}}{{{size}ex}}" for size in (0.2, 1.6))
    assert rf"a\_b\{{\$x\$\}} \textless{{}}i\textgreater{{}} & 0.5 & {low}{high} \\" in lines
    other = r"c\textbackslash{}d \textasciitilde{}\textasciicircum{}\#"
    assert rf"{other} & -- & 1 $\pm$ 2 \\" in lines


def test_every_sign_of_a_table_is_one_that_latex_has():
    signs = "".join(chr(code) for code in range(32, 127)) + "".join(BARS) + "×±≥−–µ"
    assert signs.translate(paper.TEX).isascii()


class Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.texts = []

    def handle_data(self, data):
        if data.strip() and not (self.get_starttag_text() or "").startswith("<style"):
            self.texts.append(data)


def test_table_for_html_has_its_texts_as_they_are():
    reader = Reader()
    reader.feed(paper.html(SHEET))
    assert reader.texts[0] == SHEET.title
    assert reader.texts[1:4] == SHEET.headings
    assert reader.texts[4] == "a_b{$x$} <i>"


def test_same_table_is_the_same_text():
    assert paper.html(SHEET) == paper.html(SHEET)
    assert paper.html(SHEET) != paper.html(SHEET._replace(title="another"))


def test_missing_library_is_named(monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(exports, "import_module", missing)
    with pytest.raises(NnbenchError, match=r"needs pandas, .*nnbench-harness\[analysis\]"):
        paper.latex(SHEET)
