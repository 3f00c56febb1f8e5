"""Several runs as one: whose cells are whose, what does not go together, and what an end leaves."""

import shutil
from dataclasses import replace

import pytest

from nnbench.contract.errors import IncomparableError, ResultsError
from nnbench.records.runs import Machine
from nnbench.runs import merging, store
from nnbench.runs.run import Run
from nnbench.show.text import write_tables
from tests.fuzz import samples


@pytest.fixture
def write(write_run, make_cell):
    """Give a function that writes a run of ``numpy`` and ``a``, of which each cell took its own time."""

    def run(name, *, times=2.0, rounds=3, more=(), cells=None, **changes):
        made = [
            make_cell(
                label,
                round=number,
                seed=number,
                train_s=seconds * (1 + number / 100),
                wall_s=float(sum(name.encode()) + number),
            )
            for number in range(rounds)
            for label, seconds in (("numpy", 1.0), ("a", times))
        ]
        return write_run(
            *(made if cells is None else cells), *more, name=name, rounds=rounds, **changes
        )

    return run


@pytest.fixture
def merge(tmp_path):
    """Give a function that joins runs to one, and opens that."""

    def join(*folders, output="merged", conclude=write_tables):
        merging.merge(folders, tmp_path / output, "nnbench merge", conclude)
        return Run.open(tmp_path / output)

    return join


def test_blocks_go_on_and_ratios_pool(write, merge, machine):
    there = replace(machine, cpu="another", system="Linux-7")
    both = merge(write("one", times=2.0), write("two", times=3.0, rounds=4, environment=there))
    assert both.info.rounds == 7
    assert [c.round for c in both.of("a")] == [*range(7)]
    assert [c.machine for c in both.of("a")] == ["local"] * 3 + ["local-2"] * 4
    assert [m.environment.cpu for m in both.info.machines.values()] == ["A CPU", "another"]
    [row] = [row for row in both.timing if row.backend == "a"]
    assert (row.ratio, row.rounds) == (pytest.approx(3.0), 7)


def test_folder_is_that_of_any_run(call, write, tmp_path):
    ended = call("merge", write("one"), write("two"), "-o", "new/both")
    assert ended == (0, "Results: new/both (6 rounds of 2 runs, on 1 machine)\n", "")
    assert [*tmp_path.glob("new/.*")] == []
    found = {path.name for path in (tmp_path / "new" / "both").iterdir()}
    tables = {f"{name}.{suffix}" for name in ("accuracy", "timing") for suffix in ("csv", "md")}
    assert found == {store.RUN, store.CELLS, store.LOCK, *tables}
    assert call("show", "new/both").code == 0
    assert call("compare", "one", "new/both").code == 0


def test_states_go_along(merge, tmp_path):
    """Another run of the same, as far as anyone can tell."""
    one, other = (samples.write("kept", tmp_path / name) for name in ("one", "other"))
    (other / store.CELLS).unlink()
    for cell in store.read_cells(one):
        store.append(other, replace(cell, wall_s=cell.wall_s + 1))
    before = {path.name: path.read_bytes() for path in (one / "states").iterdir()}
    both = merge(one, other)
    assert both.folder
    after = {path.name: path.read_bytes() for path in (both.folder / "states").iterdir()}
    names = {f"{int(name[0]) + 2}{name[1:]}": content for name, content in before.items()}
    assert after == before | names


def test_losses_of_every_step_stay(write, merge):
    both = merge(write("one"), write("two"))
    assert [losses for _, losses in both.losses(["a"])] == [[2.0, 1.0]] * 6


def test_what_was_skipped_is_said_once(write, merge, make_failed):
    skipped = [make_failed("gone", "skipped", message="no device")]
    both = merge(write("one", more=skipped), write("two", more=skipped))
    assert [(c.round, c.message) for c in both.of("gone")] == [(0, "no device")]


def test_round_that_was_not_reached_takes_no_number(write, merge, make_cell):
    few = [make_cell(label, round=7, wall_s=3.0, seed=7) for label in ("numpy", "a")]
    both = merge(write("one", cells=few, seed=None), write("two"))
    assert [c.round for c in both.of("a")] == [0, 1, 2, 3]
    assert (both.info.rounds, both.info.seed) == (4, None)


def test_later_attempt_at_a_block_stays_the_one_that_counts(write, merge, make_cell):
    again = [
        make_cell(label, round=1, wall_s=9.0, block_attempt=1, train_s=5.0)
        for label in ("numpy", "a")
    ]
    both = merge(write("one"), write("two", more=again))
    assert [c.train_s for c in both.of("a") if c.round == 4] == [5.0]
    assert len(both.of("a")) == 6


