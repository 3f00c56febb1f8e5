"""Follow the pages of docs/walkthroughs as a reader would, and hold what comes against what stands there.

``make walkthroughs`` follows them all, ``python -m tests.walkthroughs new-user`` one. From top to bottom,

- each command of a ``console`` block is given to bash, in the folder and with the variables that the one before it left.
  Below it stands all that it prints, on both streams, where ``…`` is any lines, or any part of a line, and blanks are
  alike. A command that fails is followed by ``echo $?``. Below ``^C`` stands what comes after that key: such a command
  has a terminal, and the key is pressed once all that stands above has been seen;
- a ``diff`` block is applied;
- any other block whose first line is a comment with the name of a file is written to that file.

A command, or what is waited for before ``^C``, may take a minute, unless ``<!-- up to 200 s -->`` stands above its block;
with ``--patience 3`` three times as long, on a machine that does much else.

A page starts in a folder of its own, with a clone in ``nnbench``, and in an environment of its own, which sees what
the one of this process has: so nothing is installed twice, and what a page installs stays there.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import sysconfig
import termios
import time
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby, takewhile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

from markdown_it import MarkdownIt

from nnbench.execution.variables import dropped, tuning

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "walkthroughs"
LIMIT_S = 60.0
GRACE_S = 10.0  #: for what was told to end
LOOK_S = 0.5  #: between two looks at a terminal
ANY = "…"
CTRL_C, KEY = "^C", b"\x03"  #: as a terminal shows it, and as it gets it
STATUS = "echo $?"
ENDS = "(start)", "(end)"  #: of what is printed
LIMIT = re.compile(r"<!-- up to (\d+) s -->")
FILE = re.compile(r"# (\S+\.\w+)")
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")
ROWS, COLUMNS = 50, 160  #: of a terminal
#: Does $1 as if the command before had ended with $2; $3 gets the folder and the variables that it leaves.
STEP = 'trap : INT; (exit "$2"); eval "$1"; s=$?; { printf "%s\\0" "$PWD"; env -0; } >"$3"; exit $s'
#: Makes the terminal $1 that of this session, which has none yet, and does the rest.
TERMINAL = 'exec <"$1" >"$1" 2>&1; shift; exec "$@"'
#: Variables that this process has, and a reader has not.
OURS = ("NNBENCH_", "PYTEST_", "PYTHON", "VIRTUAL_ENV", "XDG_", "MAKE", "MFLAGS", "COLUMNS")
COMMITS = {
    f"GIT_{who}_{what}": "reader" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
}


class DiffersError(Exception):
    """Something came that does not stand on the page."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.line = line


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    content: str
    line: int  #: of its content
    limit_s: float


@dataclass
class Command:
    """What is typed, and what stands below it."""

    text: str
    line: int
    printed: list[str] = field(default_factory=list)


def blocks(text: str, patience: float = 1.0) -> Iterator[Block]:
    """Yield the fenced blocks of a page."""
    limit_s = LIMIT_S
    for token in MarkdownIt().parse(text):
        if token.type == "html_block" and (found := LIMIT.search(token.content)):
            limit_s = float(found[1])
        elif token.type == "fence" and token.map:
            yield Block(token.info, token.content, token.map[0] + 2, patience * limit_s)
            limit_s = LIMIT_S


def commands(block: Block) -> list[Command]:
    """Return what is to be typed of a block of ``console``."""
    found: list[Command] = []
    for number, line in enumerate(block.content.splitlines(), block.line):
        if line.startswith("$ "):
            found.append(Command(line.removeprefix("$ "), number))
        elif not found:
            raise DiffersError(number, "no command stands above this")
        elif found[-1].text.endswith("\\") and not found[-1].printed:
            found[-1].text += f"\n{line}"
        else:
            found[-1].printed.append(line)
    return found


def first_missing(expected: Sequence[str], printed: Sequence[str]) -> str | None:
    """Return the first expected line that did not come; None if all came, and nothing else did."""
    first, last = ENDS
    wanted, lines = (
        [" ".join(line.split()) for line in [first, *each, last]] for each in (expected, printed)
    )
    at = 0
    for is_any, group in groupby(wanted, ANY.__eq__):
        if is_any:
            continue
        run = list(group)
        lengths = [_fitting(run, lines[place:]) for place in range(at, len(lines))]
        longest = max(lengths, default=0)
        if longest < len(run):
            return run[longest]
        at += lengths.index(longest) + longest
    return None


