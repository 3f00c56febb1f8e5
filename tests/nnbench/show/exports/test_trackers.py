"""What github-action-benchmark and Bencher read.

Both are services, so their formats are held against what they publish, restated as JSON Schemas:
the type ``BenchmarkResult`` in the source of the one, the schema and the limits of names in the
documentation of the other.
"""

import json

import jsonschema
import pytest

from nnbench.contract.errors import ResultsError
from nnbench.runs.sweep import Sweep
from nnbench.show.exports import trackers

TEXT = {"type": "string", "minLength": 1}
ENTRIES = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "properties": {
            "name": TEXT,
            "value": {"type": "number"},
            "unit": TEXT,
            "range": {"type": "string", "pattern": r"^± \d.+$"},  # scaled if the unit is
            "extra": TEXT,
        },
        "required": ["name", "value", "unit"],
        "additionalProperties": False,
    },
}
METRIC = {
    "type": "object",
    "properties": {key: {"type": "number"} for key in ("value", "lower_value", "upper_value")},
    "required": ["value"],
    "additionalProperties": False,
}
BMF = {
    "type": "object",
    "propertyNames": {"minLength": 1, "maxLength": 1024},
    "additionalProperties": {
        "type": "object",
        "propertyNames": {"pattern": "^[a-z0-9-]{1,64}$"},
        "additionalProperties": METRIC,
    },
}


def reject(token):
    pytest.fail(f"{token} is no JSON")


def load(content):
    return json.loads(content, parse_constant=reject)


@pytest.fixture(params=[trackers.to_bencher, trackers.to_github_action_benchmark])
def convert(request):
    """Give each of the two."""
    return request.param


def test_github_action_benchmark(run):
    entries = load(trackers.to_github_action_benchmark(Sweep.open(run)))
    jsonschema.validate(entries, ENTRIES)
    found = {entry["name"]: entry for entry in entries}
    assert list(found) == [
        *("mnist/numpy: train", "mnist/numpy: test error", "mnist/numpy: peak memory"),
        *("mnist/a: train", "mnist/a: test error", "mnist/a: peak memory"),
    ]
    train = found["mnist/a: train"]
    assert (train["value"], train["unit"]) == (pytest.approx(2.02), "s/epoch")
    assert train["range"] == "± 0.02"
    assert train["extra"].splitlines()[0] == "n = 3"
    assert "0.500 times as fast as numpy (0.500 to 0.500; slower)" in train["extra"]
    assert found["mnist/a: test error"]["value"] == 10.0
    assert found["mnist/a: peak memory"]["value"] == 50.0


def test_bencher(run):
    report = load(trackers.to_bencher(Sweep.open(run)))
    jsonschema.validate(report, BMF)
    assert list(report) == ["mnist/numpy", "mnist/a"]
    assert report["mnist/a"]["latency"] == pytest.approx(
        {"value": 2.02e9, "lower_value": 2.0e9, "upper_value": 2.04e9}
    )
    assert report["mnist/a"]["throughput"] == {"value": pytest.approx(100 / 2.02)}
    assert report["mnist/a"]["accuracy"] == {"value": pytest.approx(0.9)}
    assert report["mnist/a"]["peak-memory"] == {"value": 50_000_000}


def test_one_round_has_the_same_bounds(write_run, make_cell):
    latency = load(trackers.to_bencher(Sweep.open(write_run(make_cell(train_s=1 / 3)))))[
        "mnist/numpy"
    ]["latency"]
    assert set(latency.values()) == {1e9 / 3}


def test_figure_that_is_missing_is_left_out(write_run, make_cell):
    folder = write_run(make_cell(accuracies=(None,), peak_memory_bytes=None))
    assert load(trackers.to_bencher(Sweep.open(folder)))["mnist/numpy"].keys() == {
        "latency",
        "throughput",
    }
    [entry] = load(trackers.to_github_action_benchmark(Sweep.open(folder)))
    assert entry["name"] == "mnist/numpy: train"


def test_any_name_comes_through(nasty_run, name):
    report = load(trackers.to_bencher(Sweep.open(nasty_run)))
    jsonschema.validate(report, BMF)
    assert list(report) == ["mnist/numpy", f"mnist/{name}"]
    entries = load(trackers.to_github_action_benchmark(Sweep.open(nasty_run)))
    jsonschema.validate(entries, ENTRIES)
    assert entries[3]["name"] == f"mnist/{name}: train"


def test_run_without_figures_is_refused(unmeasured_run, convert):
    with pytest.raises(ResultsError, match="nothing to export: no backend was measured"):
        convert(Sweep.open(unmeasured_run))


def test_what_has_no_rank_is_left_out(write_run, make_cell, convert):
    cells = [make_cell("numpy"), make_cell("part", complete=False), make_cell("b", proof=None)]
    text = convert(Sweep.open(write_run(*cells))).decode()
    assert "numpy" in text
    assert "part" not in text


def test_run_without_a_ranking_says_why_there_is_nothing_to_export(write_run, make_cell, convert):
    run = Sweep.open(write_run(make_cell(proof=None), proof="off"))
    with pytest.raises(ResultsError, match=r"nothing to export: no backend ranks \(not proved\)"):
        convert(run)


def test_accuracy_that_strays_is_told(write_run, make_straying):
    run = Sweep.open(write_run(*make_straying(near=0.01, low=-2.4)))
    entries = load(trackers.to_github_action_benchmark(run))
    jsonschema.validate(entries, ENTRIES)
    told = {e["name"]: e.get("extra") for e in entries if e["name"].endswith("test error")}
    assert told.pop("mnist/low: test error").startswith("its accuracy is 2.40 points lower")
    assert told == {"mnist/numpy: test error": None, "mnist/near: test error": None}
