"""The page in headless Chromium: it draws, sorts, keeps quiet, and asks nothing of the network."""

import json
from itertools import combinations

import pytest

from nnbench.runs.run import Run
from nnbench.show import page, site
from nnbench.show.charts import CHARTS
from tests.cells import whole
from tests.documents import ROOT
from tests.nnbench.show.charts.conftest import NAME

PHONE, DESK = 390, 1400


@pytest.fixture(scope="module")
def saved(tmp_path_factory, make_run, varied):
    """Give the page of a run with hostile names, as a file."""
    info = {"baseline": "numpy", "command": f"nnbench run {NAME}", "warnings": [f"load {NAME}"]}
    run = make_run(*varied, rounds=9, **info)
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page.render([whole(run), whole(run)]))
    return path


def column(browser, number):
    """Return the cells of a column of the first table."""
    return browser.evaluate(
        "[...document.querySelector('table').tBodies[0].rows]"
        f".map(row => row.cells[{number}].textContent.trim())"
    )


def headings(browser):
    """Return the headings of the first table."""
    return browser.evaluate(
        "[...document.querySelectorAll('table')[0].tHead.rows[0].cells].map(h => h.textContent.trim())"
    )


def click(browser, number):
    """Click on a heading of the first table."""
    browser.evaluate(f"document.querySelectorAll('thead button')[{number}].click()")


@pytest.mark.parametrize("width", [PHONE, DESK])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_draws_every_chart_quietly_and_offline(chromium, saved, width, scheme):
    chromium.open(saved, width=width, prefers_color_scheme=scheme)
    assert chromium.evaluate("document.body.dataset.charts") == "drawn"
    drawn = chromium.evaluate(
        "[...document.querySelectorAll('figure')].map(f => "
        "[f.dataset.name, f.querySelectorAll('.chart svg.marks path').length > 3])"
    )
    assert drawn == [[name, True] for name in CHARTS] * 2
    assert chromium.complaints() == []
    assert chromium.requests() == [saved.as_uri()]
    assert chromium.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_leaderboard_sorts_quietly_and_offline(chromium, write_run, varied, tmp_path, width):
    site.make([write_run(*varied, rounds=9, name=NAME.replace("/", "|"))], tmp_path / "site")
    path = tmp_path / "site" / site.HOME
    chromium.open(path, width=width, prefers_color_scheme="dark")
    assert chromium.evaluate("document.documentElement.scrollWidth") == width
    assert column(chromium, 0) == ["numpy", "torch-cpu", NAME, "diverged"]
    click(chromium, 0)
    assert column(chromium, 0)[0] == NAME
    assert chromium.complaints() == []
    assert chromium.requests() == [path.as_uri()]


def test_charts_follow_the_theme(chromium, saved):
    colors = []
    for scheme in ("light", "dark"):
        chromium.open(saved, prefers_color_scheme=scheme)
        colors.append(
            chromium.evaluate(
                "['body', '.chart svg text'].map(q => getComputedStyle(document.querySelector(q)))"
                ".map((style, i) => i ? style.fill : style.color)"
            )
        )
    assert all(text == drawn for text, drawn in colors)
    assert colors[0] != colors[1]


def test_names_are_shown_and_never_run(chromium, saved):
    chromium.open(saved)
    text = chromium.evaluate(  # what is folded away too, but not what scripts hold
        """(() => {
            const page = document.body.cloneNode(true);
            page.querySelectorAll("script").forEach(script => script.remove());
            return page.textContent;
        })()"""
    )
    assert NAME in chromium.evaluate("document.querySelector('.chart svg').textContent")
    for shown in (f"diverged: diverged 8/8: {NAME} is not finite", "</script>", f"load {NAME}"):
        assert shown in text
    scripts = chromium.evaluate("[...document.scripts].map(s => s.type)")
    assert set(scripts) == {"application/json", "module"}
    assert chromium.evaluate("document.querySelectorAll('main script[type=module]').length") == 0


def test_policy_stops_scripts_and_requests(chromium, saved):
    chromium.open(saved)
    chromium.evaluate(
        """document.body.append(Object.assign(document.createElement("script"), {text: "window.ran = 1"}));
        fetch("https://example.org/").catch(() => 0)"""
    )
    assert chromium.evaluate("window.ran") is None
    assert sum("Content Security Policy" in text for text in chromium.complaints()) >= 2
    assert chromium.requests() == [saved.as_uri()]


