"""Fixtures for what writes text: runs whose names and messages hold what each format must escape."""

import pytest

NAMES = [
    "<script>alert(1)</script>",
    "a|b",
    "a\\|b",
    """a"b'c""",
    "a,b;c",
    "a\nb",
    "a\rb",
    "nul\x00 escape\x1b[31m",
    "`x` *y* _z_ ~~w~~",
    "[text](http://example.org)",
    "&amp;",
    "# head",
    "x[threads=2]",
    "=1+1",
    "é×▁😀",
]


@pytest.fixture(params=NAMES, ids=ascii)
def name(request):
    """Give each name in turn."""
    return request.param


@pytest.fixture
def nasty_run(write_run, make_cell, make_failed, name):
    """Give a run of three rounds in which a backend and a message have a nasty name."""
    cells = [
        make_cell(label, train_s=seconds + 0.1 * round_, round=round_)
        for round_ in range(3)
        for label, seconds in (("numpy", 1.0), (name, 2.0))
    ]
    return write_run(*cells, make_failed("broken", message=name, output=name))


@pytest.fixture
def run(write_run, make_cell, make_failed):
    """Give a run of three rounds: two backends, one that crashed, one that was skipped."""
    cells = [
        make_cell(label, train_s=seconds * (1 + 0.01 * round_), round=round_, seed=round_)
        for round_ in range(3)
        for label, seconds in (("numpy", 1.0), ("a", 2.0))
    ]
    failed = [make_failed("bad", message="killed by SIGSEGV"), make_failed("no", "skipped")]
    return write_run(*cells, *failed)


@pytest.fixture
def unmeasured_run(write_run, make_failed):
    """Give a run in which every backend failed."""
    return write_run(make_failed("numpy", "diverged", message="the loss is not finite"))
