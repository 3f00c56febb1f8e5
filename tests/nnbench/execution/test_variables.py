"""What native libraries read from the environment of a worker."""

import pytest

from nnbench.execution import process

CAPPED = {"OPENBLAS_CORETYPE": "Haswell", "MKL_CBWR": "AVX2", "HOME": "/somewhere"}


def test_threads_overrule_the_users():
    found = process.for_threads({"OMP_NUM_THREADS": "7"}, 2)
    assert found == dict.fromkeys(process.THREAD_VARIABLES, "2")


@pytest.mark.parametrize(
    ("wanted", "kept"),
    [
        ("", {"HOME"}),
        ("MKL_CBWR", {"HOME", "MKL_CBWR"}),
        ("MKL_CBWR, OPENBLAS_CORETYPE", {"HOME", "MKL_CBWR", "OPENBLAS_CORETYPE"}),
    ],
)
def test_a_cap_is_inherited_only_where_wanted(wanted, kept):
    environment = CAPPED | {process.INHERIT: wanted}
    found = process.for_threads(environment, 1)
    assert {name for name in CAPPED if name in found} == kept
    assert set(process.caps(environment)) == CAPPED.keys() - kept
