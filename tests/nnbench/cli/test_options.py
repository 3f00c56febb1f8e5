"""What commands share."""

import math
import os
import sys

import click
import pytest

from nnbench.cli import cli
from nnbench.cli.options import (
    LayerSizes,
    Percentage,
    Real,
    Several,
    Whole,
    Words,
    command_line,
    echo_csv,
)

NO_NUMBER = (
    *(click.Choice, click.Path, click.types.StringParamType, click.types.BoolParamType),
    *(LayerSizes, Words),
)
PARAMETERS = {
    f"{name} {each.name}": each for name, command in cli.commands.items() for each in command.params
}
NUMBERS = {
    name: kind
    for name, each in PARAMETERS.items()
    if isinstance(kind := getattr(each.type, "kind", each.type), Real | Whole)
}


@pytest.mark.parametrize("parameter", PARAMETERS.values(), ids=PARAMETERS)
def test_every_number_has_bounds(parameter):
    """A new type is a number with bounds, or one of those that are none."""
    kind = parameter.type
    if isinstance(kind, Several):
        kind = kind.kind
    if isinstance(kind, Real | Whole):
        assert 0 <= kind.least < kind.most < math.inf
    else:
        assert isinstance(kind, NO_NUMBER)


@pytest.mark.parametrize("kind", NUMBERS.values(), ids=NUMBERS)
def test_what_is_no_number_within_bounds_is_refused_in_a_sentence(kind):
    unit = 1 if isinstance(kind, Whole) else 1.0
    beyond = [kind.most * 2, -unit, *([kind.least - unit] if isinstance(kind, Whole) else [0.0])]
    for text in [*map(str, beyond), "nan", "inf", "-inf", "1e999", "", "x", "9" * 5000]:
        with pytest.raises(click.BadParameter) as raised:
            kind.convert(text, None, None)
        assert raised.value.message
    most = str(kind.most)
    assert kind.convert(most, None, None) == kind.most / (
        100 if isinstance(kind, Percentage) else 1
    )


def test_there_are_numbers():
    assert {"run rounds", "run learning_rate", "plot scale", "test timeout"} <= NUMBERS.keys()


@pytest.mark.parametrize("text", ["'.[all]", 'a "b', "a\\"])
def test_words_with_an_open_quote_are_refused(text):
    with pytest.raises(click.BadParameter) as raised:
        Words().convert(text, None, None)
    assert raised.value.message.startswith(f"{text!r} cannot be read as a shell does: No ")
    assert Words().convert("'.[all]' --pre", None, None) == [".[all]", "--pre"]


def test_option_with_an_open_quote_is_named(call):
    done = call("continuous", "a", "b", "--install", "'.[all]")
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr.startswith("nnbench: error: Invalid value for '--install': ")
    assert done.stderr.count("\n") == 1


def test_a_command_is_kept_as_a_shell_takes_it(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["nnbench", "selftest", "--output", "my folder"])
    assert command_line() == "nnbench selftest --output 'my folder'"
    monkeypatch.setattr(sys, "argv", ["nnbench", "run", "-o", os.fsdecode(b"r\xff")])
    assert command_line() == r"nnbench run -o 'r\xff'"


@pytest.mark.parametrize(
    ("rows", "text"),
    [([], ""), ([{"a": 1, "b": None}, {"a": "x,y", "b": 0.5}], 'a,b\n1,\n"x,y",0.5\n')],
)
def test_rows_are_lines_under_their_keys(capsys, rows, text):
    echo_csv(rows)
    assert capsys.readouterr().out == text
