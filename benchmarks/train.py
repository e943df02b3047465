"""Nested losses and training steps beside sentence-transformers': python benchmarks/train.py.

Three parts, all random texts and vectors, so no data folder is needed:
loss: InfoNCE of frozen vectors at seven widths, forward and backward, beside MatryoshkaLoss over
MultipleNegativesRankingLoss; steps: training steps of a model, seven widths against full width
alone, in turn; cache: the peak memory of a large batch by gradient caching beside a small batch.
Each measurement runs in a process of its own (steps: both arms in one).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

WIDTHS = (16, 32, 64, 128, 256, 512, 768)
MODEL_WIDTHS = (16, 32, 64, 96, 128, 256, 384)
TEMPERATURE = 0.05


def main() -> None:
    """Run, print and write the measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=None, help="not used: texts are made")
    parser.add_argument("--parts", nargs="+", default=["loss", "steps", "cache"])
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--step-batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=32, help="of each text")
    parser.add_argument("--one", default=None, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/train.json"))
    options = parser.parse_args()
    if options.one is not None:
        print(json.dumps(globals()[f"measure_{options.one}"](options)))
        return
    results: dict[str, Any] = {
        "command": "python benchmarks/train.py",
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "torch": torch.__version__,
    }
    if "loss" in options.parts:
        results["loss"] = compare_losses(options)
    if "steps" in options.parts:
        results["steps"] = apart(options, "steps")
    if "cache" in options.parts:
        results["cache"] = compare_memory(options)
    options.out.write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps(results, indent=2))


