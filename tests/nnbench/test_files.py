"""Files after a kill, on a full disk and in odd places: whole, or an error of one line."""

import errno
import os
import re
import resource
import tempfile
import threading
import warnings
from contextlib import contextmanager
from pathlib import Path

import pytest

from nnbench import files
from nnbench.contract.errors import ExitCode, ResultsError
from nnbench.files import TornLineWarning
from tests.no_files import NO_FILES

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
        files.append_line(path, line)
    assert path.read_bytes() == CONTENT
    assert list(files.read_lines(path)) == LINES


@pytest.mark.parametrize("size", [0, 1, 99, 100])
def test_file_is_read_whole_up_to_a_size(path, size):
    path.write_bytes(b"x" * size)
    assert files.read_regular(path, 100) == b"x" * size


def refuse(path, most):
    """Return why a file is not read."""
    with pytest.raises(OSError, match=f": '{path}'$") as raised:
        files.read_regular(path, most)
    return raised.value.strerror


@pytest.mark.parametrize("size", [101, 1 << 40])
def test_longer_file_is_refused(path, size):
    path.touch()
    os.truncate(path, size)
    assert refuse(path, 100) == "it has more than 100 bytes"


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux has it")
def test_file_that_hides_its_size_is_read_no_further():
    assert Path("/proc/self/maps").stat().st_size == 0
    assert refuse(Path("/proc/self/maps"), 1000) == "it has more than 1,000 bytes"


@pytest.mark.parametrize(("make", "reason"), NO_FILES.values(), ids=NO_FILES)
def test_what_is_no_regular_file_is_refused(path, make, reason):
    make(path)
    assert refuse(path, 100) == reason


def test_missing_file_has_no_lines(path):
    list(files.read_lines(path, mend=True))
    assert list(files.read_lines(path)) == []
    assert not path.exists()


@pytest.mark.parametrize("size", range(len(CONTENT) + 1))
def test_file_that_a_kill_has_cut_keeps_its_whole_lines(path, size):
    path.write_bytes(CONTENT[:size])
    whole = CONTENT[:size].count(b"\n")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert list(files.read_lines(path)) == LINES[:whole]
        list(files.read_lines(path, mend=True))
        files.append_line(path, b"{}")
        assert list(files.read_lines(path)) == [*LINES[:whole], b"{}"]
    torn = not (b"\n" + CONTENT[:size]).endswith(b"\n")
    assert [warning.category for warning in caught] == [TornLineWarning] * 2 * torn


@pytest.mark.parametrize("rest", [b"", b"{", b'{"a": 1}\0', b'"\xff"', b"\0\0"])
def test_last_line_that_is_no_json_is_torn(path, rest):
    path.write_bytes(CONTENT + rest + b"\n")
    with pytest.warns(TornLineWarning, match="^.*/lines: the last line is torn, as by a kill"):
        list(files.read_lines(path, mend=True))
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("end", [b"\n", b"\nto", b"\n{}\n"])
def test_other_lines_are_left_to_the_reader(path, end):
    path.write_bytes(b"no json\n" + LINES[0] + end)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TornLineWarning)
        assert list(files.read_lines(path))[:2] == [b"no json", LINES[0]]


def test_mending_changes_nothing_where_nothing_is_torn(path):
    path.write_bytes(CONTENT)
    list(files.read_lines(path, mend=True))
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("room", [0, 1, 100])
def test_line_that_does_not_fit_leaves_the_others(path, room):
    path.write_bytes(CONTENT)
    with file_size_limit(len(CONTENT) + room), pytest.raises(OSError, match="too large") as raised:
        files.append_line(path, b"x" * 100)
    assert raised.value.errno == errno.EFBIG
    assert path.read_bytes() == CONTENT


@pytest.mark.skipif(not FULL.exists(), reason="only Linux has it")
def test_first_error_counts_if_nothing_can_be_cut_off():
    with pytest.raises(OSError, match="No space left"):
        files.append_line(FULL, b"line")


def test_file_that_does_not_fit_on_the_disk_is_named_and_leaves_nothing(tmp_path, monkeypatch):
    def fail(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    files.write_whole(tmp_path / "file", b"before")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match=r"No space left on device: '.*/file'$"):
        files.write_whole(tmp_path / "file", b"after")
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"file": b"before"}


