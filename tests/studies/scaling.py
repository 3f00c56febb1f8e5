"""Which backend wins where? Seconds an epoch over hidden units, batch sizes and threads.

``python -m tests.studies.scaling --output results/scaling`` makes one ``nnbench run`` for each
combination (one hidden layer on MNIST, a part of one epoch), keeps the runs below ``out/scaling``
so that a second call goes on where the first was stopped, and writes ``scaling.csv`` (every
backend), ``scaling.svg`` (likewise) and ``scaling.md`` (the fastest).
"""

from __future__ import annotations

import argparse
import itertools
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import altair as alt
import pandas as pd

from nnbench.runs import store
from nnbench.show import text
from nnbench.show.charts import base

if TYPE_CHECKING:
    from collections.abc import Iterator

RAW = Path("out", "scaling")
BACKENDS = "native,numpy,numba,jax,torch-cpu"
AXES = ["threads", "hidden", "batch_size"]
MEASURED = ["backend", "rounds", "train_s_per_epoch", "train_s_rounds", "status", "no_rank"]
CLEAR = 1.05  #: smaller leads are not claimed


class Point(NamedTuple):
    """One combination."""

    threads: int
    hidden: int
    batch_size: int


def main() -> None:
    """Measure what is missing, and write the tables and the plot."""
    options = parse()
    times = pd.concat(measure(options), ignore_index=True)
    options.output.mkdir(parents=True, exist_ok=True)
    times.to_csv(options.output / "scaling.csv", index=False)
    (options.output / "scaling.md").write_text(f"{caption()}\n\n{describe(winners(times))}")
    draw(times).save(options.output / "scaling.svg")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backends", default=BACKENDS)
    parser.add_argument("--hidden", type=int, nargs="+", default=[16, 64, 256, 1024])
    parser.add_argument("--batch-size", type=int, nargs="+", default=[16, 64, 512, 4096])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--budget", type=float, default=0.5, help="seconds of training a cell")
    parser.add_argument("--output", type=Path, required=True)
    return parser.parse_args()


def measure(options: argparse.Namespace) -> Iterator[pd.DataFrame]:
    """Yield the times of every combination."""
    for point in itertools.starmap(
        Point, itertools.product(options.threads, options.hidden, options.batch_size)
    ):
        folder = RAW / "threads{}-hidden{}-batch{}".format(*point)
        command = ["--resume", str(folder)]
        if not (folder / "run.json").exists():
            command = [*arguments(point, options), "--output", str(folder)]
        subprocess.run(
            [sys.executable, "-m", "nnbench", "run", *command], check=True, stdout=sys.stderr
        )
        found = pd.read_csv(folder / "timing.csv")[MEASURED]
        yield found.assign(**point._asdict())[AXES + MEASURED]


def arguments(point: Point, options: argparse.Namespace) -> list[str]:
    """Return what ``nnbench run`` is asked for one combination."""
    return [
        "--workload=mnist",
        f"--backends={options.backends}",
        f"--hidden={point.hidden}",
        f"--batch-size={point.batch_size}",
        "--epochs=1",
        f"--threads={point.threads}",
        f"--rounds={options.rounds}",
        f"--budget={options.budget}",
    ]


def winners(times: pd.DataFrame) -> pd.DataFrame:
    """Return the fastest backend of each combination, and how far the second lies behind."""
    # An epoch cut short by the budget is measured well enough to say who is about how fast.
    right = times[times.no_rank.isna() | (times.no_rank == "budget")]
    ranked = right.dropna(subset="train_s_per_epoch").sort_values("train_s_per_epoch")
    best = ranked.groupby(AXES).nth(0).set_index(AXES)
    second = ranked.groupby(AXES).nth(1).set_index(AXES)
    lead = second.train_s_per_epoch / best.train_s_per_epoch
    return best.assign(second=second.backend, lead=lead).reset_index().sort_values(AXES)


def caption() -> str:
    """Say how the study was made, and where."""
    machine = text.caption(store.read_info(next(RAW.iterdir()))).splitlines()[-1]
    return f"`{shlex.join(['python', '-m', 'tests.studies.scaling', *sys.argv[1:]])}`\n{machine}"


def describe(best: pd.DataFrame) -> str:
    """Write a Markdown table for each number of threads."""
    head = (
        "The fastest backend, its seconds an epoch, and how many times as long the next one takes."
    )
    blocks = [head]
    for threads, part in best.groupby("threads"):
        texts = part.assign(text=[spell(row) for row in part.itertuples()])
        table = texts.pivot(index="hidden", columns="batch_size", values="text")
        header = "".join(f" batch {size:,} |" for size in table.columns)
        lines = [f"| hidden |{header}", "|---:|" + "---|" * len(table.columns)]
        lines += [f"| {hidden:,} | {' | '.join(row)} |" for hidden, *row in table.itertuples()]
        blocks.append(f"**Threads: {threads}**\n\n" + "\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def spell(row: pd.Series) -> str:
    """Write one cell of a table; a lead that is too small to claim makes it a tie."""
    if row.lead < CLEAR:
        return f"`{row.backend}` or `{row.second}`, {row.train_s_per_epoch:.3g} s"
    return f"`{row.backend}`, {row.train_s_per_epoch:.3g} s; `{row.second}` × {row.lead:.2f}"


def draw(times: pd.DataFrame) -> alt.FacetChart:
    """Draw every backend's times: a column for each batch size, a row for each number of threads."""
    colors = base.colors(times.backend.unique())
    scale = alt.Scale(domain=list(colors), range=list(colors.values()))
    ticks = alt.Axis(values=sorted(times.hidden.unique().tolist()))
    chart = alt.Chart(times).encode(
        x=alt.X("hidden:Q", title="hidden units", scale=alt.Scale(type="log"), axis=ticks),
        y=alt.Y("train_s_per_epoch:Q", title="s/epoch", scale=alt.Scale(type="log")),
        color=alt.Color("backend:N", scale=scale),
    )
    panels: alt.FacetChart = (
        chart.mark_line(point=True)
        .properties(width=150, height=170)
        .facet(column=alt.Column("batch_size:O", title="batch size"), row="threads:O")
    )
    return panels.properties(title="Seconds an epoch of a 784-hidden-10 network on MNIST")


if __name__ == "__main__":
    main()
