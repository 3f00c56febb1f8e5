"""The pages of docs/walkthroughs are followed as they stand, and what is not so is found."""

import os
import sys

import pytest

from tests import walkthroughs
from tests.walkthroughs import DiffersError, Shell, first_missing

RIGHT = """
Variables and folders are kept, and files are written where one stands.

```console
$ mkdir below && cd below
$ export WHERE="is \\
kept"
```

```sh
# say.sh
echo "$WHERE"
echo "this   is said, too" >&2
```

```console
$ bash say.sh
is kept
this is …, too
$ seq 9
1
…
4
…
9
```

```diff
--- a/say.sh
+++ b/say.sh
@@ -1,3 +1,3 @@
 # say.sh
-echo "$WHERE"
+exit 3
 echo "this   is said, too" >&2
```

```console
$ bash say.sh
$ echo $?
3
$ pwd
…/below
```

```text
$ this is no command
```
"""


@pytest.fixture
def shell(tmp_path):
    """Give a shell in a folder of its own."""
    folder = tmp_path / "here"
    folder.mkdir()
    return Shell(folder, dict(os.environ))


@pytest.fixture
def follow(shell, tmp_path):
    """Give a function that follows a page."""

    def follow_page(text):
        page = tmp_path / "page.md"
        page.write_text(text, "utf-8")
        walkthroughs.follow(page, shell)

    return follow_page


def console(*lines):
    return "\n".join(["", "```console", *lines, "```", ""])


def test_page_that_is_right_is_followed_to_its_end(follow, shell):
    follow(RIGHT)
    assert shell.folder.name == "below"
    assert shell.variables["WHERE"] == "is kept"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (console("$ echo a", "b"), 3, r"printed\na\n\nand not, in its place\nb"),
        (console("$ true", "$ echo a"), 4, r"in its place\n\(end\)"),
        (console("$ true", "a"), 3, "in its place\na"),
        (console("$ false", "$ true"), 3, r"ended with 1, and no echo \$\? follows"),
        (console("$ false"), 3, "ended with 1"),
        (console("$ (exit 3)", "$ echo $?", "4"), 4, "printed\n3\n"),
        (console("$ exit 3"), 3, "ended with 3"),
        (console("a", "$ true"), 3, "no command stands above"),
        ("```diff\n--- a/x\n+++ b/x\n@@ -1,2 +1,1 @@\n a\n-b\n```\n", 2, "cannot be applied"),
        (console("$ kill -SEGV $$"), 3, "ended with 139"),
    ],
)
def test_what_is_not_as_it_stands_is_found(follow, text, line, message):
    with pytest.raises(DiffersError, match=message) as raised:
        follow(text)
    assert raised.value.line == line


@pytest.mark.parametrize("lines", [["$ echo a; sleep 60"], ["$ echo a; sleep 60", "b", "^C"]])
def test_command_that_takes_too_long_is_ended(follow, monkeypatch, lines):
    monkeypatch.setattr(walkthroughs, "GRACE_S", 0.1)
    with pytest.raises(DiffersError, match=r"did not come so far in 1 s. It printed:\na"):
        follow("<!-- up to 1 s -->" + console(*lines))


def test_limit_is_that_of_the_block_below():
    text = "<!-- up to 7 s -->" + 2 * console("$ true")
    assert [block.limit_s for block in walkthroughs.blocks(text)] == [7, walkthroughs.LIMIT_S]


WAITING = """
import sys, time
assert sys.stdout.isatty()
try:
    print("\\x1b[1mready\\x1b[0m", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print("stopped")
    sys.exit(9)
"""


def test_ctrl_c_is_pressed_once_what_stands_above_has_come(follow, shell):
    (shell.folder / "waiting.py").write_text(WAITING)
    typed = f"$ {sys.executable} waiting.py"
    follow(console(typed, "ready", "^C", "stopped", "$ echo $?", "9"))
    with pytest.raises(DiffersError, match="stopped"):
        follow(console(typed, "ready", "^C", "…", "goes on", "$ echo $?", "9"))


@pytest.mark.parametrize(
    ("expected", "printed", "missing"),
    [
        ("", "", None),
        ("a b", "  a \t b ", None),
        ("a…", "abc", None),
        ("a …", "a", "a …"),
        ("…", "", None),
        ("…", "a\nb", None),
        ("a\n…\nb\n…\nb", "a\nb\nb", None),
        ("a\n…\nb\n…\nb", "a\nb", "b"),
        ("…\na\nc", "a\nb\na\nc", None),
        ("…\na\nc", "a\nb\na\nc\nd", "(end)"),
        ("a\nb\n…", "a\nc", "b"),
        ("a", "c\na", "a"),
        ("a.c", "abc", "a.c"),
    ],
)
def test_what_is_printed_is_held_against_the_page(expected, printed, missing):
    assert first_missing(expected.splitlines(), printed.splitlines()) == missing


def test_environment_of_a_reader_sees_what_is_installed_here(tmp_path, monkeypatch):
    monkeypatch.setenv("NNBENCH_PLUGINS", "none")
    folder = tmp_path / "here"
    folder.mkdir()
    shell = Shell(folder, walkthroughs.variables(tmp_path))
    assert "NNBENCH_PLUGINS" not in shell.variables
    assert shell.run("nnbench --version", 60).startswith("nnbench, version ")
    assert "numpy" in shell.run("pip list", 60)
    assert str(tmp_path) in shell.run("type nnbench pip", 60)


def test_each_page_has_commands_and_says_who_follows_it():
    assert walkthroughs.pages()
    for page in walkthroughs.pages().values():
        text = page.read_text("utf-8")
        assert "`make walkthroughs`" in text
        assert [block for block in walkthroughs.blocks(text) if block.language == "console"]


def test_main_counts_what_failed(tmp_path, monkeypatch, capsys):
    pages = {"right": console("$ ls", "nnbench"), "wrong": console("$ true", "a")}
    for name, text in pages.items():
        (tmp_path / f"{name}.md").write_text(text, "utf-8")
    monkeypatch.setattr(walkthroughs, "PAGES", tmp_path)
    monkeypatch.setattr(walkthroughs, "ROOT", tmp_path)
    monkeypatch.setattr(walkthroughs, "variables", lambda _: dict(os.environ))
    assert walkthroughs.main([]) == 1
    assert capsys.readouterr().out.endswith("1 passed, 1 failed\n")
    assert walkthroughs.main(["right"]) == 0
