"""What a recipe trains: columns of features in, a loss with its parts out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from nestvec.errors import UserError
from nestvec.learn.distributed import gathered, processes, unwrapped
from nestvec.learn.layers import Layers
from nestvec.learn.losses.cached import cached
from nestvec.learn.losses.contrastive import info_nce
from nestvec.learn.losses.heads import (
    SeparateHeads,
    TiedHead,
    layered_cross_entropy,
    nested_cross_entropy,
)
from nestvec.learn.losses.lean import nested_info_nce
from nestvec.learn.losses.nested import Parts, nested
from nestvec.learn.losses.ranking import cosent
from nestvec.learn.losses.temperature import (
    TEMPERATURES,
    schedule,
    spaced_temperatures,
    temp_agg,
    temp_agg_mrl,
    temp_spec_mrl,
)
from nestvec.learn.losses.two_d import draw, ese, fixed_pairs, two_d, uniform_layers
from nestvec.learn.losses.weights import LearnedWeights, sampled_nesting
from nestvec.learn.losses.words import MaskedWords
from nestvec.learn.pixels import with_disturbed
from nestvec.learn.recipe_tables import PAIR_LOSSES, Recipe
from nestvec.nesting import Nesting

_KEY = "sentence_embedding"
Contrast = Callable[[Tensor, Tensor, bool], Parts]
"""A loss of queries, documents, and whether it goes both ways."""


class Objective(nn.Module):
    """The loss of a recipe over a sentence-transformers model, for its trainer.

    model: runs once a column (twice, by gradient caching, where the recipe has a mini_batch).
    classes: number of labels, for class heads. step and done (share of training) are set by the
    trainer: draws of layers, widths and words depend on the seed and the step alone, so that all
    processes draw alike and a resumed run goes on as it would have.
    Raises UserError where the recipe does not fit the model.
    """

    def __init__(self, model: Any, recipe: Recipe, *, classes: int = 0) -> None:
        super().__init__()
        self.model = model
        self.recipe = recipe
        dim = int(model.get_embedding_dimension())
        self.nesting = recipe.nesting_for(dim)
        if self.nesting.widths[-1] > dim:
            self.nesting.check(dim)
        self.step = 0
        self.done = 0.0
        self.layers = Layers(model) if recipe.layers.kind else None
        loss = recipe.loss
        self.tau_of = schedule(loss.schedule, loss.temperature, loss.last_temperature)
        self.log_temperature: nn.Parameter | None = None
        if loss.learned:
            self.log_temperature = nn.Parameter(torch.tensor(loss.temperature).log())
        self.weights = LearnedWeights(self.nesting) if recipe.nesting.learned else None
        self.heads: SeparateHeads | TiedHead | None = None
        if loss.kind == "cross_entropy":
            kind = SeparateHeads if loss.head == "separate" else TiedHead
            self.heads = kind(self.nesting, classes)
            # of layers before the last, by their number
            self.early_heads = nn.ModuleDict(
                {str(layer): kind(self.nesting, classes) for layer in self._early_layers()}
            )
        self.words = MaskedWords(model, self.nesting) if loss.kind == "masked_words" else None

    def _early_layers(self) -> tuple[int, ...]:
        """Those that have class heads, less the last, which always has."""
        if self.layers is None:
            return ()
        depth, at = self.layers.depth, self.recipe.layers.at
        if at[-1] > depth:
            raise UserError(
                f"the model has {depth} layers; got heads at {at[-1]}; name 1 to {depth}."
            )
        return tuple(layer for layer in at if layer < depth)

    def own_state(self) -> dict[str, Tensor]:
        """What is trained here and is not the model's: heads, weights, temperature."""
        state = self.state_dict()
        return {name: value for name, value in state.items() if not name.startswith("model.")}

    def temperature(self) -> Tensor | float:
        """Of this step."""
        if self.log_temperature is not None:
            return self.log_temperature.exp()
        return self.tau_of(self.done)

    def temperatures(self) -> tuple[float, ...]:
        """Those the loss used last: one, one a width, or the family's; none where it has none."""
        loss = self.recipe.loss
        if loss.kind not in PAIR_LOSSES or loss.temperatures:
            return loss.temperatures
        if loss.kind == "info_nce":
            return (float(self.temperature()),)
        if loss.kind == "temp_spec_mrl":
            return spaced_temperatures(len(self.nesting.widths))
        return TEMPERATURES

    def forward(self, features: Sequence[dict[str, Any]], labels: Tensor | None = None) -> Parts:
        """The loss of a batch: features of every text column, in the recipe's order."""
        if self.words is not None:
            words: Parts = self.words(self.model, features[0], self._generator())
            return words
        columns = [self._embed(self._disturbed(column)) for column in features]
        if self.layers is not None:
            return self._layered(list(zip(*columns, strict=True)), labels)
        return self._nested([column[0] for column in columns], labels)

    def _embed(self, features: dict[str, Any]) -> tuple[Tensor, ...]:
        """The embedding of a column, or one of every layer."""
        mini_batch = self.recipe.train.mini_batch
        if mini_batch is None:
            return self._run(self.model, features)
        bare = unwrapped(self.model)
        return cached(lambda chunk: self._run(bare, dict(chunk)), features, mini_batch)

    def _disturbed(self, features: dict[str, Any]) -> dict[str, Any]:
        """Features, their pictures disturbed while training: alike when a step is taken again."""
        if not self.training or self.recipe.images.size is None:
            return features
        return with_disturbed(features, self.recipe.images, self._generator())

    def _run(self, model: Any, features: dict[str, Any]) -> tuple[Tensor, ...]:
        output = model(dict(features))
        if self.layers is None:
            return (output[_KEY],)
        return tuple(self.layers.read(unwrapped(model), features, output))

    def _nested(self, columns: list[Tensor], labels: Tensor | None) -> Parts:
        loss = self.recipe.loss
        if self.heads is not None:
            assert labels is not None
            return nested_cross_entropy(
                self.heads(columns[0]), labels, self._drawn(), smoothing=loss.smoothing
            )
        if loss.kind == "cosent":
            assert labels is not None
            grades = gathered(labels)
            return self._weighed(
                lambda left, right: cosent(left, right, grades, scale=loss.scale),
                [gathered(column) for column in columns],
            )
        if loss.kind == "info_nce":
            return self._contrasted(self._info_nce, columns)
        queries, documents = columns[0], gathered(torch.cat(columns[1:]))
        taus = {"temperatures": loss.temperatures} if loss.temperatures else {}
        if loss.kind == "temp_agg":
            return temp_agg(queries, documents, **taus)
        family = temp_agg_mrl if loss.kind == "temp_agg_mrl" else temp_spec_mrl
        return family(queries, documents, self.nesting, **taus)

    def _contrasted(self, one: Contrast, columns: Sequence[Tensor]) -> Parts:
        """InfoNCE of anchors with positives, negatives and the documents of other processes.

        Across processes the way back, from documents to queries, has the others' queries too, so
        that it is what one process with all of them would have.
        """
        queries, positives = columns[0], columns[1]
        documents = gathered(torch.cat(list(columns[1:])))
        both = self.recipe.loss.both_directions
        if not both or processes() == 1:
            return one(queries, documents, both)
        ways = one(queries, documents, False), one(positives, gathered(queries), False)
        parts = {name: (ways[0].parts[name] + ways[1].parts[name]) / 2 for name in ways[0].parts}
        return Parts((ways[0].total + ways[1].total) / 2, parts)

    def _info_nce(self, queries: Tensor, documents: Tensor, both: bool) -> Parts:
        loss, tau = self.recipe.loss, self.temperature()
        nesting = self._drawn()
        taus: Sequence[float | Tensor] = (tau,) * len(nesting.widths)
        if loss.temperatures:
            by_width = dict(zip(self.nesting.widths, loss.temperatures, strict=True))
            taus = [by_width[width] for width in nesting.widths]
        losses = [
            partial(info_nce, temperature=one, both_directions=both, beta=loss.beta) for one in taus
        ]
        if self.weights is not None:
            weighed: Parts = self.weights(losses[0], [queries, documents])
            return weighed
        if isinstance(tau, Tensor) or loss.beta:
            return nested(losses, [queries, documents], nesting)
        fixed = [float(one) for one in taus]
        return nested_info_nce(
            queries, documents, nesting, temperatures=fixed, both_directions=both
        )

    def _whole_info_nce(self, queries: Tensor, documents: Tensor, both: bool) -> Parts:
        """Of vectors as they are, already cut."""
        tau, beta = self.temperature(), self.recipe.loss.beta
        total = info_nce(queries, documents, temperature=tau, both_directions=both, beta=beta)
        return Parts(total, {})

    def _weighed(self, loss: Any, columns: list[Tensor]) -> Parts:
        if self.weights is None:
            return nested(loss, columns, self._drawn())
        weighed: Parts = self.weights(loss, columns)
        return weighed

    def _layered(self, layers: list[tuple[Tensor, ...]], labels: Tensor | None) -> Parts:
        table, recipe = self.recipe.layers, self.recipe
        if self.heads is not None:
            assert labels is not None
            logits = {int(at): one(layers[int(at) - 1][0]) for at, one in self.early_heads.items()}
            logits[len(layers)] = self.heads(layers[-1][0])
            return layered_cross_entropy(
                logits, labels, self.nesting, smoothing=recipe.loss.smoothing
            )
        retrieval = recipe.loss.kind == "info_nce"

        def loss(*columns: Tensor) -> Tensor:
            if not retrieval:
                assert labels is not None
                left, right = map(gathered, columns)
                return cosent(left, right, gathered(labels), scale=recipe.loss.scale)
            return self._contrasted(self._whole_info_nce, columns).total

        if table.kind == "pairs":
            return fixed_pairs(
                loss, layers, table.pairs, alignment=table.alignment, of_scores=retrieval
            )
        if table.kind == "ese":
            assert table.width is not None
            return ese(loss, layers, table.width)
        drawn = draw(len(layers), self.nesting.widths, self._generator())
        if table.kind == "two_d":
            return two_d(loss, layers, drawn, alignment=table.alignment)
        return uniform_layers(loss, layers, drawn.layer, self.nesting, alignment=table.alignment)

    def _drawn(self) -> Nesting:
        """The nesting, or so many of its widths as a step trains."""
        count = self.recipe.nesting.per_step
        if count is None or not self.training:
            return self.nesting
        return sampled_nesting(self.nesting, count, self._generator())

    def _generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.recipe.train.seed * 1_000_003 + self.step)
