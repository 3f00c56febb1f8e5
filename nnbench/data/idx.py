"""IDX files: arrays of bytes, as MNIST and its like come, gzipped or not.

Source of the format: Y. LeCun's MNIST page. Four bytes of magic number (two zeros, the type of the items,
the number of dimensions), each dimension as a big-endian uint32, then the items.

The header is read first, so that a dataset can be refused by its headers alone; then as many items as that
promises, and never more: a small gzip file may unpack to gigabytes.
"""

from __future__ import annotations

import struct
from contextlib import contextmanager
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from nnbench import files
from nnbench.contract.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from gzip import GzipFile
    from pathlib import Path
    from typing import IO

    import numpy as np
    from numpy.typing import NDArray

GZIP = b"\x1f\x8b"
BYTES = 0x08  #: the type of the items that is read here
TYPES = {
    BYTES: "bytes",
    0x09: "signed bytes",
    0x0B: "16-bit integers",
    0x0C: "32-bit integers",
    0x0D: "floats",
    0x0E: "doubles",
}
AT_ONCE = 1 << 20  #: bytes
SLACK = 1 << 16  #: bytes of a file beyond twice its content: a file name, some padding


class Header(NamedTuple):
    """What an IDX file says of itself."""

    path: Path
    content: bytes
    shape: tuple[int, ...]


def read_header(path: Path, dimensions: int) -> Header:
    """Return the header of an IDX file of bytes, and read no further.

    Parameters
    ----------
    path
        Of the file, which may be gzipped whatever its name.
    dimensions
        How many there must be: 3 for images, 1 for labels.

    Raises
    ------
    DatasetError
        If the file cannot be read, is damaged, or is none of bytes with so many dimensions.
    """
    with _unpacked(path) as file:
        content = file.read(4 + 4 * dimensions)
    if not content:
        raise DatasetError(f"{path}: the file is empty; get it again")
    magic, expected = content[:4], bytes([0, 0, BYTES, dimensions])
    if magic != expected:
        numbers = f"0x{magic.hex()}, expected 0x{expected.hex()}"
        raise DatasetError(f"{path}: wrong magic number {numbers}; {_mistake(magic, dimensions)}")
    if len(content) < 4 + 4 * dimensions:
        raise DatasetError(f"{path}: truncated in its header; get it again")
    return Header(path, content, struct.unpack(f">{dimensions}I", content[4:]))


def _mistake(magic: bytes, dimensions: int) -> str:
    """Say what a wrong magic number means."""
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in TYPES:
        return "it is no IDX file, or was damaged on its way"
    if magic[2] != BYTES:
        return f"it holds {TYPES[magic[2]]}, and only bytes are read: write them as such"
    return f"dimensions: {magic[3]}, needed: {dimensions}; is it another file?"


def read_items(header: Header, sums: Mapping[str, str] | None = None) -> NDArray[np.uint8]:
    """Return the items of an IDX file, in its shape.

    Parameters
    ----------
    header
        Of the file.
    sums
        SHA-256 of unpacked files by their names, where they are known.

    Raises
    ------
    DatasetError
        If the file cannot be read, is damaged, holds less or more than its header says, or has not the sum.
    """
    import hashlib

    import numpy as np

    path, head, shape = header
    size = prod(shape)
    items = bytearray()
    with _unpacked(path) as file:
        if file.read(len(head)) != head:
            raise DatasetError(f"{path}: somebody has written to it; start again")
        # Nothing unpacks to so much less than it takes: to skip what follows would take long.
        is_longer = path.stat().st_size > 2 * (len(head) + size) + SLACK
        while not is_longer and len(items) < size:
            if not (chunk := file.read(min(AT_ONCE, size - len(items)))):
                text = f"{len(items):,} items, expected {size:,}"
                raise DatasetError(f"{path}: truncated: {text}; get it again")
            items += chunk
        if is_longer or file.read(1):  # at the end of a gzip stream, its checksum is looked at
            text = f"more than {size:,} items"
            raise DatasetError(f"{path}: longer than its header says: {text}; get it again")
    known = (sums or {}).get(path.name.removesuffix(".gz"))
    if known is not None:
        found = hashlib.sha256(head)
        found.update(items)
        if found.hexdigest() != known:
            raise DatasetError(f"{path}: its SHA-256 sum is wrong; install nnbench again")
    return np.frombuffer(items, np.uint8).reshape(shape)


@contextmanager
def _unpacked(path: Path) -> Iterator[IO[bytes] | GzipFile]:
    """Give an IDX file to be read unpacked; whatever is wrong with it is an error that names it."""
    import gzip
    import zlib

    try:
        with files.open_regular(path) as file:
            is_zipped = file.read(len(GZIP)) == GZIP
            file.seek(0)
            if is_zipped:
                with gzip.GzipFile(fileobj=file) as unpacked:
                    yield unpacked
            else:
                yield file
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        # The beginning was one: this is what comes after a whole stream, where another may.
        follows = str(error).startswith("Not a gzipped file")
        text = "something else follows its end" if follows else error
        raise DatasetError(f"{path}: damaged gzip file ({text}); get it again") from error
    except (OSError, ValueError) as error:  # a path may hold what no path can
        reason = error.strerror if isinstance(error, OSError) else error
        raise DatasetError(f"{path}: {reason}") from error
