"""The HTTP observer, against servers on this machine that are well, broken, slow or gone."""

import json
import socket
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from time import monotonic
from typing import Any

import msgspec
import pytest

from nnbench import catalog
from nnbench.contract.errors import PluginWarning
from nnbench.observers import http
from nnbench.records.runs import RunInfo
from nnbench.runs import store
from tests.plugins.helpers import environment, nnbench

EVENTS = ["run_started", "cell_finished", "run_finished"]
SECRET = "s3cr3t"
RUN = ["--backends", "numpy", "--workload", "toy-sigmoid", "--rounds", "1"]


class Endpoint:
    """A server that keeps what it gets, and answers as it is told."""

    def __init__(self):
        self.status, self.location, self.drips = 200, None, False
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.done = Event()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                endpoint.requests.append((self.path, dict(self.headers), json.loads(body)))
                endpoint.answer(self)

            def do_GET(self):
                endpoint.requests.append((self.path, dict(self.headers), None))
                endpoint.answer(self)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook?key={SECRET}"

    def answer(self, handler):
        if self.drips:  # each byte in time, and no end
            while not self.done.wait(0.02):
                handler.wfile.write(b"H")
        handler.send_response(self.status)
        if self.location:
            handler.send_header("Location", self.location)
        handler.end_headers()

    @property
    def events(self):
        return [body["event"] for _, _, body in self.requests]


