"""From run to run: which points there are, what has changed, and what is said of the rest."""

import json
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest

from nnbench.contract.errors import ExitCode, IncomparableError, NnbenchError
from nnbench.figures import metrics
from nnbench.runs import commits, history, store
from nnbench.runs.run import Run
from nnbench.show.charts.history import MOST_NAMED, chart
from nnbench.texts import encode

STEP = 1.1
INDEXED = re.compile(r"(\[.*\])\[indexof\((\[.*\]), datum\.value\)\]")


@pytest.fixture
def write(tmp_path, make_cell, make_info):
    """Give a function that writes a run of ``numpy`` and ``a``, which takes so many times as long."""

    def run(number, ratio=2.0, *, rounds=3, more=(), cells=None, name="", **changes):
        folder = tmp_path / "runs" / (name or f"run-{number:02}")
        made = [
            make_cell(
                label,
                round=at,
                seed=at,
                train_s=seconds * (1 + at / 100),
                accuracies=(0.9 if label == "numpy" else 0.9 + (ratio - 2) / 10,),
                wall_s=1.0 + number,
            )
            for at in range(rounds)
            for label, seconds in (("numpy", 1.0), ("a", ratio))
        ]
        cells = [*(made if cells is None else cells), *more]
        labels = dict.fromkeys(cell.backend for cell in cells)
        given = {"started": f"2026-01-{number + 1:02}T00:00:00Z", "rounds": rounds, **changes}
        store.create(folder, make_info(*labels, **given))
        (folder / store.CELLS).write_bytes(b"".join(encode(c) + b"\n" for c in cells))
        return folder

    return run


@pytest.fixture
def write_all(write):
    """Give a function that writes runs of which the last ones are slower, and returns their folder."""

    def runs(before=12, after=12, step=STEP, changes=lambda _: {}):
        rng = np.random.default_rng(0)
        for number in range(before + after):
            ratio = 2 * (step if number >= before else 1) * float(np.exp(0.01 * rng.normal()))
            folder = write(number, ratio, **changes(number))
        return folder.parent

    return runs


def collect(*folders, metric="train_s_per_epoch", **asked):
    return history.collect(folders, metric=metrics.find(metric), **asked)


def test_point_is_the_ratio_of_the_table(write):
    found = collect(write(0, 3.0).parent)
    [series] = found.series
    [row] = [row for row in Run.open(series.points[0].folder).timing if row.backend == "a"]
    point = series.points[0]
    assert (point.value, point.pairs) == (row.ratio, 3)
    assert (point.interval.low, point.interval.high) == (row.ratio_low, row.ratio_high)
    assert series.remarks == [history.FEW]
    assert found.code == ExitCode.OK