def apart(options: argparse.Namespace, name: str) -> dict[str, Any]:
    """A measurement in a process of its own."""
    command = [sys.executable, __file__, "--one", name]
    for key in ("batch", "step_batch", "rounds", "tokens"):
        command += [f"--{key.replace('_', '-')}", str(getattr(options, key))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare_losses(options: argparse.Namespace) -> dict[str, Any]:
    """Ours and theirs in turn, so that what disturbs one disturbs the other."""
    rounds = [(apart(options, "ours"), apart(options, "theirs")) for _ in range(options.rounds)]
    ours, theirs = zip(*rounds, strict=True)
    return {
        "batch": options.batch,
        "dims": WIDTHS[-1],
        "widths": WIDTHS,
        "ours_s": statistics.median(r["seconds"] for r in ours),
        "theirs_s": statistics.median(r["seconds"] for r in theirs),
        "time_ratios": sorted(a["seconds"] / b["seconds"] for a, b in rounds),
        "ours_mb": statistics.median(r["above_mb"] for r in ours),
        "theirs_mb": statistics.median(r["above_mb"] for r in theirs),
        "loss_difference": abs(ours[0]["loss"] - theirs[0]["loss"]) / theirs[0]["loss"],
    }


def compare_memory(options: argparse.Namespace) -> dict[str, Any]:
    """Peaks above the loaded model: a batch of 64, and the large batch by gradient caching."""
    small, large = apart(options, "small"), apart(options, "large")
    return {
        "tokens": options.tokens,
        "small_batch": 64,
        "large_batch": options.batch,
        "small_mb": small["above_mb"],
        "large_mb": large["above_mb"],
        "ratio": large["above_mb"] / small["above_mb"],
        "large_seconds": large["seconds"],
    }


def frozen(options: argparse.Namespace) -> list[torch.Tensor]:
    """Two batches of random vectors that want gradients."""
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(options.batch, WIDTHS[-1], generator=generator)
    document = query + torch.randn(options.batch, WIDTHS[-1], generator=generator)
    return [query.requires_grad_(), document.requires_grad_()]


def timed(work: Any, tensors: list[torch.Tensor]) -> dict[str, float]:
    """The best of three, after one; memory is the peak above what stood before."""
    before = peak_mb()
    seconds = []
    for _ in range(3):
        for tensor in tensors:
            tensor.grad = None
        start = time.perf_counter()
        loss = work()
        loss.backward()
        seconds.append(time.perf_counter() - start)
    return {"seconds": min(seconds), "above_mb": peak_mb() - before, "loss": float(loss.detach())}


def measure_ours(options: argparse.Namespace) -> dict[str, float]:
    """Our nested InfoNCE."""
    from nestvec.learn.losses.lean import nested_info_nce
    from nestvec.nesting import Nesting

    queries, documents = frozen(options)
    nesting, taus = Nesting(WIDTHS), (TEMPERATURE,)
    return timed(
        lambda: nested_info_nce(queries, documents, nesting, temperatures=taus).total,
        [queries, documents],
    )


def measure_theirs(options: argparse.Namespace) -> dict[str, float]:
    """MatryoshkaLoss over MultipleNegativesRankingLoss, over a model that hands vectors on."""
    from sentence_transformers.sentence_transformer.losses import (
        MatryoshkaLoss,
        MultipleNegativesRankingLoss,
    )

    class Given(torch.nn.Module):
        def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            return dict(features)

        def get_embedding_dimension(self) -> int:
            return WIDTHS[-1]

        get_sentence_embedding_dimension = get_embedding_dimension

    model, tensors = Given(), frozen(options)
    inner = MultipleNegativesRankingLoss(model, scale=1 / TEMPERATURE)
    loss = MatryoshkaLoss(model, inner, matryoshka_dims=list(reversed(WIDTHS)))
    return timed(lambda: loss([{"sentence_embedding": t} for t in tensors], None), tensors)


def measure_steps(options: argparse.Namespace) -> dict[str, Any]:
    """Steps with seven widths and with the full width alone, in turn, in one process."""
    from nestvec.learn.objective import Objective

    arms = {}
    for name, widths in (("plain", ()), ("nested", MODEL_WIDTHS)):
        model = load(options)
        objective = Objective(model, recipe_of(widths, None))
        arms[name] = (objective, torch.optim.AdamW(objective.parameters(), lr=2e-5))
    columns = features(options, arms["plain"][0].model, options.step_batch)
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(options.rounds + 1):
        for name, (objective, optimizer) in arms.items():
            start = time.perf_counter()
            step(objective, optimizer, columns)
            seconds[name].append(time.perf_counter() - start)
    ratios = [b / a for a, b in zip(seconds["plain"], seconds["nested"], strict=True)][1:]
    return {
        "batch": options.step_batch,
        "tokens": options.tokens,
        "widths": MODEL_WIDTHS,
        "plain_s": statistics.median(seconds["plain"][1:]),
        "nested_s": statistics.median(seconds["nested"][1:]),
        "ratio": statistics.median(ratios),
        "ratios": sorted(ratios),
    }


def measure_small(options: argparse.Namespace) -> dict[str, float]:
    """Two steps of 64 pairs, as one batch."""
    return peak_of_steps(options, 64, None)


def measure_large(options: argparse.Namespace) -> dict[str, float]:
    """Two steps of the large batch, 32 texts encoded at a time."""
    return peak_of_steps(options, options.batch, 32)


def peak_of_steps(
    options: argparse.Namespace, batch: int, mini_batch: int | None
) -> dict[str, float]:
    """Two steps, so that the optimizer's memory is there."""
    from nestvec.learn.objective import Objective

    model = load(options)
    objective = Objective(model, recipe_of(MODEL_WIDTHS, mini_batch))
    columns = features(options, model, batch)
    before = peak_mb()
    optimizer = torch.optim.AdamW(objective.parameters(), lr=2e-5)
    start = time.perf_counter()
    for _ in range(2):
        step(objective, optimizer, columns)
    return {"above_mb": peak_mb() - before, "seconds": (time.perf_counter() - start) / 2}


def recipe_of(widths: tuple[int, ...], mini_batch: int | None) -> Any:
    """A recipe of InfoNCE at these widths."""
    from nestvec.learn.recipe import parse_recipe

    train = {} if mini_batch is None else {"mini_batch": mini_batch}
    return parse_recipe({"data": {"train": "x"}, "nesting": {"widths": widths}, "train": train})


def load(options: argparse.Namespace) -> Any:
    """all-MiniLM-L6-v2, ready to train."""
    from nestvec.data.model_files import find_model
    from nestvec.learn.sentence_model import load_model

    model = load_model(
        "minilm", find_model("minilm").location, max_tokens=options.tokens, remote_code=False
    )
    return model.to("cpu").train()


def features(options: argparse.Namespace, model: Any, batch: int) -> list[dict[str, Any]]:
    """Two columns of random word ids, all of the same length."""
    rng = np.random.default_rng(0)
    shape = (batch, options.tokens)
    ids = [torch.as_tensor(rng.integers(1000, 30_000, shape)) for _ in range(2)]
    return [{"input_ids": i, "attention_mask": torch.ones_like(i)} for i in ids]


def step(objective: Any, optimizer: Any, columns: list[dict[str, Any]]) -> None:
    """One step of training."""
    optimizer.zero_grad(set_to_none=True)
    objective(columns).total.backward()
    optimizer.step()


def peak_mb() -> float:
    """Peak resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
