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
