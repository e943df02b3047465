"""A classifier of frozen vectors at every width."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from nestvec.errors import UserError
from nestvec.learn.vector_classifier import VectorClassifier
from nestvec.vectors import normalize

pytestmark = pytest.mark.usefixtures("one_thread")

WIDTHS = (2, 4, 12)


def planted(seed, n=400, dim=12, classes=5):
    """Classes about centers, in vectors whose coordinates are mixed."""
    rng = np.random.default_rng(7)
    centers = rng.standard_normal((classes, dim))
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    vectors = centers[y] + 0.6 * rng.standard_normal((n, dim))
    return vectors.astype(np.float32), np.array(list("abcde"))[y]


def quick(**settings):
    return VectorClassifier(widths=WIDTHS, epochs=80, batch=64, **settings)


@pytest.mark.parametrize("head", ["separate", "tied"])
def test_every_width_labels_and_wider_ones_no_worse_than_a_probe(head):
    X, y = planted(0)
    other, own = planted(1)
    fitted = quick(head=head).fit(X, y)
    scores = fitted.score_by_width(other, own)
    assert tuple(scores) == WIDTHS
    assert scores[2] > 0.4
    probe = LogisticRegression(max_iter=500).fit(normalize(X), y).score(normalize(other), own)
    assert scores[12] > probe - 0.03
    assert fitted.losses_[-1] < fitted.losses_[0]
    assert fitted.score(other, own) == scores[12]


def test_tied_logits_are_the_head_cut():
    X, y = planted(0)
    fitted = quick(head="tied").fit(X, y)
    mapped = normalize(X) @ fitted.map_.stages[0].maps[0].weight
    weight = fitted.heads_.head.weight.detach().numpy()
    bias = fitted.heads_.head.bias.detach().numpy()
    for width, logits in fitted.logits(X).items():
        expected = mapped[:, :width] @ weight[:, :width].T + bias
        np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_the_same_seed_gives_the_same_weights_and_clones_are_unfitted():
    X, y = planted(0)
    one, other = quick().fit(X, y), quick().fit(X, y)
    for a, b in zip(one.heads_.parameters(), other.heads_.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not hasattr(clone(one), "heads_")


def test_a_width_that_was_not_trained_is_named():
    X, y = planted(0)
    fitted = quick(width=3).fit(X, y)
    with pytest.raises(UserError, match="2, 4, 12; got 3"):
        fitted.predict(X)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda X, y: quick().fit(X, y[:-1]), "one a vector"),
        (lambda X, y: quick().fit(X * np.nan, y), "finite"),
        (lambda X, y: quick().fit(X, np.full(len(y), "a")), "1 class"),
        (lambda X, y: quick(head="both").fit(X, y), "separate, tied"),
        (lambda X, y: VectorClassifier(widths=(4, 13)).fit(X, y), "up to the vectors' own, 12"),
        (lambda X, y: VectorClassifier(epochs=0).fit(X, y), "epochs must be above 0"),
        (lambda X, y: quick(learning_rate=1e30).fit(X, y), "Lower the learning rate"),
        (lambda X, y: quick().fit(X, y).logits(X[:, :5]), "as those trained on"),
    ],
)
def test_what_does_not_fit_is_said_in_a_sentence(make, words):
    X, y = planted(0, n=60)
    with pytest.raises(UserError, match=words):
        make(X, y)
