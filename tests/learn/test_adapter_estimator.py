"""Adapters through scikit-learn's interface."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import nestvec as nv
from nestvec.errors import UserError

QUICK = {"widths": (4,), "epochs": 2, "batch": 32}


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    documents = rng.standard_normal((80, 12)).astype(np.float32)
    return documents, (documents + 0.3 * rng.standard_normal((80, 12))).astype(np.float32)


def test_it_is_an_estimator(rows):
    documents, queries = rows
    adapter = nv.VectorAdapter(width=4, **QUICK)
    assert clone(adapter).get_params() == adapter.get_params()
    mapped = adapter.fit(documents, queries).transform(queries)
    assert mapped.shape == (80, 4)
    np.testing.assert_allclose(np.linalg.norm(mapped, axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(mapped, adapter.adapter_.transform(queries, 4))
    assert adapter.n_features_in_ == 12


def test_it_trains_without_labels_and_in_a_pipeline(rows):
    documents, _ = rows
    pipe = make_pipeline(FunctionTransformer(), nv.VectorAdapter(method="spectemp", width=4))
    assert pipe.fit_transform(documents).shape == (80, 4)


def test_pairs_and_grades_are_used(rows):
    documents, queries = rows
    pairs = np.stack([np.arange(40), np.arange(40, 80)], axis=1)
    adapter = nv.VectorAdapter(method="mrl", **QUICK)
    adapter.fit(documents, queries[40:], pairs=pairs, grades=np.full(40, 2.0))
    assert adapter.adapter_.facts["pairs"] == 40


def test_what_cannot_be_used_is_said(rows):
    documents, queries = rows
    with pytest.raises(UserError, match="got 3 queries for 80 documents"):
        nv.VectorAdapter(**QUICK).fit(documents, queries[:3])
    with pytest.raises(NotFittedError):
        nv.VectorAdapter().transform(documents)
