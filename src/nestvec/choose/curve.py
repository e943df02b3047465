"""A curve through what a code keeps at its cuts, so that one lucky cut does not stand alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]

FEWEST_CUTS = 4
_RATES = np.geomspace(0.005, 0.5, 60)  # of decay a byte: from slower than any code to faster
_LEAST_ERROR = 1e-3


def shares_on_curve(cuts: F64, shares: F64, errors: F64) -> F64:
    """The shares (c,) that the curve 1 - a exp(-r bytes) has at the cuts (c,), in bytes.

    errors: (c,) standard errors of the shares; a and r are those of least squares weighed by them,
    r from 60 rates between .005 and .5. With fewer than four cuts there is no curve, and the
    shares are given back. Every codebook leaves about the same part of the error that it found,
    so loss falls about geometrically with bytes.
    """
    if len(cuts) < FEWEST_CUTS:
        return shares
    weights = 1 / np.maximum(errors, _LEAST_ERROR) ** 2
    shapes = np.exp(-np.outer(_RATES, cuts))
    scales = (weights * shapes * (1 - shares)).sum(axis=1) / (weights * shapes**2).sum(axis=1)
    curves = 1 - scales[:, None] * shapes
    misses = (weights * (shares - curves) ** 2).sum(axis=1)
    best: F64 = curves[int(misses.argmin())]
    return best
