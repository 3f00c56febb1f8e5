"""Folders of IDX files of which some are damaged, of another size, or none."""

from __future__ import annotations

import gzip
import os
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from tests.fuzz.case import Case, Expected, few
from tests.nnbench import conftest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from random import Random

    Spoil = Callable[[Random, Path], Expected]

WORDS = ["run", "--dry-run", "-b", "numpy", "--dataset", "data"]
TRAIN, TEST = [0, 1, 2] * 6, [2, 1, 0] * 5
IMAGES, LABELS = "images-idx3-ubyte", "labels-idx1-ubyte"
NAMES = [f"{split}-{kind}" for split in ("train", "t10k") for kind in (IMAGES, LABELS)]
SIZES = [0, 1, 2, 5, 13, 255, 2**16, 2**31 - 1, 2**31, 2**32 - 1]
BOMB_BYTES = 27 * 10**8  #: when it is unpacked
BAD, FINE, EITHER = Expected


def make(random: Random, folder: Path) -> Case:
    """Write a dataset, and spoil some of its files, or none."""
    data = conftest._write_folder(folder / "data", train=TRAIN, test=TEST)
    done: list[tuple[str, Expected]] = []
    for _ in range(0 if random.random() < 0.05 else few(random)):
        path, name = data / random.choice(NAMES), random.choice([*WAYS])
        if is_idx(path):  # which it was, unless this is not the first
            done.append((f"{path.name}: {name}", WAYS[name](random, path)))
    return Case(
        words=WORDS,
        about="; ".join(what for what, _ in done) or "a dataset that is fine",
        expected=combined([known for _, known in done]),
    )


def is_idx(path: Path) -> bool:
    """Tell whether a file is small, and starts as one of IDX does."""
    if path.is_symlink() or not path.is_file() or not 16 <= path.stat().st_size < 1 << 16:
        return False
    return path.read_bytes()[:4] in {b"\0\0\x08\x01", b"\0\0\x08\x03"}


def combined(known: list[Expected]) -> Expected:
    """Return what is known of several changes, of which one could make up for another."""
    if len(known) > 1:
        return EITHER
    return known[0] if known else FINE


def another_size(random: Random, path: Path) -> Expected:
    """Have the header tell of more items, or of fewer."""
    content = bytearray(path.read_bytes())
    where = 4 + 4 * random.randrange(content[3])
    before = content[where : where + 4]
    size = random.choice([*SIZES, int.from_bytes(before) + random.choice((-1, 1))])
    content[where : where + 4] = size.to_bytes(4)
    path.write_bytes(content)
    return EITHER if before == content[where : where + 4] else BAD


def another_magic(random: Random, path: Path) -> Expected:
    """Have the header tell of other types, or of more dimensions."""
    content = bytearray(path.read_bytes())
    where = random.randrange(4)
    content[where] ^= random.randrange(1, 256)
    path.write_bytes(content)
    return BAD


def cut(random: Random, path: Path) -> Expected:
    """Leave out the end."""
    content = path.read_bytes()
    path.write_bytes(content[: random.randrange(len(content))])
    return BAD


def longer(random: Random, path: Path) -> Expected:
    """Have something after the end."""
    path.write_bytes(path.read_bytes() + random.randbytes(random.choice((1, 4, 1000))))
    return BAD


def no_idx(random: Random, path: Path) -> Expected:
    """Write something else."""
    path.write_bytes(
        random.choice((b"", b"\0", b"label,1\n0,1\n", b"\x1f\x8b", b"\x1f\x8b\x08\x00"))
    )
    return BAD


def zipped(random: Random, path: Path) -> Expected:
    """Compress it, under one of its names."""
    content = gzip.compress(path.read_bytes(), mtime=0)
    path.unlink()
    path.with_name(path.name + random.choice(("", ".gz"))).write_bytes(content)
    return FINE


