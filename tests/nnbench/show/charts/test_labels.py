"""Labels above a chart: none lies on another, at any width, and no line crosses a text."""

import random
from itertools import permutations

import pytest

from nnbench.show.charts import labels
from nnbench.show.charts.labels import GAP, MARGIN, PLOT, Span, rows, short, width


def drawn(count, seed):
    """Return so many places, many of them close together, and texts of any length."""
    rng = random.Random(seed)
    middles = [rng.random() for _ in range(3)]
    places = sorted(min(1.0, max(0.0, rng.gauss(rng.choice(middles), 0.03))) for _ in range(count))
    return places, ["x" * rng.randint(1, 2 * labels.LONGEST) for _ in places]


@pytest.mark.parametrize("plot", [PLOT, 2 * PLOT, 4 * PLOT])
@pytest.mark.parametrize("count", [1, 2, 10, 12])
def test_labels_and_their_lines_lie_apart(plot, count):
    for seed in range(50):
        places, texts = drawn(count, seed)
        boxes = [
            (place * plot - width(text), place * plot - GAP / 2, row)
            for place, text, row in zip(places, texts, rows(places, texts), strict=True)
        ]
        for (place, one), (_, other) in permutations(zip(places, boxes, strict=True), 2):
            left, right, row = other
            assert row != one[2] or one[1] <= left or right <= one[0]
            assert not (left < place * plot < right) or row > one[2]  # its line begins below


def test_label_that_has_room_is_just_above_the_plot():
    assert rows([0.1, 0.5, 0.9], ["a", "b", "c"]) == [0, 0, 0]
    assert rows([0.5, 0.5], ["a", "b"]) == [0, 1]


@pytest.mark.parametrize("values", [[1.0, 2.0], [1.0, 100.0], [3.0], [0.0, 0.0]])
def test_axis_begins_where_each_label_has_room(values):
    span = Span.of(values)
    room = labels.room_for(span, [(value, "x" * 26) for value in values])
    for value in values:
        assert room.share(value) * PLOT + MARGIN >= width("x" * 26) - 1e-9
        assert room.share(room.at(0.3)) == pytest.approx(0.3)
    assert (room.high, room.is_log) == (span.high, max(values) == 100)


def test_axis_with_room_stays():
    span = Span.of([0.0, 10.0])
    assert labels.room_for(span, [(9.0, "a")]) == span


def test_long_name_keeps_both_ends():
    assert short("torch-cpu") == "torch-cpu"
    shortened = short("torch-cpu[threads=2,fused=false]")
    assert len(shortened) == labels.LONGEST
    assert (shortened[:9], shortened[-8:]) == ("torch-cpu", "d=false]")
