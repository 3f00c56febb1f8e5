"""Workload files: what they may say, and that every workload can be written as one."""

import re
from dataclasses import replace

import pytest

from nnbench import NnbenchError, Workload, catalog
from nnbench.config import files
from nnbench.contract.errors import ConfigError
from nnbench.data.workloads import ADAM, derive
from tests.nnbench.config.examples import BAD_WORKLOADS, NO_TOML, NOT_FINITE, TOY

WRONG = {**BAD_WORKLOADS, **NOT_FINITE, **NO_TOML}
ODD = "a \"b\" 'c' \\ \n\t\x7f ü 🙂 [x] = # 3"


def round_trip(workload, path):
    path.write_text(files.spell_workload(workload), encoding="utf-8")
    return files.read_workload(path)


@pytest.mark.parametrize("name", catalog.workloads())
def test_registered_workload_survives_being_written(tmp_path, name):
    workload = catalog.workloads()[name]
    assert round_trip(workload, tmp_path / "other.toml") == workload


@pytest.mark.parametrize(
    "overrides",
    [
        {"hidden": (128,)},
        {"hidden": (), "batch_size": None, "target_accuracy": 0.5},
        {"optimizer": "sgd", "learning_rate": 1e-300},
    ],
)
def test_derived_workload_survives_being_written(tmp_path, mnist, overrides):
    workload = derive(mnist, overrides)
    assert round_trip(workload, tmp_path / "other.toml") == workload


def test_text_of_any_kind_survives_being_written(tmp_path, mnist):
    workload = replace(mnist, name=ODD, summary=ODD)
    assert round_trip(workload, tmp_path / "other.toml") == workload


@pytest.mark.parametrize("name", WRONG)
def test_wrong_file_is_told_with_its_line(write, name):
    text, line, message = WRONG[name]
    where = f"my.toml:{line}: " if line else "my.toml: "
    with pytest.raises(ConfigError, match=rf"\A{re.escape(where + message)}"):
        files.read_workload(write(text))


def test_what_is_left_out_has_its_default(write):
    assert files.read_workload(write(TOY)) == Workload(
        name="my", summary="", dataset="toy", hidden=(4,), optimizer=ADAM
    )


def test_file_names_itself(write):
    assert files.read_workload(write(TOY + 'name = "other"')).name == "other"


def test_folder_of_a_dataset_is_relative_to_the_file(write, tmp_path, monkeypatch, write_folder):
    path = write('dataset = "../shapes"\nhidden = []', "deep/my.toml").absolute()
    folder = write_folder(tmp_path / "shapes")
    monkeypatch.chdir("/")
    assert folder.samefile(files.read_workload(path).dataset)


def test_name_of_a_dataset_comes_before_a_folder(write, tmp_path):
    (tmp_path / "toy").mkdir()
    assert files.read_workload(write(TOY)).dataset == "toy"


@pytest.mark.parametrize("name", ["no/folder", "~nobody-of-this-name/x", "\\u0000", "n" * 4000])
def test_dataset_that_is_not_there_is_told_with_its_line(write, name):
    with pytest.raises(ConfigError, match=r"\Amy.toml:2: no dataset or folder named '"):
        files.read_workload(write(f'hidden = []\ndataset = "{name}"'))


def test_byte_order_mark_is_ignored(write):
    assert files.read_workload(write("\ufeff" + TOY)).dataset == "toy"


def test_file_that_is_no_text_is_told_with_its_line(tmp_path):
    (tmp_path / "my.toml").write_bytes(TOY.encode() + b'name = "\xff"')
    with pytest.raises(ConfigError, match=r"my.toml:3: this is not UTF-8"):
        files.read_workload(tmp_path / "my.toml")


def test_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read .*/my.toml: No such file or directory"):
        files.read_workload(tmp_path / "my.toml")


def test_folder_is_no_file(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read .*: Is a directory"):
        files.read_workload(tmp_path)


@pytest.mark.parametrize(
    ("text", "overrides"),
    [
        ("hidden=128", [{"hidden": (128,)}]),
        ("hidden=128,64,epochs=2", [{"hidden": (128, 64), "epochs": 2}]),
        ("epochs=1+batch_size=8", [{"epochs": 1}, {"batch_size": 8}]),
        ("hidden=none,batch_size=full", [{"hidden": (), "batch_size": None}]),
        ("learning_rate=1e+16+epochs=1", [{"learning_rate": 1e16}, {"epochs": 1}]),
        ("target_accuracy=0.5", [{"target_accuracy": 0.5}]),
    ],
)
def test_name_from_a_table_is_understood(mnist, text, overrides):
    for changes in overrides:
        mnist = derive(mnist, changes)
    assert files.find_workload(f"mnist+{text}") == mnist


@pytest.mark.parametrize(
    "change", ["hidden=a", "hidden=0", "epochs=0", "epochs=", "activation=tanh"]
)
def test_change_that_means_nothing_is_told(change):
    with pytest.raises(NnbenchError, match=re.escape(f"{change}: ")):
        files.find_workload(f"mnist+{change}")


def test_name_of_another_workload_is_refused(write):
    path = write(TOY + 'name = "mnist"\n')
    with pytest.raises(ConfigError, match=r"my.toml:3: 'mnist' is installed, and differs in .*toy"):
        files.read_workload(path)


def test_name_of_the_same_workload_is_taken(write):
    workload = catalog.workloads()["toy-sigmoid"]
    assert files.read_workload(write(files.spell_workload(workload))) == workload
