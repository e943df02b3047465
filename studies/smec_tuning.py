"""How the study of adapters trains each method: its settings, and the best of three rates."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nestvec.adapters.adapter import Adapter
from nestvec.learn.adapters.examples import Examples
from nestvec.learn.adapters.methods import METHODS, AdapterSettings, fit_adapter
from nestvec.learn.adapters.training import Training

WIDTHS = (16, 32, 64, 96, 128, 192, 256, 384)
RATES = (5e-4, 2e-3, 8e-3)
# Losses of cosines alone want small batches (Matryoshka-Adaptor took 128), InfoNCE large ones.
PAIRS_A_STEP = 256
MOST_A_STEP = {
    **dict.fromkeys(("linear", "coded", "reflections", "per-width"), 1_024),
    "distilled": 512,
}


def tuned(
    method: str,
    settings: AdapterSettings,
    examples: Examples,
    seed: int,
    rates: Sequence[float],
    place: Path,
) -> tuple[Adapter, dict[str, Any]]:
    """The adapter of the learning rate with the best held-out score, and how it was found.

    Rates are compared by a third of the passes each; the best trains anew, with all of them.
    place: a JSON file of how it was found, and the adapter beside it; read where they are.
    """
    weights = place.with_suffix(".safetensors")
    if place.exists():
        return Adapter.load(weights), json.loads(place.read_text())
    begun = time.perf_counter()
    tried = {}
    for rate in rates if METHODS[method].labels != "unused" and len(rates) > 1 else ():
        how = how_trained(examples, rate, settings, seed, method)
        short = replace(how.training, epochs=max(1, how.training.epochs // 3))
        tried[rate] = _score(fit_adapter(method, examples, replace(how, training=short)))
    rate = max(tried, key=tried.__getitem__) if tried else rates[0]
    adapter = fit_adapter(method, examples, how_trained(examples, rate, settings, seed, method))
    facts = {
        "rate": rate,
        "held_out": round(_score(adapter), 4),
        "tried": {str(r): round(score, 4) for r, score in tried.items()},
        "seconds": round(time.perf_counter() - begun, 1),
        "adapter_bytes": adapter.size_bytes(),
        "near_end": passes_to_near_end(adapter.facts),
        "history": [
            [(round(e, 2), round(s, 4)) for e, s in zip(h["epochs"], h["scores"], strict=True)]
            for h in adapter.facts["histories"]
        ],
    }
    place.parent.mkdir(parents=True, exist_ok=True)
    adapter.save(weights)
    place.write_text(json.dumps(facts))
    return adapter, facts


def _score(adapter: Adapter) -> float:
    """The mean held-out score of its trainings, each where it was best."""
    best = [max(history["scores"]) for history in adapter.facts["histories"]]
    return float(np.mean(best)) if best else 0.0


def how_trained(
    examples: Examples, rate: float, settings: AdapterSettings, seed: int, method: str = "smec"
) -> AdapterSettings:
    """Settings of the study for a method: its batches, passes, widths and temperature."""
    count = len(examples.documents) if examples.pairs is None else len(examples.pairs)
    batch = int(min(MOST_A_STEP.get(method, PAIRS_A_STEP), max(64, count // 8)))
    # Few pairs make few steps a pass, and tens of thousands of documents many.
    epochs = 12 if count < 5_000 else (6 if count < 20_000 else 3)
    training = Training(batch=batch, rate=rate, epochs=epochs, seed=seed)
    temperature = 0.05 if method == "distilled" else 0.03
    return replace(settings, widths=WIDTHS[:-1], training=training, temperature=temperature)


def passes_to_near_end(facts: Mapping[str, Any]) -> list[float]:
    """Of every training of an adapter: passes until within half a percent of its best score."""
    found = []
    for history in facts["histories"]:
        enough = 0.995 * max(history["scores"])
        first = next(i for i, score in enumerate(history["scores"]) if score >= enough)
        found.append(round(float(history["epochs"][first]), 2))
    return found
