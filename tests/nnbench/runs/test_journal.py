"""A file of lines after a kill, and on a full disk: whole lines, or an error."""

import errno
import resource
import warnings
from contextlib import contextmanager
from pathlib import Path

import pytest

from nnbench.runs import journal
from nnbench.runs.journal import TornLineWarning

LINES = [b'{"a": 1}', b'["b c", null]', b'"\xc3\xa4"']
FULL = Path("/dev/full")  # a disk without room, that cannot be truncated either
CONTENT = b"".join(line + b"\n" for line in LINES)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "lines"


@contextmanager
def file_size_limit(size):
    """Let the system refuse to write further than ``size``, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_lines_are_read_back(path):
    for line in LINES:
        journal.append(path, line)
    assert path.read_bytes() == CONTENT
    assert list(journal.read(path)) == LINES


def test_missing_file_has_no_lines(path):
    journal.mend(path)
    assert list(journal.read(path)) == []
    assert not path.exists()


@pytest.mark.parametrize("size", range(len(CONTENT) + 1))
def test_file_that_a_kill_has_cut_keeps_its_whole_lines(path, size):
    path.write_bytes(CONTENT[:size])
    whole = CONTENT[:size].count(b"\n")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert list(journal.read(path)) == LINES[:whole]
        journal.mend(path)
        journal.append(path, b"{}")
        assert list(journal.read(path)) == [*LINES[:whole], b"{}"]
    torn = not (b"\n" + CONTENT[:size]).endswith(b"\n")
    assert [warning.category for warning in caught] == [TornLineWarning] * 2 * torn


@pytest.mark.parametrize("rest", [b"", b"{", b'{"a": 1}\0', b'"\xff"', b"\0\0"])
def test_last_line_that_is_no_json_is_torn(path, rest):
    path.write_bytes(CONTENT + rest + b"\n")
    with pytest.warns(TornLineWarning, match="^.*/lines: the last line is torn, as by a kill"):
        journal.mend(path)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("end", [b"\n", b"\nto", b"\n{}\n"])
def test_other_lines_are_left_to_the_reader(path, end):
    path.write_bytes(b"no json\n" + LINES[0] + end)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TornLineWarning)
        assert list(journal.read(path))[:2] == [b"no json", LINES[0]]


def test_mending_changes_nothing_where_nothing_is_torn(path):
    path.write_bytes(CONTENT)
    journal.mend(path)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("room", [0, 1, 100])
def test_line_that_does_not_fit_leaves_the_others(path, room):
    path.write_bytes(CONTENT)
    with file_size_limit(len(CONTENT) + room), pytest.raises(OSError, match="too large") as raised:
        journal.append(path, b"x" * 100)
    assert raised.value.errno == errno.EFBIG
    assert path.read_bytes() == CONTENT


@pytest.mark.skipif(not FULL.exists(), reason="only Linux has it")
def test_first_error_counts_if_nothing_can_be_cut_off():
    with pytest.raises(OSError, match="No space left"):
        journal.append(FULL, b"line")
