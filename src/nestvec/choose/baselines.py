"""The plain ways to make vectors smaller, against which a nested code must show its worth.

Every one of them is given what it needs to do well: prefixes are renormalized, int8 is calibrated
per coordinate and divided by the norm of what it decodes to, PCA keeps its mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.choose import axes as kinds
from nestvec.choose.axes import Axes
from nestvec.choose.methods import (
    BYTE_COUNTS,
    Method,
    Rows,
    Size,
    dims_for,
    queries_of_l2,
    with_norms_of_l2,
)
from nestvec.codec.directions import directions
from nestvec.codec.ranges import ByteRange
from nestvec.codec.scalar import calibrate_int8, to_int8
from nestvec.progress import Progress

F32 = NDArray[np.float32]
FitAxes = Callable[[F32, int], Axes]


def plain_baselines() -> list[Method]:
    """Every baseline that needs numpy alone, in the order of tables."""
    return [
        FloatAxes("prefix-float", kinds.leading),
        Int8Axes("prefix-int8", kinds.leading),
        FloatAxes("random-float", kinds.random),
        FloatAxes("variance-float", kinds.variance),
        FloatAxes("pca-float", kinds.pca),
        FloatAxes("svd-float", kinds.svd),
        Int8Axes("svd-int8", kinds.svd),
        Int8Full(),
        Float16Full(),
        Signs(),
    ]


def prepared(documents: NDArray[Any], rows: Rows, metric: str) -> F32:
    """The chosen rows as float32, at length 1 where the metric is cosine."""
    block = np.asarray(documents[rows], dtype=np.float32)
    return directions(block) if metric == "cosine" else block


@dataclass(frozen=True, eq=False)
class FloatAxes:
    """Leading axes in float32, renormalized at each width under cosine (so no norm is stored).

    With a centre m and axes W, a row is scored as the reconstruction m + W z of its coordinates
    z, whose length follows from z alone.

    widths: to measure, rising; None for those of BYTE_COUNTS.
    """

    name: str
    fit_axes: FitAxes
    widths: tuple[int, ...] | None = None

    def fit(self, sample: F32, metric: str, seed: int, progress: Progress) -> FloatAxesFitted:
        """Fit the axes."""
        axes, dim = _fit_axes(self.fit_axes, sample, metric, seed)
        return FloatAxesFitted(metric, axes, self.widths or dims_for(dim, 4))


def _fit_axes(fit_axes: FitAxes, sample: F32, metric: str, seed: int) -> tuple[Axes, int]:
    rows = prepared(sample, slice(None), metric)
    return fit_axes(rows, seed), sample.shape[1]


@dataclass(frozen=True, eq=False)
class FloatAxesFitted:
    """Axes of a collection, and the widths to keep of them."""

    metric: str
    axes: Axes
    widths: tuple[int, ...]

    @property
    def sizes(self) -> tuple[Size, ...]:
        """Four bytes a coordinate, no facts."""
        return tuple(Size(w, 4 * w, 0, self.axes.size_bytes(w)) for w in self.widths)

    def encode(self, documents: NDArray[Any], progress: Progress) -> FloatAxesEncoded:
        """The documents themselves: axes are applied block by block."""
        return FloatAxesEncoded(self, documents)


@dataclass(frozen=True, eq=False)
class FloatAxesEncoded:
    """Documents and the axes they are read by."""

    fitted: FloatAxesFitted
    documents: NDArray[Any]

    def map_queries(self, queries: F32) -> list[F32]:
        """Leading coordinates of the queries; before them <q, m> where there is a centre."""
        axes = self.fitted.axes
        turned = axes.turn(queries)
        widths = self.fitted.widths
        if self.fitted.metric == "l2":
            turned = queries_of_l2(turned)
        elif axes.centre is not None:
            turned = np.concatenate([(queries @ axes.centre)[:, None], turned], axis=1)
        extra = turned.shape[1] - queries.shape[1]
        return [turned[:, : extra + width] for width in widths]

    def views(self, rows: Rows) -> Iterator[F32]:
        """Leading coordinates at each width."""
        metric, axes = self.fitted.metric, self.fitted.axes
        block = prepared(self.documents, rows, metric)
        widths = self.fitted.widths
        if metric == "l2":
            turned = axes.turn(block)
            yield from (with_norms_of_l2(turned[:, :width]) for width in widths)
            return
        if axes.centre is None:
            turned = axes.turn(block)
            if metric == "dot":
                yield from (turned[:, :width] for width in widths)
            else:
                yield from (directions(turned[:, :width]) for width in widths)
            return
        yield from _centred_views(axes, axes.centre, block, widths, metric)


def _centred_views(
    axes: Axes, centre: F32, block: F32, widths: tuple[int, ...], metric: str
) -> Iterator[F32]:
    turned = axes.turn(block - centre)
    ones = np.ones((len(block), 1), np.float32)
    turned_centre = axes.turn(centre[None])[0]
    for width in widths:
        z = turned[:, :width]
        view = np.concatenate([ones, z], axis=1)
        if metric == "cosine":
            squares = centre @ centre + 2 * (z @ turned_centre[:width]) + (z * z).sum(axis=1)
            view /= np.sqrt(np.maximum(squares, np.float32(1e-12)))[:, None]
        yield view


@dataclass(frozen=True, eq=False)
class Int8Axes:
    """Leading axes at one byte each, calibrated per coordinate and clipped by percentiles.

    Bytes are dequantized before the inner product; under cosine that is divided by the norm of
    the dequantized prefix, kept as one byte a row.
    """

    name: str
    fit_axes: FitAxes

    def fit(self, sample: F32, metric: str, seed: int, progress: Progress) -> Int8Fitted:
        """Fit the axes, the calibration and the range of each width's norms."""
        axes, dim = _fit_axes(self.fit_axes, sample, metric, seed)
        return fit_int8(axes, dims_for(dim, 1), sample, metric)


