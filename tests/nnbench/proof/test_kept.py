"""States that are kept beside a run."""

import os
import pickle
from contextlib import suppress
from dataclasses import replace
from tempfile import TemporaryFile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnbench.contract.errors import ResultsError
from nnbench.proof import kept
from nnbench.records.cells import Deviations, Limits
from tests.trained import spooled, train

LIMITS = Limits(steps=100, tolerance=Deviations(loss=1.0, displacement=1.0))


@pytest.fixture
def spool(mnist, folder):
    """Give a spool for a small dataset."""
    changes = {"batch_size": 8, "epochs": 2, "target_accuracy": None}
    with spooled(replace(mnist, dataset=str(folder), **changes)) as given:
        yield given


@pytest.fixture(scope="module")
def written_down(mnist, write_folder, tmp_path_factory):
    """Give a folder with the states of a cell, its result, how many parameters it has, and what the file holds."""
    folder = tmp_path_factory.mktemp("kept")
    changes = {"batch_size": 8, "epochs": 2, "target_accuracy": None}
    workload = replace(mnist, dataset=str(write_folder(folder / "shapes")), **changes)
    with spooled(workload) as spool:
        cell = train(spool)
        whole = keep(spool, cell, folder).read_bytes()
        return folder, cell.result, spool.judge.network.parameter_count, whole


def keep(spool, cell, folder):
    """Keep the states of a cell in a folder."""
    parameters = spool.judge.network.parameter_count
    states = kept.in_spool(cell.cuts, spool.file.fileno(), parameters)
    kept.keep(folder, cell.result, states)
    return kept.path(folder, cell.result)


def open_states(folder, cell):
    """Open the states of a cell for a network of seven parameters."""
    with TemporaryFile() as file:
        return kept.load(folder, cell.result, 7, file)


@pytest.mark.parametrize("shows_moments", [True, False])
def test_kept_states_are_rows_of_float32(spool, tmp_path, shows_moments):
    cell = train(spool, shows_moments=shows_moments)
    values = np.load(keep(spool, cell, tmp_path))
    parameters = spool.judge.network.parameter_count
    assert values.shape == (6, parameters * (3 if shows_moments else 1))
    assert values.dtype == np.float32
    assert np.array_equal(
        values[-1][:parameters], spool.judge.spool.read(cell.cuts[-1].offset, parameters)
    )


def test_kept_states_are_read_as_they_were(spool, tmp_path):
    cell = train(spool)
    keep(spool, cell, tmp_path)
    parameters = spool.judge.network.parameter_count
    with TemporaryFile() as file:
        file.write(b"of another cell" * 1000000)
        cuts = kept.load(tmp_path, cell.result, parameters, file)
        copy = type(spool.judge.spool)(file.fileno(), spool.judge.network)
        digests = [p.state for e in cell.result.epochs for p in e.parts]
        for cut, digest in zip(cuts, digests, strict=True):
            assert cut.has_moments
            copy.values(cut, digest)  # raises if the hash is another


def test_states_that_were_not_kept_are_none(spool, tmp_path):
    assert open_states(tmp_path, train(spool)) is None


MAGIC = b"\x93NUMPY\x01\x00"


def head(text):
    """Return the head of a file that says this of itself."""
    return MAGIC + len(text).to_bytes(2, "little") + text.encode()


def says(kind="'<f4'", is_fortran="False", shape="(6, 7)"):
    return f"{{'descr': {kind}, 'fortran_order': {is_fortran}, 'shape': {shape}}}"


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"none of ours", MAGIC, MAGIC + b"\x88\x13" + b"(" * 5000, b"PK\x03\x04"),
        pickle.dumps(["states"]),
        *(head(text) for text in ("", "\0", "[]", "{}", "{'descr': 1}", "().x", "9" * 5000)),
        *(head(says(kind)) for kind in ("()", "[1]", "('<f4', -1)", "'<f4,,'", "None", "'<z9'")),
        *(head(says(shape=shape)) for shape in ("6", "(1.5, 7)", "None", "('6', '7')")),
    ],
    ids=lambda content: repr(content[:60])[2:],
)
def test_damaged_file_is_named(spool, tmp_path, content):
    cell = train(spool)
    path = keep(spool, cell, tmp_path)
    path.write_bytes(content)
    with pytest.raises(ResultsError, match=r"states.*trained-0.npy is damaged"):
        open_states(tmp_path, cell)