def test_sorts_by_what_is_selected(chromium, saved):
    chromium.open(saved)
    speedup = next(i for i, h in enumerate(headings(chromium)) if h.startswith("times as fast"))
    click(chromium, speedup)
    assert column(chromium, 0) == [NAME, "torch-cpu", "numpy", "diverged", "torch-cuda"]
    assert chromium.evaluate("document.querySelector('th[aria-sort]').ariaSort") == "ascending"
    click(chromium, speedup)
    assert column(chromium, 0) == ["numpy", "torch-cpu", NAME, "diverged", "torch-cuda"]
    assert chromium.evaluate("document.querySelector('th[aria-sort]').ariaSort") == "descending"
    click(chromium, 0)
    assert column(chromium, 0) == [NAME, "diverged", "numpy", "torch-cpu", "torch-cuda"]
    assert chromium.evaluate("document.querySelectorAll('th[aria-sort]').length") == 1


def test_table_on_a_phone_scrolls_beside_its_first_column(chromium, saved):
    chromium.open(saved, width=PHONE)
    before, after, moved, page_moved = chromium.evaluate(
        """(() => {
            const scroll = document.querySelector(".scroll"), [first, second] = scroll.querySelectorAll("tbody tr > *");
            const places = () => [scroll.querySelector("thead th"), first, second].map(e => e.getBoundingClientRect().x);
            const before = places();
            scroll.scrollLeft = 150;
            return [before, places(), scroll.scrollLeft, document.scrollingElement.scrollLeft];
        })()"""
    )
    assert (moved, page_moved) == (150, 0)
    assert after[:2] == before[:2]
    assert after[2] == before[2] - 150


LABELS = """
[...document.querySelectorAll("figure[data-name=accuracy] .mark-text.role-mark text")].map(text => {
    const box = text.getBoundingClientRect();
    return [text.textContent, box.left, box.right, box.top, box.bottom];
})
"""


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_no_text_of_the_chart_of_accuracy_lies_on_another(chromium, tmp_path, width):
    path = tmp_path / "report.html"
    path.write_text(page.render([whole(Run.open(ROOT / "results" / "in-turns"))]))
    chromium.open(path, width=width)
    texts = chromium.evaluate(LABELS)
    assert len(texts) == 11  # ten backends, and the target
    for (one, *a), (other, *b) in combinations(texts, 2):
        is_apart = a[1] <= b[0] or b[1] <= a[0] or a[3] <= b[2] or b[3] <= a[2]
        assert is_apart, f"{one} lies on {other}"


@pytest.mark.parametrize(("key", "code"), [("Enter", 13), (" ", 32)])
def test_sorts_by_keyboard(chromium, saved, key, code):
    chromium.open(saved)
    before = column(chromium, 0)
    chromium.evaluate("document.querySelector('thead button').focus()")
    chromium.press(key, code)
    assert column(chromium, 0) == sorted(before)
    assert column(chromium, 0) != before


def test_prints_black_on_white_with_everything_open(chromium, saved):
    chromium.open(saved, prefers_color_scheme="dark")
    chromium.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert chromium.evaluate(
        "[...document.querySelectorAll('article > details')].every(d => d.open)"
    )
    chromium.call("Emulation.setEmulatedMedia", media="print")
    ink = chromium.evaluate("getComputedStyle(document.querySelector('.chart svg text')).fill")
    paper = chromium.evaluate("getComputedStyle(document.body).backgroundColor")
    chromium.call("Emulation.setEmulatedMedia", media="")
    assert (ink, paper) == ("rgb(0, 0, 0)", "rgb(255, 255, 255)")


def test_tooltip_shows_a_hostile_name(chromium, saved):
    chromium.open(saved)
    x, y = json.loads(
        chromium.evaluate(
            """JSON.stringify((() => {
                const marks = document.querySelectorAll("figure[data-name=ratios] .mark-symbol path");
                marks[2].scrollIntoView({block: "center"});
                const box = marks[2].getBoundingClientRect();
                return [box.x + box.width / 2, box.y + box.height / 2];
            })())"""
        )
    )
    chromium.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    shown = chromium.evaluate(
        """new Promise((done) => {
            const look = () => {
                const found = document.querySelector("#vg-tooltip-element.visible");
                found ? done(found.textContent) : setTimeout(look, 20);
            };
            look();
        })"""
    )
    assert NAME in shown
    assert chromium.evaluate("document.querySelectorAll('#vg-tooltip-element script').length") == 0


@pytest.mark.parametrize("cells", ["nothing", "skipped"])
def test_page_without_figures_is_quiet_too(chromium, tmp_path, make_run, make_failed, cells):
    found = [make_failed("torch-cuda", "skipped", message="none")] if cells == "skipped" else []
    path = tmp_path / "report.html"
    path.write_text(page.render([whole(make_run(*found))]))
    chromium.open(path)
    assert chromium.evaluate("document.body.dataset.charts") == "drawn"
    assert chromium.complaints() == []
