"""How kernels are compiled: by numba, once a machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

F = TypeVar("F", bound=Callable[..., Any])


def compiled(**options: Any) -> Callable[[F], F]:
    """njit with a cache on disk, or without one where there is no place to write it."""

    def decorate(function: F) -> F:
        try:
            kernel: F = njit(cache=True, **options)(function)
        except RuntimeError:  # neither this file's folder nor the user's cache can be written to
            kernel = njit(**options)(function)
        return kernel

    return decorate
