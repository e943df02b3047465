"""Every recipe that is shipped reads, and opens with the command that runs it."""

from pathlib import Path

import pytest

from nestvec.learn.recipe import load_recipe
from nestvec.learn.recipe_tables import LAYER_LOSSES, LOSSES

RECIPES = sorted((Path(__file__).parent.parent / "recipes").glob("*.toml"))


@pytest.mark.parametrize("place", RECIPES, ids=lambda place: place.stem)
def test_a_recipe_reads_and_says_how_to_run_it(place):
    first = place.read_text().splitlines()[0]
    assert first.startswith(f"# nestvec train recipes/{place.name} --out model")
    recipe = load_recipe(place)
    assert recipe.loss.kind in LOSSES
    assert recipe.layers.kind in ("", *LAYER_LOSSES)
