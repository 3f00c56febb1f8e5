"""What tells points apart."""

from dataclasses import replace

import pytest

from nnbench.data.workloads import derive
from nnbench.figures import axes
from nnbench.records.runs import Point


def point(workload, threads=1, **changes):
    return Point(workload=derive(workload, changes), threads=threads)


def test_one_point_has_nothing_that_tells_it_apart(mnist):
    assert axes.settings([point(mnist)]) == [{}]


def test_points_differ_in_the_axes_that_vary_in_the_order_of_the_axes(mnist):
    points = [point(mnist, n, batch_size=size) for n in (1, 2) for size in (64, 256)]
    assert axes.settings(points) == [
        {"batch_size": 64, "threads": 1},
        {"batch_size": 256, "threads": 1},
        {"batch_size": 64, "threads": 2},
        {"batch_size": 256, "threads": 2},
    ]


def test_what_follows_from_the_workload_is_no_axis(mnist):
    wide = replace(mnist, name="wide", hidden=(512, 512), batch_size=512)
    assert axes.settings([point(mnist), point(wide)]) == [
        {"workload": "mnist"},
        {"workload": "wide"},
    ]
    sizes = [point(each, batch_size=size) for each in (mnist, wide) for size in (64, 512)]
    assert axes.settings(sizes)[1:3] == [
        {"workload": "mnist", "batch_size": 512},
        {"workload": "wide", "batch_size": 64},
    ]


def test_what_no_axis_has_is_in_the_whole_name(mnist):
    points = [
        Point(workload=replace(mnist, name=f"mnist+l2={l2}", l2=l2), threads=1) for l2 in (0.0, 1.0)
    ]
    assert axes.settings(points) == [{"workload": "mnist+l2=0.0"}, {"workload": "mnist+l2=1.0"}]


@pytest.mark.parametrize(
    ("changes", "shown", "number"),
    [
        ({"hidden": (16,)}, "16", 16.0),
        ({"hidden": (64, 64)}, "64,64", None),
        ({"hidden": ()}, "none", None),
        ({"batch_size": None}, "full", None),
        ({"learning_rate": 0.5}, 0.5, 0.5),
    ],
)
def test_values_are_written_as_options_take_them(mnist, changes, shown, number):
    [axis] = changes
    found = axes.settings(
        [point(mnist, **{axis: getattr(mnist, axis, 1e-3)}), point(mnist, **changes)]
    )
    assert found[1] == {axis: shown}
    assert axes.number(found[1][axis]) == number


def test_a_point_in_words():
    assert axes.described({"workload": "mnist", "batch_size": 64}) == "mnist, batch size 64"
    assert axes.described({}) == ""
