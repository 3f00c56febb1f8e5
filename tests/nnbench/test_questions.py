"""The page of questions: each command answers as it stands there."""

import doctest
import shlex
from pathlib import Path

import pytest

from nnbench.cli import cli
from tests import walkthroughs

PAGE = Path(__file__).parents[2] / "docs" / "questions.md"
ROOT = PAGE.parents[1]
BLOCKS = [*walkthroughs.blocks(PAGE.read_text("utf-8"))]
COMMANDS = [
    command
    for block in BLOCKS
    if block.language == "console"
    for command in walkthroughs.commands(block)
]
ASKED = [each for each in COMMANDS if each.text != walkthroughs.STATUS]
#: Files that commands of the page read, and folders of them.
READ = ("results",)


@pytest.fixture
def ask(call, tmp_path):
    """Give a function that runs a command of the page where the published runs are, and nothing is left behind."""
    for name in READ:
        (tmp_path / name).symlink_to(ROOT / name)
    return call


@pytest.mark.parametrize("command", ASKED, ids=lambda command: command.text)
def test_question_is_answered_as_the_page_says(ask, command):
    program, *arguments = shlex.split(command.text)
    assert program == "nnbench"
    done = ask(*arguments)
    printed = (done.stdout + done.stderr).rstrip().splitlines()
    assert walkthroughs.first_missing(command.printed, printed) is None, "\n".join(printed)
    after = COMMANDS[COMMANDS.index(command) + 1 :][:1]
    expected = [int(each.printed[0]) for each in after if each.text == walkthroughs.STATUS]
    assert [done.code] == (expected or [0])


def test_lines_of_python_answer_as_the_page_says(ask):
    assert callable(ask)
    content = "\n".join(block.content for block in BLOCKS if block.language == "python")
    test = doctest.DocTestParser().get_doctest(content, {}, PAGE.name, str(PAGE), 0)
    assert len(test.examples) >= 4
    done = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test)
    assert done.failed == 0


def test_page_asks_the_commands_that_read_runs():
    asked = {shlex.split(each.text)[1] for each in ASKED}
    assert {"show", "compare", "history", "profile", "info"} <= asked <= {*cli.commands}
