"""How a backend stands beside the baseline from run to run, and where that has changed.

A folder of runs is all the store there is. Of each run a backend has one value: its ratio to the baseline, block by block, as the
tables of the run have it; so machines may differ. What cannot be used is said, and the rest goes on.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from statistics import fmean, median
from typing import TYPE_CHECKING, Literal, NamedTuple, assert_never

import numpy as np

from nnbench.contract.errors import ExitCode, IncomparableError, NnbenchError, ResultsError
from nnbench.figures import accuracies, changes, frames, statistics
from nnbench.figures.metrics import Scale
from nnbench.runs import commits
from nnbench.runs.comparison import workloads_apart
from nnbench.runs.folders import AtPoint, LeftOut, copies, named, read_points
from nnbench.runs.run import Run

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from nnbench.figures.changes import Change
    from nnbench.figures.metrics import Metric
    from nnbench.figures.statistics import Interval
    from nnbench.records.runs import RunInfo
    from nnbench.runs.commits import Commit
    from nnbench.runs.folders import Identities

Order = Literal["date", "revision"]
Verdict = Literal["worse", "better", "within the noise floor"]
DATE = re.compile(r"\d{4}-\d\d-\d\d")
FEW = f"fewer than {changes.FEWEST} runs have a value, and no change is looked for"
CORRELATED = "neighbours correlate, as on a machine that drifts: chance makes changes of that, too"


@dataclass(frozen=True, slots=True)
class Point:
    """What a run says of a backend."""

    place: int  #: of the run among all that were read
    folder: Path
    info: RunInfo
    value: float  #: ratio to the baseline's figure; of an accuracy the difference, a fraction
    interval: Interval | None
    pairs: int
    precision: str

    @property
    def revision(self) -> str:
        """The commit of the working directory then, with ``-dirty`` if files had changed; empty is unknown."""
        return self.info.environment.git or ""

    @property
    def date(self) -> str:
        """The day when it was started."""
        return self.info.started[:10]


@dataclass(frozen=True, slots=True)
class Step:
    """A change of level in a series."""

    change: Change
    points: tuple[Point, Point]  #: the last one before it, and the first one after it
    around: tuple[Point, Point]  #: likewise of the interval in which it lies
    size: float  #: level after it by that before it; of an accuracy the difference
    interval: Interval | None  #: of the size
    verdict: Verdict
    others: list[str]  #: what else changed there
    commits: list[Commit] | None  #: that lie between; None if git does not know both


@dataclass(frozen=True, slots=True)
class Series:
    """What all runs say of a backend, in order."""

    backend: str
    points: list[Point]
    steps: list[Step]
    remarks: list[str]

    @property
    def levels(self) -> list[tuple[int, int, float]]:
        """Where each stretch between changes begins and ends, and its level."""
        ends = [0, *(step.change.at for step in self.steps), len(self.points)]
        return [
            (first, end, median(point.value for point in self.points[first:end]))
            for first, end in pairwise(ends)
        ]

    @property
    def is_worse(self) -> bool:
        """Whether the latest point lies after a change for the worse."""
        return bool(self.steps) and self.steps[-1].verdict == "worse"


@dataclass(frozen=True, slots=True)
class History:
    """Some series of one metric, and what is to be said of the runs."""

    metric: Metric
    baseline: str
    info: RunInfo  #: of the newest run
    series: list[Series]
    notes: list[str]

    @property
    def code(self) -> ExitCode:
        """What a gate ends with."""
        if not any(series.is_worse for series in self.series):
            return ExitCode.OK
        is_accuracy = self.metric.scale is Scale.DIFFERENCE
        return ExitCode.ACCURACY if is_accuracy else ExitCode.REGRESSION


class _Asked(NamedTuple):
    metric: Metric
    baseline: str
    backends: list[str]


def collect(
    folders: Sequence[Path],
    *,
    metric: Metric,
    backends: Sequence[str] = (),
    baseline: str | None = None,
    workload: str | None = None,
    since: str | None = None,
    order: Order = "date",
) -> History:
    """Read the runs in some folders, and find where backends have changed.

    Parameters
    ----------
    folders
        Each is a run, or holds runs.
    metric
        What is looked at.
    backends
        By their labels; none is all of the newest run.
    baseline
        By which ratios are taken; None is the newest run's.
    workload
        By its name; None is the newest run's.
    since
        A date, or a revision, before which runs are left out.
    order
        Of the runs.

    Raises
    ------
    NnbenchError
        If a folder holds no runs, there is none of the workload or the backends, or a revision is unknown.
    IncomparableError
        If no run has a value.
    """
    out = LeftOut()
    same = _same(read_points(folders, out), workload, out)
    infos = _since({folder: at.info for folder, at in same.items()}, since, out)
    infos = _ordered(infos, order, out)
    if not infos:
        raise IncomparableError("; ".join(["no run is left", *out.lines]))
    newest = max(infos.values(), key=lambda info: info.started)
    asked = _asked(infos, newest, metric, backends, baseline)
    found = _follow(_opened([same[folder] for folder in infos], asked, out), asked, newest, out)
    if not any(series.points for series in found.series):
        raise IncomparableError("; ".join(["no run has a value", *out.lines]))
    return found


def follow(
    runs: Iterable[Run], metric: Metric, baseline: str, backends: Sequence[str], newest: RunInfo
) -> History:
    """Return the history of runs of the same, in their order; each is looked at once, and let go.

    Parameters
    ----------
    runs
        That have a folder.
    metric, baseline, backends
        As of :func:`collect`.
    newest
        What was asked of the newest run.
    """
    return _follow(runs, _Asked(metric, baseline, [*backends]), newest, LeftOut())


def _follow(runs: Iterable[Run], asked: _Asked, newest: RunInfo, out: LeftOut) -> History:
    points, remarks = _points(runs, asked, out)
    series = [_series(name, own, asked.metric) for name, own in points.items()]
    return History(asked.metric, asked.baseline, newest, series, [*out.lines, *remarks])


def _opened(points: Iterable[AtPoint], asked: _Asked, out: LeftOut) -> Iterator[Run]:
    """Yield the runs, with those cells alone that are looked at."""
    for folder, info, place in points:
        try:
            yield Run.open_some(folder, info, {asked.baseline, *asked.backends}, place)
        except ResultsError as error:
            out.alone.append(str(error))


def _same(points: Sequence[AtPoint], workload: str | None, out: LeftOut) -> dict[Path, AtPoint]:
    """Return the point of each run that trained one workload, as the newest of them has it, with as many threads."""
    names = Counter(each.info.workload.name for each in points)
    if workload is not None and workload not in names:
        raise NnbenchError(f"no run of workload {workload!r}; known: {', '.join(names) or 'none'}")
    wanted = workload or (_newest(points).info.workload.name if points else "")
    if workload is None and names.keys() - {wanted}:
        others = ", ".join(f"{count} of {name}" for name, count in names.items() if name != wanted)
        out.alone.append(f"runs of other workloads than {wanted} ({others}); --workload chooses")
    own = [each for each in points if each.info.workload.name == wanted]
    if not own:
        return {}
    newest = _newest(own).info
    found = {each.folder: each for each in own if each.info.point.is_same(newest.point)}
    for folder, info, _ in own:
        if folder in found:
            continue
        if info.workload != newest.workload:
            apart = workloads_apart(info.workload, newest.workload)
            out.add(f"it trained differently ({apart})", folder)
        else:
            out.add(f"it had other threads ({info.threads}, {newest.threads})", folder)
    return found


def _newest(points: Sequence[AtPoint]) -> AtPoint:
    """Return a point of the newest run: of several the first."""
    return max(points, key=lambda each: each.info.started)


def _since(infos: dict[Path, RunInfo], since: str | None, out: LeftOut) -> dict[Path, RunInfo]:
    """Return the runs from a date, or a revision, on."""
    if since is None:
        return infos
    if DATE.match(since):
        start = _time(since)
        return {folder: info for folder, info in infos.items() if info.started >= start}
    commit = commits.find(since)
    if commit is None:
        states = {folder: commits.clean(info.environment.git) for folder, info in infos.items()}
        at = [infos[f].started for f, state in states.items() if state and _is(state, since)]
        if not at:
            raise NnbenchError(f"--since {since!r} is no date, and no revision that is known here")
        return {folder: info for folder, info in infos.items() if info.started >= min(at)}
    known = _known(infos, out)
    before = commits.ancestors(commit)
    return {folder: infos[folder] for folder, own in known.items() if own not in before}


def _time(text: str) -> str:
    """Return a date, or a time, as records have it.

    Raises
    ------
    NnbenchError
        If it is none.
    """
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise NnbenchError(f"--since {text!r} is no date: {error}") from error
    time = time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def _is(state: str, revision: str) -> bool:
    return state.startswith(revision) or revision.startswith(state)


def _known(infos: dict[Path, RunInfo], out: LeftOut) -> dict[Path, str]:
    """Return the commits of runs, named whole, that the repository knows."""
    states = {folder: commits.clean(info.environment.git) for folder, info in infos.items()}
    known = commits.resolve(filter(None, states.values()))
    for folder, state in states.items():
        if state not in known:
            reason = f"git does not know {state} here" if state else "no revision is recorded"
            out.add(reason, folder)
    return {folder: known[state] for folder, state in states.items() if state in known}


def _ordered(infos: dict[Path, RunInfo], order: Order, out: LeftOut) -> dict[Path, RunInfo]:
    """Return runs by their date, or by their place in the history of the repository, and then by date."""
    by_date = dict(sorted(infos.items(), key=lambda item: (item[1].started, str(item[0]))))
    match order:
        case "date":
            return by_date
        case "revision":
            known = _known(by_date, out)
            places = commits.order(dict.fromkeys(known.values()))
            return {
                folder: infos[folder]
                for folder in sorted(known, key=lambda folder: places.get(known[folder], 0))
            }
        case unknown:
            assert_never(unknown)


def _asked(
    infos: dict[Path, RunInfo],
    newest: RunInfo,
    metric: Metric,
    backends: Sequence[str],
    baseline: str | None,
) -> _Asked:
    """Return what is looked at, by names that some run has."""
    base = newest.baseline if baseline is None else baseline
    known = dict.fromkeys(label for info in infos.values() for label in info.backends)
    for name in (base, *backends):
        if name not in known:
            raise NnbenchError(f"no run of backend {name!r}; known: {', '.join(known)}")
    if base in backends:
        raise NnbenchError(
            f"{base} is the baseline, whose ratio is always 1; --baseline names another"
        )
    chosen = [*dict.fromkeys(backends)] or [name for name in newest.backends if name != base]
    return _Asked(metric, base, chosen)


def _points(
    runs: Iterable[Run], asked: _Asked, out: LeftOut
) -> tuple[dict[str, list[Point]], list[str]]:
    """Return the points of each backend, and what is to be said of the runs."""
    found: dict[Path, dict[str, Point | str]] = {}
    infos: dict[Path, RunInfo] = {}
    cells: Identities = {}
    unfinished = []
    for run in runs:
        assert run.folder  # noqa: S101 - for mypy: these are on disk
        folder, info = run.folder, run.info
        infos[folder] = info
        cells[folder] = {cell.identity for cell in run.cells if cell.status.ran}
        place = len(found)
        found[folder] = {name: _point(run, place, folder, asked, name) for name in asked.backends}
        made = len({cell.round for cell in run.of(asked.baseline)})
        if info.detect is None and 0 < made < info.rounds:
            unfinished.append(f"{folder} is not finished: {made} of {info.rounds} rounds")
    for folder, whole in copies(cells).items():
        out.add(f"all of its cells are in {whole}", folder)
        del found[folder]
    points: dict[str, list[Point]] = {name: [] for name in asked.backends}
    for folder, by_name in found.items():
        for name, point in by_name.items():
            if isinstance(point, str):
                out.add(point, folder)
            else:
                points[name].append(point)
    return points, [*unfinished, *_uncommitted(found, infos)]


def _uncommitted(found: Iterable[Path], infos: dict[Path, RunInfo]) -> list[str]:
    changed = [f for f in found if (infos[f].environment.git or "").endswith(commits.DIRTY)]
    if not changed:
        return []
    return [f"{named(changed)}: files had changed that no commit has ({commits.DIRTY})"]


def _point(run: Run, place: int, folder: Path, asked: _Asked, backend: str) -> Point | str:
    """Return the value of a backend in a run, or why there is none."""
    base, group = (run.groups.get(name) for name in (asked.baseline, backend))
    for name, found in ((asked.baseline, base), (backend, group)):
        if found is None:
            return f"no cell of {name}"
    assert base  # noqa: S101 - for mypy, which does not see that None has returned
    assert group  # noqa: S101 - likewise
    if group.precision != base.precision:
        return f"products of {backend} in {group.precision}, and of {asked.baseline} in {base.precision}"
    value: float
    interval: Interval | None
    match asked.metric.scale:
        case Scale.RATIO:
            for name, each in ((asked.baseline, base), (backend, group)):
                if each.obstacle:
                    return f"{name} has no rank ({each.obstacle})"
            logs = [asked.metric.log_ratio(*pair) for pair in frames.paired(group, base)]
            known = np.array([log for log in logs if log is not None])
            if not len(known):
                return f"no {asked.metric.name} of {backend} beside {asked.baseline}"
            value, interval, pairs = (
                math.exp(float(np.median(known))),
                statistics.interval(known),
                len(known),
            )
        case Scale.DIFFERENCE:
            difference = accuracies.compare(accuracies.pair(group.cells, base.cells))
            if difference is None or not (group.times and base.times):
                return f"no {asked.metric.name} of {backend} beside {asked.baseline}"
            value, interval, pairs = difference.mean, difference.interval, difference.pairs
        case unknown:
            assert_never(unknown)
    return Point(place, folder, run.info, value, interval, pairs, group.precision)


def _series(backend: str, points: list[Point], metric: Metric) -> Series:
    values = [point.value for point in points]
    found = changes.find(values if metric.scale is Scale.DIFFERENCE else np.log(values).tolist())
    ends = [0, *(change.at for change in found), len(points)]
    steps = [
        _step(backend, change, points, (start, end), metric)
        for change, start, end in zip(found, ends, ends[2:], strict=False)
    ]
    remarks = []
    if len(points) < changes.FEWEST:
        remarks.append(FEW)
    if changes.are_correlated(values, found):
        remarks.append(CORRELATED)
    return Series(backend, points, steps, remarks)


def _step(
    backend: str, change: Change, points: list[Point], ends: tuple[int, int], metric: Metric
) -> Step:
    before = [point.value for point in points[ends[0] : change.at]]
    after = [point.value for point in points[change.at : ends[1]]]
    one, other = points[change.at - 1], points[change.at]
    size: float
    interval: Interval | None
    match metric.scale:
        case Scale.RATIO:
            size, interval = (
                median(after) / median(before),
                statistics.ratio_of_medians(after, before),
            )
            floor = 1 + max(one.info.noise_floor, other.info.noise_floor)
            is_small, is_more = 1 / floor <= size <= floor, size > 1
        case Scale.DIFFERENCE:
            size, interval = fmean(after) - fmean(before), statistics.difference(after, before)
            is_small, is_more = False, size > 0
        case unknown:
            assert_never(unknown)
    verdict: Verdict = "better" if is_more == metric.is_better_higher else "worse"
    around = points[change.low - 1], points[change.high]
    return Step(
        change=change,
        points=(one, other),
        around=around,
        size=size,
        interval=interval,
        verdict="within the noise floor" if is_small else verdict,
        others=_apart(*around, backend),
        commits=_between(*around),
    )


def _apart(before: Point, after: Point, backend: str) -> list[str]:
    """Name what differs between two runs besides their revisions."""
    one, other = before.info, after.info
    hardware, software = one.environment.differences(other.environment)
    found = [*hardware, *software]
    asked: dict[str, list[object]] = {
        "kinds of machines": [
            len({m.environment.kind for m in info.machines.values()}) for info in (one, other)
        ],
        "machines": [len(one.machines), len(other.machines)],
        f"the plugin of {backend}": [info.plugins.get(backend, "none") for info in (one, other)],
        f"products of {backend}": [before.precision, after.precision],
        "turns": [one.turns, other.turns],
    }
    return found + [f"{name} ({a}, {b})" for name, (a, b) in asked.items() if a != b]


def _between(before: Point, after: Point) -> list[Commit] | None:
    """Return the commits between two runs; None if git does not know them here."""
    one, other = (commits.clean(point.revision) for point in (before, after))
    return commits.between(one, other) if one and other else None
