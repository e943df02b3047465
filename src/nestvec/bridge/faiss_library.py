"""The faiss library: the one file that imports it, and how it is to use its threads.

faiss takes as many threads as its omp_set_num_threads was told, or OMP_NUM_THREADS says.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from threading import Lock
from typing import Any

from nestvec.errors import MissingExtra

_WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"}

_LOCK = Lock()
_KEPT: list[int] = []
"""One entry a running by_blas, on whatever thread; the first is what faiss goes back to."""


def available() -> bool:
    """Whether the faiss library is installed."""
    return find_spec("faiss") is not None


def require_faiss(feature: str = "comparing with faiss (pq, opq, rq, rabitq)") -> Any:
    """The faiss module. Raises MissingExtra where it is not installed; feature: what needs it."""
    try:
        with _sleeping_threads():
            import faiss
    except ImportError as error:
        raise MissingExtra(feature, "bench") from error
    return faiss


@contextmanager
def by_blas(faiss: Any) -> Iterator[None]:
    """Distances of more than 20 rows by matrix products, as faiss itself once did.

    Its 1.15 takes a few thousand short rows one by one, and k-means five times as long (PQ of
    SciFact 11.2 s for 2.1, on one thread).
    """
    with _LOCK:
        _KEPT.append(faiss.cvar.distance_compute_blas_threshold)
        faiss.cvar.distance_compute_blas_threshold = 20
    try:
        yield
    finally:
        with _LOCK:
            faiss.cvar.distance_compute_blas_threshold = _KEPT.pop()


@contextmanager
def _sleeping_threads() -> Iterator[None]:
    """An import during which OpenMP's threads are told to wait asleep, but for some microseconds.

    Some hundred thousand short parallel loops make a fit, and by default threads spin between them.
    With one other busy process on two cores that took ten times as long (PQ of SciFact 27 s for
    2.7, RQ 35 for 6.3). On an idle machine it is as quick, for the few rounds of spinning left
    (RQ 6.9 s, without them 9.3). OpenMP reads this once, as it is loaded; who has set either
    variable keeps his own.
    """
    told = {} if any(name in os.environ for name in _WAITING) else _WAITING
    os.environ.update(told)
    try:
        yield
    finally:
        for name in told:
            del os.environ[name]
