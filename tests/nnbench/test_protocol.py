"""What crosses the pipe changes with its number, or in a way that an older nnbench reads alike."""

from copy import deepcopy

import pytest

from nnbench.records import PROTOCOL
from tests import protocol


@pytest.fixture
def schema():
    return protocol.current()


def test_the_number_is_raised_with_what_crosses_the_pipe(schema):
    recorded = protocol.recorded()
    changes = protocol.misread(recorded, schema)
    assert not changes or recorded["protocol"] < PROTOCOL, "raise PROTOCOL in nnbench/records"
    assert recorded == schema, "run: make documents"


def message(schema, where, name):
    """Return the schema of a message."""
    kinds = schema["schema"][where]["anyOf"]
    return next(kind for kind in kinds if kind["properties"]["type"] == {"enum": [name]})


def setup(schema):
    """Return the schema of what a worker says when it is ready."""
    return message(schema, "workers answer", "Ready")["properties"]["setup"]


def drop_order(schema):
    train = message(schema, "workers are asked", "Train")
    del train["properties"]["order"]
    train["required"].remove("order")


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (drop_order, ["workers are asked.order"]),
        (
            lambda s: setup(s)["properties"].update(pace_s={"type": "integer"}),
            ["workers answer.setup.pace_s"],
        ),
        (
            lambda s: setup(s)["required"].append("pace_s"),
            ["workers answer.setup.pace_s"],
        ),
        (
            lambda s: s["schema"]["list --json"]["properties"]["backends"]["items"]["properties"][
                "device"
            ]["enum"].append("tpu"),
            ["list --json.backends.device"],
        ),
        (lambda s: s["schema"]["workers answer"]["anyOf"].pop(), ["workers answer"]),
        (lambda s: s["schema"].pop("info --json"), ["info --json"]),
    ],
    ids=["field gone", "other type", "default gone", "new value", "answer gone", "root gone"],
)
def test_what_would_be_misread_is_named(schema, change, found):
    before = deepcopy(schema)
    change(schema)
    assert protocol.misread(before, schema) == found


def test_a_new_field_with_a_default_changes_nothing_for_older_ones(schema):
    before = deepcopy(schema)
    setup(schema)["properties"]["watts"] = {"type": "number", "default": 0.0}
    assert schema != before
    assert protocol.misread(before, schema) == []


def test_a_bound_is_for_who_reads(schema):
    before = deepcopy(schema)
    setup(schema)["properties"]["setup_s"]["maximum"] = 1.0
    assert schema != before
    assert protocol.misread(before, schema) == []


def test_prose_is_not_part_of_the_schema(schema):
    assert "'description'" not in str(schema)
    item = schema["schema"]["list --json"]["properties"]["datasets"]["items"]
    assert item["properties"].keys() == {"name", "summary"}


def test_a_schema_that_would_be_misread_is_not_recorded(schema, tmp_path, monkeypatch):
    monkeypatch.setattr(protocol, "RECORD", tmp_path / "protocol.json")
    protocol.record()
    before = protocol.RECORD.read_text("utf-8")
    drop_order(schema)
    monkeypatch.setattr(protocol, "current", lambda: schema)
    with pytest.raises(
        SystemExit, match=r"^raise PROTOCOL in nnbench/records first: workers are asked.order$"
    ):
        protocol.record()
    assert protocol.RECORD.read_text("utf-8") == before
    schema["protocol"] += 1
    protocol.record()
    assert protocol.recorded() == schema
