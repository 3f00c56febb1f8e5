"""Every command reads a run of every schema version that was ever published."""

import json
import shutil
from pathlib import Path

import pytest

from nnbench.cli.show import export_, plot
from nnbench.records.runs import SCHEMA_VERSION

FOLDERS = Path(__file__).with_name("versions")
VERSIONS = sorted(path.name for path in FOLDERS.iterdir())


def choices(command, name):
    (option,) = (option for option in command.params if option.name == name)
    return list(option.type.choices)


@pytest.fixture(params=VERSIONS)
def run(request, tmp_path):
    """Give a folder with such a run: two rounds of two backends, and one that is unavailable."""
    return Path(shutil.copytree(FOLDERS / request.param, tmp_path / "old"))


def test_every_version_has_its_folder():
    assert list(map(int, VERSIONS)) == [*range(1, SCHEMA_VERSION)]
    for name in VERSIONS:
        content = json.loads((FOLDERS / name / "run.json").read_text())
        assert content["schema_version"] == int(name)


def test_show_has_what_was_measured(call, run):
    done = call("show", run, "--format", "json")
    assert (done.code, done.stderr) == (0, "")
    rows = {row["backend"]: row for row in json.loads(done.stdout)}
    assert set(rows) == {"numpy", "python", "torch-cuda"}
    assert rows["numpy"]["ratio"] == 1
    assert rows["numpy"]["rounds"] == rows["python"]["rounds"] == 2


def test_a_run_is_compared_with_itself(call, run):
    done = call("compare", run, run)
    assert done.code == 0, done.stderr


def test_report_is_written(call, run, tmp_path):
    done = call("report", run, "-o", tmp_path / "page.html")
    assert done.code == 0, done.stderr
    assert "toy-sigmoid" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize("figure", choices(plot, "figure"))
def test_plot_draws_it_or_says_what_is_missing(call, run, tmp_path, figure):
    done = call("plot", run, "-f", figure, "-o", tmp_path / "x.svg")
    if done.code:  # a toy has no accuracy, and this run no roofs
        assert done.code == 2
        assert len(done.stderr.splitlines()) == 1
    else:
        assert (tmp_path / "x.svg").stat().st_size > 1000


@pytest.mark.parametrize("name", choices(export_, "name"))
def test_export_writes_it(call, run, tmp_path, name):
    done = call("export", run, "--to", name, "-o", tmp_path / "exported")
    assert done.code == 0, done.stderr
    assert (tmp_path / "exported").stat().st_size > 100
