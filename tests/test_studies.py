"""Studies that train ask for trainings that exist: their recipes read, arm by arm."""

import sys
from pathlib import Path

import pytest

from nestvec.learn.recipe import parse_recipe

ROOT = Path(__file__).parent.parent
PLACE = Path("pairs.jsonl")


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "studies"]:
        del sys.modules[name]


def test_temperature():
    from studies import temperature

    arms = temperature.arms()
    assert len([name for name in arms if name.startswith("0.") and "MRL" not in name]) == 7
    kinds = set()
    for loss, widths in arms.values():
        recipe = parse_recipe(temperature.recipe(PLACE, loss, widths, 0, 64))
        assert recipe.nesting.widths == widths
        kinds.add(recipe.loss.kind)
    assert kinds == {"info_nce", "temp_agg", "temp_agg_mrl", "temp_spec_mrl"}


def test_nesting():
    from studies import nesting

    for arm in nesting.ARMS.values():
        assert list(parse_recipe(nesting.recipe(PLACE, arm, 0, 64)).nesting.widths) == arm["widths"]


def test_classes():
    from studies import classes

    for head in ("separate", "tied"):
        recipe = parse_recipe(classes.recipe(PLACE, classes.WIDTHS, head, 0, False))
        assert (recipe.loss.kind, recipe.loss.head) == ("cross_entropy", head)
        assert recipe.own_rate == 0.1


def test_mrl():
    from studies import mrl

    for widths in ((), mrl.WIDTHS, (16,)):
        recipe = parse_recipe(mrl.recipe(PLACE, widths, 0, bool(widths)))
        assert recipe.nesting.widths == widths
        assert recipe.model.rotate == bool(widths)


def test_commands_name_the_settings(monkeypatch):
    from studies.trained import command_of

    assert command_of("mrl", seeds=[0, 1], split="test") == (
        'make study NAME=mrl DATA=folder ARGS="--seeds 0 1 --split test"'
    )
    monkeypatch.setenv("FULL", "1")
    assert command_of("x", seed=0) == 'FULL=1 make study NAME=x DATA=folder ARGS="--seed 0"'


def test_adaptive_retrieval_asks_plans_that_exist():
    from studies import adaptive_plans as plans

    from nestvec.index.plan import Plan

    named = plans.one_pass(256, 10) + plans.grid(256, 200, 10) + plans.lengths(256, 900, 10)
    named += plans.funnels(256, 10) + plans.cluster_and_scan(256, 200, 10)
    for _, text in named:
        plan = Plan.parse(text)
        assert plan.k == 10
        assert all(stage.amount < 256 for stage in plan.stages)
    # MRL's own example of a funnel
    assert ("", "16d:200,32d:100,64d:50,128d:25,raw:10") in named


def test_adaptive_retrieval_counts_what_is_read(tmp_path):
    import numpy as np
    from studies.adaptive_plans import Ways

    rows = np.random.default_rng(0).normal(size=(400, 32)).astype(np.float32)
    ways = Ways(rows, tmp_path / "c.nv")
    found = ways.ask(rows[:3], "8d:50,16d:20,raw:10")
    assert found.hits.shape == (3, 10)
    assert found.hits[:, 0].tolist() == [0, 1, 2]
    assert found.multiply_adds == 400 * 8 + 50 * 16 + 20 * 32
    assert found.bytes == 4 * found.multiply_adds
    # 20 lists by 8 coordinates, of which all are read
    found = ways.ask(rows[:3], "probe=20;16d:10", "lists 8")
    assert found.multiply_adds == 20 * 8 + 400 * 16
