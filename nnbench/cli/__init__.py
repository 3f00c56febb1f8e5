"""The ``nnbench`` command. Only this package turns errors into messages and exit codes.

The modules of the commands import what they need when they run, so that help is instant.
"""

from __future__ import annotations

import os
import sys
import warnings
from typing import Any, NoReturn

import click

from nnbench import files, spelling
from nnbench.cli import streams
from nnbench.cli.catalog import info, list_, new
from nnbench.cli.clean import clean
from nnbench.cli.compare import compare
from nnbench.cli.continuous import continuous
from nnbench.cli.history import history
from nnbench.cli.merge import merge
from nnbench.cli.options import echo_line
from nnbench.cli.profile import profile
from nnbench.cli.prove import prove
from nnbench.cli.run import run
from nnbench.cli.selftest import selftest
from nnbench.cli.show import export_, plot, report, show
from nnbench.cli.signals import Terminated, handled
from nnbench.cli.site import site
from nnbench.cli.test import test
from nnbench.contract import DISTRIBUTION
from nnbench.contract.errors import ExitCode, NnbenchError

CONTEXT = {
    "help_option_names": ["-h", "--help"],
    "show_default": True,
    "token_normalize_func": spelling.token,
}


class Commands(click.Group):
    """Commands that end without a word when the reader of a pipe leaves, as ``head`` does."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """Parse the arguments; --help and --version print here."""
        with streams.flushed():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with streams.flushed():
            return super().invoke(ctx)


@click.group(cls=Commands, context_settings=CONTEXT)
@click.version_option(package_name=DISTRIBUTION)
def cli() -> None:
    """Train the same network on interchangeable backends; compare accuracy and time."""
    from nnbench import distributions

    distributions.check()


COMMANDS = (
    *(run, test, show, report, plot, export_, compare, history, merge, site),
    *(continuous, prove, selftest),
    *(profile, new, list_, info, clean),
)

for command in COMMANDS:
    command.help = (command.help or "").format_map({code.name: int(code) for code in ExitCode})
    cli.add_command(command)


def main() -> NoReturn:
    """Run the command, and end with its code."""
    streams.prepare()
    warnings.showwarning = show_warning
    require_folder()
    with handled():
        try:
            sys.exit(run_command())
        except Terminated as ended:
            sys.exit(ended.code)
        except (KeyboardInterrupt, click.Abort):
            fail("interrupted", ExitCode.INTERRUPTED)


def run_command() -> int:
    """Run the command, and return its code; every error of a user is one line."""
    try:
        code: int = cli.main(prog_name="nnbench", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(ExitCode.USAGE)
    except click.ClickException as error:
        fail(error.format_message(), error.exit_code)
    except NnbenchError as error:
        fail(str(error), error.exit_code)
    except Warning as error:
        fail(f"{error} (a warning, which PYTHONWARNINGS or -W makes an error)", ExitCode.USAGE)
    except OSError as error:  # a limit of the machine, which nobody has named better
        where = f"{error.filename}: " if error.filename else ""
        fail(f"{where}{files.reason(error)}", ExitCode.INTERNAL)
    except MemoryError as error:
        fail(str(error) or "not enough memory", ExitCode.INTERNAL)
    return code


def require_folder() -> None:
    """Refuse to start in a folder that is gone: whatever looks for a file would fail there."""
    try:
        os.getcwd()  # noqa: PTH109 - Path would ask the same
    except OSError as error:
        text = f"the current folder is gone ({files.reason(error)}): change to another one"
        fail(text, ExitCode.USAGE)


def fail(message: str, code: int) -> NoReturn:
    """Print one line and end with a code."""
    echo_line(f"nnbench: error: {message}", err=True)
    sys.exit(code)


def show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """Print a warning as one line, without the source that raised it."""
    echo_line(f"nnbench: warning: {message}", err=True)