@pytest.mark.parametrize(("first", "second", "seed"), [(0, 3, 0), (0, 0, None), (None, None, None)])
def test_seed_is_known_where_the_second_run_goes_on(write, merge, first, second, seed):
    assert merge(write("one", seed=first), write("two", seed=second)).info.seed == seed


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"threads": 2}, "threads (1, 2)"),
        ({"turns": True}, "turns (False, True)"),
        ({"budget_s": 1.0}, "budget (15.0, 1.0)"),
        ({"proof": "sampled"}, "proof (full, sampled)"),
        ({"baseline": "a"}, "baseline (numpy, a)"),
        ({"dataset_sha256": "e3"}, "SHA-256 of the dataset (, e3)"),
        ({"plugins": {"a": "mine 2"}}, "plugins (a: none and mine 2)"),
    ],
    ids=str,
)
def test_what_was_asked_must_be_the_same(write, merge, tmp_path, changes, reason):
    folders = write("one"), write("two", **changes)
    with pytest.raises(IncomparableError) as raised:
        merge(*folders)
    assert str(raised.value) == f"{folders[0]} and {folders[1]} do not go together: {reason}"
    assert not (tmp_path / "merged").exists()


def test_workload_and_versions_must_be_the_same(call, write, mnist, machine, make_cell):
    def reason(name, **changes):
        ended = call("merge", "one", write(name, **changes), "-o", "merged")
        assert (ended.code, ended.stderr.count("\n")) == (8, 1)
        return ended.stderr.partition("together: ")[2].strip()

    write("one")
    other = replace(mnist, epochs=1)
    assert reason("epochs", workload=other).startswith(
        "the runs trained different workloads (mnist"
    )
    assert reason("numpy", environment=replace(machine, versions={"nnbench": "0.1"})) == (
        "numpy (2.0, none)"
    )
    assert reason("python", environment=replace(machine, python="PyPy")) == (
        "Python (CPython 3.11, PyPy)"
    )
    few = [make_cell("numpy"), make_cell("b")]
    assert reason("labels", cells=few) == "only one of them has a, b"


def test_run_and_its_copy_are_one(write, merge):
    one = write("one")
    copy = one.with_name("copy")
    shutil.copytree(one, copy)
    with pytest.raises(IncomparableError, match="they have cells in common"):
        merge(one, copy)
    with pytest.raises(IncomparableError, match="they have cells in common"):
        merge(one, one)


def test_other_commit_is_a_warning(write, merge, machine):
    there = write("two", environment=replace(machine, git="abc-dirty"))
    with pytest.warns(merging.MergeWarning, match="in a folder at no commit, .*two at abc-dirty"):
        merge(write("one"), there)


def test_place_that_is_taken_is_refused(write, merge, tmp_path):
    folders = write("one"), write("two")
    with pytest.raises(ResultsError, match="already holds a run"):
        merge(*folders, output="one")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(ResultsError, match="is not empty; give another --output"):
        merge(*folders, output="full")
    (tmp_path / "empty").mkdir()
    assert merge(*folders, output="empty").info.rounds == 6


def test_interruption_leaves_nothing(write, merge, tmp_path):
    folders = write("one"), write("two")
    before = sorted(tmp_path.iterdir())

    def interrupted(_, place):
        assert (place / store.CELLS).exists()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        merge(*folders, conclude=interrupted)
    assert sorted(tmp_path.iterdir()) == before


def test_what_a_kill_has_left_is_no_obstacle(write, merge, tmp_path):
    left = tmp_path / ".merged.merging"
    (left / "states").mkdir(parents=True)
    (left / "states" / "9-x-0.npy").touch()
    (left / store.CELLS).write_text("torn")
    both = merge(write("one"), write("two"))
    assert len(both.cells) == 12
    assert not left.exists()
    assert not (tmp_path / "merged" / "states").exists()


def test_machine_that_is_the_same_in_everything_is_one(write, merge, machine):
    other = {"local": Machine(environment=machine, noise_floor=0.5)}
    both = merge(write("one"), write("two"), write("three", noise_floor=0.5))
    assert [*both.info.machines] == ["local", "local-2"]
    assert both.info.machines["local-2"] == other["local"]


@pytest.mark.parametrize("words", [["one"], ["one", "two"], ["-o", "x"]])
def test_words_that_are_missing_are_one_line(call, words):
    ended = call("merge", *words)
    assert (ended.code, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
