"""What a method refuses to be fitted with, and how it says so."""

from dataclasses import replace

import numpy as np
import pytest

from nestvec.errors import UserError
from nestvec.learn.adapters.examples import Examples
from nestvec.learn.adapters.methods import METHODS, fit_adapter

pytestmark = pytest.mark.usefixtures("one_thread", "given_exponent")

DIM = 12
UNLABELLED = [name for name, method in METHODS.items() if method.labels != "needed"]


def test_widths_above_the_vectors_are_refused(planted, each_method, quick):
    with pytest.raises(UserError, match=r"up to the vectors' own, 12; got 16, 20. Leave them out"):
        fit_adapter(each_method, planted(), quick(widths=(4, 16, 20)))


def test_an_unknown_method_is_refused(planted, quick):
    with pytest.raises(UserError, match=r"one of linear, .*; got 'pca'. Choose one"):
        fit_adapter("pca", planted(), quick())


def test_a_method_that_needs_labels_says_so(planted, quick):
    with pytest.raises(UserError, match=r"search learns from pairs .*got none.*choose linear, "):
        fit_adapter("search", planted(labelled=False), quick())


def test_too_few_pairs_are_refused_unless_they_are_not_used(planted, quick):
    few = replace(planted(), pairs=np.array([[i, i] for i in range(9)]))
    for method in [name for name in METHODS if name != "spectemp"]:
        with pytest.raises(UserError, match=r"at least 10 pairs.*got 9. Give more, or none"):
            fit_adapter(method, few, quick())
    assert fit_adapter("spectemp", few, quick()).facts["pairs"] == 0


@pytest.mark.parametrize("method", UNLABELLED)
@pytest.mark.parametrize(
    ("value", "said"), [(1.0, "vectors that differ"), (np.nan, "row 0 has NaN"), (0.0, "all zero")]
)
def test_vectors_that_teach_nothing_are_refused(method, value, said, quick):
    with pytest.raises(UserError, match=said):
        fit_adapter(method, Examples(np.full((40, DIM), value, np.float32)), quick())


def test_errors_are_sentences_on_one_line(planted, quick):
    examples, raised = planted(), []
    for method, given, settings in (
        ("pca", examples, quick()),
        ("search", replace(examples, pairs=None), quick()),
        ("linear", examples, quick(widths=(99,))),
        ("linear", examples, quick(widths=(0,))),
        ("linear", replace(examples, pairs=np.array([[0, 0]])), quick()),
        ("reflections", examples, quick(reflections=3)),
    ):
        with pytest.raises(UserError) as error:
            fit_adapter(method, given, settings)
        raised.append(str(error.value))
    for said in raised:
        assert "\n" not in said
        assert said.endswith(".")


@pytest.mark.parametrize(
    ("training", "said"),
    [
        ({"device": "nosuch"}, "a device is one that torch finds here.*got 'nosuch'"),
        ({"rate": 1e29}, "a loss must stay a number"),
    ],
)
def test_trainings_that_cannot_be_are_refused(planted, training, said, quick):
    with pytest.raises(UserError, match=said):
        fit_adapter("smec", planted(), quick(**training))
