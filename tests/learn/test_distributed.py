"""Two processes train what one does with twice the batch."""

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from nestvec.jobs.train import train

RECIPE = """
[model]
name = {model}
[data]
train = {data}
[nesting]
widths = [8, 32]
learned = {learned}
[train]
batch = {batch}
steps = 3
learning_rate = 1e-4
warmup = 0
{more}
"""


def recipe(folder, model, data, batch, *, learned=False, more=""):
    place = folder / f"recipe-{batch}.toml"
    values = {"model": json.dumps(str(model)), "data": json.dumps(str(data)), "batch": batch}
    place.write_text(
        RECIPE.format(**values, learned=str(learned).lower(), more=more), encoding="utf-8"
    )
    return place


@pytest.mark.slow
@pytest.mark.parametrize(
    ("learned", "more"),
    [
        (False, ""),
        (True, ""),
        (False, "mini_batch = 3"),
        (False, "[loss]\nboth_directions = true"),
        (False, '[loss]\nkind = "cosent"'),
        (False, '[layers]\nkind = "two_d"'),
        (False, 'mini_batch = 3\n[layers]\nkind = "two_d"'),
    ],
    ids=["plain", "learned weights", "cached", "both ways", "scored", "layers", "cached layers"],
)
def test_two_processes_are_one_with_twice_the_batch(
    learned, more, small_model, pair_file, scored_file, tmp_path
):
    # one epoch of whole batches: 48 pairs by 8 and 16, 24 scored ones by 4 and 8
    data, batch = (scored_file, 4) if "cosent" in more else (pair_file, 8)
    one = recipe(tmp_path, small_model, data, 2 * batch, learned=learned, more=more)
    train(one, tmp_path / "one")
    two = recipe(tmp_path, small_model, data, batch, learned=learned, more=more)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    command += ["--master_port", "0", "--rdzv_backend", "c10d", "--rdzv_endpoint", "localhost:0"]
    command += ["-m", "nestvec", "train", str(two), "--out", str(tmp_path / "two"), "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["steps"] == 3
    start, single, pair = (
        load_file(folder / "model.safetensors")
        for folder in (small_model, tmp_path / "one", tmp_path / "two")
    )
    # Adam divides a gradient by its own size, so where it is hardly above zero, rounding alone
    # moves a weight: what counts is how far apart the two end, for how far they went.
    for name, value in pair.items():
        moved = torch.linalg.norm(single[name] - start[name])
        assert torch.linalg.norm(value - single[name]) <= 0.1 * moved + 1e-6, name