def test_file_in_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No such file or directory: '.*/none/file'$"):
        files.write_whole(tmp_path / "none" / "file", b"text")


def test_write_replaces_a_file_whole(tmp_path):
    for content in (b"long content", b"short"):
        files.write_whole(tmp_path / "file", content)
        assert (tmp_path / "file").read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_output_makes_its_folder(tmp_path):
    path = tmp_path / "new" / "dir" / "file"
    files.check_output(path)
    assert path.parent.is_dir()
    files.write_output(tmp_path / "other" / "file", b"text")
    assert (tmp_path / "other" / "file").read_bytes() == b"text"


@pytest.mark.parametrize("add", [False, True])
def test_output_replaces_a_file_or_is_added_to_it(tmp_path, add):
    path = tmp_path / "file"
    path.write_bytes(b"before ")
    files.write_output(path, b"text", add=add)
    assert path.read_bytes() == (b"before text" if add else b"text")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("exists", [True, False])
def test_output_through_a_link_leaves_the_link(tmp_path, exists):
    target, link = tmp_path / "below" / "target", tmp_path / "link"
    target.parent.mkdir()
    if exists:
        target.write_bytes(b"before")
    link.symlink_to("below/target")
    files.write_output(link, b"text")
    assert link.is_symlink()
    assert target.read_bytes() == b"text"
    assert not files.is_stream(link)


def test_output_to_nowhere_leaves_the_device(tmp_path):
    link = tmp_path / "link"
    link.symlink_to(os.devnull)
    for path in (Path(os.devnull), link):
        assert files.is_stream(path)
        files.check_output(path)
        files.write_output(path, b"text")
    assert Path(os.devnull).is_char_device()
    assert link.is_symlink()


def test_output_to_a_fifo_reaches_its_reader(tmp_path):
    path, read = tmp_path / "fifo", []
    os.mkfifo(path)
    reader = threading.Thread(target=lambda: read.append(path.read_bytes()))
    reader.start()
    files.write_output(path, b"text")
    reader.join(timeout=10)
    assert read == [b"text"]
    assert path.is_fifo()


@pytest.mark.parametrize("name", ["-", "/dev/stdout", "/dev/fd/1", "link"])
def test_output_to_standard_output_goes_where_that_stands(tmp_path, capfd, name):
    path = Path(name)
    if name == "link":
        path = tmp_path / "link"
        path.symlink_to("/dev/stdout")
    before = Path("/dev/stdout").readlink()
    print("before")  # noqa: T201 - to be there first
    files.write_output(path, b"text\n")
    assert capfd.readouterr().out == "before\ntext\n"  # which is a file, and not truncated
    assert Path("/dev/stdout").readlink() == before
    assert files.is_stream(path)


def test_output_to_another_open_file_does_not_replace_it(tmp_path):
    with (tmp_path / "file").open("w+b") as file:
        files.write_output(Path(f"/dev/fd/{file.fileno()}"), b"text")
        assert file.read() == b"text"


@pytest.mark.parametrize("check", [True, False])
def test_output_that_cannot_be_written_is_one_line(tmp_path, plain_file, check):
    for path, reason in [
        (plain_file / "below", "Not a directory|File exists"),
        (tmp_path / ("x" * 300), "File name too long"),
        (tmp_path, "Is a directory"),
        *([] if check else [(FULL, "No space left on device; make room, or choose another place")]),
    ]:
        with pytest.raises(ResultsError) as raised:
            files.check_output(path) if check else files.write_output(path, b"text")
        assert re.fullmatch(
            f"cannot write to {re.escape(str(path))}: ({reason})(; choose another place)?",
            str(raised.value),
        )
    assert plain_file.read_text() == "text"
    assert sorted(tmp_path.iterdir()) == [plain_file]


