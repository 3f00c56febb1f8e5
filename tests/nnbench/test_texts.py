"""Text that others wrote does nothing but to be read."""

import csv
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnbench.texts import field, in_json, one_line, safe

#: As GitHub's runner finds its commands in a line of a log: https://github.com/actions/runner, ActionCommand.cs.
OBEYED = re.compile(
    r"^\s*::(error|warning|set-env|add-path|stop-commands)\b|##(vso|teamcity)?\[", re.IGNORECASE
)
PIECES = [
    "::",
    "error",
    "Warning",
    " ",
    "\r",
    "\n",
    "\x1b[2K",
    "#",
    "##[group]",
    "##vso[",
    "a",
    ":",
    "\u202e",
]
texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=12).map("".join)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("as it is", "as it is"),
        ("std::bad_alloc in a::b::c", "std::bad_alloc in a::b::c"),
        ("two\nlines\r\n and\ttabs ", "two lines and tabs"),
        ("\x1b[31mred\x1b]8;;http://x\x07link\x9b2K", "[31mred ]8;;http://x link 2K"),
        ("turned \u202e around", "turned around"),
        ("1\N{NO-BREAK SPACE}s", "1\N{NO-BREAK SPACE}s"),
        ("::error file=x::y", ": :error file=x::y"),
        ("\r::Set-Env name=x::y", ": :Set-Env name=x::y"),
        ("see ##[error]x, ##vso[task.prepend]y", "see # #[error]x, # #vso[task.prepend]y"),
        ("\ud800", r"\ud800"),
        ("a\udcff\udcc3\udca4", r"a\xffä"),
    ],
)
def test_a_line_is_plain(text, expected):
    assert one_line(text) == expected


@given(texts)
def test_a_line_is_nothing_but_a_line(text):
    line = one_line(text)
    assert line.replace("\N{NO-BREAK SPACE}", " ").isprintable()
    assert not OBEYED.search(line)
    for start in range(len(line)):  # where a terminal, or a table, may break it
        assert not OBEYED.search(line[start:])
    assert one_line(line) == line
    line.encode()


@given(texts)
def test_a_text_that_is_drawn_keeps_its_length(text):
    assert len(safe(text)) == len(text)
    assert safe(text).replace("\N{NO-BREAK SPACE}", " ").isprintable()


@given(texts)
def test_json_says_the_same_and_does_nothing(text):
    written = in_json(json.dumps([text], ensure_ascii=False))
    assert json.loads(written) == [text]
    assert written.replace("\N{NO-BREAK SPACE}", " ").isprintable() or "\u202e" not in text
    assert not OBEYED.search(written)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("=1+1", "'=1+1"),
        ("\t=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("mnist+epochs=1", "mnist+epochs=1"),
        ("a,b", "a,b"),
        (-1.5, -1.5),
        (None, None),
        (True, True),
    ],
)
def test_a_field_is_no_formula(value, expected):
    assert field(value) == expected


@given(texts)
def test_a_field_is_one_line_of_csv(text):
    [row] = csv.reader([f'"{str(field(text)).replace(chr(34), 2 * chr(34))}"'])
    assert row == [field(text)]
