"""Studies that train ask for trainings that exist: their recipes read, arm by arm."""

import json
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


def test_shifted_pictures_are_told_by_hand():
    from types import SimpleNamespace

    import numpy as np
    from studies.image_models import DIM
    from studies.images_shifted import hard, lines_of, retrieved

    database = np.eye(3, dtype=np.float32)
    queries = np.array([[1, 0.5, 0], [0, 1, 0.5]], np.float32)
    told = retrieved(database, queries, np.array([4, 5, 5]), np.array([4, 4]))
    # ranks of the one row of class 4: the first, then the last of three
    assert told == {"1-NN": 0.5, "mAP@10": (1 + 1 / 3) / 2}

    def outcome(arm, widths, seed):
        # the reference, of seed 1, is right on the first picture alone
        right = {("ff", 1): [1, 0, 0, 0], ("ff", 0): [1, 0, 1, 0], ("mrl", 0): [0, 1, 1, 0]}
        rows = np.array(right[arm, seed])
        return SimpleNamespace(logits={w: np.stack([1 - rows, rows], axis=1) for w in widths})

    pictures = SimpleNamespace(labels=(None, np.ones(4, np.int64)))
    plan = SimpleNamespace(widths=(8, DIM))
    found = hard(SimpleNamespace(outcome=outcome, pictures=pictures, plan=plan))
    assert (found["pictures"], found["of"]) == (3, 4)
    assert found["mrl"][8]["value"] == pytest.approx(2 / 3)
    assert found["ff"][8]["value"] == pytest.approx(1 / 3)
    assert found["mrl - ff"][DIM]["value"] == pytest.approx(1 / 3)
    kept = {"mrl": {"8": {"mAP@10": [0.5]}}, "ff": {}}
    page = lines_of(json.loads(json.dumps({"shifted": {"none": kept}, "hard": found})), [8])
    assert "| MRL, none | 50.0 |" in page
    assert any(line.startswith("| MRL - FF | +33.3 [") for line in page)


def test_two_towers_are_told_by_hand():
    import numpy as np
    from studies.two_towers_values import TO_CAPTIONS, TO_PICTURES, agreement, recall, summary

    # 22 pictures on axes of their own; of two captions each the first is right, the second is
    # that of the picture after it
    images = np.eye(22, dtype=np.float32)
    owner = np.repeat(np.arange(22), 2)
    texts = images[owner].copy()
    texts[1::2] = np.roll(images, -1, axis=0)
    # equal scores go to the smaller row, so that a caption of another picture finds rows 0 to 8
    found = recall(images, texts, owner)
    assert found[TO_PICTURES].tolist() == [1.0] * 9 + [0.5] * 13
    assert found[TO_CAPTIONS].tolist() == [1.0] * 22
    assert agreement(np.random.default_rng(0).normal(size=(12, 4)), images[:12, :4]).shape == (12,)
    told = summary([{"a@1": np.ones(4)}, {"a@1": np.zeros(4)}], [{"a@1": np.zeros(4)}])
    assert told["a@1"]["seeds"] == [1.0, 0.0]
    assert (told["a@1"]["value"], told["a@1"]["from"]["low"]) == (0.5, 0.5)


def test_two_towers_trains_what_exists(tmp_path):
    import numpy as np
    import torch
    from studies.two_towers_adapters import Given, examples_of
    from studies.two_towers_arms import ridge
    from studies.two_towers_models import Fit, Shifted, Space, tower_recipe, trained_space
    from studies.two_towers_new import clip_recipe
    from studies.two_towers_values import TO_PICTURES, recall

    assert parse_recipe(tower_recipe(tmp_path)).nesting.widths[-1] == 256
    assert parse_recipe(clip_recipe(tmp_path, tmp_path, 0)).loss.both_directions
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(40, 4)).astype(np.float32)
    owner = np.repeat(np.arange(40), 2)
    images = hidden @ rng.normal(size=(4, 9)).astype(np.float32)
    texts = hidden[owner] @ rng.normal(size=(4, 7)).astype(np.float32)
    torch.manual_seed(0)
    space = Space(Shifted(images, 4), Shifted(texts, 4))
    before = recall(space.images(images), space.texts(texts), owner)[TO_PICTURES].mean()
    fit = Fit((2, 4), epochs=30, batch=40, rate=2e-2, decay=0.0)
    space = trained_space(space, images, texts, owner, fit)
    after = recall(space.images(images), space.texts(texts), owner)[TO_PICTURES].mean()
    assert after > max(before, 0.9)
    np.testing.assert_allclose(ridge(texts, images[owner], texts, 1e-6), images[owner], atol=1e-3)
    given = Given(images, texts[:, :9], owner, images, texts, owner)
    one = Given(hidden, hidden[owner], owner, hidden, hidden, owner)
    assert examples_of(given, "pictures").pairs is None
    both = examples_of(one, "both directions")
    assert both.queries is not None
    np.testing.assert_array_equal(both.queries[both.pairs[:, 0]], both.documents[both.pairs[:, 1]])