@pytest.fixture
def endpoint(monkeypatch):
    """Run a server, and name it to the observer."""
    found = Endpoint()
    thread = Thread(target=found.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv(http.URL, found.url)
    yield found
    found.done.set()
    found.server.shutdown()
    thread.join()
    found.server.server_close()


@pytest.fixture
def observe(make_info, make_cell, tmp_path):
    """Give a function that shows an observer a run of some cells."""
    observer = http.HttpObserver()

    def show(cells=1):
        info = make_info()
        observer.nnbench_run_started(info, tmp_path)
        for number in range(cells):
            observer.nnbench_cell_finished(make_cell(round=number))
        observer.nnbench_run_finished(info, tmp_path)

    return show


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_every_event_is_posted(endpoint, observe, make_info, make_cell, tmp_path):
    observe(cells=2)
    assert endpoint.events == ["run_started", "cell_finished", "cell_finished", "run_finished"]
    bodies = [body for _, _, body in endpoint.requests]
    assert len({body["run_id"] for body in bodies}) == 1
    assert msgspec.convert(bodies[0]["run"], RunInfo) == make_info()
    assert bodies[3]["folder"] == str(tmp_path)
    cell = msgspec.json.decode(msgspec.json.encode(make_cell(round=1)))
    for epoch in cell["epochs"]:
        del epoch["losses"]
    assert bodies[2]["result"] == cell
    paths, headers = zip(*[(path, found) for path, found, _ in endpoint.requests], strict=True)
    assert set(paths) == {f"/hook?key={SECRET}"}
    assert {found["Content-Type"] for found in headers} == {"application/json"}


def test_runs_differ_by_their_id(endpoint, observe):
    observe()
    observe()
    assert len({body["run_id"] for _, _, body in endpoint.requests}) == 2


def test_header_is_sent(endpoint, observe, monkeypatch):
    monkeypatch.setenv(http.HEADER, f"Authorization: Bearer {SECRET}")
    observe()
    assert {found["Authorization"] for _, found, _ in endpoint.requests} == {f"Bearer {SECRET}"}


@pytest.mark.parametrize("url", [None, ""])
def test_nothing_is_sent_unless_it_is_asked_for(endpoint, observe, monkeypatch, url):
    monkeypatch.delenv(http.URL) if url is None else monkeypatch.setenv(http.URL, url)
    observe()
    assert endpoint.requests == []


def warning_of(observe):
    """Show a run, and return the text of its one warning."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        observe(cells=3)
    [warning] = caught
    assert warning.category is PluginWarning
    text = str(warning.message)
    assert SECRET not in text
    start, end = "the endpoint of NNBENCH_HTTP_OBSERVER did not take run_started: ", "; this run "
    assert text.startswith(start)
    return text.removeprefix(start).partition(end)[0]


@pytest.mark.parametrize("status", [500, 404, 401])
def test_error_of_the_server_is_one_warning_and_one_request(endpoint, observe, status):
    endpoint.status = status
    assert warning_of(observe) == f"HTTP {status}"
    assert endpoint.events == ["run_started"]


def test_next_run_is_posted_again(endpoint, observe):
    endpoint.status = 503
    warning_of(observe)
    endpoint.status = 200
    observe()
    assert endpoint.events == ["run_started", *EVENTS]


def test_redirection_is_not_followed(endpoint, observe):
    endpoint.status, endpoint.location = 302, f"{endpoint.url}&again"
    assert warning_of(observe) == "HTTP 302"
    assert endpoint.events == ["run_started"]


def test_server_that_is_gone_is_one_warning(observe, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv(http.URL, f"http://127.0.0.1:{closed_port()}/{SECRET}")
    assert warning_of(observe) == "Connection refused"


def test_server_that_answers_byte_by_byte_does_not_stall(endpoint, observe, monkeypatch):
    endpoint.drips = True
    monkeypatch.setattr(http, "LIMIT_S", 0.3)
    start = monotonic()
    assert warning_of(observe) == "no answer in time"
    assert monotonic() - start < 30  # it would never end
    assert endpoint.events == ["run_started"]


def test_server_that_accepts_and_says_nothing_does_not_stall(observe, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(http, "LIMIT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv(http.URL, f"http://127.0.0.1:{server.getsockname()[1]}/{SECRET}")
        assert warning_of(observe) == "no answer in time"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (SECRET, "ValueError"),
        (f"file:///{SECRET}", "its URL is not one of http or https"),
        (f"http://127.0.0.1:{SECRET}/", "InvalidURL"),
        (f"http://127.0.0.1/{SECRET} {SECRET}", "InvalidURL"),
    ],
)
def test_url_that_is_none_is_one_warning(observe, monkeypatch, url, reason):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv(http.URL, url)
    assert warning_of(observe) == reason


@pytest.mark.parametrize(
    ("header", "reason"),
    [(SECRET, "its header is not of the form Name: value"), (f"A: {SECRET}\nB", "ValueError")],
)
def test_header_that_is_none_is_one_warning(endpoint, observe, monkeypatch, header, reason):
    monkeypatch.setenv(http.HEADER, header)
    assert warning_of(observe) == reason
    assert endpoint.requests == []


def test_run_of_the_command_is_posted(endpoint, call, tmp_path):
    assert call("run", *RUN, "-o", "run").code == 0
    assert endpoint.events == EVENTS
    started, finished, _ = (body for _, _, body in endpoint.requests)
    run = msgspec.convert(started["run"], RunInfo)
    assert run == store.read_info(tmp_path / "run")
    assert (finished["result"]["backend"], finished["result"]["status"]) == ("numpy", "ok")


def test_run_goes_on_when_the_endpoint_fails(endpoint, tmp_path, monkeypatch):
    monkeypatch.setenv(http.HEADER, f"Authorization: Bearer {SECRET}")
    endpoint.status = 500
    done = nnbench("run", *RUN, "-o", tmp_path / "run", env=environment())
    assert done.returncode == 0
    assert "did not take run_started: HTTP 500; this run sends it no more" in done.stderr
    texts = [done.stdout, done.stderr, *(p.read_text() for p in (tmp_path / "run").iterdir())]
    assert not any(SECRET in text for text in texts)


def test_observer_is_a_plugin_like_any_other():
    [plugin] = (plugin for plugin in catalog.plugins() if plugin.name == "http")
    assert plugin.brings == {"events": EVENTS}
