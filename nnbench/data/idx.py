"""Read IDX files, the format of MNIST, gzipped or not.

Source of the format: Y. LeCun's MNIST page. Four bytes of magic number (two zeros, the type of
the items, the number of dimensions), each dimension as a big-endian uint32, then the items.
"""

from __future__ import annotations

import gzip
import zlib
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from nnbench.contract.errors import DatasetError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

UNSIGNED_BYTE = 0x08


def read(path: Path) -> bytes:
    """Return the content of ``path``, unpacked if it is gzipped.

    Raises
    ------
    DatasetError
        If the file cannot be read, or its compressed content is damaged.
    """
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DatasetError(f"{path}: damaged gzip file ({error})") from error
    except OSError as error:
        raise DatasetError(f"{path}: {error.strerror}") from error


def parse(content: bytes, dimensions: int, name: object) -> NDArray[np.uint8]:
    """Return the items of an IDX file of unsigned bytes, in its shape.

    Parameters
    ----------
    content
        The unpacked file.
    dimensions
        How many dimensions are expected: 3 for images, 1 for labels.
    name
        What to call the file in messages.

    Raises
    ------
    DatasetError
        If the file is empty, the magic number is wrong, or the sizes and the length disagree.
    """
    if not content:
        raise DatasetError(f"{name}: the file is empty")
    magic, expected = content[:4], bytes([0, 0, UNSIGNED_BYTE, dimensions])
    if magic != expected:
        message = f"wrong magic number 0x{magic.hex()}, expected 0x{expected.hex()}"
        raise DatasetError(f"{name}: {message}; is it an IDX file of bytes?")
    offset = 4 + 4 * dimensions
    if len(content) < offset:
        raise DatasetError(f"{name}: truncated in its header")
    shape = tuple(int(size) for size in np.frombuffer(content[4:offset], ">u4"))
    items = len(content) - offset
    if items != prod(shape):
        state = "truncated" if items < prod(shape) else "longer than its header says"
        raise DatasetError(f"{name}: {state}: {items:,} items, expected {prod(shape):,}")
    return np.frombuffer(content, np.uint8, offset=offset).reshape(shape)