@pytest.mark.parametrize("count", [1, 7, 30])
def test_axis_of_a_picture_names_runs(write, count):
    hostile = 'it\'s [a] "run" <b>\N{SNOWMAN}'
    for number in range(count):
        folder = write(number, name=hostile if number == count - 1 else "").parent
    found = collect(folder)
    layers = (layer["encoding"]["x"] for layer in chart(found, found.series).spec()["layer"])
    axis = next(x["axis"] for x in layers if x["field"] == "run")
    names, places = (json.loads(text) for text in INDEXED.fullmatch(axis["labelExpr"]).groups())
    assert axis["values"] == places
    assert len(places) == min(count, -(-count // -(-count // MOST_NAMED)))
    points = found.series[0].points
    assert names == [points[place - 1].folder.name for place in places]
    assert names[-1] == hostile


def test_change_for_the_worse_is_found_and_gated(write_all):
    found = collect(write_all())
    [step] = found.series[0].steps
    assert [point.folder.name for point in step.points] == ["run-11", "run-12"]
    assert step.size == pytest.approx(STEP, rel=0.02)
    assert step.interval.low < STEP < step.interval.high
    assert (step.verdict, step.others, found.code) == ("worse", [], ExitCode.REGRESSION)


@pytest.mark.parametrize(
    ("step", "verdict"), [(1 / STEP, "better"), (1.03, "within the noise floor")]
)
def test_other_changes_fail_nothing(write_all, step, verdict):
    found = collect(write_all(step=step))
    assert [each.verdict for each in found.series[0].steps] == [verdict]
    assert found.code == ExitCode.OK


def test_more_accuracy_is_better_and_less_ends_with_its_own_code(write_all):
    folder = write_all(step=STEP)
    [step] = collect(folder, metric="accuracy").series[0].steps
    assert step.verdict == "better"
    shutil.rmtree(folder)
    found = collect(write_all(step=1 / STEP), metric="accuracy")
    assert found.series[0].steps[0].verdict == "worse"
    assert found.code == ExitCode.ACCURACY


def test_other_figures_have_their_history(write):
    folder = write(0).parent
    [series] = collect(folder, metric="setup_s").series
    assert series.points[0].value == 1.0
    with pytest.raises(NnbenchError, match="no metric 'speed'; known: train_s_per_epoch, accuracy"):
        collect(folder, metric="speed")


def test_ratio_is_to_the_baseline_that_is_asked_for(write):
    [series] = collect(write(0, 2.5).parent, baseline="a").series
    assert (series.backend, series.points[0].value) == ("numpy", pytest.approx(0.4))


def test_what_changes_with_the_machine_is_said(write_all, machine):
    def changes(number):
        new = replace(machine, cpu="another", versions={"nnbench": "0.1", "numpy": "3.0"})
        return {"environment": new, "plugins": {"a": "mine 2"}} if number >= 12 else {}

    [step] = collect(write_all(changes=changes)).series[0].steps
    assert step.others == [
        "CPU (A CPU, another)",
        "numpy (2.0, 3.0)",
        "the plugin of a (none, mine 2)",
    ]


def test_neighbours_that_correlate_are_a_warning(write):
    for number in range(24):
        folder = write(number, 2 + 0.2 * float(np.sin(number / 4)))
    assert history.CORRELATED in collect(folder.parent).series[0].remarks


def lines(found):
    return [line.replace(str(found.series[0].points[0].folder.parent), "…") for line in found.notes]


def test_what_cannot_be_used_is_said_and_the_rest_goes_on(write, make_cell, make_failed, mnist):
    good = write(0, name="good")
    write(1, name="alone", cells=[make_cell("numpy", wall_s=51.0), make_cell("b")], rounds=1)
    write(2, name="unmeasured", more=[make_failed("a", round=3), make_cell("numpy", round=3)])
    budget = [make_cell("numpy", wall_s=53.0), make_cell("a", complete=False)]
    write(3, name="budget", cells=budget, rounds=1)
    tf32 = [make_cell("numpy", wall_s=54.0), make_cell("a", precision="tf32")]
    write(4, name="tf32", cells=tf32, rounds=1)
    write(5, name="threads", threads=2)
    write(6, name="epochs", workload=replace(mnist, epochs=1))
    write(7, name="wide", workload=replace(mnist, name="wide"))
    damaged = write(8, name="damaged")
    (damaged / store.CELLS).write_bytes(b"{}\n" + (damaged / store.CELLS).read_bytes())
    (write(9, name="gone") / store.RUN).unlink()
    (good.parent / "later").mkdir()
    (good.parent / "later" / store.RUN).write_text('{"schema_version": 99}')
    (good.parent / "notes.txt").touch()
    (good.parent / "empty").mkdir()
    write(20, name="short", rounds=2, cells=None, started="2026-01-21T00:00:00Z")
    info = store.read_info(good.parent / "short")
    store.rewrite(good.parent / "short", replace(info, rounds=10))
    found = collect(good.parent)
    assert [point.folder.name for point in found.series[0].points] == ["good", "short"]
    assert sorted(lines(found)) == sorted(
        [
            "left out: …/gone holds no run (run.json: No such file or directory)",
            "left out: …/later/run.json has schema version 99, and this nnbench reads 1 to 3",
            "left out: …/damaged/cells.jsonl:1 is damaged: Object missing required field `backend`",
            "left out: runs of other workloads than mnist (1 of wide); --workload chooses",
            "left out: …/alone: no cell of a",
            "left out: …/unmeasured: a has no rank (crashed)",
            "left out: …/budget: a has no rank (budget)",
            "left out: …/tf32: products of a in tf32, and of numpy in float32",
            "left out: …/threads: it had other threads (2, 1)",
            "left out: …/epochs: it trained differently (mnist: epochs (1, 5))",
            "…/short is not finished: 2 of 10 rounds",
        ]
    )


def test_copies_and_parts_of_what_was_merged_count_once(write):
    one, other = write(0), write(1)
    shutil.copytree(one, one.with_name("copy"))
    both = write(2, cells=[*store.read_cells(one), *store.read_cells(other)], name="both")
    found = collect(one.parent, both, one)
    assert [point.folder.name for point in found.series[0].points] == ["both"]
    assert lines(found) == [
        "left out: …/copy, …/run-00 and …/run-01: all of its cells are in …/both"
    ]


def test_places_without_runs_are_an_error(tmp_path, write):
    for folder, reason in ((tmp_path, ""), (tmp_path / "no", " \\(No such file or directory\\)")):
        with pytest.raises(NnbenchError, match=f"{folder} holds no runs{reason}"):
            collect(folder)
    folder = write(0).parent
    for asked, reason in (
        ({"workload": "x"}, "no run of workload 'x'; known: mnist"),
        ({"backends": ["x"]}, "no run of backend 'x'; known: numpy, a"),
        ({"baseline": "x"}, "no run of backend 'x'; known: numpy, a"),
        ({"backends": ["numpy"]}, "numpy is the baseline, whose ratio is always 1"),
        ({"since": "nothing"}, "--since 'nothing' is no date, and no revision that is known here"),
        ({"since": "2026-13-01"}, "--since '2026-13-01' is no date: "),
    ):
        with pytest.raises(NnbenchError, match=reason):
            collect(folder, **asked)
    with pytest.raises(IncomparableError, match="no run is left"):
        collect(folder, since="2030-01-01")


def test_since_a_date_or_a_recorded_revision(write, machine, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(4):
        state = f"{number}{'a' * 11}{'-dirty' if number == 3 else ''}"
        folder = write(number, environment=replace(machine, git=state))
    folder = folder.parent

    def names(**asked):
        return [point.folder.name for point in collect(folder, **asked).series[0].points]

    assert names(since="2026-01-03") == ["run-02", "run-03"]
    assert names(since="2026-01-03T00:00:01+00:00") == ["run-03"]
    assert names(since="1aaaaaaaaaaaa0000") == ["run-01", "run-02", "run-03"]
    found = collect(folder)
    assert lines(found) == ["…/run-03: files had changed that no commit has (-dirty)"]


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Give the commits of a repository that is the current folder, the oldest first."""
    monkeypatch.chdir(tmp_path)

    def git(*words):
        names = ["-c", "user.name=n", "-c", "user.email=e"]
        done = subprocess.run(["git", *names, *words], capture_output=True, check=True, text=True)
        return done.stdout.strip()

    git("init", "-q", ".")
    found = []
    for number in range(5):
        git("commit", "-q", "--allow-empty", "-m", f"Change {number}")
        found.append(git("rev-parse", "HEAD"))
    git("tag", "v1", found[2])
    return found


def test_git_says_what_lies_between_and_in_which_order(write_all, repository, machine):
    def changes(number):
        commit = repository[0 if number < 12 else 3]
        return {"environment": replace(machine, git=f"{commit[:12]}-dirty")}

    folder = write_all(changes=changes)
    [step] = collect(folder).series[0].steps
    assert [each.subject for each in step.commits] == ["Change 3", "Change 2", "Change 1"]
    assert len(collect(folder, since="v1").series[0].points) == 12
    ordered = collect(folder, order="revision").series[0].points
    assert [point.revision[:12] for point in ordered] == (
        [repository[0][:12]] * 12 + [repository[3][:12]] * 12
    )


def test_order_of_revisions_is_that_of_git_not_of_time(write, repository, machine):
    for number, commit in enumerate(reversed(repository)):
        folder = write(number, environment=replace(machine, git=commit))
    write(9, environment=replace(machine, git="f" * 12), name="elsewhere")
    write(10, name="unknown")
    found = collect(folder.parent, order="revision")
    names = [point.folder.name for point in found.series[0].points]
    assert names == [f"run-0{number}" for number in (4, 3, 2, 1, 0)]
    assert lines(found) == [
        f"left out: …/elsewhere: git does not know {'f' * 12} here",
        "left out: …/unknown: no revision is recorded",
    ]


@pytest.mark.parametrize("state", ["--output=x", "HEAD", "a b", "", None, "abc\n--all", "ABCDEF"])
def test_nothing_but_a_commit_is_handed_to_git(state):
    assert commits.clean(state) == ""
    with pytest.raises(NnbenchError):
        commits.between(str(state), "a" * 12)


def test_losses_are_not_read_and_steps_still_counted(write):
    folder = write(0)
    cells = (folder / store.CELLS).read_bytes()
    old = cells.replace(b'"steps":2', b'"calls":1', 1)
    (folder / store.CELLS).write_bytes(old)
    found = list(store.read_cells(folder, only={"a", "numpy"}))
    assert [c.steps for c in found] == [2] * 6
    assert [len(c.losses) for c in found] == [2] + [0] * 5
    assert {c.backend for c in store.read_cells(folder, only={"a"})} == {"a"}


def test_command_prints_every_format(call, write_all):
    folder = write_all()
    table = call("history", folder)
    assert (table.code, table.stderr) == (0, "")
    assert "the train_s_per_epoch of a changed by +" in table.stdout
    assert call("history", folder, "--fail").stderr.startswith("nnbench: Failed: the train_s_per")
    assert call("history", folder, "--fail").code == 3
    text = call("history", folder, "--format", "md").stdout
    assert text.startswith("- the train_s_per_epoch of a changed by +")
    assert "| run-12 | 2026-01-13 | – | 2." in text
    records = json.loads(call("history", folder, "--format", "json").stdout)
    assert [r["verdict"] for r in records] == [None] * 12 + ["worse"] + [None] * 11
    rows = call("history", folder, "--format", "csv").stdout.splitlines()
    assert rows[0].split(",") == list(records[0])
    assert len(rows) == 25


@pytest.mark.parametrize("suffix", ["svg", "png", "html"])
def test_command_draws(call, write_all, tmp_path, make_cell, suffix):
    folder = write_all(changes=lambda number: {"more": [make_cell("</script>b", wall_s=number)]})
    path = tmp_path / f"x.{suffix}"
    ended = call("history", folder, "-o", path)
    assert ended.code == 0
    assert ended.stderr.endswith(f"{'Page' if suffix == 'html' else 'Figure'}: {path}\n")
    content = path.read_bytes()
    if suffix == "html":
        assert content.count(b"<figure") == 3
        assert content.count(b"<td>") > 100
        assert b"</script>b" not in content
    assert len(content) > 10_000
    assert call("history", folder, "-b", "a", "-o", path, "--metric", "accuracy").code == 0


def test_picture_of_another_kind_is_refused_before_all(call, tmp_path):
    ended = call("history", tmp_path, "-o", "x.gif")
    assert ended.stderr == (
        "nnbench: error: cannot draw x.gif: the name must end with .png or .svg, or .html\n"
    )
    assert call("history").stderr == (
        "nnbench: error: results holds no runs (No such file or directory)\n"
    )