class Int8Full:
    """The whole vector at one byte a coordinate."""

    name = "int8"

    def fit(self, sample: F32, metric: str, seed: int, progress: Progress) -> Int8Fitted:
        """Fit the calibration and the range of the norms."""
        return fit_int8(Axes(), (sample.shape[1],), sample, metric)


def fit_int8(axes: Axes, widths: tuple[int, ...], sample: F32, metric: str) -> Int8Fitted:
    """Calibrate int8 along axes on a sample (m, d)."""
    turned = axes.turn(prepared(sample, slice(None), metric))
    low, step = calibrate_int8(turned)
    decoded = low + step * to_int8(turned, low, step)
    ranges = tuple(
        ByteRange.spanning(np.linalg.norm(decoded[:, :width], axis=1)) for width in widths
    )
    return Int8Fitted(metric, axes, widths, low, step, ranges)


@dataclass(frozen=True, eq=False)
class Int8Fitted:
    """Axes, calibration low and step (d,), and for each width the range of its norms."""

    metric: str
    axes: Axes
    widths: tuple[int, ...]
    low: F32
    step: F32
    ranges: tuple[ByteRange, ...]

    @property
    def sizes(self) -> tuple[Size, ...]:
        """One byte a coordinate, one for the norm under cosine; two floats a coordinate once."""
        fact = 1 if self.metric == "cosine" else 0
        return tuple(Size(w, w, fact, 8 * w + self.axes.size_bytes(w)) for w in self.widths)

    def encode(self, documents: NDArray[Any], progress: Progress) -> Int8Encoded:
        """The documents themselves: bytes are made block by block, which costs less than GEMM."""
        return Int8Encoded(self, documents)


@dataclass(frozen=True, eq=False)
class Int8Encoded:
    """Documents and the bytes they are written in."""

    fitted: Int8Fitted
    documents: NDArray[Any]

    def map_queries(self, queries: F32) -> list[F32]:
        """Leading coordinates of the queries, in float32."""
        turned = self.fitted.axes.turn(queries)
        if self.fitted.metric == "l2":
            return [queries_of_l2(turned)[:, : 1 + width] for width in self.fitted.widths]
        return [turned[:, :width] for width in self.fitted.widths]

    def views(self, rows: Rows) -> Iterator[F32]:
        """Dequantized leading coordinates at each width."""
        fitted = self.fitted
        turned = fitted.axes.turn(prepared(self.documents, rows, fitted.metric))
        decoded = fitted.low + fitted.step * to_int8(turned, fitted.low, fitted.step)
        for width, span in zip(fitted.widths, fitted.ranges, strict=True):
            view = decoded[:, :width]
            if fitted.metric == "cosine":
                norms = span.unpack(span.pack(np.linalg.norm(view, axis=1)))
                yield np.divide(view, norms[:, None], dtype=np.float32)
            else:
                yield view if fitted.metric == "dot" else with_norms_of_l2(view)


