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
        ({"kind": "cosent", "temperatures": [0.1]}, {}, "belong to info_nce"),
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
