"""Nested class heads over many classes, beside one plain head: python benchmarks/heads.py.

A plain head of full width, MRL (a head a width) and MRL-E (one for all) over 100,000 classes, on
random features: bytes of weights, peak resident memory of steps above what stood before (each arm
in a process of its own), and processor seconds of a step (forward, backward and AdamW; forward
alone) by one thread, which other work on the machine disturbs least; the arms in turn in every
round. Ratios are to the plain head of the same round.
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

import torch

from nestvec.learn.losses.heads import SeparateHeads, TiedHead, nested_cross_entropy
from nestvec.nesting import Nesting

WIDTHS = (8, 16, 32, 64, 128, 256, 512)
ARMS = ("plain", "mrl", "mrl-e")


def main() -> None:
    """Run, print and write the measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=None, help="not used: features are made")
    parser.add_argument("--classes", type=int, default=100_000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=3, help="timed in each round, after one")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", choices=ARMS, default=None, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/heads.json"))
    options = parser.parse_args()
    if options.one is not None:
        print(json.dumps(measured(options.one, options)))
        return
    rounds = [{arm: apart(arm, options) for arm in ARMS} for _ in range(options.rounds)]
    results = {
        "command": f"python benchmarks/heads.py --rounds {options.rounds} --steps {options.steps}",
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "torch": torch.__version__,
        "classes": options.classes,
        "batch": options.batch,
        "widths": WIDTHS,
        "arms": {
            arm: beside_plain([(each[arm], each["plain"]) for each in rounds]) for arm in ARMS
        },
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps(results, indent=2))


def beside_plain(pairs: list[tuple[dict[str, float], dict[str, float]]]) -> dict[str, Any]:
    """Medians over rounds, and the ratios of each round to the plain head, rising."""
    found: dict[str, Any] = {}
    for key in ("bytes", "peak_mb", "step_s", "forward_s"):
        ratios = sorted(one[key] / plain[key] for one, plain in pairs)
        found[key] = statistics.median_low(one[key] for one, _ in pairs)
        found[f"{key.split('_', maxsplit=1)[0]}_ratio"] = round(statistics.median(ratios), 3)
        if key != "bytes":
            found[f"{key.split('_', maxsplit=1)[0]}_ratios"] = [round(r, 3) for r in ratios]
    return found


def apart(arm: str, options: argparse.Namespace) -> dict[str, float]:
    """An arm in a process of its own, so that its peak is its own."""
    command = [sys.executable, __file__, "--one", arm]
    for key in ("classes", "batch", "steps"):
        command += [f"--{key}", str(getattr(options, key))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measured(arm: str, options: argparse.Namespace) -> dict[str, float]:
    """Weights' bytes, the peak above an idle process, and the median seconds of a step."""
    torch.set_num_threads(1)
    before = peak_mb()
    nesting = Nesting(WIDTHS[-1:] if arm == "plain" else WIDTHS)
    kind = TiedHead if arm == "mrl-e" else SeparateHeads
    torch.manual_seed(0)
    heads = kind(nesting, options.classes)
    optimizer = torch.optim.AdamW(heads.parameters(), lr=1e-3)
    features = torch.randn(options.batch, WIDTHS[-1], requires_grad=True)
    labels = torch.randint(options.classes, (options.batch,))
    seconds: dict[str, list[float]] = {"step": [], "forward": []}
    for _ in range(options.steps + 1):
        start = time.process_time()
        with torch.no_grad():
            heads(features)
        middle = time.process_time()
        optimizer.zero_grad(set_to_none=True)
        loss = nested_cross_entropy(heads(features), labels, nesting).total
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        seconds["forward"].append(middle - start)
        seconds["step"].append(time.process_time() - middle)
    return {
        "bytes": sum(p.numel() * p.element_size() for p in heads.parameters()),
        "peak_mb": peak_mb() - before,
        "step_s": statistics.median(seconds["step"][1:]),
        "forward_s": statistics.median(seconds["forward"][1:]),
    }


def peak_mb() -> float:
    """Peak resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
