"""The summary of a GitHub step, as a Markdown parser shows it."""

import pytest
from markdown_it import MarkdownIt

from nnbench.runs.sweep import Sweep
from nnbench.show.text import step_summary

PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def html(folder):
    return PARSER.render(step_summary(Sweep.open(folder)).decode())


def test_it_tells_who_wins_and_why_others_do_not(run):
    text = html(run)
    assert "<h3>nnbench: mnist</h3>" in text
    assert "<li><strong>numpy</strong>: 1.01 s/epoch</li>" in text
    told = "2.02 s/epoch, 0.500 times as fast as numpy (0.500 to 0.500; slower)"
    assert f"<li><strong>a</strong>: {told}</li>" in text
    assert "<li>bad: crashed: killed by SIGSEGV</li>" in text
    assert "<li>no: skipped" not in text  # it has no reason here


def test_tables_beyond_the_first_two_are_folded_away(run):
    before, *folded = html(run).split("<details>")
    assert before.count("<table>") == 2
    assert [part.count("<table>") for part in folded] == [4, 0]
    assert html(run).count("</details>") == 2


def test_warnings_of_the_machine_are_there(write_run, make_cell):
    page = html(write_run(make_cell(), warnings=["the load is <b>high</b>"]))
    assert "the load is &lt;b&gt;high&lt;/b&gt;" in page
    assert "<b>high" not in page


def test_no_name_is_markup(nasty_run):
    tokens = PARSER.parse(step_summary(Sweep.open(nasty_run)).decode())
    inline = [child for token in tokens for child in token.children or []]
    raw = {child.content for child in inline if child.type == "html_inline"}
    blocks = {t.content.strip() for t in tokens if t.type == "html_block"}
    assert raw == set()
    assert blocks
    assert all(block.startswith(("<details><summary>", "</details>")) for block in blocks)
    assert not any(child.type in {"link_open", "image", "em_open", "s_open"} for child in inline)
    assert sum(token.type == "table_open" for token in tokens) == 6
    rows = [t for t in tokens if t.type == "tr_open"]
    assert len(rows) == 6 * 4  # a heading and three backends in each


@pytest.mark.parametrize("cells", [0, 1])
def test_run_without_figures_says_so(write_run, make_failed, cells):
    text = html(write_run(*[make_failed("numpy", message="killed")] * cells))
    assert "<p>No backend was measured.</p>" in text
    assert ("<li>numpy: crashed: killed</li>" in text) == bool(cells)