def damaged_zip(random: Random, path: Path) -> Expected:
    """Compress it, and lose the end, or change a byte."""
    content = bytearray(gzip.compress(path.read_bytes(), mtime=0))
    if random.random() < 0.5:
        path.write_bytes(content[: random.randrange(len(content))])
        return BAD
    content[random.randrange(len(content))] ^= random.randrange(1, 256)
    path.write_bytes(content)
    return EITHER  # some bytes of a header mean nothing


def more_than_a_zip(random: Random, path: Path) -> Expected:
    """Compress it, and have something after that: zeros are padding, and a further member is content."""
    more = random.choice((b"\0", b"\0" * 512, b"trailing", gzip.compress(b"x", mtime=0)))
    path.write_bytes(gzip.compress(path.read_bytes(), mtime=0) + more)
    return BAD if more.strip(b"\0") else FINE


def bomb(_: Random, path: Path) -> Expected:
    """Compress what has thousands of times as many bytes as its header says."""
    path.write_bytes(gzip.compress(path.read_bytes(), mtime=0) + zeros())
    return BAD


@cache
def zeros() -> bytes:
    """Return what gzip unpacks to more bytes than anyone wants."""
    size = 10**7
    return gzip.compress(bytes(size), 9, mtime=0) * (BOMB_BYTES // size)


def another_item(random: Random, path: Path) -> Expected:
    """Have one item be another: a pixel may be anything, and a label what was none."""
    content = bytearray(path.read_bytes())
    content[-random.randrange(1, 4)] = random.choice((0, 1, 3, 8, 255))
    path.write_bytes(content)
    return EITHER


def same_items(_: Random, path: Path) -> Expected:
    """Have all items be alike: of labels, that is one class."""
    items = content(path)
    path.write_bytes(conftest._idx_bytes(np.full_like(items, 1)))
    return BAD if path.name == f"train-{LABELS}" else EITHER


def fewer_items(_: Random, path: Path) -> Expected:
    """Have fewer items, as the header says, than the file beside it has."""
    path.write_bytes(conftest._idx_bytes(content(path)[:-1]))
    return BAD


def no_items(_: Random, path: Path) -> Expected:
    """Have no items, as the header says."""
    path.write_bytes(conftest._idx_bytes(content(path)[:0]))
    return BAD


def gaps(random: Random, path: Path) -> Expected:
    """Have classes that do not follow one another."""
    factor = random.choice((5, 80))
    for each in filter(is_idx, path.parent.glob(f"*-{LABELS}")):
        each.write_bytes(conftest._idx_bytes(content(each) * factor))
    return FINE


def other_names(random: Random, path: Path) -> Expected:
    """Have other names, as some distribute them."""
    change = random.choice(
        [
            lambda name: name.replace("-idx", ".idx"),
            lambda name: f"emnist-digits-{name}",
            str.upper,
        ]
    )
    for each in [*path.parent.iterdir()]:
        each.rename(each.with_name(change(each.name)))
    return FINE


def no_file(random: Random, path: Path) -> Expected:
    """Have something else there, or nothing."""
    path.unlink()
    match random.choice(["pipe", "device", "folder", "circle", "endless", "missing"]):
        case "pipe":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "folder":
            path.mkdir()
        case "circle":
            path.symlink_to(path.name)
        case "endless":
            path.touch()
            os.truncate(path, 1 << 40)
    return BAD


def content(path: Path) -> np.ndarray:
    """Return the items of a file; of one whose size is another one already, the first."""
    found = path.read_bytes()
    dimensions = found[3]
    shape = [int.from_bytes(found[4 + 4 * i : 8 + 4 * i]) for i in range(dimensions)]
    items = np.frombuffer(found[4 + 4 * dimensions :], np.uint8)
    return items.reshape(shape) if items.size == np.prod(shape, dtype=float) else items[:1]


WAYS: dict[str, Spoil] = {
    function.__name__.replace("_", " "): function
    for function in (
        *(another_size, another_magic, cut, longer, no_idx, zipped, damaged_zip, more_than_a_zip),
        *(bomb, another_item, same_items, fewer_items, no_items, gaps, other_names, no_file),
    )
}
