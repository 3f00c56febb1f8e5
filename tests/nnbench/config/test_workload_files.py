"""Workload files: what they may say, and that every workload can be written as one."""

import os
import re
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nnbench import NnbenchError, Optimizer, Workload, catalog
from nnbench.config import files
from nnbench.config.run_table import RunTable
from nnbench.contract.errors import ConfigError
from nnbench.data.datasets import load_folder
from nnbench.data.workloads import ADAM, derive
from tests import nasty
from tests.nnbench.config.examples import BAD_WORKLOADS, NO_TOML, NOT_FINITE, TOY
from tests.no_files import NO_FILES

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


@pytest.mark.parametrize("name", ["no/folder", "~nobody-of-this-name/x", "n" * 4000])
def test_dataset_that_is_not_there_is_told_with_its_line(write, name):
    with pytest.raises(ConfigError, match=r"\Amy.toml:2: no dataset or folder named '"):
        files.read_workload(write(f'hidden = []\ndataset = "{name}"'))


def test_byte_order_mark_is_ignored(write):
    assert files.read_workload(write("\ufeff" + TOY)).dataset == "toy"


def test_file_that_is_no_text_is_told_with_its_line(tmp_path):
    (tmp_path / "my.toml").write_bytes(TOY.encode() + b'name = "\xff"')
    with pytest.raises(ConfigError, match=r"my.toml:3: this is not UTF-8"):
        files.read_workload(tmp_path / "my.toml")


BAD_FILES = {
    **NO_FILES,
    "long": (lambda path: path.write_text("#" * 300_000), "it has more than 262,144 bytes"),
    "endless": (
        lambda path: os.truncate(os.open(path, os.O_WRONLY | os.O_CREAT), 1 << 40),
        "it has more than 262,144 bytes",
    ),
}


@pytest.mark.parametrize("read", [files.read_workload, files.read_run])
@pytest.mark.parametrize("kind", BAD_FILES)
def test_what_is_no_file_is_told(tmp_path, read, kind):
    make, reason = BAD_FILES[kind]
    path = tmp_path / "my.toml"
    make(path)
    with pytest.raises(ConfigError, match=rf"\Acannot read {re.escape(str(path))}: {reason}\Z"):
        read(path)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("before", ["", "\ufeff", "\n# a comment: [[[\n"])
def test_lines_may_end_and_files_begin_as_elsewhere(write, end, before):
    path = write("")
    path.write_bytes((before + TOY).replace("\n", end).encode())
    assert files.read_workload(path).hidden == (4,)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "latin-1"])
def test_other_encodings_are_told(tmp_path, encoding):
    (tmp_path / "my.toml").write_bytes((TOY + "# ü").encode(encoding))
    with pytest.raises(ConfigError, match=r"my.toml:\d: this is not UTF-8\Z"):
        files.read_workload(tmp_path / "my.toml")


def test_one_of_several_datasets_in_a_folder_is_found(write, write_folder, tmp_path):
    write_folder(tmp_path / "raw", call=lambda name: f"emnist-digits-{name}")
    path = write('dataset = "../raw/emnist-digits"\nhidden = []', "deep/my.toml")
    assert load_folder(Path(files.read_workload(path).dataset)).outputs == 3


def test_mistake_with_a_long_name_is_told_in_a_short_line(write):
    with pytest.raises(ConfigError, match=r"\Amy.toml:2: invalid TOML: .{1,200}…\Z"):
        files.read_workload(write(f"[{'x' * 100_000}]\n" * 2))


#: In the place of a value of any kind, whatever can be written as one.
ODD_VALUES = [
    *("1", "0", "-1", "1.5", "-0.0", "1e400", "-1e400", "inf", "nan", "0x" + "f" * 5000, "9" * 400),
    *("true", "1979-05-27", "07:32:00.5", "1979-05-27T07:32:00Z", '""', '"full"', '"\\u0000"'),
    *("'x'", f'"{"x" * 5000}"', '"\\u001b[31m"', "[]", "[[]]", "{}", "{a = {b.c = 1}}", "[{}, 1]"),
    *("[" * 20 + "]" * 20, "[1, 1.5, 'x']", '["numpy"]', str(2**64 - 1), str(2**64), str(-(2**63))),
]
FIELDS = [*Workload.__dataclass_fields__, *RunTable.__dataclass_fields__]
NAMES = [*FIELDS, *(f"optimizer.{field.name}" for field in fields(Optimizer)), "odd", "a.b"]
PAIRS = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(ODD_VALUES), max_size=4)
BEFORE = st.sampled_from(["", "[workload]\n", 'dataset = "toy"\n', "hidden = [4]\n", TOY])


@settings(
    max_examples=nasty.EXAMPLES or 100,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(PAIRS, BEFORE, st.sampled_from([files.read_workload, files.read_run]))
def test_any_values_are_a_workload_or_a_run_or_one_line(write, pairs, before, read):
    path = write(before + "".join(f"{key} = {value}\n" for key, value in pairs.items()))
    told = refused(read, path)
    assert told.startswith(str(path)) or not told
    assert "\n" not in told
    assert len(told) < 1500


def refused(read, path):
    """Return why a file is refused; nothing if it is not."""
    try:
        read(path)
    except ConfigError as error:
        return str(error)
    return ""


RATES = ["learning_rate", "target_accuracy"]


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
    "change",
    [
        *("hidden=a", "hidden=0", "epochs=0", "epochs=", "activation=tanh", "epochs=1e400"),
        *(f"{key}={value}" for key in RATES for value in ("inf", "-inf", "nan", "1e400", "-1")),
        *(f"{key}={'9' * 5000}" for key in ("epochs", "batch_size", "hidden", *RATES)),
    ],
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
