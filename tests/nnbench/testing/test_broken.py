"""The suite catches every broken backend and names its mistake; an honest one passes."""

import re
from collections import Counter, defaultdict

import pytest

from nnbench.testing import networks, session
from tests.plugins.helpers import EXAMPLE, environment, run_pytest

MISTAKES = {
    "dumps-nothing": "dump: expected 3 layers, came None. Likely mistake: nothing is returned",
    "gives-no-gradients": "gradients: expected 3 layers, came None. Likely mistake: nothing is ret",
    "flips-sign": "opposite sign",
    "forgets-mean": "8 times too large.*mean over the batch missing",
    "sums-losses": "sum over the batch, not its mean",
    "masks-wrong-layer": "output of the wrong layer",
    "forgets-slope": "slope of the hidden activation missing",
    "mislabels-by-one": "labels off by one",
    "decays-biases": "L2 acts on biases",
    "softmaxes-twice": "softmax applied",
    "computes-in-half": "float16 inside",
    "adds-gradients": "gradients add up",
    "shares-loss": "one buffer for all losses",
    "transposes": "transposed",
    "dumps-double": "float64.*not converted to float32",
    "skips-correction": "bias correction missing",
    "puts-epsilon-inside": "epsilon inside the root",
    "restarts-adam": "adam and adam-fresh confused",
    "corrects-moments": "moments are corrected",
    "scales-moments": "moments are scaled",
    "swaps-moments": "moments are swapped",
    "roots-second-moment": "root of the second moment",
    "gives-gradients": "last gradients",
    "counts-from-one": "steps: expected 10, came 11.*off by one",
    "counts-epochs": "something else is counted",
    "transposes-moments": "moment, weight 1: .*transposed",
    "keeps-moments-of-sgd": "under sgd: expected None.*keeps nothing",
    "aliases-moments": "moments aliased",
    "gives-one-buffer": "moments aliased",
    "shares-moments": "wrote into those that it got.*moments aliased",
    "forgets-when-asked": "dump or optimizer_state changes what it copies",
    "holds-one-epoch": "order longer than the split",
    "skips-biases": "biases did not change: update skips them",
    "never-updates": "update does nothing",
    "keeps-state": "moments survive load",
    "uses-stale-gradients": "stale gradients",
    "uses-gradients-once": "uses up its gradients",
    "drops-last-batch": "last, smaller batch is dropped",
    "pads-last-batch": "last, smaller batch is padded",
    "ignores-order": "order of the examples is ignored",
    "forgets-to-update-last": "overridden train_epoch",
    "reports-means": "means of the epoch so far",
    "restarts-every-epoch": "optimizer restarts in every epoch",
    "draws-numbers": "the same bits.*random numbers",
    "aliases-dump": "parameters aliased: dump",
    "aliases-load": "parameters aliased: the network shares them",
    "changes-examples": "the caller's examples changed",
    "aliases-gradients": "gradients aliased",
    "shares-parameters": "state shared between networks",
    "belongs-to-thread": "thread that created the network",
    "depends-on-hash": "depends on the process",
    "leaks-memory": "memory of the process over.*MiB more.*something of every step is kept",
    "leaks-on-device": "memory of the GPU over.*MiB more.*something of every step is kept",
    "returns-early": "asynchronous return",
    "waits-in-dump": "asynchronous return",
    "times-itself": "a backend times itself",
    "compiles-anew": "compiled anew",
    "turns-nan": "division by zero, an overflow",
    "halves-biases": "gradients: bias",
    "decays-twice": "L2 term's gradient twice",
    "misreads-supports": "raised TypeError: supports of misreads-supports returned True: return why",
    "raises": r"raised ValueError: no update today \(nnbench_broken.py:\d+\)",
}
#: What is said first, and then whatever else may be said: nothing but that.
CALLED = {
    "predicts-classes": ["classes are returned"],
    "predicts-one-hot": ["classes are returned, where the logits are wanted, one-hot"],
    "predicts-probabilities": ["softmax applied"],
    "predicts-logarithms": ["log-softmax applied"],
    "feeds-nothing": ["raised TypeError: feedforward returned None: is a return missing?"],
    "backprops-nothing": [
        "nothing is returned: return the mean loss",
        "raised TypeError: a step gave None for its loss: is a return missing?",
    ],
    "creates-nothing": [
        "raised TypeError: create of creates-nothing returned None: is a return missing?"
    ],
    "ignores-initial": ["load does not take the parameters"],
    "keeps-half": ["the parameters are kept as float16", "float16 inside"],
    "loads-transposed": ["square weights are transposed"],
    "uses-transposed": ["square weights are transposed"],
    "drops-out": ["two trainings from the same parameters differ: numbers are drawn at random"],
    "averages-twice": ["the loss is divided by the batch size twice"],
    "divides-twice": ["gradient divided by the batch size twice"],
    "skips-biases": ["biases did not change"],
    "mislabels-by-one": ["labels off by one"],
    "has-momentum": ["momentum: "],
    "multiplies-rate": ["a learning rate of about 0.08, where", "a learning rate of about 0.8"],
    "ignores-rate": ["a learning rate of about 0.003, where the specification has 0."],
    "shuffles-again": ["train_epoch shuffles again"],
    "shuffles-alike": ["train_epoch shuffles again"],
    "reports-loss-after": ["the losses are those after the update"],
    "returns-nothing": ["nothing is returned: return the loss of each step"],
    "returns-mean": ["one loss for an epoch"],
    "returns-list": ["return the loss of each step in one array"],
    "returns-column": ["return the loss of each step in one array"],
    "compiles-fresh": ["compiled anew in each step"],
    "forgets-to-transpose": [session.NOTHING_FITS],  # and nothing that is wrong
}
#: checks that take long, and the backends that are there for them
COSTLY = "workload or fresh_process or memory or synchronize"
WORTH_IT = "depends-on-hash or leaks-memory or returns-early or waits-in-dump or leaks-on-device and memory"
#: right ones: one that supports all, and others
HONEST = ("honest", "knows-one-network", "trains-one-at-a-time")


