"""Whatever a backend supports, any two choices meet that it supports together."""

from itertools import combinations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnbench import Backend
from nnbench.selection import Selection
from nnbench.testing import networks
from nnbench.testing.networks import (
    AXES,
    CANDIDATES,
    FAVOURITES,
    SPECS,
    USUAL,
    choose,
    describe,
    pairs,
)
from nnbench.testing.subject import Subject
from tests.documents import ROOT

SIX = [
    "relu, cross entropy, bias, adam",
    "sigmoid, squared error, no bias, L2, adam",
    "relu, cross entropy, no bias, L2, sgd",
    "sigmoid, squared error, bias, sgd",
    "relu, squared error, bias, L2, adam-fresh",
    "sigmoid, cross entropy, no bias, adam-fresh",
]


def some(values):
    """Return every choice of one or more."""
    every = list(values)
    return [set(each) for n in range(1, len(every) + 1) for each in combinations(every, n)]


#: what libraries may support: of each axis some choices, and those together
SETS = list(product(*(some(axis.choices) for axis in AXES)))


def plainly(supported):
    """Return a ``supports`` of these choices, whatever the form."""
    specs = {networks.make((*each, *USUAL)).spec for each in supported}
    return lambda spec, _: None if spec in specs else "no"


def verify_pairs(supported):
    """Hold what is chosen for a set of support against it."""
    chosen = [networks.read(name)[: len(AXES)] for name in choose(plainly(supported)).settings]
    assert set(chosen) <= set(supported)
    wanted = {pair for each in supported for pair in pairs(each)}
    assert {pair for each in chosen for pair in pairs(each)} == wanted
    return chosen


def test_a_backend_that_supports_all_is_checked_on_six_networks():
    assert list(choose(lambda *_: None).settings) == list(networks.NETWORKS) == SIX
    assert len(describe(SIX)) == 1


def test_every_set_of_support_is_tested_with_all_that_may_meet():
    """Of all of them, 7 networks are the most: no more work than where everything is supported."""
    assert len(SETS) == 3**4 * 7
    counts = [len(verify_pairs(list(product(*each)))) for each in SETS]
    assert min(counts) == 1
    assert max(counts) <= len(SIX) + 1


def test_a_third_of_these_sets_have_none_of_the_six_networks():
    """Which is why they are not the same for every backend."""
    without = [each for each in SETS if not {*FAVOURITES} & {*product(*each)}]
    assert len(without) > len(SETS) / 3


@given(st.sets(st.sampled_from(CANDIDATES), min_size=1))
def test_any_other_set_is_so_as_well(supported):
    assert verify_pairs(supported)


def test_the_commonest_network_of_all_is_tested():
    only = ("relu", "cross entropy", "bias", "no L2", "sgd")
    assert only not in FAVOURITES
    assert list(choose(plainly([only])).settings) == ["relu, cross entropy, bias, sgd"]


@pytest.mark.parametrize(
    ("supports", "words"),
    [
        (lambda spec, _: len(spec.sizes) == 4, []),
        (lambda spec, _: len(spec.sizes) == 3, ["one hidden layer"]),
        (lambda spec, _: len(spec.sizes) == 2, ["no hidden layer"]),
        (lambda spec, _: spec.sizes[0] == 784, ["784-50-10"]),
        (lambda spec, _: spec.optimizer.epsilon == 1e-8, ["default hyper-parameters"]),
        (lambda _, batch_size: batch_size == 1, ["batches of one"]),
        (
            lambda spec, batch_size: batch_size == 1 and len(spec.sizes) == 3,
            ["one hidden layer", "batches of one"],
        ),
    ],
)
def test_a_network_has_the_first_form_that_is_supported(supports, words):
    chosen = choose(lambda *given: None if supports(*given) else "no").settings
    assert all(supports(*setting) for setting in chosen.values())
    assert [networks.read(name)[: len(AXES)] for name in chosen] == list(FAVOURITES)
    assert {word for name in chosen for word in networks.read(name)[len(AXES) :]} >= set(words)
    assert len(describe(chosen)) == (2 if words else 1)


def test_where_nothing_is_supported_the_reason_is_kept():
    found = choose(lambda spec, batch_size: f"no {spec.activation} in batches of {batch_size}")
    assert found == ({}, "no relu in batches of 8")


def test_what_was_tested_and_what_was_not_is_said_in_words():
    assert describe(
        ["relu, cross entropy, bias, sgd", "relu, cross entropy, no bias, L2, sgd"]
    ) == [
        "on 2 networks with relu, cross entropy, bias, no bias, no L2, L2, sgd",
        "sigmoid, squared error, adam, adam-fresh: not tested",
        "bias and L2, no bias and no L2: not tested together",
    ]
    assert describe([]) == []


def test_of_many_pairs_some_are_said():
    found = describe(
        ["relu, cross entropy, bias, sgd", "sigmoid, squared error, no bias, L2, adam"]
    )
    assert found[-1] == (
        "relu and squared error, sigmoid and cross entropy, relu and no bias, sigmoid and bias "
        "(and 16 more pairs): not tested together"
    )


def test_a_form_that_shows_less_is_said():
    first, second = describe([f"{name}, one hidden layer, batches of one" for name in SIX])
    assert first.endswith("adam-fresh, one hidden layer, batches of one")
    assert second == "two hidden layers, batches of eight: not tested"


def test_gradient_descent_has_no_hyper_parameters_that_a_default_would_hide():
    sgd, adam = "relu, cross entropy, bias, sgd", "relu, cross entropy, bias, adam"
    for names, is_said in (
        ([sgd], False),
        ([sgd, adam], False),
        ([sgd, f"{adam}, default hyper-parameters"], True),
    ):
        assert ("other hyper-parameters than the defaults" in " ".join(describe(names))) is is_said


def test_the_example_of_the_page_is_what_is_printed():
    """ReLU and no L2, with biases under cross-entropy alone."""
    chosen = choose(
        plainly(
            ("relu", loss, bias, "no L2", optimizer)
            for loss, bias in (
                ("cross entropy", "bias"),
                ("cross entropy", "no bias"),
                ("squared error", "no bias"),
            )
            for optimizer in ("adam", "sgd")
        )
    )
    page = (ROOT / "docs" / "conformance.md").read_text("utf-8")
    assert "".join(f"mine: {line}\n" for line in describe(chosen.settings)) in page


@pytest.mark.parametrize("name", ["mnist", "mnist+optimizer=sgd", "relu, swish", ""])
def test_other_parameters_of_checks_name_no_network(name):
    assert not networks.is_name(name)
    assert all(map(networks.is_name, SIX))


def test_names_of_choices_are_no_two_alike():
    words = [choice for axis in (*AXES, *networks.FORMS) for choice in axis.choices]
    assert len(words) == len(set(words))


def test_what_goes_wrong_in_supports_is_left_to_the_checks():
    def supports(spec, batch_size):
        raise ZeroDivisionError(spec, batch_size)

    backend = Backend(name="mine", summary="", create=pytest.fail, supports=supports)
    assert [spec for spec, _ in Subject(Selection(backend, {})).settings.values()] == list(SPECS)
    with pytest.raises(ZeroDivisionError):
        backend.network(SPECS[0], 8)
