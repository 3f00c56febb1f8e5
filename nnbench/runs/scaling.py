"""How the times of backends go along an axis of a sweep, and where one overtakes another."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nnbench.figures import axes, frames, statistics
from nnbench.figures.columns import value

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nnbench.figures.axes import Setting
    from nnbench.figures.statistics import Interval
    from nnbench.runs.run import Run
    from nnbench.runs.sweep import Sweep


class Panel(NamedTuple):
    """Points that differ in one axis of numbers alone, in its order."""

    axis: str
    setting: Setting  #: what all of them have of the other axes
    points: list[tuple[float, Run]]

    @property
    def title(self) -> str:
        """What all of them have, in words."""
        return axes.described(self.setting)


class Crossing(NamedTuple):
    """Between two places on an axis one backend is overtaken by another, and is clearly ahead and behind there."""

    before: str
    after: str
    low: float  #: where the first is ahead
    high: float  #: where it is behind
    is_next: bool  #: whether no point lies between


def axis_of(run: Sweep) -> str | None:
    """Return the axis of numbers with the most values; None if none has two."""
    values: dict[str, set[float | None]] = {}
    for point in run:
        for name, of in point.setting.items():
            values.setdefault(name, set()).add(axes.number(of))
    known = {
        name: len(found) for name, found in values.items() if None not in found and len(found) > 1
    }
    return max(known, key=known.__getitem__, default=None)


def panels(run: Sweep) -> list[Panel]:
    """Return the points along the axis of numbers that has the most values, those apart that differ in others.

    There are none without such an axis.
    """
    axis = axis_of(run)
    if axis is None:
        return []
    found: dict[tuple[object, ...], Panel] = {}
    for point in run:
        rest = {name: of for name, of in point.setting.items() if name != axis}
        place = axes.number(point.setting[axis])
        panel = found.setdefault(tuple(rest.values()), Panel(axis, rest, []))
        panel.points.append((place or 0.0, point))
    for panel in found.values():
        panel.points.sort(key=lambda each: each[0])
    return [panel for panel in found.values() if panel.points[1:]]


def seconds(run: Run, backend: str) -> Interval | None:
    """Return the median seconds of an epoch of a backend with a 95% interval; None without figures, or of one round."""
    times = run.groups[backend].times if backend in run.groups else []
    return statistics.interval(np.log(times)) if times else None


def crossings(panel: Panel) -> list[Crossing]:
    """Return where the fastest backend of a panel changes, in the ranking by medians.

    Both have to differ on either side, by their verdict: where they are the same, or it is undecided, the next point
    further out decides, as long as one of the two is the fastest there.
    """
    leaders = [(place, run, _fastest(run)) for place, run in panel.points]
    found: dict[tuple[str, str, float, float], Crossing] = {}
    for number, ((_, _, one), (_, _, other)) in enumerate(pairwise(leaders)):
        if one is None or other is None or one == other:
            continue
        low = _clear(reversed(leaders[: number + 1]), one, other)
        high = _clear(leaders[number + 1 :], other, one)
        if low is None or high is None:
            continue
        places = [place for place, *_ in leaders]
        is_next = places.index(high) == places.index(low) + 1
        found[one, other, low, high] = Crossing(one, other, low, high, is_next)
    return [*found.values()]


def leader(panel: Panel) -> str | None:
    """Return the backend that is clearly the fastest at all points; None if there is none."""
    names = {_fastest(run) for _, run in panel.points}
    if len(names) != 1 or None in names:
        return None
    [name] = names
    others = [(run, row.backend) for _, run in panel.points for row in run.ranked[1:2]]
    is_clear = others and all(name and _is_faster(run, name, other) for run, other in others)
    return name if is_clear and len(others) == len(panel.points) else None


def sentences(run: Sweep) -> list[str]:
    """Say of each panel which backend leads to where."""
    return [text for panel in panels(run) if (text := _sentence(panel))]


def _sentence(panel: Panel) -> str:
    axis = panel.axis.replace("_", " ")
    if crossed := crossings(panel):
        told = "; ".join(map(_said, crossed))
    elif name := leader(panel):
        told = f"{name} leads at every {axis}"
    else:
        return ""
    return ": ".join(filter(None, [panel.title, f"along {axis}, {told}" if crossed else told]))


def _said(crossing: Crossing) -> str:
    low, high = (f"{place:,g}" for place in (crossing.low, crossing.high))
    then = f"then {crossing.after}" if crossing.is_next else f"{crossing.after} from {high} on"
    return f"{crossing.before} leads to {low}, {then}"


def _fastest(run: Run) -> str | None:
    return run.ranked[0].backend if run.ranked else None


def _clear(
    leaders: Iterator[tuple[float, Run, str | None]] | Sequence[tuple[float, Run, str | None]],
    one: str,
    other: str,
) -> float | None:
    """Return the first place at which a backend is clearly faster than another, as long as one of them leads."""
    for place, run, name in leaders:
        if name not in {one, other}:
            return None
        if _is_faster(run, one, other):
            return place
        if _is_faster(run, other, one):
            return None
    return None


def _is_faster(run: Run, one: str, other: str) -> bool:
    """Tell whether a backend is faster than another, by their verdict."""
    if not {one, other} <= run.groups.keys():
        return False
    found = frames.compare(run.info, run.groups[other], run.groups[one])
    return found is not None and found.verdict == "slower"


def records(panel: Panel) -> list[dict[str, object]]:
    """Return what there is to draw of a panel: the seconds of each backend with figures at each point."""
    found: list[dict[str, object]] = []
    for place, run in panel.points:
        for row in run.measured:
            middle = value(row, "train_s_per_epoch")
            if middle is None:
                continue
            within, times = seconds(run, row.backend), run.groups[row.backend].times
            found.append(
                {
                    "backend": row.backend,
                    "place": place,
                    "seconds": middle,
                    "low": within.low if within else middle,
                    "high": within.high if within else middle,
                    "fastest": min(times),
                    "slowest": max(times),
                    "n": row.rounds,
                    "rank": "no rank: " + row.no_rank if row.no_rank else str(row.rank),
                    "panel": panel.title,
                }
            )
    return found
