"""A run for whoever asks with pandas: ``nnbench.open("results/in-turns").timing()``.

The numbers are those of the command line, made by the same functions; here they are DataFrames, and drawn in a
notebook. What each column means stands in docs/analysis.md.
"""

from __future__ import annotations

from math import exp
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from nnbench.contract.errors import NnbenchError
from nnbench.figures import frames, metrics
from nnbench.runs.sweep import Sweep
from nnbench.show import charts, text
from nnbench.show.exports import library, samples

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from altair import TopLevelMixin
    from pandas import DataFrame

    from nnbench.figures.frames import Frame
    from nnbench.records.cells import CellResult
    from nnbench.records.runs import RunInfo
    from nnbench.runs.run import Run

OF_EPOCHS = list(samples.COLUMNS).index("epoch")  #: the first column that is not of the whole cell


def open_run(folder: str | Path) -> Results:
    """Open the folder of a run; ``nnbench.open`` is this.

    Parameters
    ----------
    folder
        As ``nnbench run`` has written it.

    Raises
    ------
    ResultsError
        If it holds no run, or a damaged one; damaged cells are found when they are read.
    """
    return Results(Sweep.open(Path(folder)))


class Results:
    """A run, to be asked. Every answer is a DataFrame of its own, which may be changed.

    Parameters
    ----------
    run
        What :func:`open_run` opens.
    """

    def __init__(self, run: Sweep) -> None:
        self._run = run

    def __repr__(self) -> str:
        """Say which run it is, and of what."""
        what = text.trained(self.info)
        return f"<run {self._run.folder}: {what}, {', '.join(self.backends)}>"

    @property
    def info(self) -> RunInfo:
        """What was asked, and on which machines: ``run.json``."""
        return self._run.info

    @property
    def backends(self) -> list[str]:
        """Labels of the backends that could run."""
        return self._run.labels

    @property
    def points(self) -> DataFrame:
        """A row for each point of the run, with what tells it from the others; of one alone there is nothing to tell."""
        return _table([{**point.setting} for point in self._run])

    def at(self, workload: str | None = None, **axes: object) -> Self:
        """Return some points of the same run.

        Parameters
        ----------
        workload
            Of those that train this one.
        axes
            Values of other axes: ``batch_size=64``, ``hidden="64,64"``.

        Raises
        ------
        NnbenchError
            If there is no such point.
        """
        return type(self)(self._run.at(workload, {axis: str(v) for axis, v in axes.items()}))

    def seen(
        self,
        *,
        baseline: str | None = None,
        target: float | None = None,
        backends: Sequence[str] = (),
    ) -> Self:
        """Return the same run looked at in another way.

        Parameters
        ----------
        baseline
            The backend whose time is 1.
        target
            The accuracy whose time is asked for, a fraction.
        backends
            These alone, and the baseline.

        Raises
        ------
        NnbenchError
            If it has none of that name, or no accuracies.
        """
        seen = self._run.seen(baseline=baseline, target=target, backends=backends)
        return type(self)(seen)

    def accuracy(self) -> DataFrame:
        """Return the accuracy table: a row for each backend, the columns of ``accuracy.csv``."""
        return _of(self._run.every("accuracy"))

    def timing(self, baseline: str | None = None) -> DataFrame:
        """Return the timing table: a row for each backend, the columns of ``timing.csv``.

        Parameters
        ----------
        baseline
            The backend whose time is 1; None is the run's.
        """
        return _of(self._run.seen(baseline=baseline).every("timing"))

    def pairs(self) -> DataFrame:
        """Return every backend over each faster one: ratio, interval, p-value (Holm), verdict."""
        return _of([*self._run.pairs_table.rows])

    def ratios(self, baseline: str | None = None) -> DataFrame:
        """Return the ratio of each backend's time to the baseline's in each block that ranks.

        These are the pairs of which the intervals are made: a row for each backend and round.

        Parameters
        ----------
        baseline
            The backend whose time is 1; None is the run's.
        """
        seen = self._run.seen(baseline=baseline)
        rows = [row for run in seen for row in _ratios(run)]
        names = ["backend", "baseline", "round", "machine", "ratio", "turns"]
        return _table(rows, [*self._run.runs[0].setting, *names])

    def cells(self) -> DataFrame:
        """Return a row for each cell that counts, in the order in which they ran: one backend in one round."""
        names = [*list(samples.COLUMNS)[:OF_EPOCHS], "machine", "images", "train_s"]
        names += ["train_s_per_epoch", "images_per_s", "accuracy", "test_loss"]
        axes = samples.points_of(self._run)
        rows = [
            [*_of_cell(cell), *(of(cell, None, None) for of in axes.values())]
            for cell in self._run.cells
        ]
        return _table(rows, [*names, *axes])

    def epochs(self) -> DataFrame:
        """Return a row for each epoch of each cell that counts: the columns of ``nnbench export --to csv``."""
        counted = (cell for cell in self._run.attempts() if cell.final)
        axes = samples.points_of(self._run)
        return _table(samples.rows(counted, *axes.values()), [*samples.COLUMNS, *axes])

    def losses(self, backend: str) -> DataFrame:
        """Return the loss of every step of a backend: a row for each step, from 1, and a column for each round.

        What is not finite, and steps that a round did not come to, are missing.
        """
        run = self._run.alone.seen(backends=[backend])
        found = {c.round: c.losses for c in run.attempts() if c.final and c.backend == backend}
        pandas = _pandas()
        columns = {n: pandas.Series(found[n], dtype="float64") for n in sorted(found)}
        frame: DataFrame = pandas.DataFrame(columns)
        frame.index = pandas.RangeIndex(1, len(frame) + 1, name="step")
        return frame.rename_axis(columns="round")

    def chart(self, name: str = "ratios") -> TopLevelMixin:
        """Return a figure of ``nnbench plot`` by its name, as Altair has it.

        Raises
        ------
        NnbenchError
            If there is no figure of that name, the run has nothing to draw in it, or the libraries for that are not installed.
        """
        known = [*charts.CHARTS, *charts.OF_SWEEPS]
        if name not in known:
            raise NnbenchError(f"no figure {name!r}; known: {', '.join(known)}")
        charts.require_libraries()
        import altair as alt

        from nnbench.show.charts import base

        colors = base.colors(self.backends)
        if name in charts.OF_SWEEPS:
            drawn = charts.chart_of_sweep(name)(self._run, colors)
            whole = drawn.alone(base.subtitle_of(self._run))
        else:
            run = self._run.alone
            whole = charts.chart(name)(run, colors).alone(base.subtitle(run))
        look = base.config(base.INK["light"], base.PAPER["light"])
        return alt.Chart.from_dict({**whole, "config": look})

    def _repr_html_(self) -> str:
        """Return both tables for a notebook."""
        from nnbench.show import paper

        written = text.sheets(self._run)
        return "".join(paper.html(written[name]) for name in ("accuracy", "timing"))


