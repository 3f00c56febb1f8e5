"""Arrays in shared memory are what was stored, whoever maps them, and closed when they are released."""

import os

import numpy as np
import pytest

from nnbench.data import arrays
from nnbench.records.worker import StoredExamples
from tests.plugins.helpers import count_open


@pytest.fixture(params=["memory", "file"])
def either(request, monkeypatch):
    """Store in memory, or as a system does that has none without a name."""
    if request.param == "file":
        monkeypatch.delattr(os, "memfd_create", raising=False)
    elif not hasattr(os, "memfd_create"):
        pytest.skip("this system has no such memory")


ARRAYS = [
    np.arange(6, dtype=np.float32).reshape(2, 3),
    np.arange(6, dtype=np.float32).reshape(2, 3).T,
    np.array([3, 1], np.int64),
    np.empty((0, 5), np.float32),
    np.array(7.0),
]


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: str(array.shape))
def test_view_is_what_was_stored(array):
    stored = arrays.store(array)
    seen = arrays.view(stored)
    arrays.release([stored.descriptor])
    assert seen.dtype == array.dtype
    np.testing.assert_array_equal(seen, array)
    assert seen.size == 0 or not seen.flags.writeable


@pytest.mark.usefixtures("either")
def test_stored_array_cannot_be_written_to():
    stored = arrays.store(ARRAYS[0])
    with pytest.raises(OSError, match=r"not permitted|Bad file descriptor"):
        os.pwrite(stored.descriptor, b"x", 0)
    arrays.release([stored.descriptor])


@pytest.mark.usefixtures("either")
def test_descriptors_are_all_that_is_open():
    before = count_open()
    split = StoredExamples(arrays.store(ARRAYS[0]), arrays.store(ARRAYS[2]), None)
    held = arrays.descriptors(split, split)
    assert len(held) == 4
    arrays.release(set(held))
    assert count_open() <= before