def _fitting(run: Sequence[str], lines: Sequence[str]) -> int:
    """Return how many lines fit, from the first on."""
    return sum(1 for _ in takewhile(_fits, zip(run, lines, strict=False)))


def _fits(pair: tuple[str, str]) -> bool:
    expected, line = pair
    return bool(re.fullmatch(".*".join(map(re.escape, expected.split(ANY))), line))


class Shell:
    """Bash, whose commands each see the folder and the variables that the one before left."""

    def __init__(self, folder: Path, variables: dict[str, str]) -> None:
        self.folder, self.variables = folder, variables
        self.status = 0
        self._left = folder.with_name(f"{folder.name}.left")

    def run(self, text: str, limit_s: float) -> str:
        """Run a command to its end, and return what it prints.

        Raises
        ------
        TimeoutError
            If it does not end in time; with what it has printed.
        """
        process = subprocess.Popen(
            self._step(text),
            cwd=self.folder,
            env=self.variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        try:
            printed, _ = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            _stop(process.pid)
            printed, _ = process.communicate()
            raise TimeoutError(printed) from None
        self._end(process.returncode)
        return printed

    def interrupt(self, text: str, awaited: Sequence[str], limit_s: float) -> str:
        """Run a command on a terminal until lines have come, press Ctrl-C, and return what comes then.

        Raises
        ------
        TimeoutError
            If either takes too long; with what it has printed.
        """
        terminal, its_end = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        process = subprocess.Popen(
            ["bash", "-c", TERMINAL, "bash", os.ttyname(its_end), *self._step(text)],
            cwd=self.folder,
            env={**self.variables, "TERM": "xterm"},
            start_new_session=True,
        )
        printed, pressed, is_late = b"", 0, False
        start = look = time.monotonic()
        while True:
            is_over, now = process.poll() is not None, time.monotonic()
            if select.select([terminal], [], [], 0 if is_over else LOOK_S)[0]:
                printed += os.read(terminal, 1 << 16)
            elif is_over:
                break
            if not pressed and now > look:
                look = now + LOOK_S
                if first_missing([*awaited, ANY], _shown(printed)) is None:
                    os.write(terminal, KEY)
                    pressed, start = len(printed), now
            if not is_late and now > start + limit_s:
                is_late = True
                _stop(process.pid)
        os.close(terminal)
        os.close(its_end)
        self._end(process.returncode)
        if is_late or not pressed:
            raise TimeoutError("\n".join(_shown(printed)[-ROWS:]))
        return "\n".join(_shown(printed[pressed:])).replace(CTRL_C, "", 1)

    def _step(self, text: str) -> list[str]:
        return ["bash", "-c", STEP, "bash", text, str(self.status), str(self._left)]

    def _end(self, status: int) -> None:
        self.status = status if status >= 0 else 128 - status
        with suppress(FileNotFoundError):  # a command that ends bash itself leaves nothing
            folder, *pairs = self._left.read_text("utf-8").rstrip("\0").split("\0")
            self._left.unlink()
            self.folder = Path(folder)
            self.variables = dict(pair.split("=", 1) for pair in pairs)


def _shown(printed: bytes) -> list[str]:
    """Return the lines of what a terminal gets, each as often as it was drawn."""
    return ESCAPE.sub("", printed.decode(errors="replace")).splitlines()


def _stop(pid: int) -> None:
    """End a command and what it has started."""
    for number, pause_s in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, 0)):
        with suppress(ProcessLookupError):
            os.killpg(pid, number)
            time.sleep(pause_s)


def follow(page: Path, shell: Shell, patience: float = 1.0) -> None:
    """Do what a page says.

    Raises
    ------
    DiffersError
        At the first thing that is not as it stands there.
    """
    for block in blocks(page.read_text("utf-8"), patience):
        if block.language == "console":
            type_in(shell, block, page.name)
        elif block.language == "diff":
            apply(shell, block)
        elif named := FILE.fullmatch(block.content.partition("\n")[0]):
            (shell.folder / named[1]).write_text(block.content, "utf-8")


