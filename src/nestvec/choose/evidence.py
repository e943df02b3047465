"""What an evaluation found, as a value: cells with their intervals, to JSON and back."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.errors import UserError
from nestvec.measure.intervals import Interval

F64 = NDArray[np.float64]

SEEN, UNSEEN = "seen", "unseen"
"""Names of the parts of queries whose documents some training touched, and of the others."""
_OVER = ":"


def adapted_name(adapter: str, code: str) -> str:
    """The name of a code over adapted vectors: "linear:nested"."""
    return f"{adapter}{_OVER}{code}"


def unadapted(method: str) -> str | None:
    """The code's name in an adapted_name, None for a method that no adapter goes before."""
    _, over, code = method.partition(_OVER)
    return code if over else None


@dataclass(frozen=True)
class Cell:
    """One method at one size.

    dims: coordinates kept, None where the code has none. bytes: code bytes a vector;
    fact_bytes: what is read of a row beside them (norms, lengths); codec_bytes: the method's
    own size, once. value with its interval; delta is value less the full vectors' value, paired.
    layer: of the encoder, None for all of it. intrinsic_dimension, alignment and uniformity: of
    measure/geometry.py, None where they were not taken.
    """

    method: str
    dims: int | None
    bytes: int
    fact_bytes: int
    codec_bytes: int
    value: float
    low: float
    high: float
    delta: float
    delta_low: float
    delta_high: float
    layer: int | None = None
    intrinsic_dimension: int | None = None
    alignment: float | None = None
    uniformity: float | None = None

    def total_bytes(self, rows: int) -> int:
        """Everything that a collection of so many rows holds at this size."""
        return rows * (self.bytes + self.fact_bytes) + self.codec_bytes


@dataclass(frozen=True)
class Part:
    """The cells again for some of the queries, such as those not seen in training."""

    name: str
    queries: int
    full: Interval
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Evidence:
    """A grid of cells on one collection and one set of queries.

    fitted_rows: rows that methods were fitted on; fitted_on_relevant: whether relevant rows
    may be among them. seconds: of the whole evaluation. left_out: methods that could not run
    and why. values: (cells, q) and full_values (q,) of every query, in no JSON: None
    in evidence that was read back.
    """

    measure: str
    kind: str
    metric: str
    documents: int
    dim: int
    queries: int
    full: Interval
    cells: tuple[Cell, ...]
    parts: tuple[Part, ...] = ()
    fitted_rows: int = 0
    fitted_on_relevant: bool = False
    seed: int = 0
    seconds: float = 0.0
    left_out: tuple[str, ...] = ()
    values: F64 | None = field(default=None, compare=False, repr=False)
    full_values: F64 | None = field(default=None, compare=False, repr=False)

    def of(self, method: str) -> tuple[Cell, ...]:
        """The cells of one method, by rising size."""
        return tuple(cell for cell in self.cells if cell.method == method)

    def part(self, name: str) -> Part | None:
        """The part of that name, None where no query is in it, or none is told apart."""
        return next((part for part in self.parts if part.name == name), None)

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods' names in the order of the grid."""
        return tuple(dict.fromkeys(cell.method for cell in self.cells))

    def to_config(self) -> dict[str, Any]:
        """A JSON-able record of everything but the values of single queries."""
        record = {name: getattr(self, name) for name in _PLAIN}
        record["full"] = asdict(self.full)
        record["cells"] = [asdict(cell) for cell in self.cells]
        record["parts"] = [asdict(part) for part in self.parts]
        record["left_out"] = list(self.left_out)
        return record

    @classmethod
    def from_config(cls, record: dict[str, Any]) -> Evidence:
        """The evidence that to_config describes."""
        return cls(
            **{name: record[name] for name in _PLAIN},
            full=Interval(**record["full"]),
            cells=_cells(record["cells"]),
            parts=tuple(
                Part(p["name"], p["queries"], Interval(**p["full"]), _cells(p["cells"]))
                for p in record["parts"]
            ),
            left_out=tuple(record["left_out"]),
        )

    def to_json(self) -> str:
        """to_config as text."""
        return json.dumps(self.to_config())

    @classmethod
    def from_json(cls, text: str) -> Evidence:
        """What to_json wrote."""
        return cls.from_config(json.loads(text))

    def query_values(self) -> tuple[F64, F64]:
        """values (cells, q) and full_values (q,). Raises UserError where they were not kept."""
        if self.values is None or self.full_values is None:
            raise UserError(
                "choosing needs the values of single queries; got evidence without them: "
                "evaluate again."
            )
        return self.values, self.full_values


_PLAIN = (
    "measure",
    "kind",
    "metric",
    "documents",
    "dim",
    "queries",
    "fitted_rows",
    "fitted_on_relevant",
    "seed",
    "seconds",
)


def _cells(records: list[dict[str, Any]]) -> tuple[Cell, ...]:
    return tuple(Cell(**record) for record in records)