@pytest.fixture(scope="module")
def findings(tmp_path_factory):
    """Run all broken backends in one session; return the findings of each."""
    folder = tmp_path_factory.mktemp("broken")
    path = folder / "report.jsonl"
    run_pytest(
        folder,
        *(f"--nnbench-backend={name}" for name in dict.fromkeys((*HONEST, *MISTAKES, *CALLED))),
        f"--nnbench-report={path}",
        "--tb=no",
        f"-k not ({COSTLY}) or ({WORTH_IT}) and not workload",
        env=environment("broken", EXAMPLE),
    )
    found = defaultdict(list)
    for finding in session.read(path):
        found[finding.backend].append(finding)
    return found


def messages(findings):
    return [finding.message for finding in findings if finding.verdict == "failed"]


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named(findings, name):
    assert re.search(MISTAKES[name], "\n".join(messages(findings[name])))


@pytest.mark.parametrize("name", CALLED)
def test_the_line_that_comes_first_is_right_and_none_is_wrong(findings, name):
    ranked = session.rank(f for f in findings[name] if f.verdict == "failed")
    causes = [finding.cause for finding in ranked]
    named = [cause for cause in causes if cause != session.NOTHING_FITS]
    assert causes[0].startswith(CALLED[name][0])
    assert causes[: len(named)] == named
    assert [cause for cause in named if not cause.startswith(tuple(CALLED[name]))] == []


def test_create_is_not_tried_again_once_it_has_failed_for_every_network(findings):
    verdicts = Counter(finding.verdict for finding in findings["creates-nothing"])
    assert verdicts["failed"] == len(networks.SPECS)
    assert verdicts["failed"] + verdicts["skipped"] == verdicts["planned"]


def test_an_honest_backend_passes(findings):
    verdicts = {finding.verdict for finding in findings["honest"]}
    assert verdicts == {"planned", "started", "passed"}


@pytest.mark.parametrize("name", HONEST)
def test_one_that_supports_little_is_tested_on_that(findings, name):
    assert messages(findings[name]) == []
    passed = [finding for finding in findings[name] if finding.verdict == "passed"]
    assert len(passed) > 20
    tested = filter(networks.is_name, {finding.parameter for finding in passed})
    assert len(list(tested)) == (1 if name == "knows-one-network" else 6)


@pytest.mark.parametrize("name", ["halves-biases", "decays-twice"])
def test_a_mistake_that_two_choices_make_was_not_found_by_the_six_networks(findings, name):
    """One of those is supported, on which it passes; another one was needed."""
    failed = {f.parameter for f in findings[name] if f.verdict == "failed" and f.parameter}
    made = {finding.parameter for finding in findings[name] if networks.is_name(finding.parameter)}
    assert failed
    assert made & {*networks.NETWORKS} == {"relu, cross entropy, bias, adam"}
    assert not failed & {*networks.NETWORKS}


@pytest.mark.parametrize(
    "name", ["flips-sign", "forgets-mean", "masks-wrong-layer", "skips-biases", "decays-biases"]
)
def test_a_mistake_in_the_gradient_is_called_nothing_else(findings, name):
    """Many checks fail, and all of them agree."""
    hints = {finding.hint for finding in findings[name] if finding.verdict == "failed"}
    assert len(hints) == 1


def test_what_was_expected_and_what_came_is_said(findings):
    assert messages(findings["flips-sign"])
    assert all("expected" in m and "came" in m for m in messages(findings["flips-sign"]))
