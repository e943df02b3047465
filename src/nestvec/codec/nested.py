"""The codec: levels in a row, whose code may be cut wherever one of them ends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.codec import files
from nestvec.codec.directions import check_finite, directions
from nestvec.codec.fitting import Settings, fit_levels
from nestvec.codec.levels import Level, Placed, add_decoded, place
from nestvec.codec.power import SpectralMap
from nestvec.codec.ranges import ByteRange
from nestvec.codec.scores import Prepared, finish
from nestvec.codec.signs import SignPlane
from nestvec.codec.spec import format_spec, parse_spec
from nestvec.errors import UserError
from nestvec.progress import Progress, quiet

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

METRICS = ("cosine", "dot", "l2")
DECLARED_CUTS = (4, 8, 12, 16, 24, 32, 48, 64)
MOST_BEAM = 256
_BLOCK = 8192


class Codec:
    """Vectors in, rows of bytes out, of which any prefix that ends with a level is a code too.

    Directions x / |x| are coded; for the metrics dot and l2 the length |x| is a fact of its own.

    Parameters
    ----------
    spec: levels joined by '+': 32xcb, 32xcb64, 48xcb16, sign256+24xcb, 64xcb+int8, int8, ...
    metric: cosine, dot or l2.
    beam: entries kept by beam encoding; a wider beam is slower and closer. 1 is greedy.
    power: exponent of the spectral power before the first codebook, or "auto": fitted without
        labels (power 0 where the spec does not begin with codebooks).
    seed: of the sample, of k-means and of rotations.
    sample_rows: rows that are drawn for fitting, at most.

    Attributes after fit
    --------------------
    spec: as fitted, with fewer codewords than asked for where rows are few.
    dim: coordinates of a vector. bytes: bytes of a whole code. level_ends: legal cuts, rising.
    cuts: declared cuts, for each of which facts() writes one byte a row. fitted_rows: rows of the
    sample.

    Fitting holds three copies of the sample and four of the residuals that a codebook is fitted
    on, 256 a codeword or the sample's rows, in float32, and 140 MB of inner products:
    benchmarks/results/fit_memory.json has the peak for a million rows of 1,536, and it is no more
    for more rows.
    """

    def __init__(
        self,
        spec: str = "32xcb",
        *,
        metric: str = "cosine",
        beam: int = 8,
        power: float | str = "auto",
        seed: int = 0,
        sample_rows: int = 50_000,
    ) -> None:
        self.spec = self._wanted = spec
        self.metric = metric
        self.beam = beam
        self.power = power
        self.seed = seed
        self.sample_rows = sample_rows
        self._check_settings()
        self.dim = 0
        self.levels: tuple[Level, ...] = ()
        self.map = SpectralMap(0.0)
        self.cuts: tuple[int, ...] = ()
        self.ranges: dict[int, ByteRange] = {}
        self.fitted_rows = 0

    # Fitting

    def fit(
        self, vectors: NDArray[Any], y: object = None, progress: Progress | None = None
    ) -> Codec:
        """Fit on vectors (n, d), of which at most sample_rows are drawn; y is ignored.

        Raises UserError where vectors are not 2-d, not finite in the sample, or too few.
        """
        self._check_settings()
        settings = Settings(self.beam, self.power, self.seed, self.sample_rows, DECLARED_CUTS)
        fitted = fit_levels(parse_spec(self._wanted), vectors, settings, progress or quiet())
        self.spec = format_spec(fitted.terms)
        self.dim = vectors.shape[1]
        self.levels, self.map = fitted.levels, fitted.map
        self.cuts, self.ranges = fitted.cuts, fitted.ranges
        self.fitted_rows = fitted.rows
        return self

    def fit_transform(self, vectors: NDArray[Any], y: object = None) -> U8:
        """fit, then encode."""
        return self.fit(vectors).encode(vectors)

    # Encoding and decoding

    @property
    def bytes(self) -> int:
        """Bytes of a whole code, facts apart."""
        return sum(level.bytes for level in self.levels)

    @property
    def level_ends(self) -> tuple[int, ...]:
        """Numbers of leading bytes at which a code may be cut, rising."""
        ends: list[int] = []
        for start, level in self._placed():
            ends.extend(start + end for end in level.ends)
        return tuple(ends)

    def encode(self, vectors: NDArray[Any], progress: Progress | None = None) -> U8:
        """Codes (n, bytes) of vectors (n, d), by blocks of 8,192 rows."""
        self._check_fitted()
        self._check_width(vectors)
        listener = progress or quiet()
        listener.start("encode", len(vectors))
        out = np.empty((len(vectors), self.bytes), np.uint8)
        for at in range(0, len(vectors), _BLOCK):
            check_finite(vectors[at : at + _BLOCK], at)
            rest = self.map.forward(directions(vectors[at : at + _BLOCK]))
            rest = np.array(rest, dtype=np.float32, order="C")
            for start, level in self._placed():
                codes = level.encode(rest)
                out[at : at + _BLOCK, start : start + level.bytes] = codes
                if level is not self.levels[-1]:
                    decoded = np.zeros_like(rest)
                    level.add_decoded(decoded, codes, 0, level.bytes)
                    rest -= decoded
            listener.advance(len(rest))
        listener.finish()
        return out

    def transform(self, vectors: NDArray[Any]) -> U8:
        """encode, as scikit-learn names it."""
        return self.encode(vectors)

    def decode(self, codes: U8, n_bytes: int | None = None) -> F32:
        """Reconstructed directions x_n (n, d) of codes (n, >= n_bytes), in the original space."""
        end = self._check_cut(n_bytes)
        self._check_codes(codes, end)
        out = np.zeros((len(codes), self.dim), np.float32)
        add_decoded(out, self._placed(), codes, 0, end)
        return self.map.backward(out)

    def reconstructions(self, codes: U8, cuts: tuple[int, ...]) -> Iterator[tuple[int, F32]]:
        """(cut, x_n (n, d)) for rising cuts, in the original space; each adds to the one before.

        Without a spectral map the array is reused from cut to cut.
        """
        out = np.zeros((len(codes), self.dim), np.float32)
        done = 0
        for cut in cuts:
            add_decoded(out, self._placed(), codes, done, cut)
            done = cut
            yield cut, self.map.backward(out)

    # Facts and scores

    def facts(self, codes: U8, vectors: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """One byte a row for each declared cut, norm_4 (n,) uint8 and so on; and length.

        norm_n is |x_n|, the divisor of a score at cut n, on the logarithmic grid of ranges[n].
        length (n,) float32, for dot and l2 only, is |x|.
        """
        self._check_width(vectors)
        found: dict[str, NDArray[Any]] = {
            f"norm_{cut}": np.empty(len(codes), np.uint8) for cut in self.cuts
        }
        if self.metric != "cosine":
            found["length"] = np.empty(len(codes), np.float32)
        for at in range(0, len(codes), _BLOCK):
            rows = np.asarray(vectors[at : at + _BLOCK], np.float32)
            if self.metric != "cosine":
                found["length"][at : at + _BLOCK] = np.linalg.norm(rows, axis=1)
            for cut, decoded in self.reconstructions(codes[at : at + _BLOCK], self.cuts):
                norms = np.linalg.norm(decoded, axis=1)
                found[f"norm_{cut}"][at : at + _BLOCK] = self.ranges[cut].pack(norms)
        return found

    def norms(self, codes: U8, n_bytes: int) -> F32:
        """|x_n| (n,) of codes at any cut, derived by decoding; for cuts that are not declared."""
        out = np.empty(len(codes), np.float32)
        for at in range(0, len(codes), _BLOCK):
            out[at : at + _BLOCK] = np.linalg.norm(
                self.decode(codes[at : at + _BLOCK], n_bytes), axis=1
            )
        return out

    def unpack_norms(self, packed: U8, n_bytes: int) -> F32:
        """|x_n| (n,) float32 of a declared cut's bytes (n,)."""
        if n_bytes not in self.ranges:
            raise UserError(
                f"norm bytes are written for the declared cuts {list(self.cuts)}; got {n_bytes}; "
                "derive others from the code with norms()."
            )
        return self.ranges[n_bytes].unpack(packed)

    def prepare(self, queries: NDArray[Any]) -> Prepared:
        """Everything that scoring needs of queries (q, d), made once."""
        self._check_fitted()
        self._check_width(queries)
        rows = np.ascontiguousarray(queries, dtype=np.float32)
        mapped = np.ascontiguousarray(self.map.queries(rows), dtype=np.float32)
        return Prepared(
            norms=np.linalg.norm(rows, axis=1),
            tables=tuple(level.table(mapped) for level in self.levels),
        )

    @property
    def sign_bytes(self) -> int:
        """Bytes of the signs that a code begins with; 0 where it begins with something else."""
        first = self.levels[0] if self.levels else None
        return first.bits // 8 if isinstance(first, SignPlane) else 0

    def sign_planes(self, prepared: Prepared, n_bits: int) -> U8:
        """The queries in n_bits bits a coordinate of the first signs (q, n_bits, sign_bytes).

        As SignPlane.planes gives them. The codec's first level must be a sign plane.
        """
        first = self.levels[0]
        assert isinstance(first, SignPlane)
        return first.planes(prepared.tables[0], n_bits)

    def raw_sums(self, prepared: Prepared, codes: U8, start: int, stop: int) -> F32:
        """Sums (q, n) of <query, decoded bytes start to stop>; they add up over levels.

        codes: (n, bytes). start and stop are 0 or legal cuts.
        """
        self._check_cut(stop)
        self._check_codes(codes, stop)
        if start:
            self._check_cut(start)
        out = np.zeros((len(prepared.norms), len(codes)), np.float32)
        for (begin, level), table in zip(self._placed(), prepared.tables, strict=True):
            low, high = max(start - begin, 0), min(stop - begin, level.bytes)
            if low < high:
                level.add_sums(out, table, codes[:, begin : begin + level.bytes], low, high)
        return out

    def raw_sums_gathered(self, prepared: Prepared, codes: U8, start: int, stop: int) -> F32:
        """raw_sums of the one query in prepared with its survivors' codes (m, bytes): (m,)."""
        sums: F32 = self.raw_sums(prepared, codes, start, stop)[0]
        return sums

    def finish(self, sums: F32, norms: F32, prepared: Prepared, lengths: F32 | None = None) -> F32:
        """Scores (q, n), higher is better, of raw sums (q, n) and |x_n| (n,) or (q, n)."""
        return finish(self.metric, sums, norms, prepared.norms, lengths)

    def score(
        self,
        queries: NDArray[Any],
        codes: U8,
        n_bytes: int | None = None,
        facts: dict[str, NDArray[Any]] | None = None,
    ) -> F32:
        """Scores (q, n) of queries (q, d) against codes cut at n_bytes.

        facts: what facts() gave; without them |x_n| is derived from the code, and
        the metrics dot and l2 raise UserError, since lengths are not in the code.
        """
        end = self._check_cut(n_bytes)
        prepared = self.prepare(queries)
        sums = self.raw_sums(prepared, codes, 0, end)
        if facts is not None and f"norm_{end}" in facts:
            norms = self.unpack_norms(facts[f"norm_{end}"], end)
        else:
            norms = self.norms(codes, end)
        return self.finish(sums, norms, prepared, None if facts is None else facts.get("length"))

    # The codec itself

    def size_bytes(self, n_bytes: int | None = None) -> int:
        """Bytes of the codec's own arrays when only the levels within n_bytes are kept."""
        kept = self if n_bytes is None else self.truncated(n_bytes)
        return sum(array.nbytes for array in kept.arrays().values())

    def truncated(self, n_bytes: int) -> Codec:
        """A codec that keeps the levels within n_bytes; its codes are the first n_bytes."""
        end = self._check_cut(n_bytes)
        kept: list[Level] = []
        specs = []
        terms = parse_spec(self.spec)
        for (start, level), term in zip(self._placed(), terms, strict=True):
            if start < end:
                kept.append(level.cut(min(end - start, level.bytes)))
                amount = min(end - start, level.bytes) if term.kind == "cb" else term.amount
                specs.append(replace(term, amount=amount))
        short = Codec(format_spec(tuple(specs)), **self._shared_settings())
        short.dim, short.map, short.fitted_rows = self.dim, self.map, self.fitted_rows
        short.levels = tuple(kept)
        short.cuts = tuple(cut for cut in self.cuts if cut <= end)
        short.ranges = {cut: self.ranges[cut] for cut in short.cuts}
        return short

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All fitted arrays by name, as stored."""
        found = {f"map.{name}": array for name, array in self.map.arrays().items()}
        for i, level in enumerate(self.levels):
            found |= {f"level{i}.{name}": array for name, array in level.arrays().items()}
        return found

    def to_config(self) -> dict[str, Any]:
        """JSON-able settings; with arrays() all there is to a codec."""
        return {
            "format": files.FORMAT,
            "spec": self.spec,
            "asked": self._wanted,
            **self._shared_settings(),
            "dim": self.dim,
            "fitted_rows": self.fitted_rows,
            "fitted_power": self.map.exponent,
            "cuts": list(self.cuts),
            "ranges": [self.ranges[cut].to_config() for cut in self.cuts],
            "levels": [level.to_config() for level in self.levels],
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Codec:
        """The codec that to_config and arrays describe."""
        names = ("metric", "beam", "power", "seed", "sample_rows")
        codec = cls(config["spec"], **{name: config[name] for name in names})
        codec._wanted = config["asked"]
        codec.dim = int(config["dim"])
        codec.fitted_rows = int(config["fitted_rows"])
        matrix = arrays.get("map.matrix")
        codec.map = SpectralMap(
            float(config["fitted_power"]), None if matrix is None else matrix.astype(np.float32)
        )
        codec.cuts = tuple(config["cuts"])
        codec.ranges = {
            cut: ByteRange.from_config(pair)
            for cut, pair in zip(codec.cuts, config["ranges"], strict=True)
        }
        codec.levels = files.build_levels(config["levels"], arrays)
        return codec

    def save(self, path: files.PathLike) -> None:
        """Write the codec as one safetensors file, whole or not at all."""
        self._check_fitted()
        files.write(path, self.to_config(), self.arrays())

    @classmethod
    def load(cls, path: files.PathLike) -> Codec:
        """Read what save wrote. Raises UserError where it is no codec, or cut short."""
        return cls.from_config(*files.read(path))

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's parameters, as scikit-learn asks for them."""
        return {"spec": self._wanted, **self._shared_settings()}

    def set_params(self, **params: Any) -> Codec:
        """Change constructor's parameters; raises UserError for a name it does not have."""
        known = self.get_params()
        for name, value in params.items():
            if name not in known:
                raise UserError(f"a codec has the parameters {sorted(known)}; got '{name}'.")
            setattr(self, "_wanted" if name == "spec" else name, value)
        self._check_settings()
        return self

    def _shared_settings(self) -> dict[str, Any]:
        return {
            "metric": self.metric,
            "beam": self.beam,
            "power": self.power,
            "seed": self.seed,
            "sample_rows": self.sample_rows,
        }

    def _placed(self) -> list[Placed]:
        return place(self.levels)

    def _check_settings(self) -> None:
        parse_spec(self._wanted)
        if self.metric not in METRICS:
            raise UserError(f"the metric is cosine, dot or l2; got '{self.metric}'; choose one.")
        if self.beam < 1:
            raise UserError(f"the beam keeps at least 1 entry; got {self.beam}; try 8.")
        if self.beam > MOST_BEAM:
            raise UserError(
                f"a beam keeps at most {MOST_BEAM} entries; got {self.beam}; 8 is plenty."
            )
        if self.seed < 0:
            raise UserError(f"a seed is a whole number from 0 up; got {self.seed}; try 0.")
        if self.sample_rows < 1:
            raise UserError(f"sample_rows is at least 1; got {self.sample_rows}; try 50000.")
        if isinstance(self.power, str) and self.power != "auto":
            raise UserError(f"the power is a number or 'auto'; got '{self.power}'; try -0.125.")

    def _check_fitted(self) -> None:
        if not self.levels:
            raise UserError("a codec must be fitted before use; this one is not; call fit first.")

    def _check_width(self, vectors: NDArray[Any]) -> None:
        if vectors.ndim != 2 or vectors.shape[1] != self.dim:
            raise UserError(
                f"this codec takes vectors of shape (n, {self.dim}); got {vectors.shape}; "
                "encode with the model that it was fitted for."
            )

    def _check_codes(self, codes: U8, end: int) -> None:
        fits = codes.ndim == 2 and codes.dtype == np.uint8 and codes.shape[1] >= end
        if not fits:
            raise UserError(
                f"codes cut at {end} bytes are uint8 of shape (n, {end}) or wider; got "
                f"{codes.dtype} of {codes.shape}; pass n_bytes={codes.shape[-1]} or whole codes."
            )

    def _check_cut(self, n_bytes: int | None) -> int:
        self._check_fitted()
        if n_bytes is None:
            return self.bytes
        if n_bytes not in self.level_ends:
            below = [end for end in self.level_ends if end < n_bytes][-1:]
            near = below + [end for end in self.level_ends if end > n_bytes][:1]
            raise UserError(
                f"a code of {self.spec} is cut where a level ends; got {n_bytes} bytes of "
                f"{self.bytes}; try {' or '.join(map(str, near))}."
            )
        return n_bytes
