"""What is known of a machine, such as its noise floor, is kept between runs."""

from dataclasses import replace

import pytest

from nnbench.contract.errors import ResultsError
from nnbench.execution.machine import FLOORS, noise_floor
from nnbench.records import DEFAULT_FLOOR

pytestmark = pytest.mark.usefixtures("home")


def test_unknown_machine_has_the_default(machine):
    assert noise_floor(machine) == DEFAULT_FLOOR


def test_saved_floor_is_found_again(machine):
    assert FLOORS.save(machine, 0.02) == FLOORS.path
    assert noise_floor(machine) == 0.02


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"cpu": "another"}, False),
        ({"gpus": ["a GPU"]}, False),
        ({"versions": {"numpy": "9"}}, True),  # a library does not make a machine noisier
        ({"git": "another"}, True),
    ],
)
def test_floor_belongs_to_the_machine(machine, changes, same):
    FLOORS.save(machine, 0.02)
    assert (noise_floor(replace(machine, **changes)) == 0.02) == same


def test_two_machines_share_the_file(machine):
    other = replace(machine, cpu="another")
    FLOORS.save(machine, 0.02)
    FLOORS.save(other, 0.03)
    assert (noise_floor(machine), noise_floor(other)) == (0.02, 0.03)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"a": "b"}', b"\xff"])
def test_damaged_file_counts_as_none(machine, content):
    FLOORS.save(machine, 0.02)
    FLOORS.path.write_bytes(content)
    assert noise_floor(machine) == DEFAULT_FLOOR


def test_unwritable_place_is_one_line(machine, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    with pytest.raises(ResultsError, match="cannot write"):
        FLOORS.save(machine, 0.02)
