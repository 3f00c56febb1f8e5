"""JUnit XML, read back by junitparser, and held against the schema of Jenkins' xUnit plugin."""

import re
from xml.etree import ElementTree as ET

import pytest
from junitparser import Error, Failure, JUnitXml, Skipped

from nnbench.contract.errors import ResultsError
from nnbench.runs.sweep import Sweep
from nnbench.show.exports import junit

# The part of junit-10.xsd that concerns us: the attributes that each element may have (those that it must have first, up to
# the bar) and its children.
SCHEMA = {
    "testsuites": ("| name time tests failures disabled errors", "testsuite"),
    "testsuite": (
        "name tests | failures errors group time skipped timestamp hostname id package file",
        "testsuite properties testcase system-out system-err",
    ),
    "properties": ("|", "property"),
    "property": ("name value |", ""),
    "testcase": (
        "name | time classname group assertions status class file line",
        "skipped error failure rerunFailure rerunError system-out system-err",
    ),
    "failure": ("| type message", ""),
    "error": ("| type message", ""),
    "skipped": ("| type message", ""),
    "system-out": ("|", ""),
}
TIME = re.compile(r"(([0-9]{0,3},)*[0-9]{3}|[0-9]{0,3})*(\.[0-9]{0,3})?")


def check(element):
    """Check an element and all below it."""
    attributes, children = SCHEMA[element.tag]
    required, allowed = (set(part.split()) for part in attributes.split("|"))
    assert required <= set(element.keys()) <= required | allowed
    assert {child.tag for child in element} <= set(children.split())
    assert element.tag != "properties" or len(element)
    assert TIME.fullmatch(element.get("time", ""))
    for child in element:
        check(child)


def read(folder):
    content = junit.to_xml(Sweep.open(folder))
    check(ET.fromstring(content))
    return JUnitXml.fromstring(content)


def test_suites_are_backends_and_cases_are_rounds(run):
    report = read(run)
    assert [suite.name for suite in report] == ["mnist.numpy", "mnist.a", "mnist.bad", "mnist.no"]
    assert [case.name for case in next(iter(report))] == [f"numpy round {n}" for n in (1, 2, 3)]
    assert [case.time for case in next(iter(report))] == [1.0, 1.01, 1.02]
    assert (report.tests, report.failures, report.errors) == (8, 0, 1)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((status, Failure) for status in ("target_missed", "diverged", "invalid")),
        *((status, Error) for status in ("timeout", "oom", "crashed")),
        ("skipped", Skipped),
    ],
)
def test_status_is_an_outcome(write_run, make_failed, status, kind):
    folder = write_run(make_failed("a", status, message="why", output="last words"))
    [suite] = read(folder)
    [case] = suite
    [result] = case.result
    assert isinstance(result, kind)
    assert (result.type, result.message, result.text) == (status, "why", "last words")
    counts = (suite.failures, suite.errors, suite.skipped)
    assert counts == tuple(int(kind is one) for one in (Failure, Error, Skipped))


def test_cell_that_went_well_has_no_outcome_and_says_what_it_did(write_run, make_cell):
    [suite] = read(write_run(make_cell()))
    [case] = suite
    assert case.result == []
    assert case.system_out == "round 1 numpy: 100 images in 1.00 s, accuracy 90.00%, proved"
    assert {p.name: p.value for p in suite.properties()}["cpu"] == "A CPU"


def test_what_was_to_be_proved_and_is_not_is_a_failure(write_run, make_cell, make_proof):
    cells = [make_cell("a"), make_cell("b", proof=make_proof(proved=9)), make_cell("c", proof=None)]
    report = read(write_run(*cells, require_proof=True))
    assert (report.tests, report.failures, report.errors) == (3, 2, 0)
    results = [case.result for suite in report for case in suite]
    assert results[0] == []
    assert [result.type for [result] in results[1:]] == ["not proved"] * 2
    assert results[1][0].message.endswith("followed 9 of 10 steps")
    assert read(write_run(*cells, name="asked for less")).failures == 0


def test_names_come_through_without_control_characters(nasty_run, name):
    report = read(nasty_run)
    expected = "".join(c for c in name if c in "\n\r" or c.isprintable())
    suite = list(report)[1]
    assert suite.name == f"mnist.{expected}"
    [broken] = list(report)[2]
    assert broken.result[0].message == expected


def test_run_without_cells_is_refused(write_run):
    with pytest.raises(ResultsError, match="nothing to export"):
        junit.to_xml(Sweep.open(write_run()))


def test_accuracy_that_strays_is_a_failure_of_every_round(write_run, make_straying):
    report = read(write_run(*make_straying(near=0.01, low=-2.4)))
    assert (report.tests, report.failures, report.errors) == (9, 3, 0)
    results = {suite.name: [case.result for case in suite] for suite in report}
    assert results["mnist.numpy"] == results["mnist.near"] == [[]] * 3
    [result] = results["mnist.low"][0]
    assert result.type == "accuracy"
    assert result.message.startswith("its accuracy is 2.40 points lower than the baseline's")
