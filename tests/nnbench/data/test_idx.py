"""IDX files: what is read, and what is refused with a message that names the file."""

import gzip

import numpy as np
import pytest

from nnbench.contract.errors import DatasetError
from nnbench.data.datasets import parse_idx, read_idx

IMAGES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
HEADER = b"\0\0\x08\x03" + b"\0\0\0\x02" + b"\0\0\0\x03" + b"\0\0\0\x04"
CONTENT = HEADER + IMAGES.tobytes()


def test_parse_returns_the_items_in_their_shape():
    np.testing.assert_array_equal(parse_idx(CONTENT, 3, "x"), IMAGES)


def test_parse_returns_labels():
    labels = parse_idx(b"\0\0\x08\x01\0\0\0\x03\x05\x00\x09", 1, "x")
    assert labels.tolist() == [5, 0, 9]
    assert labels.dtype == np.uint8


@pytest.mark.parametrize("count", [0, 1, 255, 256, 70_000])
def test_parse_reads_sizes_of_four_bytes(idx_bytes, count):
    assert parse_idx(idx_bytes(np.zeros(count)), 1, "x").shape == (count,)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"\0\0", "wrong magic number 0x0000, expected 0x00000803"),
        (b"a,b\n1,2\n", "wrong magic number 0x612c620a"),
        (b"\0\0\x0d\x03" + CONTENT[4:], "wrong magic number 0x00000d03"),  # floats
        (b"\0\0\x08\x01" + CONTENT[4:], "wrong magic number 0x00000801"),  # labels
        (b"\x08\0\0\x03" + CONTENT[4:], "wrong magic number 0x08000003"),
        (CONTENT[:4], "truncated in its header"),
        (CONTENT[:15], "truncated in its header"),
        (CONTENT[:16], "truncated: 0 items, expected 24"),
        (CONTENT[:-1], "truncated: 23 items, expected 24"),
        (CONTENT + b"\0", "longer than its header says: 25 items, expected 24"),
        (CONTENT + CONTENT, "longer than its header says: 64 items, expected 24"),
        (HEADER[:4] + b"\xff" * 12, "truncated: 0 items, expected 79,228,162,458,924,1"),
    ],
)
def test_parse_refuses_damaged_content(content, reason):
    with pytest.raises(DatasetError) as raised:
        parse_idx(content, 3, "folder/images")
    assert str(raised.value).startswith(f"folder/images: {reason}")


def test_read_returns_a_plain_file(tmp_path):
    (tmp_path / "file").write_bytes(CONTENT)
    assert read_idx(tmp_path / "file") == CONTENT


@pytest.mark.parametrize("name", ["file", "file.gz"])
def test_read_unpacks_gzip_whatever_the_name(tmp_path, name):
    (tmp_path / name).write_bytes(gzip.compress(CONTENT, mtime=0))
    assert read_idx(tmp_path / name) == CONTENT


@pytest.mark.parametrize("name", ["file", "file.gz"])
def test_read_takes_plain_content_whatever_the_name(tmp_path, name):
    (tmp_path / name).write_bytes(CONTENT)
    assert read_idx(tmp_path / name) == CONTENT


def test_read_returns_nothing_for_an_empty_file(tmp_path):
    (tmp_path / "file").touch()
    assert read_idx(tmp_path / "file") == b""


def flip(content: bytes, position: int) -> bytes:
    changed = bytearray(content)
    changed[position] ^= 0xFF
    return bytes(changed)


ZIPPED = gzip.compress(CONTENT * 50, mtime=0)


@pytest.mark.parametrize(
    "content",
    [
        ZIPPED[:2],
        ZIPPED[:9],
        ZIPPED[: len(ZIPPED) // 2],
        ZIPPED[:-1],
        flip(ZIPPED, 2),  # the compression method
        flip(ZIPPED, 12),  # the data
        flip(ZIPPED, -6),  # the checksum
        flip(ZIPPED, -1),  # the length
        ZIPPED + b"trailing",
    ],
)
def test_read_refuses_damaged_gzip(tmp_path, content):
    path = tmp_path / "file.gz"
    path.write_bytes(content)
    with pytest.raises(DatasetError) as raised:
        read_idx(path)
    assert str(raised.value).startswith(f"{path}: damaged gzip file (")
    assert "\n" not in str(raised.value)


def test_read_refuses_a_missing_file(tmp_path):
    with pytest.raises(DatasetError, match=r"/file: No such file or directory$"):
        read_idx(tmp_path / "file")


def test_read_refuses_a_folder(tmp_path):
    with pytest.raises(DatasetError, match=r"Is a directory$"):
        read_idx(tmp_path)
