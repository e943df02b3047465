"""Class heads at every width on banking77: make study NAME=classes DATA=folder.

all-MiniLM-L6-v2 is fine-tuned on 77 intents (train.csv.gz, test.csv.gz; PolyAI's task-specific
datasets) with MRL heads, one MRL-E head, and FF: a model of its own for each width. By default on
4,000 of the training texts in two epochs; FULL=1 takes all of them, and four epochs. Told: accuracy
of the heads, and 1-NN by the training texts' vectors, at every width, with paired differences from
FF. Models are kept in --work; a rerun adds what is missing.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from studies.pictures import lines as lines_of
from studies.trained import F32, F64, command_of, encoded, machine, parser_of, trained

from nestvec.data.training import Examples, read_examples
from nestvec.measure.intervals import bootstrap_mean, non_inferior, paired_difference
from nestvec.vectors import prefix

WIDTHS = (8, 16, 32, 64, 128, 256, 384)
SETTINGS = {
    "batch": 32,
    "epochs": 2,
    "learning_rate": 1e-4,
    "own_learning_rate": 0.1,
    "bfloat16": True,
}
ROWS = 4_000


def main() -> None:
    """Train, measure and write classes.json and classes.md."""
    parser = parser_of("classes", __doc__)
    options = parser.parse_args()
    whole = os.environ.get("FULL") == "1"
    began = time.perf_counter()
    folder = options.data / "banking77"
    train, test = (
        read_examples(str(folder / f"{name}.csv.gz"), "labelled") for name in ("train", "test")
    )
    place = folder / "train.csv.gz"
    arms: dict[str, dict[int, dict[str, F64]]] = {}
    for name, head in (("mrl", "separate"), ("mrl-e", "tied")):
        one = recipe(place, WIDTHS, head, options.seed, whole)
        model = trained(f"{name}-{options.seed}", one, options.work)
        arms[name] = measured(model, train, test, WIDTHS, options.work)
    arms["ff"] = {}
    for width in WIDTHS:
        one = recipe(place, (width,), "separate", options.seed, whole)
        model = trained(f"ff{width}-{options.seed}", one, options.work)
        arms["ff"] |= measured(model, train, test, (width,), options.work)
    result = {
        "command": command_of("classes", seed=options.seed),
        "machine": machine(),
        "seed": options.seed,
        "settings": SETTINGS,
        "train": len(train) if whole else ROWS,
        "test": len(test),
        "seconds": round(time.perf_counter() - began, 1),
        "arms": {
            arm: {
                w: {m: asdict(bootstrap_mean(v)) for m, v in found.items()}
                for w, found in by.items()
            }
            for arm, by in arms.items()
        },
        "leads_over_ff": {
            arm: {
                w: {m: lead(v, arms["ff"][w][m]) for m, v in found.items()}
                for w, found in by.items()
            }
            for arm, by in arms.items()
            if arm != "ff"
        },
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "classes.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / "classes.md").write_text(as_markdown(result))
    (options.out / "classes.svg").write_text(picture(result))
    print(as_markdown(result))


def recipe(
    place: Path, widths: tuple[int, ...], head: str, seed: int, whole: bool
) -> dict[str, Any]:
    """Class heads at these widths."""
    size = {"epochs": 4} if whole else {}
    return {
        "model": {"name": "minilm", "dropout": 0.0},
        "data": {"train": str(place), **({} if whole else {"rows": ROWS})},
        "nesting": {"widths": list(widths)},
        "loss": {"kind": "cross_entropy", "head": head},
        "train": {**SETTINGS, **size, "seed": seed},
    }


def measured(
    model: Path, train: Examples, test: Examples, widths: tuple[int, ...], work: Path
) -> dict[int, dict[str, F64]]:
    """{width: {"accuracy", "1-NN": 1 or 0 a test text}}."""
    (texts, labels), (asked, truth) = (list(x.columns.values()) for x in (train, test))
    known = encoded(model, texts, "train", work, "document")
    vectors = encoded(model, asked, "test", work, "document")
    names = json.loads((model / "labels.json").read_text())
    heads = load_file(model / "heads.safetensors")
    found = {}
    for i, width in enumerate(widths):
        predicted = np.asarray(names)[logits(heads, i, width, vectors).argmax(axis=1)]
        nearest = (prefix(vectors, width) @ prefix(known, width).T).argmax(axis=1)
        found[width] = {
            "accuracy": (predicted == np.asarray(truth)).astype(np.float64),
            "1-NN": (np.asarray(labels)[nearest] == np.asarray(truth)).astype(np.float64),
        }
    return found


def logits(heads: dict[str, torch.Tensor], i: int, width: int, vectors: F32) -> F32:
    """Of the head of a width, or of the one that all share."""
    weight = heads.get(f"heads.{i}.weight", heads.get("head.weight"))
    bias = heads.get(f"heads.{i}.bias", heads.get("head.bias"))
    assert weight is not None
    assert bias is not None
    found: F32 = vectors[:, :width] @ weight.numpy()[:, :width].T + bias.numpy()
    return found


def lead(values: F64, rival: F64) -> dict[str, Any]:
    """The paired difference, and whether it proves no loss of .01."""
    difference = paired_difference(values, rival)
    return {**asdict(difference), "non_inferior": non_inferior(difference)}


def picture(result: dict[str, Any]) -> str:
    """Accuracy of the heads and of the nearest neighbour, by width."""
    series = {
        f"{arm}, {measure}": {
            float(w): (x[measure]["value"], x[measure]["low"], x[measure]["high"])
            for w, x in by.items()
        }
        for measure in ("accuracy", "1-NN")
        for arm, by in result["arms"].items()
    }
    return lines_of("banking77 by width", series, x_name="dimensions", y_name="share right")


def as_markdown(result: dict[str, Any]) -> str:
    """Two tables, and what leads FF."""
    lines = ["# Class heads on banking77", "", "![accuracy by width](classes.svg)", ""]
    lines.append(f"{result['train']:,} training texts, {result['test']:,} test texts, 77 intents.")
    for measure in ("accuracy", "1-NN"):
        lines += ["", f"## {measure}", "", "| arm | " + " | ".join(map(str, WIDTHS)) + " |"]
        lines.append("|---|" + "---:|" * len(WIDTHS))
        for arm, by in result["arms"].items():
            lines.append(f"| {arm} | " + " | ".join(_figure(by[w][measure]) for w in WIDTHS) + " |")
        for arm, by in result["leads_over_ff"].items():
            cells = [_figure(by[w][measure], signed=True) for w in WIDTHS]
            lines.append(f"| {arm} - ff | " + " | ".join(cells) + " |")
    lines += ["", f"`{result['command']}` ({result['machine']}, {result['seconds']:.0f} s)", ""]
    return "\n".join(lines)


def _figure(x: dict[str, float], *, signed: bool = False) -> str:
    sign = "+" if signed else ""
    return f"{x['value']:{sign}.3f} [{x['low']:{sign}.3f}, {x['high']:{sign}.3f}]"


if __name__ == "__main__":
    main()
