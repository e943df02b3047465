"""How a codec is written: levels joined by '+', such as 32xcb or sign256+24xcb."""

from __future__ import annotations

import re
from dataclasses import dataclass

from nestvec.errors import UserError

_FORMS = (
    (re.compile(r"([1-9]\d*)xcb(\d+)?(?:@([24]))?"), "cb"),
    (re.compile(r"sign([1-9]\d*)"), "sign"),
    (re.compile(r"(?:([1-9]\d*)x)?int8"), "int8"),
    (re.compile(r"float16"), "float16"),
    (re.compile(r"raw"), "raw"),
)
_MOST_CODEBOOKS = 512
_CODEWORDS = (2, 4, 8, 16, 32, 64, 128, 256)
_EXAMPLES = (
    "32xcb, 48xcb@2, 32xcb64, 48xcb16, sign256+24xcb, 64xcb+int8, 64xint8, int8, float16 or raw"
)


@dataclass(frozen=True)
class LevelSpec:
    """One term of a spec.

    kind: cb (codebooks), sign (a sign plane), int8, float16 or raw (float32).
    amount: bytes of a cb term, bits of a sign term, leading coordinates of an int8 term (0 for
    all), else 0.
    codewords: codewords a codebook of a cb term, else 0; 16 codewords are packed two a byte.
    precision: bits that a codeword's coordinate is stored in, 8, 4 or 2, of a cb term, else 0.
    """

    kind: str
    amount: int = 0
    codewords: int = 0
    precision: int = 0

    def __str__(self) -> str:
        if self.kind == "cb":
            words = "" if self.codewords == 256 else str(self.codewords)
            return f"{self.amount}xcb{words}" + (f"@{self.precision}" if self.precision < 8 else "")
        if self.kind == "int8" and self.amount:
            return f"{self.amount}xint8"
        return f"sign{self.amount}" if self.kind == "sign" else self.kind


def parse_spec(spec: str) -> tuple[LevelSpec, ...]:
    """The levels of a spec, first to last.

    Raises UserError where a term is unknown, a number of codewords is not a power of two from 2
    to 256, sign bits are not whole bytes, or float16 or raw is followed by another level.
    """
    levels = tuple(_parse_level(term.strip(), spec) for term in spec.split("+"))
    for level in levels[:-1]:
        if level.kind in ("float16", "raw", "int8"):
            raise UserError(
                f"int8, float16 and raw can only be the last level of a codec; got '{spec}'; "
                f"write one of {_EXAMPLES}."
            )
    return levels


def format_spec(levels: tuple[LevelSpec, ...]) -> str:
    """The text that parse_spec reads back as these levels."""
    return "+".join(map(str, levels))


def check_width(term: LevelSpec, dim: int) -> None:
    """Raise UserError where an int8 term names more coordinates than vectors of dim have."""
    if term.kind == "int8" and term.amount > dim:
        raise UserError(
            f"int8 keeps at most all coordinates; got {term} for vectors of {dim}: write "
            f"{dim}xint8 or fewer."
        )


def _parse_level(term: str, spec: str) -> LevelSpec:
    for form, kind in _FORMS:
        found = form.fullmatch(term)
        if found is None:
            continue
        if kind == "cb":
            codewords = int(found[2] or 256)
            if int(found[1]) > _MOST_CODEBOOKS:
                raise UserError(
                    f"a codec has at most {_MOST_CODEBOOKS} bytes of codebooks; got {found[1]} in "
                    f"'{spec}'; write 64xcb+int8, for instance."
                )
            if codewords not in _CODEWORDS:
                raise UserError(
                    "a codebook has a power of two from 2 to 256 codewords; "
                    f"got {codewords} in '{spec}'; write 32xcb64, for instance."
                )
            return LevelSpec("cb", int(found[1]), codewords, int(found[3] or 8))
        if kind == "sign":
            bits = int(found[1])
            if bits % 8:
                raise UserError(
                    f"a sign plane has whole bytes; got {bits} bits in '{spec}'; "
                    f"write sign{bits - bits % 8 + 8}."
                )
            return LevelSpec("sign", bits)
        if kind == "int8":
            return LevelSpec("int8", int(found[1] or 0))
        return LevelSpec(kind)
    raise UserError(
        f"a codec is written as levels joined by '+'; got '{term}' in '{spec}'; "
        f"write something like {_EXAMPLES}."
    )