@dataclass(frozen=True, eq=False)
class Wholes:
    """Documents read through one function, at one size: (m, d) float32 to (m, d) float32."""

    metric: str
    sizes: tuple[Size, ...]
    show: Callable[[F32], F32]
    documents: NDArray[Any]

    def encode(self, documents: NDArray[Any], progress: Progress) -> Wholes:
        """The documents themselves: the function is applied block by block."""
        return Wholes(self.metric, self.sizes, self.show, documents)

    def map_queries(self, queries: F32) -> list[F32]:
        """Queries as they are."""
        return [queries_of_l2(queries) if self.metric == "l2" else queries]

    def views(self, rows: Rows) -> Iterator[F32]:
        """What the function shows of the rows."""
        shown = self.show(prepared(self.documents, rows, self.metric))
        yield with_norms_of_l2(shown) if self.metric == "l2" else shown


class FullVectors:
    """The untouched vectors in float32: what every figure is compared with."""

    name = "full"

    def fit(self, sample: F32, metric: str, seed: int, progress: Progress) -> Wholes:
        """Nothing to learn."""
        dim = sample.shape[1]
        return Wholes(metric, (Size(dim, 4 * dim, 0, 0),), lambda block: block, sample)


class Float16Full:
    """The whole vector in half precision."""

    name = "float16"

    def fit(self, sample: F32, metric: str, seed: int, progress: Progress) -> Wholes:
        """Nothing to learn."""
        dim = sample.shape[1]
        return Wholes(metric, (Size(dim, 2 * dim, 0, 0),), _through_half, sample)


def _through_half(block: F32) -> F32:
    return block.astype(np.float16).astype(np.float32)


class Signs:
    """One bit a coordinate: the sign after the sample's mean is taken off, by leading widths.

    A float query (not centred: measured better so by .03 to .04 nDCG@10) is multiplied with the
    signs. Their norm is one constant, so nothing is stored beside them. Under dot and l2 they
    code directions, and the row's length is four bytes.
    """

    name = "sign"

    def fit(self, sample: F32, metric: str, seed: int, progress: Progress) -> SignsFitted:
        """Take the mean direction."""
        return SignsFitted(metric, directions(sample).mean(axis=0).astype(np.float32))


@dataclass(frozen=True, eq=False)
class SignsFitted:
    """The mean direction (d,)."""

    metric: str
    mean: F32

    @property
    def sizes(self) -> tuple[Size, ...]:
        """An eighth of a byte a coordinate."""
        dim = len(self.mean)
        widths = sorted({8 * count for count in BYTE_COUNTS if 8 * count < dim} | {dim})
        fact = 0 if self.metric == "cosine" else 4
        return tuple(Size(w, -(-w // 8), fact, 4 * w) for w in widths)

    def encode(self, documents: NDArray[Any], progress: Progress) -> SignsEncoded:
        """The documents themselves: signs are taken block by block."""
        return SignsEncoded(self, documents)


@dataclass(frozen=True, eq=False)
class SignsEncoded:
    """Documents and the mean whose sides they lie on."""

    fitted: SignsFitted
    documents: NDArray[Any]

    def map_queries(self, queries: F32) -> list[F32]:
        """Leading coordinates of the queries."""
        mapped = queries_of_l2(queries) if self.fitted.metric == "l2" else queries
        extra = mapped.shape[1] - queries.shape[1]
        return [mapped[:, : extra + (size.dims or 0)] for size in self.fitted.sizes]

    def views(self, rows: Rows) -> Iterator[F32]:
        """Signs at length 1, or at the row's own length under dot and l2."""
        block = np.asarray(self.documents[rows], dtype=np.float32)
        signs = np.where(directions(block) > self.fitted.mean, np.float32(1), np.float32(-1))
        lengths = np.linalg.norm(block, axis=1)[:, None]
        for size in self.fitted.sizes:
            root = np.sqrt(size.dims or 1)
            view = np.divide(signs[:, : size.dims], root, dtype=np.float32)
            if self.fitted.metric != "cosine":
                view = np.multiply(view, lengths, dtype=np.float32)
            yield with_norms_of_l2(view) if self.fitted.metric == "l2" else view
