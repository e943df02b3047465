"""Masked language modelling at every width, by the tied output matrix."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from nestvec.errors import UserError
from nestvec.learn.losses.nested import Parts, prefix_name
from nestvec.nesting import Nesting

SHARE = 0.15


class MaskedWords(nn.Module):
    """logits_m = E[:, :m] h[:m] + b at masked places: MRL-E, with the word embeddings E as W.

    model: whose word embeddings E (V, d) are tied to the output. b is trained here. Of the words
    (special ones apart) 15 % are asked for; of these 80 % are masked, 10 % replaced by a random
    word, 10 % left. Devlin et al. 2019 (arXiv:1810.04805, section 3.1); Kusupati et al. 2022
    (arXiv:2205.13147, section 3, MRL-E).
    """

    def __init__(self, model: Any, nesting: Nesting) -> None:
        super().__init__()
        self.nesting = nesting
        self._tokenizer = model.tokenizer
        words = _word_embeddings(model)
        if nesting.widths[-1] > words.shape[1]:
            nesting.check(words.shape[1])
        if self._tokenizer.mask_token_id is None:
            raise UserError("masked words need a tokenizer with a mask; this model's has none.")
        self.bias = nn.Parameter(torch.zeros(len(words)))

    def forward(self, model: Any, features: dict[str, Any], generator: torch.Generator) -> Parts:
        """The cross entropy of the words asked for, at every width."""
        ids: Tensor = features["input_ids"]
        asked = self._ask(ids, features["attention_mask"], generator)
        masked = self._mask(ids, asked, generator)
        states = model({**features, "input_ids": masked})["token_embeddings"]
        hidden, wanted = states[asked], ids[asked]
        words = _word_embeddings(model)
        total = hidden.new_zeros(())
        parts: dict[str, Tensor] = {}
        for width, weight in zip(self.nesting.widths, self.nesting.weights, strict=True):
            logits = functional.linear(hidden[:, :width], words[:, :width], self.bias)
            value = functional.cross_entropy(logits, wanted)
            total = total + weight * value
            parts[prefix_name(width)] = value.detach()
        return Parts(total, parts)

    def _ask(self, ids: Tensor, attention: Tensor, generator: torch.Generator) -> Tensor:
        special = torch.tensor(self._tokenizer.all_special_ids, device=ids.device)
        words = attention.bool() & ~torch.isin(ids, special)
        chance = torch.rand(ids.shape, generator=generator).to(ids.device)
        asked = words & (chance < SHARE)
        if not asked.any():  # a short batch: the first word, so that there is a loss
            asked.view(-1)[words.view(-1).nonzero()[:1]] = True
        return asked

    def _mask(self, ids: Tensor, asked: Tensor, generator: torch.Generator) -> Tensor:
        fate = torch.rand(ids.shape, generator=generator).to(ids.device)
        others = torch.randint(len(self.bias), ids.shape, generator=generator).to(ids.device)
        masked = torch.where(asked & (fate < 0.8), self._tokenizer.mask_token_id, ids)
        return torch.where(asked & (fate >= 0.9), others, masked)


def _word_embeddings(model: Any) -> Tensor:
    from nestvec.learn.distributed import unwrapped
    from nestvec.learn.layers import encoder_of

    words: Tensor = encoder_of(unwrapped(model)).get_input_embeddings().weight
    return words
