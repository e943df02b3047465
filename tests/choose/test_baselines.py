"""Every baseline's views and mapped queries score as its plain definition does."""

import numpy as np
import pytest

from nestvec.choose import axes
from nestvec.choose.baselines import (
    Float16Full,
    FloatAxes,
    FullVectors,
    Int8Axes,
    Int8Full,
    Signs,
    plain_baselines,
)
from nestvec.progress import quiet

D = 20


def _data(n=200, d=D):
    rng = np.random.default_rng(3)
    x = (rng.standard_normal((n, d)) * np.linspace(2, 0.2, d) + 0.3).astype(np.float32)
    x[:, 7] = 0  # real vectors have constant coordinates
    return x


QUERIES = np.random.default_rng(4).standard_normal((5, D)).astype(np.float32)


def _scores(method, metric, x=None):
    x = _data() if x is None else x
    fitted = method.fit(x[:150], metric, 0, quiet())
    encoded = fitted.encode(x, quiet())
    mapped = encoded.map_queries(QUERIES)
    views = [np.array(view) for view in encoded.views(slice(0, len(x)))]
    assert len(mapped) == len(views) == len(fitted.sizes)
    assert all(view.dtype == np.float32 for view in views)
    return fitted, [q @ view.T for q, view in zip(mapped, views, strict=True)]


def _plain(queries, x, metric):
    if metric == "cosine":
        return queries @ (x / np.linalg.norm(x, axis=1)[:, None]).T
    if metric == "dot":
        return queries @ x.T
    return -((queries[:, None] - x) ** 2).sum(axis=2) / 2 + (queries**2).sum(axis=1)[:, None] / 2


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_prefixes_are_cut_and_renormalized(metric):
    x = _data()
    fitted, scores = _scores(FloatAxes("prefix-float", axes.leading), metric)
    assert [s.dims for s in fitted.sizes] == [1, 2, 3, 4, 6, 8, 12, 16, 20]
    assert [s.code_bytes for s in fitted.sizes] == [4, 8, 12, 16, 24, 32, 48, 64, 80]
    for size, got in zip(fitted.sizes, scores, strict=True):
        rows = x if metric != "cosine" else x / np.linalg.norm(x, axis=1)[:, None]
        expected = _plain(QUERIES[:, : size.dims], rows[:, : size.dims], metric)
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


def test_given_widths_are_measured_in_place_of_the_usual_ones():
    every, scores = _scores(FloatAxes("prefix-float", axes.leading), "cosine")
    some, found = _scores(FloatAxes("prefix-float", axes.leading, (5, 12)), "cosine")
    assert [size.dims for size in some.sizes] == [5, 12]
    np.testing.assert_array_equal(found[1], scores[[s.dims for s in every.sizes].index(12)])


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
@pytest.mark.parametrize("kind", [axes.leading, axes.random, axes.variance, axes.pca, axes.svd])
def test_all_axes_together_rank_as_the_full_vectors(metric, kind):
    _, scores = _scores(FloatAxes("any", kind), metric)
    _, (full,) = _scores(FullVectors(), metric)
    offsets = scores[-1] - full
    np.testing.assert_allclose(offsets - offsets[:, :1], 0, atol=2e-4)


def test_pca_scores_the_reconstruction():
    x = _data()
    unit = x / np.linalg.norm(x, axis=1)[:, None]
    found = axes.pca(unit[:150], 0)
    _, scores = _scores(FloatAxes("pca-float", axes.pca), "cosine")
    z = (unit - found.centre) @ found.rotation[:, :6]
    reconstruction = found.centre + z @ found.rotation[:, :6].T
    np.testing.assert_allclose(scores[4], _plain(QUERIES, reconstruction, "cosine"), atol=1e-5)


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_int8_is_near_the_full_vectors_with_a_constant_coordinate(metric):
    x = _data()
    x[0, 7] = 9.0  # and with a row unlike the sample
    fitted, (got,) = _scores(Int8Full(), metric, x)
    _, (full,) = _scores(FullVectors(), metric, x)
    assert np.isfinite(got).all()
    # the mean too: under l2 queries' own norms are left out; a few rows lie beyond the percentiles
    assert np.median(np.abs(got - full)) < 0.02 * full.std()
    (size,) = fitted.sizes
    assert (size.code_bytes, size.fact_bytes) == (D, 1 if metric == "cosine" else 0)
    assert size.codec_bytes == 8 * D


def test_int8_prefix_is_divided_by_its_own_norm():
    x = _data()
    fitted = Int8Axes("prefix-int8", axes.leading).fit(x, "cosine", 0, quiet())
    encoded = fitted.encode(x, quiet())
    for view, span in zip(encoded.views(slice(0, 50)), fitted.ranges, strict=True):
        step = (span.high / span.low) ** (1 / 510) - 1
        np.testing.assert_allclose(np.linalg.norm(view, axis=1), 1, atol=2 * step + 1e-4)


def test_signs_multiply_the_query_with_centred_signs():
    x = _data()
    unit = x / np.linalg.norm(x, axis=1)[:, None]
    fitted, scores = _scores(Signs(), "cosine")
    assert [(s.dims, s.code_bytes, s.fact_bytes) for s in fitted.sizes] == [(20, 3, 0)]
    mean = unit[:150].mean(axis=0)
    expected = QUERIES @ np.where(unit > mean, 1, -1).T / np.sqrt(D)
    np.testing.assert_allclose(scores[0], expected, atol=1e-5)


def test_half_precision_halves_the_bytes():
    fitted, (got,) = _scores(Float16Full(), "cosine")
    _, (full,) = _scores(FullVectors(), "cosine")
    assert fitted.sizes[0].code_bytes == 2 * D
    np.testing.assert_allclose(got, full, atol=5e-3)


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_rows_may_be_gathered_in_any_order(metric):
    x = _data()
    rows = np.array([17, 3, 3, 88])
    for method in plain_baselines():
        encoded = method.fit(x, metric, 0, quiet()).encode(x, quiet())
        gathered = [np.array(v) for v in encoded.views(rows)]
        sliced = [np.array(v) for v in encoded.views(slice(0, len(x)))]
        for some, every in zip(gathered, sliced, strict=True):
            np.testing.assert_allclose(some, every[rows], atol=1e-5)


def test_names_are_those_of_the_tables():
    assert [m.name for m in plain_baselines()] == [
        "prefix-float",
        "prefix-int8",
        "random-float",
        "variance-float",
        "pca-float",
        "svd-float",
        "svd-int8",
        "int8",
        "float16",
        "sign",
    ]
