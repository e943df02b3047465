"""InfoNCE at every width of a nesting, without a matrix of scores for each width."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from nestvec.errors import UserError
from nestvec.learn.losses.contrastive import check_ignored, check_pairs, check_temperature
from nestvec.learn.losses.nested import Parts, prefix_name
from nestvec.nesting import Nesting

_BLOCK = 128
# As torch.nn.functional.normalize has it.
_LEAST_LENGTH = 1e-12


def nested_info_nce(
    queries: Tensor,
    documents: Tensor,
    nesting: Nesting,
    *,
    temperatures: Sequence[float] = (0.05,),
    both_directions: bool = False,
    ignored: Tensor | None = None,
    block: int = _BLOCK,
) -> Parts:
    """Sum over widths m of c_m InfoNCE(n(queries[:m]), n(documents[:m])), n(x) = x / |x|.

    queries: (n, d); documents: (c, d), row i of query i, the rest hard negatives. temperatures:
    one for all widths or one a width. ignored: (n, c) bool, scores that no sum holds, as info_nce
    has them. Equal to nested() of info_nce up to rounding.

    Inner products of a prefix are those of the prefix before it and of the coordinates between,
    and the gradient of a coordinate is that of the summed score matrices of all prefixes that hold
    it: so all widths together take the matrix products of the widest alone. Rows of scores are
    made and dropped by blocks, twice where both directions are wanted, and gradients are kept
    instead of scores: memory beyond the gradients is block x c, with `ignored` as well.
    Raises UserError as info_nce does, and where a nesting is wider than the vectors.
    """
    check_pairs(queries, documents)
    check_ignored(ignored, queries, documents)
    taus = tuple(temperatures) * (len(nesting.widths) if len(temperatures) == 1 else 1)
    if len(taus) != len(nesting.widths):
        raise UserError(
            f"temperatures are one for all widths or one a width; got {len(temperatures)} for "
            f"{len(nesting.widths)} widths; give one."
        )
    for tau in taus:
        check_temperature(tau)
    if nesting.widths[-1] > queries.shape[1]:
        nesting.check(queries.shape[1])
    total, values = _NestedInfoNCE.apply(  # type: ignore[no-untyped-call]
        queries, documents, nesting.widths, nesting.weights, taus, both_directions, ignored, block
    )
    names = map(prefix_name, nesting.widths)
    return Parts(total, dict(zip(names, values.detach(), strict=True)))


class _NestedInfoNCE(torch.autograd.Function):
    """The weighed losses of all widths; gradients are made in the forward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        documents: Tensor,
        widths: tuple[int, ...],
        weights: tuple[float, ...],
        temperatures: tuple[float, ...],
        both_directions: bool,
        ignored: Tensor | None,
        block: int,
    ) -> tuple[Tensor, Tensor]:
        """(total, losses (w,)) of queries (n, d) and documents (c, d)."""
        q, d = queries.detach().float(), documents.detach().float()
        walk = _Walk(q, d, widths, temperatures, ignored, block)
        columns = walk.column_sums() if both_directions else None
        wanted = any(ctx.needs_input_grad[:2])
        losses, grad_q, grad_d = walk.losses(weights, columns, wanted)
        if wanted:
            ctx.save_for_backward(grad_q.to(queries.dtype), grad_d.to(documents.dtype))
        scale = torch.tensor(weights, dtype=losses.dtype, device=losses.device)
        return (losses * scale).sum(), losses

    @staticmethod
    def backward(ctx: Any, grad_total: Tensor, _grad_losses: Tensor) -> tuple[Any, ...]:
        """Gradients of the total; the single losses are told, not differentiated."""
        grad_q, grad_d = ctx.saved_tensors
        return grad_q * grad_total, grad_d * grad_total, None, None, None, None, None, None


