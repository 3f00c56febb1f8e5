"""The examples of docs/workloads.md are run as they stand."""

import re
from pathlib import Path

import pytest

from nnbench.runs import store
from tests.cells import read_final

DOCS = Path(__file__).parents[3] / "docs"
BLOCK = re.compile(r"^```(?:toml|python)\n# ([\w.]+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
EXAMPLES = dict(BLOCK.findall((DOCS / "workloads.md").read_text(encoding="utf-8")))
GARDEN = Path(__file__).parents[2] / "plugins" / "garden" / "nnbench_garden.py"


@pytest.fixture
def examples(tmp_path):
    """Write the files of the page into a folder."""
    assert EXAMPLES.keys() == {"small.toml", "nnbench.toml", "inline.toml", "nnbench_garden.py"}
    for name, text in EXAMPLES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_run_of_the_page_runs(call, examples):
    shorter = ["--backends", "numpy", "--rounds", "1", "--budget", "0.2"]
    done = call("run", "--config", "nnbench.toml", *shorter)
    assert done.code in {0, 6}, done.stderr  # 6: so short a training may miss the target
    info = store.read_info(examples / "out" / "small")
    assert (info.workload.hidden, info.workload.optimizer.kind) == ((16,), "sgd")
    assert info.workload.name == "small+batch_size=64,epochs=1,target_accuracy=0.5"
    [cell] = read_final(examples / "out" / "small")
    assert cell.status.counts


def test_workload_in_the_run_runs(call, examples):
    done = call("run", "--config", "inline.toml", "-o", "out")
    assert done.code == 0, done.stderr
    [cell] = read_final(examples / "out")
    assert (cell.workload, cell.status) == ("toy-small", "ok")


def test_commented_options_are_right(call, examples):
    text = re.sub(r"^# (?=\w+ = )", "", EXAMPLES["nnbench.toml"], flags=re.MULTILINE)
    (examples / "my" / "images").mkdir(parents=True)
    (examples / "nnbench.toml").write_text(text, encoding="utf-8")
    done = call("run", "--config", "nnbench.toml", "--rounds", "10", "--dataset", "toy")
    assert (done.code, done.stderr.count("\n")) == (2, 1)
    assert "toy: target values, but cross-entropy needs classes" in done.stderr


def test_printed_workload_is_current(call):
    shown = (DOCS / "workloads.md").read_text(encoding="utf-8")
    assert call("info", "--workload", "mnist+hidden=128,64").stdout in shown


def test_plugin_of_the_page_is_the_tested_one():
    source = GARDEN.read_text(encoding="utf-8")
    assert EXAMPLES["nnbench_garden.py"].strip() == source.partition("\n\n")[2].strip()
