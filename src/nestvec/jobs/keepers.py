"""Codes that an evaluation measures and that are kept, so that the chosen one is at hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.adapters.adapter import Adapter
from nestvec.choose.adapted import AdaptedFitted
from nestvec.choose.evidence import adapted_name
from nestvec.choose.methods import NestedCodes, NestedFitted, NestedMethod
from nestvec.choose.specs import candidate_power, is_ladder
from nestvec.codec.nested import Codec
from nestvec.jobs.sheets import Coded
from nestvec.progress import Progress


class Keeper:
    """A nested method that keeps what it fitted and coded, so that nothing is done twice.

    adapter: what vectors go through first, or None.
    """

    def __init__(self, spec: str, rows: int, adapter: Adapter | None = None) -> None:
        self.spec = spec
        self.name = spec if adapter is None else adapted_name(adapter.method, spec)
        self.adapter = adapter
        self._method = NestedMethod(spec, power=candidate_power(rows), name=spec)
        self._codec: Codec | None = None
        self._codes: NestedCodes | None = None

    def fit(
        self, sample: NDArray[np.float32], metric: str, seed: int, progress: Progress
    ) -> _Fitted | AdaptedFitted:
        """Fit, and remember the codec."""
        rows = sample if self.adapter is None else self.adapter.transform(sample)
        fitted = self._method.fit(rows, metric, seed, progress)
        self._codec = fitted.codec
        own = _Fitted(fitted, self)
        return own if self.adapter is None else AdaptedFitted(self.adapter, own)

    def keep(self, codes: NestedCodes) -> None:
        """Remember codes that are small; wide ones are made again if they are chosen."""
        if is_ladder(self.spec):
            self._codes = codes

    def coded(self, vectors: NDArray[Any], cut: int, progress: Progress) -> Coded:
        """The codec cut at `cut`, with all rows' codes and facts."""
        assert self._codec is not None
        short = self._codec.truncated(cut)
        if self._codes is None:
            if self.adapter is not None:
                vectors = self.adapter.transform(vectors)
            codes = short.encode(vectors, progress)
            return Coded(short, codes, short.facts(codes, vectors), self.adapter)
        names = {f"norm_{each}" for each in short.cuts} | {"length"}
        facts = {name: fact for name, fact in self._codes.facts.items() if name in names}
        cut_codes = np.ascontiguousarray(self._codes.codes[:, : short.bytes])
        return Coded(short, cut_codes, facts, self.adapter, self._codec)


@dataclass(frozen=True, eq=False)
class _Fitted:
    fitted: NestedFitted
    keeper: Keeper

    @property
    def sizes(self) -> Any:
        """Those of the codec."""
        return self.fitted.sizes

    def encode(self, documents: NDArray[Any], progress: Progress) -> NestedCodes:
        """Encode, and remember the codes."""
        codes = self.fitted.encode(documents, progress)
        self.keeper.keep(codes)
        return codes