def _ratios(run: Run) -> Iterator[dict[str, object]]:
    """Yield what the ratios of a point are made of."""
    base = run.groups.get(run.info.baseline)
    for name, group in run.groups.items():
        if base is None or group.obstacle or group is base:
            continue
        for cell, other in frames.paired(group, base):
            if (log := metrics.TRAINING.log_ratio(cell, other)) is not None:
                yield {
                    **run.setting,
                    "backend": name,
                    "baseline": run.info.baseline,
                    "round": cell.round,
                    "machine": cell.machine,
                    "ratio": exp(log),
                    "turns": len(metrics.TRAINING.turn_log_ratios(cell, other)),
                }


def _of_cell(cell: CellResult) -> Iterable[Any]:
    """Yield what the table of cells has of one."""
    yield from next(samples.rows([cell]))[:OF_EPOCHS]
    epoch_s, last = metrics.epoch_s(cell), cell.epochs[-1] if cell.epochs else None
    yield from (cell.machine, cell.images, cell.train_s, epoch_s)
    yield 1 / metrics.pace_s(cell) if epoch_s else None
    yield from (last and last.accuracy, last and last.test_loss)


def _of(frame: Frame) -> DataFrame:
    """Return a frame as pandas has it."""
    return _table(map(vars, frame))


def _table(rows: Iterable[Any], columns: Sequence[str] | None = None) -> DataFrame:
    """Return rows as pandas has them."""
    frame: DataFrame = _pandas().DataFrame(rows, columns=columns)
    return frame


def _pandas() -> Any:
    """Import pandas, which nnbench itself does without.

    Raises
    ------
    NnbenchError
        If it is not installed.
    """
    return library("pandas", "pandas", extra="analysis")
