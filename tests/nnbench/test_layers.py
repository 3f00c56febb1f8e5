"""Every part of nnbench has its layer, which import-linter checks."""

import tomllib

import pytest

from tests.documents import ROOT

SPLIT = {"contract", "data"}  # their modules have layers of their own
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
[LAYERS] = (each["layers"] for each in CONTRACTS["contracts"] if each["type"] == "layers")
IN_LAYERS = {name.strip() for layer in LAYERS for name in layer.split("|")}


def parts():
    """Yield the names of what must be in a layer."""
    for path in sorted((ROOT / "nnbench").iterdir()):
        if path.name in SPLIT:
            yield from (f"nnbench.{path.name}.{module.stem}" for module in path.glob("[!_]*.py"))
        elif path.suffix == ".py" or (path / "__init__.py").exists():
            yield f"nnbench.{path.stem}"


@pytest.mark.parametrize("name", sorted(set(parts()) - {"nnbench.__init__"}))
def test_part_is_in_a_layer(name):
    assert name in IN_LAYERS


def test_every_layer_is_there():
    assert set(parts()) >= IN_LAYERS


def test_imports_for_types_count():
    assert CONTRACTS["exclude_type_checking_imports"] is False
