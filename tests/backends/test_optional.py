"""Backends whose library is optional: named without it, and never imported to be listed."""

import subprocess
import sys

import pytest

from nnbench import catalog, distributions

LISTING = """
import sys
from nnbench import catalog

for backend in catalog.backends().values():
    catalog.why_unavailable(backend)
print(sorted({"cuda", "jax", "numba", "numpy", "sklearn", "torch"} & set(sys.modules)))
"""


@pytest.mark.parametrize(
    ("name", "extra", "library"),
    [
        ("cuda", "cuda", "cuda-bindings"),
        ("jax", "jax", "jax"),
        ("numba", "numba", "numba"),
        ("sklearn", "sklearn", "scikit-learn"),
        ("torch-compile", "torch", "torch"),
        ("torch-cuda", "torch", "torch"),
    ],
)
def test_it_says_how_to_get_its_library(name, extra, library, monkeypatch):
    monkeypatch.setattr(distributions, "is_installed", lambda _name: False)
    expected = f"{library} is not installed: pip install 'nnbench-harness[{extra}]'"
    assert catalog.why_unavailable(catalog.backends()[name]) == expected


def test_listing_imports_no_library():
    command = [sys.executable, "-c", LISTING]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr
