"""What numbers and texts may be that come from files, workers and plugins.

Each field of what is read has one of these types, or one made like them, so that decoding checks it, once
and for all; a test names a field that has none. They allow far more than a machine does, and no more than
arithmetic takes: a sum of them, a product or a ratio is still a number.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

LARGEST = 10**15  #: of what is counted: JSON and its readers hold it exactly

Count = Annotated[int, Meta(ge=1, le=LARGEST)]
Number = Annotated[int, Meta(ge=0, le=LARGEST)]  #: of what may be nothing, or is counted from 0
Bytes = Annotated[int, Meta(ge=0, le=1 << 60)]
Seed = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]  #: of a round; what a user may ask for is less
#: Of what users set, as Quantity.
Whole = Annotated[int, Meta(ge=-LARGEST, le=LARGEST)]
Celsius = Annotated[int, Meta(ge=-273, le=LARGEST)]

Seconds = Annotated[float, Meta(ge=0, le=1e15)]
Microseconds = Annotated[float, Meta(ge=0, le=1e15)]
CallSeconds = Annotated[float, Meta(ge=0, le=1e9)]  #: what a worker says; sums of it are Seconds
SHORTEST_S = (
    1e-9  #: of what cannot be done in no time: a clock shows a call of Python, however short
)
Joules = Annotated[float, Meta(ge=0, le=1e15)]
Elapsed = Annotated[float, Meta(ge=SHORTEST_S, le=1e9)]  #: likewise, of that
CallCount = Annotated[int, Meta(ge=0, le=10**9)]  #: likewise; sums of it are Numbers

Patience = Annotated[float, Meta(gt=0, le=10**9)]  #: seconds that a user grants

Share = Annotated[float, Meta(gt=0, le=1)]
Portion = Annotated[float, Meta(ge=0, le=1)]  #: a share that may be nothing
Fraction = Annotated[float, Meta(ge=0, le=1e6)]  #: of something that may be less than it
Decay = Annotated[float, Meta(ge=0, lt=1)]
Quantity = Annotated[float, Meta(ge=-1e300, le=1e300)]
Positive = Annotated[float, Meta(gt=0, le=1e36)]
Amount = Annotated[float, Meta(ge=0, le=1e36)]  #: of operations or bytes, also in a second
Ceiling = Annotated[float, Meta(ge=1e-9, le=1e36)]  #: that an amount is divided by
#: Of weights. Beyond it no float32 has the square of a gradient, and honest trainings stray.
Penalty = Annotated[float, Meta(ge=0, le=1e9)]
MOST_LOSS = 1e300  #: a larger one counts as not finite
Loss = Annotated[float, Meta(ge=-MOST_LOSS, le=MOST_LOSS)]
Magnitude = Annotated[
    float, Meta(ge=0)
]  #: of any size: shown, and held against others, but not added up

Name = Annotated[str, Meta(min_length=1, max_length=4096)]  #: also of a file, with its folders
Line = Annotated[str, Meta(max_length=4096)]
Text = Annotated[str, Meta(max_length=1 << 20)]

# Texts that others take: whoever refuses one tells the description. It is \Z that is the end: after $ there may be a line break.
Distribution = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\Z",
        max_length=100,
        description="the name of a distribution, as pip has it",
    ),
]
Version = Annotated[
    str, Meta(pattern=r"^\S+\Z", max_length=100, description="a version without blanks")
]
Variable = Annotated[
    str,
    Meta(
        pattern=r"^[^\s=\0]+\Z",
        max_length=100,
        description="the name of an environment variable, without = or blanks",
    ),
]
Parameter = Annotated[
    str,
    Meta(
        pattern=r"^(?!threads\Z)[^\W\d]\w*\Z",
        max_length=100,
        description="a name as of an argument in Python, and not threads, which every backend has",
    ),
]
ObjectPath = Annotated[
    str,
    Meta(
        pattern=r"^\w+(\.\w+)*:\w+(\.\w+)*\Z",
        max_length=1000,
        description="a path such as 'package.module:Class'",
    ),
]