class _Walk:
    """Blocks of rows of queries against all documents, prefix after prefix."""

    def __init__(
        self,
        q: Tensor,
        d: Tensor,
        widths: tuple[int, ...],
        temperatures: tuple[float, ...],
        ignored: Tensor | None,
        block: int,
    ) -> None:
        self.q, self.d, self.ignored, self.block = q, d, ignored, block
        self.temperatures = temperatures
        self.segments = list(zip((0, *widths[:-1]), widths, strict=True))
        # (w, n) and (w, c): one by the length of every prefix
        self.q_scales = _prefix_scales(q, self.segments)
        self.d_scales = _prefix_scales(d, self.segments)

    def column_sums(self) -> Tensor:
        """(w, n): log of the summed exp of scores of document i with every query."""
        n = len(self.q)
        sums = self.q.new_full((len(self.segments), n), float("-inf"))
        for start in range(0, n, self.block):
            for w, cosines in self._cosines(start, n):
                here = torch.logsumexp(self._logits(start, w, cosines), dim=0)
                sums[w] = torch.logaddexp(sums[w], here)
        return sums

    def losses(
        self, weights: tuple[float, ...], columns: Tensor | None, wanted: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Losses (w,) and, where wanted, gradients of their weighed sum: (n, d), (c, d)."""
        n, c, count = len(self.q), len(self.d), len(self.segments)
        sums = self.q.new_zeros(count)
        grad_q, grad_d = torch.zeros_like(self.q), torch.zeros_like(self.d)
        pull_q, pull_d = self.q.new_zeros(count, n), self.q.new_zeros(count, c)
        room = self.q.new_empty(count, min(self.block, n), c) if wanted else None
        for start in range(0, n, self.block):
            stop = min(start + self.block, n)
            own = torch.arange(start, stop, device=self.q.device)
            here = own - start
            for w, cosines in self._cosines(start, c):
                tau = self.temperatures[w]
                shares = self._logits(start, w, cosines)
                rows = torch.logsumexp(shares, dim=1, keepdim=True)
                own_scores = shares[here, own]
                lost = rows[:, 0] - own_scores
                if columns is not None:
                    lost = (lost + columns[w, start:stop] - own_scores) / 2
                sums[w] += lost.sum() / n
                if room is None:
                    continue
                both = None
                if columns is not None:
                    both = torch.exp(shares[:, :n] - columns[w])
                shares.sub_(rows).exp_()
                if both is not None:
                    shares[:, :n] += both
                shares[here, own] -= 1 if both is None else 2
                shares *= weights[w] / (n * tau * (1 if both is None else 2))
                # d cos / d q = d / (|q| |d|) - cos q / |q|^2, and so for documents
                turned = shares * cosines
                pull_q[w, start:stop] = turned.sum(dim=1)
                pull_d[w] += turned.sum(dim=0)
                torch.mul(shares, self.q_scales[w, start:stop, None], out=room[w, : len(here)])
                room[w, : len(here)] *= self.d_scales[w]
            if room is not None:
                self._add_products(room[:, : len(here)], start, stop, grad_q, grad_d)
        if wanted:
            self._add_pulls(self.q, self.q_scales, pull_q, grad_q)
            self._add_pulls(self.d, self.d_scales, pull_d, grad_d)
        return sums, grad_q, grad_d

    def _cosines(self, start: int, columns: int) -> Iterator[tuple[int, Tensor]]:
        """(w, cosines (b, columns)) of a block of queries, narrowest prefix first."""
        stop = start + self.block
        products = self.q.new_zeros(len(self.q[start:stop]), columns)
        for w, (low, high) in enumerate(self.segments):
            products.addmm_(self.q[start:stop, low:high], self.d[:columns, low:high].T)
            cosines = products * self.q_scales[w, start:stop, None]
            cosines *= self.d_scales[w, :columns]
            yield w, cosines

    def _logits(self, start: int, w: int, cosines: Tensor) -> Tensor:
        """Cosines (b, columns) of a block of queries by their temperature, -inf where ignored."""
        logits = cosines / self.temperatures[w]
        if self.ignored is not None:
            stop = start + self.block
            logits.masked_fill_(self.ignored[start:stop, : logits.shape[1]], float("-inf"))
        return logits

    def _add_products(
        self, room: Tensor, start: int, stop: int, grad_q: Tensor, grad_d: Tensor
    ) -> None:
        """Widest first, each coordinate gets the sum of the prefixes that hold it."""
        for w in range(len(self.segments) - 1, -1, -1):
            if w + 1 < len(self.segments):
                room[w] += room[w + 1]
            low, high = self.segments[w]
            grad_q[start:stop, low:high] = room[w] @ self.d[:, low:high]
            grad_d[:, low:high].addmm_(room[w].T, self.q[start:stop, low:high])

    def _add_pulls(self, rows: Tensor, scales: Tensor, pulls: Tensor, grad: Tensor) -> None:
        """Take off each row's own direction, by which its length would change."""
        by_segment = (pulls * scales**2).flip(0).cumsum(0).flip(0)
        for w, (low, high) in enumerate(self.segments):
            grad[:, low:high] -= by_segment[w, :, None] * rows[:, low:high]


def _prefix_scales(rows: Tensor, segments: list[tuple[int, int]]) -> Tensor:
    squares = torch.stack([rows[:, low:high].square().sum(dim=1) for low, high in segments])
    return squares.cumsum(0).sqrt().clamp_min(_LEAST_LENGTH).reciprocal()
