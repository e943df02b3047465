"""The classifier as an estimator, and what its widths know."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import (
    check_do_not_raise_errors_in_init_or_set_params,
    check_estimator_cloneable,
    check_estimator_repr,
    check_get_params_invariance,
    check_no_attributes_set_in_init,
    check_parameters_default_constructible,
    check_set_params,
)

from nestvec import NestedClassifier
from nestvec.errors import UserError


@pytest.fixture(scope="module", params=["separate", "tied"])
def fitted(request, small_model, texts):
    made = NestedClassifier(
        str(small_model), widths=(8, 16, 32), head=request.param, epochs=30, learning_rate=3e-3
    )
    return made.fit(*texts)


def test_every_width_learns_the_classes(fitted, texts):
    scores = fitted.score_by_width(*texts)
    assert list(scores) == [8, 16, 32]
    assert min(scores.values()) > 0.9
    assert fitted.score(*texts) == scores[32]


def test_probabilities_are_those_of_the_chosen_width(fitted, texts):
    by_width = fitted.predict_proba_by_width(texts[0])
    for width, found in by_width.items():
        np.testing.assert_allclose(found.sum(axis=1), 1)
        chosen = clone(fitted)
        chosen.__dict__.update({**fitted.__dict__, "width": width})
        np.testing.assert_array_equal(chosen.predict_proba(texts[0]), found)
    assert fitted.transform(texts[0]).shape == (40, 32)


@pytest.mark.parametrize(
    "check",
    [
        check_do_not_raise_errors_in_init_or_set_params,
        check_estimator_cloneable,
        check_estimator_repr,
        check_get_params_invariance,
        check_no_attributes_set_in_init,
        check_parameters_default_constructible,
        check_set_params,
    ],
    ids=lambda check: check.__name__,
)
def test_the_estimator_checks_that_need_no_numbers(check):
    check("NestedClassifier", NestedClassifier())


def test_it_is_repeatable_and_clones_and_pipes(small_model, texts):
    made = NestedClassifier(str(small_model), widths=(8, 32), epochs=2)
    one = made.fit(*texts).predict_proba(texts[0])
    two = make_pipeline(clone(made)).fit(*texts).predict_proba(texts[0])
    np.testing.assert_array_equal(one, two)
    assert made.n_steps_ == 4


def test_faults_are_told_first(small_model, texts):
    made = NestedClassifier(str(small_model), widths=(8, 32))
    with pytest.raises(NotFittedError):
        made.predict(texts[0])
    with pytest.raises(UserError, match="2 classes or more; got 1"):
        made.fit(texts[0], ["a"] * 40)
    with pytest.raises(UserError, match="one a text"):
        made.fit(texts[0], ["a", "b"])
    with pytest.raises(UserError, match="must be strings"):
        made.fit([1, 2], ["a", "b"])
    with pytest.raises(UserError, match="end at the vectors' width"):
        clone(made).set_params(widths=(8, 64)).fit(*texts)
    with pytest.raises(UserError, match=r"loss\.head is one of"):
        clone(made).set_params(head="none").fit(*texts)
