"""The published schemas are those of the records, and agree with what nnbench accepts."""

import tomllib
from pathlib import Path

import jsonschema
import msgspec
import pytest

from nnbench.config import files, schema
from nnbench.contract.errors import ConfigError
from tests.nnbench.config import examples

PUBLISHED = Path(__file__).parents[3] / "docs" / "schema"
FILES = {"config": "nnbench.schema.json", "workload": "workload.schema.json"}
READ = {"config": files.read_run, "workload": files.read_workload}
GOOD = [("workload", text) for text in examples.GOOD_WORKLOADS.values()]
GOOD += [("config", text) for text in examples.GOOD_RUNS.values()]
BAD = [("workload", text) for text, *_ in examples.BAD_WORKLOADS.values()]
BAD += [("config", text) for text, *_ in examples.BAD_RUNS.values()]


def plain(text):
    """Return a document as JSON has it: without dates."""
    return msgspec.to_builtins(tomllib.loads(text))


@pytest.mark.parametrize("kind", FILES)
def test_published_schema_is_current(call, kind):
    assert call("info", "--schema", kind).stdout == (PUBLISHED / FILES[kind]).read_text(), (
        f"run: nnbench info --schema {kind} > docs/schema/{FILES[kind]}"
    )


@pytest.mark.parametrize("kind", FILES)
def test_schema_is_valid(kind):
    jsonschema.Draft202012Validator.check_schema(schema.make(kind))


@pytest.mark.parametrize(("kind", "text"), GOOD)
def test_schema_and_nnbench_accept(write, kind, text):
    jsonschema.validate(plain(text), schema.make(kind))
    READ[kind](write(text))


@pytest.mark.parametrize(("kind", "text"), BAD)
def test_schema_and_nnbench_refuse(write, kind, text):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(plain(text), schema.make(kind))
    with pytest.raises(ConfigError):
        READ[kind](write(text))


@pytest.mark.parametrize("kind", FILES)
def test_every_key_is_explained(kind):
    tables = schema.make(kind)["$defs"].values()
    unexplained = [
        key
        for table in tables
        for key, node in table["properties"].items()
        if not {"description", "$ref"} & node.keys()
    ]
    assert unexplained == []