def test_output_is_refused_before_the_work_where_rights_are_missing(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_text("text")
    monkeypatch.setattr(os, "access", lambda asked, _: asked != path)  # root has all rights
    with pytest.raises(ResultsError, match=r"^cannot write to .*/file: Permission denied; choose"):
        files.check_output(path)
    files.check_output(tmp_path / "new" / "file")


@pytest.mark.parametrize("check", [files.check_output, files.check_folder])
@pytest.mark.parametrize(
    ("number", "way_out", "code"),
    [
        (errno.EROFS, "choose another place", ExitCode.USAGE),
        (errno.EACCES, "choose another place", ExitCode.USAGE),
        (errno.ENOSPC, "make room, or choose another place", ExitCode.INTERNAL),
        (errno.EDQUOT, "make room, or choose another place", ExitCode.INTERNAL),
    ],
)
def test_what_the_system_says_of_a_folder_is_said_before_the_work(
    tmp_path, monkeypatch, check, number, way_out, code
):
    def refuse(**_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)  # root has all rights
    with pytest.raises(ResultsError) as raised:
        check(tmp_path / "name")
    path = tmp_path / "name"
    assert str(raised.value) == f"cannot write to {path}: {os.strerror(number)}; {way_out}"
    assert raised.value.exit_code == code
    assert list(tmp_path.iterdir()) == []


def test_folder_is_checked_where_it_is_or_would_be_and_nothing_is_left(tmp_path, plain_file):
    before = sorted(tmp_path.iterdir())
    files.check_folder(tmp_path)
    files.check_folder(tmp_path / "a" / "b")
    for path in (plain_file, plain_file / "a" / "b"):
        with pytest.raises(ResultsError, match=r": Not a directory; choose another place$"):
            files.check_folder(path)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("find", ["newer", "older"])
def test_user_without_a_home_has_a_folder_that_cannot_be_made(find):
    def newer(_):
        raise RuntimeError("could not determine the home directory")

    folder = files.of_user(newer if find == "newer" else lambda name: Path("~/.cache", name))
    with pytest.raises(OSError, match="Not a directory"):
        folder.mkdir(parents=True)
    with pytest.raises(ResultsError) as raised:
        files.check_folder(folder, "name another")
    reason = "there is none, as HOME is not set"
    assert str(raised.value) == f"cannot write to the user's own folder: {reason}; name another"
    assert files.of_user(lambda name: Path("/cache", name)) == Path("/cache/nnbench")


def test_what_is_added_is_there_whole_or_not_at_all(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"before ")
    with file_size_limit(10), pytest.raises(ResultsError, match="File too large; raise the limit"):
        files.write_output(path, b"x" * 100, add=True)
    assert path.read_bytes() == b"before "


def test_reader_that_leaves_is_not_an_error_of_the_file(tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    reader = threading.Thread(target=lambda: path.open("rb").close())
    reader.start()
    with pytest.raises(BrokenPipeError):
        files.write_output(path, b"x" * 10_000_000)
    reader.join(timeout=10)


def test_regular_file_is_read_up_to_a_size(path):
    path.write_bytes(CONTENT)
    assert files.read_regular(path, len(CONTENT)) == CONTENT
    with pytest.raises(OSError, match=r"it has more than 27 bytes: '.*/lines'$") as raised:
        files.read_regular(path, len(CONTENT) - 1)
    assert raised.value.errno == errno.EFBIG


@pytest.mark.parametrize("read", [files.read_regular, lambda path: list(files.read_lines(path))])
def test_what_is_no_regular_file_is_not_read(path, read):
    before = len(list(Path("/dev/fd").iterdir()))
    os.mkfifo(path)
    with pytest.raises(OSError, match=r"it is no regular file: '.*/lines'$"):
        read(path)
    with pytest.raises(IsADirectoryError):
        read(path.parent)
    assert len(list(Path("/dev/fd").iterdir())) == before


@pytest.mark.parametrize(
    "content", [b"[1]\n" * 3 + b"x" * 5, b"x" * 5 + b"\n", b"[1]\n" + b"x" * 99]
)
def test_line_that_is_too_long_is_not_read(path, content, monkeypatch):
    monkeypatch.setattr(files, "LONGEST_LINE", 4)
    path.write_bytes(content)
    with pytest.raises(OSError, match=r"a line has more than 4 bytes: '.*/lines'$"):
        list(files.read_lines(path))


def test_line_that_is_nested_too_deeply_is_left_to_the_reader(path):
    path.write_bytes(b"[" * 200_000 + b"]" * 200_000 + b"\n")
    assert len(list(files.read_lines(path))) == 1
