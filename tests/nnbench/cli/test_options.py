"""What commands share."""

import sys

import pytest

from nnbench.cli.options import command_line, echo_csv


def test_a_command_is_kept_as_a_shell_takes_it(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["nnbench", "selftest", "--output", "my folder"])
    assert command_line() == "nnbench selftest --output 'my folder'"


@pytest.mark.parametrize(
    ("rows", "text"),
    [([], ""), ([{"a": 1, "b": None}, {"a": "x,y", "b": 0.5}], 'a,b\n1,\n"x,y",0.5\n')],
)
def test_rows_are_lines_under_their_keys(capsys, rows, text):
    echo_csv(rows)
    assert capsys.readouterr().out == text
