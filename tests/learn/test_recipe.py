import pytest

from nestvec.errors import UserError
from nestvec.learn.recipe import load_recipe, parse_recipe


def faults(**tables):
    with pytest.raises(UserError) as error:
        parse_recipe(tables)
    return str(error.value)


def test_every_fault_is_told_at_once():
    said = faults(
        data={"trian": "x"},
        loss={"kind": 3},
        train={"batch": "many"},
        lose={},
    )
    assert "has 5 faults" in said
    assert "data.train must name" in said
    assert "did you mean train?" in said
    assert "loss.kind must be a string, got 3" in said
    assert "train.batch must be a whole number, got 'many'" in said
    assert "there is no table [lose] (did you mean loss?)" in said


def test_what_contradicts_is_told_at_once():
    said = faults(
        data={},
        nesting={"widths": [64, 32]},
        loss={"kind": "temp_agg", "temperatures": [0.1, -1]},
        train={"warmup": 2, "patience": 1, "learning_rate": 0},
    )
    for part in (
        "data.train must name",
        "widths of a nesting must be positive and rise",
        "temperatures must all be above 0, got -1",
        "warmup is a share",
        "patience needs data.dev",
        "learning_rate must be above 0",
        "temp_agg is of full width",
    ):
        assert part in said


@pytest.mark.parametrize(
    ("loss", "layers", "said"),
    [
        ({"kind": "temp_spec_mrl", "temperatures": [0.1]}, {}, "one a width, got 1 for 2"),
        ({"kind": "cosent", "temperatures": [0.1]}, {}, "temperatures goes with info_nce"),
        (
            {"kind": "temp_agg_mrl", "both_directions": True},
            {},
            "both_directions goes with info_nce",
        ),
        ({"kind": "temp_agg_mrl", "beta": 0.5}, {}, "loss.beta goes with info_nce, not with temp"),
        ({"kind": "info_nce", "scale": 5}, {}, "loss.scale goes with cosent"),
        ({"kind": "cosent", "head": "tied"}, {}, "loss.head goes with cross_entropy"),
        ({"temperatures": [0.1, 0.2]}, {"kind": "two_d"}, "exclude nesting.learned and layers"),
        ({}, {"kind": "ese", "width": 0}, "layers.width must be above 0, got 0"),
        ({}, {"kind": "ese", "width": 8, "alignment": 2}, "layers.alignment is not for ese"),
        ({}, {"kind": "pairs", "pairs": [[3, 8], [2, 4]]}, "both rising, got [[3, 8], [2, 4]]"),
        ({}, {"kind": "pairs", "pairs": [[0, 8]]}, "from 1 on"),
        ({"schedule": "cosine"}, {}, "go together"),
        ({"learned": True, "temperatures": [0.1, 0.2]}, {}, "loss.learned is for info_nce"),
        ({}, {"kind": "pairs"}, "needs layers.pairs"),
        ({}, {"kind": "ese", "width": 8}, "leave nesting.widths out"),
        ({"kind": "cross_entropy"}, {"kind": "two_d"}, "by info_nce or cosent"),
        ({"kind": "bogus"}, {}, "loss.kind is one of info_nce"),
    ],
)
def test_contradictions(loss, layers, said):
    tables = {"data": {"train": "x"}, "nesting": {"widths": [8, 16]}}
    assert said in faults(loss=loss, layers=layers, **tables)


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"nesting": {"weights": [1, 2]}}, "nesting.weights need nesting.widths"),
        (
            {"nesting": {"widths": [8, 16], "learned": True}, "loss": {"kind": "cross_entropy"}},
            "nesting.learned is for info_nce and cosent, not for cross_entropy",
        ),
        (
            {"nesting": {"widths": [8], "per_step": 1}, "loss": {"kind": "masked_words"}},
            "nesting.per_step is for info_nce, cosent and cross_entropy",
        ),
        (
            {
                "nesting": {"widths": [8, 16], "learned": True},
                "loss": {"temperatures": [0.1, 0.2]},
            },
            "exclude nesting.learned and layers",
        ),
        (
            {"nesting": {"widths": [8, 16], "weights": [1, 2]}, "layers": {"kind": "two_d"}},
            "leave nesting.weights out",
        ),
        (
            {"loss": {"kind": "masked_words"}, "train": {"mini_batch": 4}},
            "masked_words has no gradient caching",
        ),
        ({"loss": {"kind": "masked_words"}, "model": {"rotate": True}}, "leave model.rotate out"),
        ({"train": {"patience": 2, "save_every": 3}}, "leave train.save_every out"),
    ],
)
def test_keys_that_would_do_nothing_are_refused(tables, said):
    assert said in faults(**{"data": {"train": "x", "dev": "y"}, **tables})


def test_mappings_take_settings_and_what_a_recipe_gives_back():
    given = {"data": {"train": "x"}, "nesting": {"widths": [8, 16]}}
    recipe = parse_recipe(given, ("train.batch=64",))
    assert recipe.train.batch == 64
    assert given == {"data": {"train": "x"}, "nesting": {"widths": [8, 16]}}
    assert parse_recipe(recipe.to_json()) == recipe
    with pytest.raises(UserError, match="1 fault: a setting is written"):
        parse_recipe(given, ("nonsense",))


def test_a_file_with_settings(tmp_path):
    place = tmp_path / "r.toml"
    place.write_text('[data]\ntrain = "a.jsonl"\n[nesting]\nwidths = [8, 16]\n')
    recipe = load_recipe(place, ("train.batch=64", "loss.kind=cosent", "nesting.widths=[4]"))
    assert (recipe.train.batch, recipe.loss.kind, recipe.nesting.widths) == (64, "cosent", (4,))
    with pytest.raises(UserError, match=r"table\.key=value, got 'nonsense'"):
        load_recipe(place, ("nonsense",))
    place.write_text("[data\n")
    with pytest.raises(UserError, match="is not TOML"):
        load_recipe(place)
    with pytest.raises(UserError, match="which is none"):
        load_recipe(tmp_path / "absent.toml")


def test_pairs_of_layers_are_read_as_pairs():
    recipe = parse_recipe(
        {"data": {"train": "x"}, "layers": {"kind": "pairs", "pairs": [[1, 8], [2, 16]]}}
    )
    assert recipe.layers.pairs == ((1, 8), (2, 16))
    assert "list of pairs" in faults(data={"train": "x"}, layers={"pairs": [1, 2]})
