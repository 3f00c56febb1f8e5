"""IDX files: what is read, and what is refused with a message that names the file."""

import gzip
import hashlib
import struct
import tracemalloc
import zlib
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nnbench.contract.errors import DatasetError
from nnbench.data import idx
from tests import nasty
from tests.no_files import NO_FILES

IMAGES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
HEADER = b"\0\0\x08\x03" + b"\0\0\0\x02" + b"\0\0\0\x03" + b"\0\0\0\x04"
CONTENT = HEADER + IMAGES.tobytes()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "images"


def read(path, dimensions=3):
    return idx.read_items(idx.read_header(path, dimensions))


def refuse(path, dimensions=3):
    """Return why a file is refused, without its name; it is one line."""
    with pytest.raises(DatasetError) as raised:
        read(path, dimensions)
    (line,) = str(raised.value).splitlines()
    name, _, reason = line.partition(": ")
    assert name == str(path)
    return reason


def test_items_are_read_in_their_shape(path):
    path.write_bytes(CONTENT)
    np.testing.assert_array_equal(read(path), IMAGES)


def test_labels_are_read(path):
    path.write_bytes(b"\0\0\x08\x01\0\0\0\x03\x05\x00\x09")
    labels = read(path, dimensions=1)
    assert labels.tolist() == [5, 0, 9]
    assert labels.dtype == np.uint8


@pytest.mark.parametrize("count", [0, 1, 255, 256, 70_000])
def test_sizes_have_four_bytes(path, idx_bytes, count):
    path.write_bytes(idx_bytes(np.zeros(count)))
    assert read(path, dimensions=1).shape == (count,)


@pytest.mark.parametrize("size", [2**20 - 1, 2**20, 2**20 + 1, 3 * 2**20 + 5])
def test_items_beyond_what_is_read_at_once_are_read(path, idx_bytes, size):
    items = np.arange(size, dtype=np.uint32).astype(np.uint8)
    path.write_bytes(gzip.compress(idx_bytes(items), compresslevel=1))
    np.testing.assert_array_equal(read(path, dimensions=1), items)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty; get it again"),
        (b"\0\0", "wrong magic number 0x0000, expected 0x00000803; it is no IDX file"),
        (b"a,b\n1,2\n", "wrong magic number 0x612c620a, expected 0x00000803; it is no IDX file"),
        (
            b"\x08\0\0\x03" + CONTENT[4:],
            "wrong magic number 0x08000003, expected 0x00000803; it is no",
        ),
        (
            b"\0\0\x07\x03" + CONTENT[4:],
            "wrong magic number 0x00000703, expected 0x00000803; it is no",
        ),
        (
            b"\0\0\x0d\x03" + CONTENT[4:],
            "wrong magic number 0x00000d03, expected 0x00000803; it holds floats, and only bytes are read",
        ),
        (
            b"\0\0\x0c\x02" + CONTENT[4:],
            "wrong magic number 0x00000c02, expected 0x00000803; it holds 32-bit integers, and only",
        ),
        (
            b"\0\0\x08\x01" + CONTENT[4:],
            "wrong magic number 0x00000801, expected 0x00000803; dimensions: 1, needed: 3; is it another",
        ),
        (CONTENT[:4], "truncated in its header; get it again"),
        (CONTENT[:15], "truncated in its header; get it again"),
        (CONTENT[:16], "truncated: 0 items, expected 24; get it again"),
        (CONTENT[:-1], "truncated: 23 items, expected 24; get it again"),
        (CONTENT + b"\0", "longer than its header says: more than 24 items; get it again"),
        (CONTENT + CONTENT, "longer than its header says: more than 24 items; get it again"),
        (CONTENT + bytes(1 << 17), "longer than its header says: more than 24 items; get it again"),
        (HEADER[:4] + b"\xff" * 12, "truncated: 0 items, expected 79,228,162,458,924,1"),
        (HEADER[:4] + b"\xff" * 12 + CONTENT, "truncated: 40 items, expected 79,228,162,458,924,1"),
    ],
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzipped"])
def test_damaged_content_is_refused(path, content, reason, pack):
    path.write_bytes(pack(content))
    assert refuse(path).startswith(reason)


