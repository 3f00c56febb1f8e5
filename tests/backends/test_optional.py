"""Backends whose library is optional: named without it, and never imported to be listed."""

import subprocess
import sys
from importlib import import_module

import pytest

LISTING = """
import sys
from nnbench import catalog

for backend in catalog.backends().values():
    catalog.why_unavailable(backend)
print(sorted({"jax", "numba", "numpy", "sklearn", "torch"} & set(sys.modules)))
"""


@pytest.mark.parametrize(
    ("name", "library"), [("jax", "jax"), ("numba", "numba"), ("sklearn", "scikit-learn")]
)
def test_it_says_how_to_get_its_library(name, library, monkeypatch):
    module = import_module(f"nnbench_{name}")
    monkeypatch.setattr(module, "find_spec", lambda _name: None)
    [backend] = module.nnbench_backends()
    expected = f"{library} is not installed: pip install 'nnbench-harness[{name}]'"
    assert backend.unavailable() == expected


def test_listing_imports_no_library():
    command = [sys.executable, "-c", LISTING]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr
