"""Embeddings of texts read layer by layer: only rows that are asked for go on to a deeper one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nestvec.errors import UserError
from nestvec.learn.layers import encoder_of, final_norm, stack_of

I64 = NDArray[np.int64]


@dataclass(frozen=True)
class _Kept:
    """A row between layers: what its tokens are told as, {name: (t,)}, and states (t, h)."""

    tokens: dict[str, Tensor]
    states: Tensor


class LayerReader:
    """The embeddings of texts at rising layers, of fewer rows each time.

    Hidden states of the rows that were read last are kept, so that a deeper layer of some of them
    runs the layers between alone; rows that were not read last start anew. What it gives is what a
    model cut at that layer gives, its final norm included. Rows go in batches of like length; kept
    are 4 t h bytes a row of t tokens and h coordinates, without padding.

    model: a sentence-transformers model; its layers are held back while one reads, so one thread
    at a time. depth: how many it has. rows_run: (depth,) how many rows each layer has run. Raises
    UserError where layers are no list, or something else than a norm follows them.
    """

    def __init__(self, model: Any, texts: Sequence[str], *, batch: int = 32) -> None:
        self._model, self._texts, self._batch = model, texts, batch
        self._parent, self._name, self._stack = stack_of(encoder_of(model))
        final_norm(model)  # refuses what cannot be read early
        self._tokenizer = model.tokenizer
        self.depth = len(self._stack)
        self._layer = 0
        self._kept: dict[int, _Kept] = {}
        self.rows_run = np.zeros(self.depth, np.int64)

    def read(self, layer: int, rows: I64) -> Tensor:
        """Embeddings (m, d), float32, of rows (m,) at a layer from 1 to the model's depth.

        Raises UserError for a layer that the model has not.
        """
        if not 1 <= layer <= self.depth:
            raise UserError(
                f"the model has {self.depth} layers; got {layer}; read 1 to {self.depth}."
            )
        asked = np.asarray(rows, np.int64).tolist()
        before = self._kept if all(row in self._kept for row in asked) else {}
        first = self._layer if before and self._layer < layer else 0
        self._layer, self._kept = layer, {}
        sizes = [len(before[r].states) if first else len(self._texts[r]) for r in asked]
        order = np.argsort(sizes, kind="stable")
        found: list[Tensor] = []
        with torch.inference_mode(), self._only(first, layer):
            for start in range(0, len(asked), self._batch):
                few = [asked[i] for i in order[start : start + self._batch]]
                states = None
                if first:
                    features, states = self._padded([before[row] for row in few])
                else:
                    features = self._model.preprocess([self._texts[row] for row in few])
                embeddings, raw = self._run(first, layer, features, states)
                found.append(embeddings)
                if layer < self.depth:
                    self._kept.update(zip(few, _kept_of(features, raw), strict=True))
        self.rows_run[first:layer] += len(asked)
        if not found:
            return torch.zeros(0, int(self._model.get_embedding_dimension()))
        return torch.cat(found)[torch.from_numpy(np.argsort(order))]

    def _run(
        self, first: int, layer: int, features: dict[str, Any], states: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Embeddings of a batch and raw states (n, t, h) after the layer.

        The encoder itself makes masks and positions, and so works alike for every architecture;
        the states it starts with, which cost little, give way to those that were kept.
        """
        device = next(self._model.parameters()).device
        here = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in features.items()}
        raw: list[Tensor] = []

        def take(_module: nn.Module, _args: Any, output: Any) -> None:
            raw.append(output[0] if isinstance(output, tuple) else output)

        def give(_module: nn.Module, args: Any, told: Any) -> tuple[Any, Any]:
            if args:
                return (states, *args[1:]), told
            return args, {**told, "hidden_states": states}

        handles = [self._stack[layer - 1].register_forward_hook(take)]
        if states is not None:
            handles.append(self._stack[first].register_forward_pre_hook(give, with_kwargs=True))
        try:
            embeddings: Tensor = self._model(here)["sentence_embedding"]
        finally:
            for handle in handles:
                handle.remove()
        return embeddings.float().cpu(), raw[0]

    def _padded(self, kept: Sequence[_Kept]) -> tuple[dict[str, Tensor], Tensor]:
        """Features {name: (n, t)} and states (n, t, h) of rows, as long as the longest."""
        lengths = torch.tensor([len(each.states) for each in kept])
        mask = torch.arange(int(lengths.max())) < lengths[:, None]
        if self._tokenizer.padding_side == "left":
            mask = mask.flip(1)
        features = {}
        for name, values in kept[0].tokens.items():
            fill = self._tokenizer.pad_token_id if name == "input_ids" else 0
            features[name] = values.new_full(mask.shape, fill)
            features[name][mask] = torch.cat([each.tokens[name] for each in kept])
        states = torch.cat([each.states for each in kept])
        padded = states.new_zeros(*mask.shape, states.shape[-1])
        padded[mask.to(states.device)] = states
        return features, padded

    @contextmanager
    def _only(self, first: int, last: int) -> Iterator[None]:
        """The model has its layers from first to last alone, and does not train."""
        training = self._model.training
        self._model.eval()
        setattr(self._parent, self._name, nn.ModuleList(list(self._stack)[first:last]))
        try:
            yield
        finally:
            setattr(self._parent, self._name, self._stack)
            self._model.train(training)


def _kept_of(features: dict[str, Any], raw: Tensor) -> Iterator[_Kept]:
    """Each row of a batch without its padding."""
    mask = features["attention_mask"].bool().cpu()
    lengths = mask.sum(dim=1).tolist()
    tokens = {
        name: torch.split(value.cpu()[mask], lengths)
        for name, value in features.items()
        if isinstance(value, Tensor) and value.shape == mask.shape
    }
    states = torch.split(raw[mask.to(raw.device)], lengths)
    for i, state in enumerate(states):
        yield _Kept({name: value[i] for name, value in tokens.items()}, state)
