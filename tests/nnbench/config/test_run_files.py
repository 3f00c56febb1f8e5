"""Configuration files: every option of ``nnbench run``, and paths relative to the file."""

import re

import click
import pytest

from nnbench import catalog
from nnbench.cli.options import type_of
from nnbench.cli.run import run
from nnbench.config import files
from nnbench.config.run_table import RunTable
from nnbench.contract.bounds import Share
from nnbench.contract.errors import ConfigError
from tests.nnbench.config.examples import BAD_NAMES, BAD_RUNS, GOOD_RUNS, TOY

WRONG = {**BAD_RUNS, **BAD_NAMES}
NOT_IN_A_FILE = {"config", "resume", "dry_run"}
IN_A_FILE_ALONE = {"sweep"}  # options themselves take several values


def test_every_option_of_run_can_be_in_a_file():
    options = {parameter.name for parameter in run.params if isinstance(parameter, click.Option)}
    assert set(RunTable.__dataclass_fields__) - IN_A_FILE_ALONE == options - NOT_IN_A_FILE


def test_values_are_those_that_the_command_takes(write):
    path = write(GOOD_RUNS["everything"], "deep/nnbench.toml")
    assert files.read_run(path) == {
        "backends": ["numpy", "torch-cpu[threads=2]"],
        "workload": catalog.workloads()["mnist"],
        "dataset": "mnist",
        "epochs": 2,
        "batch_size": 32,
        "hidden": (128, 64),
        "activation": "sigmoid",
        "optimizer": "adam-fresh",
        "learning_rate": 1e-4,
        "target_accuracy": 0.9,
        "rounds": 4,
        "seed": 0,
        "threads": 2,
        "budget": 7.5,
        "timeout": 60.0,
        "baseline": "numpy",
        "roofline": True,
        "output": path.absolute().parent / "out",
        "effort": "quick",
        "progress": False,
    }


@pytest.mark.parametrize("name", WRONG)
def test_wrong_file_is_told_with_its_line(write, name):
    text, line, message = WRONG[name]
    with pytest.raises(ConfigError, match=rf"\Anew.toml:{line}: {re.escape(message)}"):
        files.read_run(write(text, "new.toml"))


@pytest.mark.parametrize(
    ("text", "typed"),
    [
        ('executor = "dask[jobs=4]"', "dask[jobs=4]"),
        ('[executor]\nname = "dask"', "dask"),
        (
            '[executor]\nname = "dask"\nslurm = true\njobs = 4\nwalltime = "02:00:00"',
            "dask[slurm=true,jobs=4,walltime=02:00:00]",
        ),
    ],
)
def test_executor_may_be_a_table_with_its_parameters(write, text, typed):
    assert files.read_run(write(text)) == {"executor": typed}


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("[executor]\njobs = 4", 1, "missing in [executor]: name, a string"),
        ("[executor]\nname = 4", 1, "missing in [executor]: name, a string"),
        ('[executor]\nname = "dask"\nssh = "a,b"', 3, "a parameter of an executor has no ','"),
        ("executor = 4", 1, "executor must be a string"),
    ],
)
def test_executor_that_is_none_is_told_with_its_line(write, text, line, message):
    with pytest.raises(ConfigError, match=rf"\Anew.toml:{line}: {re.escape(message)}"):
        files.read_run(write(text, "new.toml"))


def test_workload_may_be_in_the_file(write):
    workload = files.read_run(write("[workload]\n" + TOY))["workload"]
    assert (workload.name, workload.dataset, workload.hidden) == ("my", "toy", (4,))


def test_workload_may_be_in_a_file_beside_it(write):
    write(TOY, "deep/small.toml")
    path = write('workload = "small.toml"', "deep/nnbench.toml")
    assert files.read_run(path)["workload"].name == "small"


def test_error_in_the_other_file_names_that(write):
    write(TOY + "epoch = 3", "small.toml")
    with pytest.raises(ConfigError, match=r"small.toml:3: unknown key 'epoch'"):
        files.read_run(write('workload = "small.toml"', "nnbench.toml"))


@pytest.mark.parametrize("prefix", ["", "[workload]\nhidden = []\n"])
def test_folder_of_a_dataset_is_relative_to_the_file(write, tmp_path, write_folder, prefix):
    path = write(prefix + 'dataset = "../shapes"', "deep/nnbench.toml")
    folder = write_folder(tmp_path / "shapes")
    found = files.read_run(path)
    dataset = found["workload"].dataset if prefix else found["dataset"]
    assert folder.samefile(dataset)


@pytest.mark.parametrize("hint", [bytes | None, dict[str, int] | None, Share | None])
def test_option_of_a_type_that_the_command_cannot_convert_is_refused(hint):
    with pytest.raises(TypeError, match="no type of option"):
        type_of(hint)
