"""Markdown, read back by a parser: every text is shown as it is."""

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from nnbench.show.text import Sheet, code, markdown
from nnbench.texts import one_line

ALLOWED = {"table", "thead", "tbody", "tr", "th", "td", "p", "code"}


class Cells(HTMLParser):
    """Collects the text of the cells, or of code spans, and the tags."""

    def __init__(self, text, *tags):
        super().__init__()
        self.wanted, self.tags, self.texts = tags, [], []
        self.feed(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text))

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag in self.wanted:
            self.texts.append("")

    def handle_data(self, data):
        if self.tags and self.tags[-1] in self.wanted and data.strip():
            self.texts[-1] += data


def shown(text):
    """Return what a reader should see of a text: one line, without control characters."""
    return one_line(text)


def check(name):
    read = Cells(markdown(Sheet("", ["head", name], [[name, "1"], ["x", name]])), "td", "th")
    assert read.texts == ["head", shown(name), shown(name), "1", "x", shown(name)]
    assert set(read.tags) <= ALLOWED


def test_names_are_shown_as_they_are(name):
    check(name)


@given(st.text(alphabet="a1 \\|`*_~<>&[]()!#+-\"'\n\x00é", min_size=1).filter(shown))
def test_any_text_is_shown_as_it_is(text):
    check(text)


@pytest.mark.parametrize("text", ["x", "a `b` c", "``", "`", "<b>"])
def test_code_is_shown_as_it_is(text):
    assert Cells(code(text), "code").texts == [text]


def test_first_column_is_to_the_left_and_figures_to_the_right():
    assert markdown(Sheet("", ["backend", "s"], [["numpy", "1.0"]])) == (
        "| backend | s |\n| --- | ---: |\n| numpy | 1.0 |\n"
    )
