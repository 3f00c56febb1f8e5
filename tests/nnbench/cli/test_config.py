"""``nnbench run`` with TOML files, and ``nnbench info`` that prints them."""

from dataclasses import replace
from importlib import import_module

import pytest

from nnbench import catalog
from nnbench.config import files
from nnbench.runs import store
from tests.cells import read_final
from tests.nnbench.config.examples import TOY

SMALL = TOY + 'loss = "squared_error"\nepochs = 1\n'
CONFIG = 'backends = "python"\nrounds = 2\nseed = 5\noutput = "run"\n'


@pytest.fixture
def planned(tmp_path, monkeypatch, call):
    """Give a function that tells what a run would be, without one."""

    def plan(*arguments, config=CONFIG):
        (tmp_path / "nnbench.toml").write_text(config)
        seen = []

        def execute(plan, folder, **_):
            seen.append((plan.info, [entry.label for entry in plan.entries], folder))
            return 0

        monkeypatch.setattr(import_module("nnbench.cli.run"), "execute", execute)
        done = call("run", "--config", "nnbench.toml", *arguments)
        assert (done.code, done.stderr) == (0, "")
        return seen[0]

    return plan


@pytest.mark.parametrize(
    ("arguments", "config", "rounds"),
    [
        (["--detect", "10%"], 'backends = "python"\n', 100),
        ([], 'backends = "python"\ndetect = 0.1\n', 100),
        (["--detect", "10"], CONFIG, 2),
        (["--detect", "10%", "--rounds", "7"], CONFIG, 7),
    ],
)
def test_looking_for_a_difference_allows_many_rounds(planned, arguments, config, rounds):
    info, *_ = planned(*arguments, config=config)
    assert (info.detect, info.rounds) == (0.1, rounds)


def test_file_says_what_is_run(planned, tmp_path):
    info, labels, output = planned()
    assert (info.rounds, info.seed, labels) == (2, 5, ["python"])
    assert info.workload == catalog.workloads()["mnist"]
    assert output == tmp_path / "run"


def test_what_is_typed_wins(planned):
    info, labels, output = planned("--seed", "0", "-b", "numpy", "-w", "toy-sigmoid", "-o", "there")
    assert (info.rounds, info.seed, labels, str(output)) == (2, 0, ["numpy"], "there")
    assert info.workload.name == "toy-sigmoid"


def test_defaults_hold_where_neither_says_anything(planned):
    info, _, _ = planned(config="seed = 1")
    assert (info.rounds, info.budget_s, info.timeout_s, info.threads) == (3, 15.0, 300.0, 1)


@pytest.mark.parametrize(
    ("config", "arguments", "rounds"),
    [
        ('effort = "quick"', [], 1),
        ('effort = "quick"\nrounds = 4', [], 4),
        ('effort = "quick"', ["--rounds", "4"], 4),
        ("rounds = 4", ["--quick"], 1),
        ('effort = "quick"\nrounds = 4', ["--rigorous"], 10),
        ("rounds = 4", ["--rigorous", "--rounds", "12"], 12),
        ('effort = "rigorous"', [], 10),
    ],
)
def test_effort_gives_way_to_what_is_said_at_the_same_place(planned, config, arguments, rounds):
    assert planned(*arguments, config=config)[0].rounds == rounds


@pytest.mark.parametrize(
    ("arguments", "workload", "epochs"),
    [
        (["--quick"], "mnist+epochs=1", 1),
        (["--quick", "--epochs", "2"], "mnist+epochs=2", 2),
        (["--quick", "-w", "toy-sigmoid"], "toy-sigmoid", 100),  # of a step each
        (["--quick", "-w", "toy-sigmoid", "--batch-size", "2"], None, 1),
    ],
)
def test_quick_run_has_one_epoch_or_enough_steps(planned, arguments, workload, epochs):
    found = planned(*arguments)[0].workload
    assert found.epochs == epochs
    assert workload in {None, found.name}


def test_effort_that_is_typed_replaces_the_other(planned):
    info, _, _ = planned("--rigorous", config='effort = "quick"')
    assert (info.rounds, info.budget_s, info.workload.name) == (10, 15.0, "mnist")


def test_overrides_change_the_workload(planned):
    config = "epochs = 2\nhidden = [7]\n" + CONFIG
    info, _, _ = planned("--epochs", "3", config=config)
    assert info.workload.name == "mnist+hidden=7,epochs=3"


def test_rigorous_run_of_few_rounds_is_refused(call, tmp_path):
    (tmp_path / "my.toml").write_text('effort = "rigorous"\nrounds = 2')
    done = call("run", "--config", "my.toml")
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr == "nnbench: error: --rigorous means at least 10 rounds\n"


def test_error_is_one_line(call, tmp_path):
    (tmp_path / "my.toml").write_text("\nround = 2")
    done = call("run", "-c", "my.toml")
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr.startswith(
        "nnbench: error: my.toml:2: unknown key 'round'; known: backends, "
    )
    assert done.stderr.count("\n") == 1


def test_resuming_takes_no_file(call, tmp_path):
    done = call("run", "--config", "my.toml", "--resume", tmp_path)
    assert (done.code, done.stdout) == (2, "")
    assert "--resume goes on as planned" in done.stderr


def test_run_of_a_workload_file_needs_it_no_more(call, tmp_path):
    (tmp_path / "small.toml").write_text(SMALL)
    done = call("run", "-b", "numpy", "-w", "small.toml", "-o", "run", "-r", "2", "--no-progress")
    assert done.code == 0, done.stderr
    assert store.read_info(tmp_path / "run").workload.name == "small"
    (tmp_path / "small.toml").unlink()
    cells = tmp_path / "run" / "cells.jsonl"
    cells.write_bytes(cells.read_bytes().splitlines(keepends=True)[0])
    assert call("run", "--resume", "run", "--no-progress").code == 0
    assert [cell.round for cell in read_final(tmp_path / "run")] == [0, 1]
    assert call("compare", "run", "run").code == 0


@pytest.mark.parametrize("name", ["mnist", "toy-sigmoid", "mnist+hidden=128"])
def test_workload_that_info_prints_can_be_run(call, tmp_path, planned, name):
    printed = call("info", "--workload", name).stdout
    (tmp_path / "my.toml").write_text(printed)
    assert planned("-w", "my.toml", config="")[0].workload.name == name


def test_info_prints_a_workload_file_complete(call, tmp_path):
    (tmp_path / "small.toml").write_text(SMALL)
    (tmp_path / "all.toml").write_text(call("info", "--workload", "small.toml").stdout)
    small, complete = (files.read_workload(tmp_path / name) for name in ("small.toml", "all.toml"))
    assert complete == replace(small, name="small")


def test_info_shows_one_thing(call):
    done = call("info", "--json", "--schema", "config")
    assert (done.code, done.stdout) == (2, "")
    assert "exclude one another" in done.stderr
