"""Observers of plugins: what they are told, and that none of them ends a run."""

import json
import sys
from dataclasses import replace
from time import monotonic

import psutil
import pytest

from nnbench import catalog, hookimpl
from nnbench.catalog.listings import Plugin
from nnbench.contract.errors import PluginWarning
from nnbench.records.cells import Part
from nnbench.records.events import EpochFinished, Progress
from nnbench.runs import observing
from tests.cells import make_spec
from tests.plugins.helpers import variables

MEDDLER = Plugin(
    name="meddler",
    distribution="nnbench-meddler",
    version="1.0",
    module="nnbench_meddler",
    brings={"events": ["run_started", "cell_started", "cell_event", "cell_finished"]},
)


@pytest.fixture
def told(tmp_path, monkeypatch):
    """Rely on a listing with a plugin that observes; return a function that reads what it saw."""
    monkeypatch.setenv("PYTHONPATH", variables("meddler")["PYTHONPATH"])
    monkeypatch.setenv("NNBENCH_FAULTY_FOLDER", str(tmp_path))

    def read():
        return [json.loads(line) for line in (tmp_path / "seen").read_text().splitlines()]

    with catalog.relying_on(replace(catalog.installed(), plugins=[MEDDLER])):
        yield read


@pytest.fixture
def announce(make_info, make_cell, tmp_path):
    """Give a function that announces one cell of a run."""
    part = Part(images=10, train_s=0.5, turn=3)
    epoch = replace(make_cell().epochs[0], parts=[part])

    def all_events():
        info = make_info("numpy")
        catalog.notify("nnbench_run_started", run=info, folder=tmp_path)
        spec = make_spec()
        catalog.notify("nnbench_cell_started", spec=spec, machine="local")
        for event in (Progress(1, 10, 0.5, 0.25, [part]), EpochFinished(epoch)):
            catalog.notify("nnbench_cell_event", spec=spec, event=event)
        catalog.notify("nnbench_cell_finished", result=make_cell(seed=7))
        catalog.notify("nnbench_run_finished", run=info, folder=tmp_path)

    return all_events


def test_nothing_of_losses_and_parts_is_told_while_the_block_runs(told, announce):
    with observing.told():
        announce()
    hooks = [each["hook"] for each in told()]
    assert hooks == ["run_started", "cell_started", "Progress", "EpochFinished", "cell_finished"]
    _, _, progress, epoch, finished = told()
    assert (progress["loss"], epoch["losses"]) == (None, [])
    assert progress["parts"] == epoch["parts"] == 0
    assert (finished["seed"], finished["losses"]) == (7, [2.0, 1.0])


def test_own_observers_are_told_everything(observe, announce):
    seen = []

    class Own:
        @hookimpl
        def nnbench_cell_event(self, event):
            seen.append(event)

    observe(Own())
    announce()
    assert [(event.loss, len(event.parts)) for event in seen[:1]] == [(0.25, 1)]
    assert seen[1].epoch.losses == [2.0, 1.0]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody is stopped")
def test_observers_are_stopped_between_events(told, make_info, tmp_path):
    with observing.told():
        for _ in range(2):
            catalog.notify("nnbench_run_started", run=make_info("numpy"), folder=tmp_path)
            assert psutil.Process(told()[-1]["pid"]).status() == psutil.STATUS_STOPPED
    assert not psutil.pid_exists(told()[-1]["pid"])


@pytest.mark.usefixtures("told")
def test_hanging_observer_is_given_up_once(announce, monkeypatch):
    monkeypatch.setenv("NNBENCH_TEST_OBSERVER", "hangs")
    monkeypatch.setattr(observing, "LIMIT_S", 1.0)
    start = monotonic()
    text = r"^plugins observe no more of this run \(meddler\): its process did not answer in time$"
    with pytest.warns(PluginWarning, match=text), observing.told():
        announce()
    assert monotonic() - start < 30


@pytest.mark.usefixtures("told")
def test_dying_observer_is_given_up_once(announce, monkeypatch):
    monkeypatch.setenv("NNBENCH_TEST_OBSERVER", "dies")
    text = r"^plugins observe no more of this run \(meddler\): its process was killed by SIGKILL$"
    with pytest.warns(PluginWarning, match=text), observing.told():
        announce()


@pytest.mark.usefixtures("told")
def test_print_of_an_observer_goes_to_standard_error(announce, monkeypatch, capfd):
    monkeypatch.setenv("NNBENCH_TEST_OBSERVER", "prints")
    with observing.told():
        announce()
    assert capfd.readouterr() == ("", "hello from an observer\n")


@pytest.mark.parametrize("url", ["", "http://127.0.0.1:9/"])
def test_http_needs_a_process_only_if_it_has_an_endpoint(monkeypatch, url):
    asked = []

    class Nobody:
        def __init__(self, plugins):
            asked.append(plugins)

        def tell(self, *_):
            pass

        def close(self):
            pass

    monkeypatch.setenv("NNBENCH_HTTP_OBSERVER", url)
    monkeypatch.setattr(observing, "Observers", Nobody)
    with catalog.relying_on(catalog.installed()), observing.told():
        pass
    assert [[plugin.name for plugin in plugins] for plugins in asked] == ([["http"]] if url else [])