def type_in(shell: Shell, block: Block, page: str) -> None:
    """Give the commands of a block to a shell."""
    failed: Command | None = None
    for command in commands(block):
        if failed and command.text != STATUS:
            break
        start = time.monotonic()
        try:
            expected, printed = give(shell, command, block.limit_s)
        except TimeoutError as error:
            text = f"$ {command.text}\ndid not come so far in {block.limit_s:g} s. It printed:\n{error}"
            raise DiffersError(command.line, text) from None
        seconds = time.monotonic() - start
        print(f"{page}:{command.line}: {seconds:5.1f} s  $ {command.text}", flush=True)  # noqa: T201 - a script
        if line := first_missing(expected, printed.splitlines()):
            text = f"$ {command.text}\nprinted\n{printed}\nand not, in its place\n{line}"
            raise DiffersError(command.line, text)
        failed = command if shell.status else None
    if failed:
        text = f"$ {failed.text}\nended with {shell.status}, and no {STATUS} follows"
        raise DiffersError(failed.line, text)


def give(shell: Shell, command: Command, limit_s: float) -> tuple[list[str], str]:
    """Run a command; return what it should print, and what it does: with Ctrl-C only what comes after it."""
    if CTRL_C not in command.printed:
        return command.printed, shell.run(command.text, limit_s)
    cut = command.printed.index(CTRL_C)
    printed = shell.interrupt(command.text, command.printed[:cut], limit_s)
    return command.printed[cut + 1 :], printed


def apply(shell: Shell, block: Block) -> None:
    """Apply a patch."""
    done = subprocess.run(
        ["git", "apply", "--recount", "-"],
        input=block.content,
        cwd=shell.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise DiffersError(block.line, f"the patch cannot be applied: {done.stderr}")


def variables(folder: Path) -> dict[str, str]:
    """Make an environment in a folder that sees the packages of this one, and return the variables of a reader."""
    made = folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", made], check=True)
    [packages] = made.glob("lib/python*/site-packages")
    # A path alone would not do: what is installed as editable has a .pth of its own.
    others = sysconfig.get_path("purelib")
    (packages / "others.pth").write_text(f"import site; site.addsitedir({others!r})\n")
    for name in ("nnbench", "pip"):
        script = made / "bin" / name
        script.write_text(f'#!/bin/sh\nexec "{made}/bin/python" -P -m {name} "$@"\n')
        script.chmod(0o755)
    pip = [sys.executable, "-m", "pip", "cache", "dir"]
    cache = subprocess.run(pip, capture_output=True, text=True, check=True).stdout.strip()
    gone = {*tuning(dropped(os.environ))}  # or nnbench would warn of it
    kept = {n: v for n, v in os.environ.items() if not (n in gone or n.startswith(OURS))}
    return {
        **kept,
        **COMMITS,
        "PATH": f"{made}/bin{os.pathsep}{kept['PATH']}",
        "PIP_CACHE_DIR": cache,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PYTHONWARNINGS": "ignore:machine",  # about whatever machine this runs on
        "XDG_CACHE_HOME": str(folder / "cache"),
        "XDG_DATA_HOME": str(folder / "data"),
    }


def pages() -> dict[str, Path]:
    """Return the pages by name."""
    return {page.stem: page for page in sorted(PAGES.glob("*.md"))}


def main(arguments: Sequence[str]) -> int:
    """Follow the pages that are named, or all, and return how many failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.walkthroughs")
    parser.add_argument("pages", nargs="*", choices=[*pages(), []])
    parser.add_argument("--patience", type=float, default=1.0)
    asked = parser.parse_args(arguments)
    # Where this runs in the background Ctrl-C is ignored, and shells would keep to that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    chosen, failed = [pages()[name] for name in asked.pages or pages()], 0
    for page in chosen:
        start = time.monotonic()
        with TemporaryDirectory(prefix="nnbench-reader-") as temporary:
            folder = Path(temporary, "here")
            folder.mkdir()
            (folder / "nnbench").symlink_to(ROOT)
            try:
                follow(page, Shell(folder, variables(Path(temporary))), asked.patience)
            except DiffersError as error:
                failed += 1
                print(f"{page.relative_to(ROOT)}:{error.line}: {error}")  # noqa: T201 - a script
        print(f"{page.name}: {time.monotonic() - start:.0f} s in all", flush=True)  # noqa: T201 - a script
    print(f"{len(chosen) - failed} passed, {failed} failed")  # noqa: T201 - a script
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