def test_file_is_as_long_as_it_says(spool, tmp_path):
    cell = train(spool)
    path = keep(spool, cell, tmp_path)
    parameters, whole = spool.judge.network.parameter_count, path.stat().st_size
    for size in (whole - 1, whole + 1, 1 << 40):
        os.truncate(path, size)
        with (
            TemporaryFile() as file,
            pytest.raises(ResultsError, match="is damaged: it is not as long as it says"),
        ):
            kept.load(tmp_path, cell.result, parameters, file)


@pytest.mark.parametrize("rows", [0, -1, 5, 7, 1 << 26, 10**30])
def test_file_holds_as_many_states_as_were_written_down(spool, tmp_path, rows):
    """However large it makes itself: nothing of it is copied."""
    cell = train(spool)
    path = keep(spool, cell, tmp_path)
    parameters = spool.judge.network.parameter_count
    path.write_bytes(head(says(shape=f"({rows}, {3 * parameters})")))
    if 0 <= rows <= 1 << 26:
        os.truncate(path, path.stat().st_size + rows * 3 * parameters * 4)
    text = rf"is damaged: it holds {rows:,} states, and 6 were written down$"
    with TemporaryFile() as file, pytest.raises(ResultsError, match=text):
        kept.load(tmp_path, cell.result, parameters, file)


@pytest.mark.parametrize(
    "text",
    [
        *(says(kind) for kind in ("'<f8'", "'>f4'", "'|O'", "[('a', '<f4')]", "('<f4', (2,))")),
        *(says(shape=shape) for shape in ("()", "(7,)", "(6, 8)", "(6, 7, 1)", "(7, 6)")),
        says(is_fortran="True"),
    ],
)
def test_other_numbers_are_no_states(spool, tmp_path, text):
    cell = train(spool)
    keep(spool, cell, tmp_path).write_bytes(head(text) + bytes(6 * 7 * 4))
    with pytest.raises(ResultsError, match="holds no states of this network"):
        open_states(tmp_path, cell)


@given(st.binary(max_size=40), st.integers(0, 128), st.integers(0, 40))
def test_file_may_hold_anything(written_down, content, start, gone):
    folder, result, parameters, whole = written_down
    spoilt = whole[:start] + content + whole[start + gone :]
    kept.path(folder, result).write_bytes(spoilt)
    with TemporaryFile() as file, suppress(ResultsError):
        assert len(kept.load(folder, result, parameters, file)) == 6


def test_what_is_no_file_is_not_read(spool, tmp_path):
    cell = train(spool)
    path = keep(spool, cell, tmp_path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ResultsError, match=r"cannot read .*: it is no regular file"):
        open_states(tmp_path, cell)
    long = replace(cell.result, backend="x" * 5000)
    with TemporaryFile() as file, pytest.raises(ResultsError, match="File name too long"):
        kept.load(tmp_path, long, 7, file)


def test_states_of_another_network_are_refused(spool, tmp_path):
    cell = train(spool)
    keep(spool, cell, tmp_path)
    with pytest.raises(ResultsError, match="holds no states of this network"):
        open_states(tmp_path, cell)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "0-trained-0.npy"),
        ({"round": 3, "attempt": 1}, "3-trained-1.npy"),
        ({"block_attempt": 2}, "0.2-trained-0.npy"),
        ({"point": 1, "round": 2}, "1.2-trained-0.npy"),
        ({"backend": "torch[a=b/c]@base"}, "0-torch-a=b-c-@base-0.npy"),
    ],
)
def test_file_is_named_after_the_cell(spool, tmp_path, changes, name):
    cell = replace(train(spool).result, **changes)
    assert kept.path(tmp_path, cell) == tmp_path / "states" / name


def test_file_that_cannot_be_written_is_not_there(spool, tmp_path):
    cell = train(spool)
    spool.file.truncate(100)
    with pytest.raises(ResultsError, match="shorter"):
        keep(spool, cell, tmp_path)
    assert list((tmp_path / "states").iterdir()) == []


@pytest.mark.parametrize(
    ("epochs", "steps", "limit", "cuts"),
    [
        *[(5, 938, 100, 50), (5, 938, 1000, 15), (2, 2, 100, 4), (100, 1, 30, 4)],
        *[(5, 938, None, 15), (2, 2, None, 4), (100, 1, None, 1)],
    ],
)
def test_number_of_cuts_is_known_beforehand(epochs, steps, limit, cuts):
    limits = limit and replace(LIMITS, steps=limit)
    assert kept.least_cuts(epochs, steps, limits) == cuts


def test_size_of_a_state_is_that_of_parameters_and_moments():
    assert kept.cut_size(100, has_moments=True) == 1200
    assert kept.cut_size(100, has_moments=False) == 400
