"""Streams that are no usual ones: pipes that nobody reads, closed terminals, an encoding without dashes."""

import json
import os
import pty
import subprocess

import pytest

from nnbench.cli.streams import Lossy
from nnbench.contract.errors import ExitCode
from tests.plugins.helpers import NNBENCH, environment, nnbench


@pytest.mark.parametrize(
    "arguments",
    [
        *("--help", "show --help", "list", "show {run}", "show {run} --format json"),
        "export {run} --to junit",
    ],
)
def test_reader_that_leaves_ends_the_command_quietly(write_run, make_cell, arguments):
    folder = write_run(make_cell())
    reader, writer = os.pipe()
    os.close(reader)
    command = [*NNBENCH, *arguments.format(run=folder).split()]
    done = subprocess.run(
        command, stdout=writer, stderr=subprocess.PIPE, env=environment(), check=False
    )
    os.close(writer)
    assert (done.stderr, done.returncode) == (b"", ExitCode.PIPE_CLOSED)


def test_run_ends_as_others_when_its_reader_leaves(tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    command = [*NNBENCH, "run", "-w", "toy-sigmoid", "-b", "numpy", "-r", "1", "--no-progress"]
    done = subprocess.run(
        [*command, "-o", str(tmp_path / "run")],
        stdout=writer,
        stderr=subprocess.PIPE,
        env=environment(),
        check=False,
    )
    os.close(writer)
    assert (done.stderr, done.returncode) == (b"", ExitCode.PIPE_CLOSED)
    assert (tmp_path / "run" / "timing.md").exists()


@pytest.mark.parametrize("form", ["table", "md"])
def test_encoding_without_the_signs_is_no_error(write_run, make_cell, form):
    folder = write_run(make_cell("é", train_s=2.0), make_cell())
    env = environment(PYTHONIOENCODING="iso8859-5")
    done = nnbench("show", folder, "--format", form, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert "numpy" in done.stdout
    assert done.stdout.isascii()


@pytest.mark.parametrize("command", ["list", "info --json"])
def test_what_plugins_print_stands_apart(call, command):
    plain = call(*command.split())
    done = nnbench(*command.split(), env=environment("chatty"))
    assert done.returncode == 0
    assert "chatty: said" not in done.stdout
    for where in ("at its import", "past Python", "by a child", "at the end"):
        assert f"chatty: said {where}" in done.stderr
    assert len(done.stdout) >= len(plain.stdout)
    if "--json" in command:
        assert json.loads(done.stdout).keys() == json.loads(plain.stdout).keys()


def pipe_without_reader():
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def terminal_that_was_closed():
    screen, terminal = pty.openpty()
    os.close(screen)
    return terminal


@pytest.mark.parametrize("make", [pipe_without_reader, terminal_that_was_closed])
def test_what_nobody_reads_is_lost(make):
    descriptor = make()
    with pytest.raises(OSError, match=r"Broken pipe|Input/output error"):
        os.write(descriptor, b"text")
    with Lossy(descriptor, "w") as stream:
        assert stream.write(b"text") == 4
