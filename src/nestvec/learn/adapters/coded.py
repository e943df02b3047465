"""Training through the code: an adapter that spends bytes on what retrieval needs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from nestvec.codec.nested import Codec
from nestvec.learn.adapters.checkpoint import History, State
from nestvec.learn.adapters.examples import Batch, Examples, batches
from nestvec.learn.adapters.objectives import Apply, Contrast, Mapped
from nestvec.learn.losses.contrastive import info_nce
from nestvec.nesting import Nesting
from nestvec.progress import Progress, quiet
from nestvec.vectors import normalize

F32 = NDArray[np.float32]

_FEWEST_ROUNDS = 4


@dataclass(frozen=True)
class Coding:
    """How an adapter is trained through the code.

    rounds: at most; each fits a codec on the adapted documents anew and takes `steps` steps.
    passes: over the pairs, at most, though there are four rounds in any case. batch: pairs a step.
    rate: Adam's at first; it falls linearly to 0 over all rounds. width: leading coordinates that
    are coded. spec, beam, power: of the codec. cuts: in bytes, at which codes must find their
    queries. fit_rows: documents that each codec is fitted on. temperature: of InfoNCE. floats:
    weight of InfoNCE at all widths beside it.
    """

    rounds: int = 16
    passes: int = 20
    steps: int = 13
    batch: int = 3_072
    rate: float = 2e-3
    width: int = 192
    spec: str = "16xcb"
    beam: int = 4
    power: float = -0.0625
    cuts: tuple[int, ...] = (4, 8, 16)
    fit_rows: int = 15_000
    temperature: float = 0.03
    floats: float = 0.5

    def within(self, pairs: int) -> Coding:
        """The same with as many rounds as its passes over so many pairs take."""
        wanted = math.ceil(self.passes * pairs / (self.steps * self.batch))
        return replace(self, rounds=min(self.rounds, max(_FEWEST_ROUNDS, wanted)))


@dataclass(frozen=True, eq=False)
class ThroughCode:
    """InfoNCE of queries with documents as their codes decode, at every cut, summed.

    Other documents that answer a query are left out of its sum, as Contrast leaves them. A
    document's code changes by jumps; its gradient goes straight through to the adapted vector
    (Bengio, Leonard and Courville 2013, arXiv:1308.3432), so that the map moves documents to where
    their codes are told apart from those of the rest of the batch.
    """

    codec: Codec
    coding: Coding

    def __call__(self, mapped: Mapped, batch: Batch, apply: Apply) -> Tensor:
        """Needs labels."""
        assert mapped.queries is not None
        width, temperature = min(self.coding.width, self.codec.dim), self.coding.temperature
        queries = functional.normalize(mapped.queries[:, :width], dim=1)
        documents = functional.normalize(mapped.documents[:, :width], dim=1)
        total = queries.new_zeros(())
        for decoded in decodings(self.codec, documents, self.coding.cuts):
            through = documents + (decoded - documents).detach()
            coded = functional.normalize(through, dim=1)
            total = total + info_nce(
                queries, coded, temperature=temperature, ignored=batch.other_answers
            )
        return total


def decodings(codec: Codec, vectors: Tensor, cuts: tuple[int, ...]) -> Iterator[Tensor]:
    """What the codes of unit vectors (n, w) decode to at each cut in turn: (n, w), new tensors."""
    codes = codec.encode(np.ascontiguousarray(vectors.detach().cpu().numpy()))
    for _, found in codec.reconstructions(codes, cuts):
        yield torch.from_numpy(np.array(found, np.float32)).to(vectors.device)


def train_through_code(
    module: nn.Module,
    fitted: Examples,
    held: Examples,
    nesting: Nesting,
    coding: Coding,
    *,
    seed: int = 0,
    device: str = "cpu",
    checkpoint: Path | None = None,
    whose: str = "",
    progress: Progress | None = None,
) -> History:
    """Train module (in place) on codes of its own output; it ends as its best round began or ended.

    fitted, held: labelled examples of the same documents. The score is the mean over the cuts of
    1 / log2(1 + rank) within 10 of held-out pairs, among the codec's own fitting documents and
    theirs. checkpoint: a file that is written once a round, and gone on from where it is there and
    was written with the same `whose`. Memory: fit_rows adapted documents and the scores of a batch.
    Raises UserError for a checkpoint of another training or a damaged one.
    """
    listener = progress or quiet()
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], coding.rate)
    total = coding.rounds * coding.steps
    falling = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / total)
    contrast = Contrast(nesting, coding.temperature)
    scoring = _Held(held, coding, rng)
    rows = np.sort(rng.permutation(len(fitted.documents))[: coding.fit_rows])

    state = State([module], optimizer, falling, checkpoint, whose)
    drawn = batches(fitted, coding.batch, seed + 1, torch.device(device))
    for _ in range(state.step):
        next(drawn)

    def apply(some: Tensor) -> Tensor:
        mapped: Tensor = module(some)
        return mapped

    def refitted() -> tuple[Codec, F32]:
        """The codec of the round that begins, and what it was fitted on."""
        turn = state.step // coding.steps
        with torch.no_grad():
            adapted = _cut(apply, fitted.documents[rows], coding.width, device)
        codec = Codec(coding.spec, beam=coding.beam, power=coding.power, seed=seed + turn)
        return codec.fit(adapted), adapted

    listener.start("train through the code", total)
    listener.advance(state.step)
    if state.step < total:
        # a checkpoint holds no codec: the weights and the round's seed give it again
        codec, adapted = refitted()
        if not state.resumed:
            state.check(0.0, None, scoring(apply, codec, adapted, device))
    while state.step < total:
        through = ThroughCode(codec, coding)
        losses: list[float] = []
        for _ in range(coding.steps):
            batch = next(drawn)
            assert batch.queries is not None
            mapped = Mapped(apply(batch.documents), apply(batch.queries))
            loss = through(mapped, batch, apply)
            loss = loss + coding.floats * contrast(mapped, batch, apply)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            falling.step()
            state.step += 1
            losses.append(float(loss.detach()))
            listener.advance(1)
        codec, adapted = refitted()
        passes = state.step * coding.batch / max(1, _count(fitted))
        state.check(passes, float(np.mean(losses)), scoring(apply, codec, adapted, device))
    listener.finish()
    state.restore_best()
    return state.history


class _Held:
    """Held-out pairs as codes find them."""

    def __init__(self, held: Examples, coding: Coding, rng: np.random.Generator) -> None:
        assert held.pairs is not None
        assert held.queries is not None
        picks = np.sort(rng.permutation(len(held.pairs))[:1_000])
        self._coding = coding
        self._queries = np.asarray(held.queries[held.pairs[picks, 0]])
        self._documents = np.asarray(held.documents[held.pairs[picks, 1]])

    def __call__(self, apply: Apply, codec: Codec, others: F32, device: str) -> float:
        width = self._coding.width
        with torch.no_grad():
            queries = torch.from_numpy(_cut(apply, self._queries, width, device))
            own = _cut(apply, self._documents, width, device)
        rivals = decodings(codec, torch.from_numpy(others), self._coding.cuts)
        wanted = decodings(codec, torch.from_numpy(own), self._coding.cuts)
        values = []
        for mine, rest in zip(wanted, rivals, strict=True):
            target = (queries * functional.normalize(mine, dim=1)).sum(dim=1, keepdim=True)
            scores = queries @ functional.normalize(rest, dim=1).T
            ranks = 1 + (scores > target).sum(dim=1)
            values.append(torch.where(ranks <= 10, 1 / torch.log2(1.0 + ranks), 0.0).mean().item())
        return float(np.mean(values))


def _cut(apply: Apply, vectors: NDArray[np.generic], width: int, device: str) -> F32:
    unit = torch.from_numpy(normalize(np.asarray(vectors))).to(device)
    mapped = functional.normalize(apply(unit)[:, :width], dim=1)
    return np.ascontiguousarray(mapped.detach().cpu().numpy())


def _count(examples: Examples) -> int:
    return 0 if examples.pairs is None else len(examples.pairs)
