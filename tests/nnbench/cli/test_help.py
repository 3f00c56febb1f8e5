"""Help is complete, and comes without any numerical library."""

import json
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from nnbench.cli import cli

NUMERICAL = {"numpy", "pandas", "scipy", "torch"}
HELP = [["--help"], ["-h"], ["run", "--help"], ["list", "--help"], ["info", "-h"], ["--version"]]
SHOW_MODULES = """
import json, sys
from nnbench.cli import main
try:
    main()
except SystemExit as error:
    print(json.dumps([int(error.code or 0), sorted(sys.modules)]), file=sys.stderr)
"""


def modules_after(*arguments):
    """Run the command; return the top-level modules that it has loaded."""
    command = [sys.executable, "-c", SHOW_MODULES, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    code, modules = json.loads(done.stderr)
    assert code == 0
    return {name.partition(".")[0] for name in modules}


@pytest.mark.parametrize("arguments", HELP, ids=" ".join)
def test_help_imports_no_numerical_library(arguments):
    loaded = modules_after(*arguments)
    assert loaded & NUMERICAL == set()
    assert "rich" not in loaded


def test_list_imports_no_heavy_library():
    assert modules_after("list") & NUMERICAL <= {"numpy"}


def test_contract_imports_no_numerical_library():
    code = "import nnbench, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "nnbench.contract.backend" in done.stdout.split()
    assert set(done.stdout.split()) & NUMERICAL == set()


@pytest.mark.parametrize("arguments", HELP[:-1], ids=" ".join)
def test_help_goes_to_standard_output(call, arguments):
    done = call(*arguments)
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: nnbench ")


def test_help_names_every_command(call):
    shown = call("--help").stdout.partition("\nCommands:\n")[2]
    names = {line.split()[0] for line in shown.splitlines() if re.match(r"  \w", line)}
    assert names == {
        *(
            "run",
            "test",
            "show",
            "report",
            "plot",
            "export",
            "compare",
            "history",
            "merge",
            "site",
            "continuous",
            "prove",
        ),
        *("selftest", "profile", "new", "list", "info", "clean"),
    }


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_help_says_what_each_command_does_in_one_line_and_whole(call, name):
    command, lines = cli.commands[name], call("--help").stdout.splitlines()
    sentence = command.help.split("\n\n")[0].replace("\n", " ")
    assert f"  {name:<12}{sentence}" in lines


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_option_has_a_text_and_no_formula(call, name):
    options = [each for each in cli.commands[name].params if isinstance(each, click.Option)]
    assert [each.name for each in options if not each.help] == []
    assert not re.search(r"[<>]=", call(name, "--help").stdout)


def test_shell_completes_every_command_and_its_options(call, monkeypatch):
    monkeypatch.setenv("_NNBENCH_COMPLETE", "bash_complete")
    for words, cword, offered in (
        ("nnbench ", 1, {f"plain,{name}" for name in cli.commands}),
        ("nnbench site --ou", 2, {"plain,--output"}),
        ("nnbench run --optimizer ", 3, {"plain,sgd", "plain,adam", "plain,adam-fresh"}),
    ):
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(cword))
        assert {*call().stdout.split()} == offered


def test_readme_names_every_command():
    text = (Path(__file__).parents[3] / "README.md").read_text("utf-8")
    assert set(cli.commands) - set(re.findall(r"\bnnbench (\w+)", text)) == set()


@pytest.mark.parametrize(
    "option",
    [
        *("--backends", "--workload", "--dataset", "--epochs", "--batch-size", "--hidden"),
        *("--activation", "--optimizer", "--learning-rate", "--target", "--rounds", "--seed"),
        *("--threads", "--budget", "--timeout", "--baseline", "--output", "--quick"),
        *("--no-progress", "--roofline", "--config", "--resume", "--rigorous"),
    ],
)
def test_help_of_run_names_every_option(call, option):
    assert re.search(
        rf"(?:^  (?:-\w, )?|--\w+ / ){option}\b", call("run", "--help").stdout, re.MULTILINE
    )


@pytest.mark.parametrize(
    "default",
    ["[default: all]", "[default: mnist]", "[default: 3]", "[default: 15]", "[default: numpy]"],
)
def test_help_of_run_tells_the_defaults(call, default):
    assert default in " ".join(call("run", "--help").stdout.split())


def test_version_is_that_of_the_package(call):
    done = call("--version")
    assert done.stdout.startswith("nnbench, version 0.")


def test_command_alone_shows_the_help(call):
    done = call()
    assert done.code == 2
    assert done.stderr.startswith("Usage: nnbench ")
