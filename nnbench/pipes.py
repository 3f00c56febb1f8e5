"""Frames: how processes of nnbench talk to each other, each message whole and of a known type.

A frame is its length, eight bytes, and then a message in msgpack, which holds arrays as they are.
"""

from __future__ import annotations

import os
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from nnbench import texts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

LENGTH = struct.Struct("<Q")
LARGEST = 1 << 34  #: of a frame, in bytes: a longer one is no frame
LONGEST = 200  #: characters of what is wrong with a message, which may quote it
BYTES = (bytes, bytearray, memoryview)  #: that a message has as they are
_encoder = msgspec.msgpack.Encoder()


class PipeError(Exception):
    """What came is no message; the text says what it is."""


def frame(message: object) -> bytes:
    """Return what is written for a message."""
    try:
        content = _encoder.encode(message)
    except UnicodeEncodeError:  # it tells of a file whose name is no text
        content = _encoder.encode(texts.to_builtins(message, builtin_types=BYTES))
    return LENGTH.pack(len(content)) + content


def send(pipe: BinaryIO, message: object) -> None:
    """Write a message; it is on its way when this returns."""
    pipe.write(frame(message))
    pipe.flush()


def receive(pipe: BinaryIO, kind: Any) -> Any:
    """Wait for a message of a type, or of one of a union.

    Raises
    ------
    EOFError
        If the other side has closed the pipe.
    PipeError
        If what came is no such message.
    """
    size = length(_read(pipe, LENGTH.size))
    return decode(_read(pipe, size), kind)


@contextmanager
def own_output() -> Iterator[BinaryIO]:
    """Give a stream that is standard output, and nobody else's: what others print goes to standard error."""
    with os.fdopen(os.dup(1), "wb") as ours:
        try:
            os.dup2(2, 1)
        except OSError:  # standard error is closed
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, 1)
            os.close(nothing)
        yield ours


def length(head: bytes) -> int:
    """Return how many bytes the message behind a head has."""
    (size,) = LENGTH.unpack(head)
    if size > LARGEST:
        raise PipeError(f"no length of a message: {head!r}")
    return int(size)


def decode(content: bytes, kind: Any) -> Any:
    """Return the message of a frame, of which each value is what its type says.

    Raises
    ------
    PipeError
        If it is none.
    """
    try:
        return msgspec.msgpack.decode(content, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise PipeError(f"{str(error)[:LONGEST]}: {content[:60]!r}") from error


def _read(pipe: BinaryIO, size: int) -> bytes:
    content = pipe.read(size)
    if len(content) < size:
        raise EOFError
    return content
