"""What is wrong with a value, by its type; plugins as a whole: tests/nnbench/test_faulty_plugins.py."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from nnbench.contract import bounds, faults

SMALL = Annotated[int, Meta(ge=1, lt=3)]
WORD = Annotated[str, Meta(pattern=r"^\w+\Z", description="a word")]
HINTS: list[tuple[Any, list[Any], list[Any], str]] = [
    (SMALL, [1, 2], [0, 3, True, 1.0, "1", None], "a whole number, at least 1 and below 3"),
    (WORD, ["one"], ["", "two words", "line\n", b"one", 1], "a word"),
    (bounds.Positive, [1, 0.5], [0, -1.0, "1", True, float("nan")], "a number, above 0"),
    (bool, [True, False], [0, 1, None], "True or False"),
    (Literal["a", "b"], ["a"], ["c", None, 1], "'a' or 'b'"),
    (Literal[1, "b"], [1], [True, 1.0], "1 or 'b'"),
    (SMALL | None, [None, 1], [3, ""], "a whole number, at least 1 and below 3 or None"),
    (
        tuple[WORD, ...],
        [(), ["a"], ("a", "b")],
        ["a", {"a"}, ("a", "")],
        "a tuple, each item a word",
    ),
    (
        Mapping[WORD, SMALL],
        [{}, {"a": 1}],
        [{"": 1}, {"a": 0}, {1: 1}, [("a", 1)]],
        "a mapping, each key a word, each value a whole number, at least 1 and below 3",
    ),
    (Callable[[], str], [print, int], ["print", None], "a function"),
    (Path, [Path()], ["."], "of the class Path"),
    (Annotated[SMALL | None, Meta(description="what it is")], [None], [0], "a whole number, "),
]


@pytest.mark.parametrize(("hint", "right", "wrong", "words"), HINTS)
def test_value_is_held_against_its_type(hint, right, wrong, words):
    assert faults.words(hint).startswith(words)
    assert [value for value in right if faults.find(value, hint, "x")] == []
    assert [value for value in wrong if not faults.find(value, hint, "x")] == []


@pytest.mark.parametrize(
    ("value", "hint", "fault"),
    [
        (0, SMALL, "x is 0, and must be a whole number, at least 1 and below 3"),
        (("a", ""), tuple[WORD, ...], "x[1] is '', and must be a word"),
        ({"a": 0}, Mapping[WORD, bool], "x['a'] is 0, and must be True or False"),
        ({"": True}, Mapping[WORD, bool], "a key of x is '', and must be a word"),
        (("a",) * 1001, tuple[WORD, ...], "x has 1,001 items, and must have at most 1,000"),
    ],
)
def test_place_of_a_fault_is_told(value, hint, fault):
    assert faults.find(value, hint, "x") == fault


@pytest.mark.parametrize("hint", [TypeVar("T"), tuple[int, str], list[int]])
def test_hint_that_nothing_checks_is_an_error(hint):
    with pytest.raises(TypeError):
        faults.find(1, hint, "x")


class Bad:
    def __repr__(self):
        raise RuntimeError


@pytest.mark.parametrize(
    "value",
    [Bad(), [Bad()], 10**5000, "x" * 10_000, "a\nb", list(range(999))],
    ids=lambda value: type(value).__name__,
)
def test_whatever_is_shown_is_a_short_line(value):
    assert len(faults.show(value)) < 200
    assert faults.show(value).isprintable()
    assert "0x" not in faults.show(value)


@given(st.text())
def test_name_of_a_distribution_is_one_to_pip(text):
    if faults.find(text, bounds.Distribution, "x") is None:
        assert text.isascii()
        assert not set(text) & set(" \t\n\0;,[]=<>@/")
        assert text[0] != "-"