@pytest.mark.parametrize("name", ["file", "file.gz"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzipped"])
def test_gzip_is_unpacked_and_plain_content_is_taken_whatever_the_name(tmp_path, name, pack):
    (tmp_path / name).write_bytes(pack(CONTENT))
    np.testing.assert_array_equal(read(tmp_path / name), IMAGES)


def flip(content: bytes, position: int) -> bytes:
    changed = bytearray(content)
    changed[position] ^= 0xFF
    return bytes(changed)


LARGE = struct.pack(">4B3I", 0, 0, 8, 3, 50, 3, 4) + bytes(range(200)) * 3
ZIPPED = gzip.compress(LARGE, mtime=0)


@pytest.mark.parametrize("cut", [1, 9, len(LARGE) // 2, len(LARGE) - 1])
@pytest.mark.parametrize("end", [b"", bytes(1), bytes(512)], ids=["", "a zero", "a block of zeros"])
def test_gzip_may_have_several_members_and_be_padded(path, cut, end):
    path.write_bytes(gzip.compress(LARGE[:cut]) + gzip.compress(LARGE[cut:]) + end)
    assert read(path).tobytes() == LARGE[16:]


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
        ZIPPED + ZIPPED[:5],
    ],
)
def test_damaged_gzip_is_refused(path, content):
    path.write_bytes(content)
    assert refuse(path).startswith("damaged gzip file (")


@pytest.mark.parametrize("more", [b"trailing", b"\0\0trailing", LARGE, b"PK\x03\x04"])
def test_what_follows_a_gzip_stream_is_refused_by_its_name(path, more):
    path.write_bytes(ZIPPED + more)
    assert refuse(path) == "damaged gzip file (something else follows its end); get it again"


def test_further_member_is_more_than_the_header_says(path):
    path.write_bytes(ZIPPED + ZIPPED)
    assert refuse(path).startswith("longer than its header says: more than 600 items")


def bomb(header: bytes, size: int) -> bytes:
    """Return a gzip file of a header and so many zeros, as large as a thousandth of them."""
    packer = zlib.compressobj(wbits=31)
    chunk = bytes(1 << 20)
    parts = [packer.compress(header), *(packer.compress(chunk) for _ in range(size >> 20))]
    return b"".join([*parts, packer.flush()])


def refuse_in_little_memory(path):
    tracemalloc.start()
    try:
        refused = refuse(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 24
    return refused


def test_no_more_is_unpacked_than_the_header_promises(path):
    path.write_bytes(bomb(HEADER, 1 << 25))
    told = "longer than its header says: more than 24 items"
    assert refuse_in_little_memory(path).startswith(told)


def test_no_more_is_allocated_than_there_is(path):
    path.write_bytes(gzip.compress(HEADER[:4] + b"\xff" * 12 + bytes(1 << 20)))
    assert refuse_in_little_memory(path).startswith("truncated: 1,048,576 items, expected 79,")


def test_file_that_changes_after_its_header_was_read_is_refused(path):
    path.write_bytes(CONTENT)
    header = idx.read_header(path, 3)
    path.write_bytes(CONTENT.replace(b"\x02", b"\x01", 1))
    with pytest.raises(DatasetError, match=r"images: somebody has written to it; start again$"):
        idx.read_items(header)


@pytest.mark.parametrize(("make", "reason"), NO_FILES.values(), ids=NO_FILES)
def test_what_is_no_file_is_refused(path, make, reason):
    make(path)
    assert refuse(path) == reason


def test_sum_is_that_of_the_unpacked_file(tmp_path):
    path, known = tmp_path / "images.gz", {"images": "0" * 64, "other": ""}
    path.write_bytes(gzip.compress(CONTENT))
    header = idx.read_header(path, 3)
    with pytest.raises(DatasetError, match=r"images.gz: its SHA-256 sum is wrong; install nnbench"):
        idx.read_items(header, known)
    known["images"] = hashlib.sha256(CONTENT).hexdigest()
    assert idx.read_items(header, known).tobytes() == IMAGES.tobytes()


def attempt(path, dimensions):
    """Return what is read, or None and why it is refused."""
    try:
        return read(path, dimensions), ""
    except DatasetError as error:
        return None, str(error)


SIZE = st.one_of(st.integers(0, 6), st.sampled_from([255, 2**16, 2**31, 2**32 - 1]))
HEADERS = st.builds(
    lambda kind, count, sizes: bytes([0, 0, kind, count]) + struct.pack(f">{len(sizes)}I", *sizes),
    st.sampled_from([*[idx.BYTES] * 4, *idx.TYPES, 0, 0xFF]),
    st.sampled_from([1, 3, 3, 3, 0, 255]),
    st.lists(SIZE, max_size=4),
)


@st.composite
def files(draw):
    """Draw the content of a file, and whether it is right: header, items, gzip, and what may be wrong with each."""
    content = draw(HEADERS) + draw(st.binary(max_size=40))
    if draw(st.booleans()):
        shape = draw(st.lists(st.integers(0, 4), min_size=3, max_size=3))
        size = int(np.prod(shape))
        content = bytes([0, 0, 8, 3]) + struct.pack(">3I", *shape)
        content += draw(st.binary(min_size=size, max_size=size))
    whole = content
    if draw(st.booleans()):
        level, cut = draw(st.integers(0, 9)), draw(st.integers(0, len(content)))
        parts = [gzip.compress(part, level, mtime=0) for part in (content[:cut], content[cut:])]
        content = b"".join(parts) if draw(st.booleans()) else gzip.compress(content, level, mtime=0)
    match draw(st.sampled_from(["right", "right", "cut", "flipped", "longer"])):
        case "cut":
            content = content[: draw(st.integers(0, len(content)))]
        case "flipped" if content:
            content = flip(content, draw(st.integers(0, len(content) - 1)))
        case "longer":
            content += draw(st.binary(min_size=1, max_size=20))
    return content, whole


@settings(
    max_examples=nasty.EXAMPLES or 150,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(files(), st.sampled_from([1, 3]))
def test_any_file_is_an_array_as_its_header_says_or_one_line(path, drawn, dimensions):
    content, whole = drawn
    path.write_bytes(content)
    found, told = attempt(path, dimensions)
    if found is None:
        assert told.startswith(f"{path}: ")
        assert len(told.splitlines()) == 1
        return
    unpacked = content
    with suppress(gzip.BadGzipFile):
        unpacked = gzip.decompress(content)
    assert found.ndim == dimensions
    assert struct.pack(f">{dimensions}I", *found.shape) == unpacked[4 : 4 + 4 * dimensions]
    assert found.tobytes() == unpacked[4 + 4 * dimensions :]
    if content[:2] == idx.GZIP:  # whose checksum finds every damage
        assert unpacked == whole
