"""The adapter: which stage serves a width, cutting, and its file."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

from nestvec.adapters.adapter import Adapter, Stage
from nestvec.adapters.maps import Linear, Reflections, Residual, Select
from nestvec.errors import UserError
from nestvec.vectors import normalize

DIM = 8
KEY = "nestvec_adapter"


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


ROWS = numbers(20, DIM, seed=99)


def one_stage():
    """A residual layer, then reflections."""
    layer = Residual(numbers(DIM, 5), numbers(5), numbers(5, DIM), numbers(DIM))
    maps = (layer, Reflections(numbers(4, DIM)))
    return Adapter("one", DIM, (3, DIM), (Stage(DIM, maps),), {"note": "kept"})


def chained():
    """As SMEC has it: every stage takes the one before, whole."""
    wide = (Linear(numbers(DIM, DIM)), Select(np.array([7, 0, 3, 5, 1, 2, 6, 4])))
    middle = (Linear(numbers(DIM, 5, seed=1)), Select(np.array([4, 0, 2, 1, 3])))
    narrow = (Linear(numbers(5, 3, seed=2)), Select(np.array([1, 2, 0])))
    stages = (Stage(DIM, wide), Stage(5, middle, 0), Stage(3, narrow, 1))
    return Adapter("chained", DIM, (2, 3, 5, DIM), stages)


def apart():
    """As per-width projections are: every stage takes the vectors themselves."""
    stages = tuple(Stage(w, (Linear(numbers(DIM, w, seed=w)),)) for w in (DIM, 5, 3))
    return Adapter("apart", DIM, (3, 5, DIM), stages)


ALL = {"one": one_stage, "chained": chained, "apart": apart}
every = pytest.mark.parametrize("make", ALL.values(), ids=ALL)


def test_a_chain_by_hand():
    # (3, 4) -> doubled (6, 8) -> turned about (8, 6); the narrow stage adds both up
    wide = Stage(2, (Linear(2 * np.eye(2, dtype=np.float32)), Select(np.array([1, 0]))))
    narrow = Stage(1, (Linear(np.array([[1], [-1]], np.float32)),), 0)
    adapter = Adapter("smec", 2, (1, 2), (wide, narrow))
    rows = np.array([[3, 4], [4, 3]], np.float32)
    np.testing.assert_allclose(adapter.transform(rows), [[0.8, 0.6], [0.6, 0.8]], atol=1e-6)
    np.testing.assert_allclose(adapter.transform(rows, 1), [[1], [-1]], atol=1e-6)


def test_a_width_is_served_by_the_narrowest_stage_that_has_it():
    adapter = apart()
    for width in range(1, DIM + 1):
        stage = 3 if width <= 3 else 5 if width <= 5 else DIM
        wanted = normalize((ROWS @ numbers(DIM, stage, seed=stage))[:, :width])
        np.testing.assert_allclose(adapter.transform(ROWS, width), wanted, atol=1e-6)


def test_a_stage_takes_all_that_its_source_gives():
    adapter = chained()
    here = ROWS
    for stage in adapter.stages:
        for each in stage.maps:
            here = each.apply(here)
        np.testing.assert_allclose(adapter.transform(ROWS, stage.width), normalize(here), atol=1e-5)


@every
def test_rows_come_out_at_unit_length_in_float32(make):
    adapter = make()
    assert adapter.transform(ROWS).shape == (20, adapter.width)
    for width in range(1, DIM + 1):
        mapped = adapter.transform(ROWS.astype(np.float16), width)
        assert mapped.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(mapped, axis=1), 1, atol=1e-5)
    assert adapter.transform(ROWS[:0]).shape == (0, adapter.width)


@every
def test_the_length_of_a_vector_plays_no_part(make):
    adapter = make()
    lengths = np.linspace(0.1, 50, 20, dtype=np.float32)[:, None]
    np.testing.assert_allclose(
        adapter.transform(lengths * ROWS), adapter.transform(ROWS), atol=1e-5
    )


def test_rows_are_read_by_blocks_of_a_memory_map(tmp_path, monkeypatch):
    np.save(tmp_path / "rows.npy", ROWS)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    wanted = chained().transform(ROWS, 3)
    blocks = [slice(0, 7), slice(7, 14), slice(14, 20)]
    monkeypatch.setattr("nestvec.adapters.adapter.row_blocks", lambda vectors: blocks)
    np.testing.assert_allclose(chained().transform(mapped, 3), wanted, atol=1e-6)


@every
@given(width=st.integers(1, DIM))
def test_a_cut_adapter_gives_what_the_whole_one_gives_there(make, width):
    adapter = make()
    cut = adapter.cut(width)
    assert cut.width == width
    assert cut.dim == DIM
    assert max(cut.widths) <= width
    assert cut.size_bytes() <= adapter.size_bytes() + 8 * DIM
    np.testing.assert_allclose(
        cut.transform(ROWS), adapter.transform(ROWS, width), atol=1e-5, rtol=1e-5
    )


def test_a_cut_matrix_loses_columns():
    assert apart().cut(2).size_bytes() == 4 * DIM * 2
    # 8 x 8 and 8 x 5 matrices and 8 places, then 5 x 2 of the last, its order gone into it
    assert chained().cut(2).size_bytes() == 4 * (64 + 40 + 10) + 8 * (8 + 5)


def test_a_cut_adapter_names_only_widths_it_still_serves_as_before():
    adapter = apart()
    cut = adapter.cut(5)
    for width in cut.widths:
        np.testing.assert_allclose(
            cut.transform(ROWS, width), adapter.transform(ROWS, width), atol=1e-5
        )


def test_a_cut_to_a_width_below_those_trained_is_named_by_it():
    assert chained().cut(1).widths == (1,)


@every
def test_a_saved_adapter_is_the_same_again(make, tmp_path):
    adapter, place = make(), tmp_path / "a.safetensors"
    adapter.save(place)
    again = Adapter.load(place)
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]
    assert (again.method, again.dim, again.widths) == (adapter.method, DIM, adapter.widths)
    assert dict(again.facts) == dict(adapter.facts)
    assert again.size_bytes() == adapter.size_bytes()
    for width in range(1, DIM + 1):
        np.testing.assert_array_equal(again.transform(ROWS, width), adapter.transform(ROWS, width))
    # and a cut one goes the same way
    adapter.cut(3).save(place)
    np.testing.assert_array_equal(
        Adapter.load(place).transform(ROWS), adapter.cut(3).transform(ROWS)
    )


@pytest.mark.parametrize(
    ("rows", "width", "said"),
    [
        (ROWS[:, :5], None, r"takes vectors of shape \(n, 8\); got \(20, 5\)"),
        (ROWS[0], None, r"takes vectors of shape \(n, 8\); got \(8,\)"),
        (ROWS, 0, "widths from 1 to 8; got 0"),
        (ROWS, 9, "widths from 1 to 8; got 9. It was trained for 2, 3, 5, 8"),
    ],
)
def test_vectors_and_widths_that_do_not_fit(rows, width, said):
    with pytest.raises(UserError, match=said):
        chained().transform(rows, width)


def test_a_cut_beyond_the_widest_is_refused():
    with pytest.raises(UserError, match="widths from 1 to 8; got 9"):
        chained().cut(9)


@pytest.mark.parametrize(
    "stages",
    [
        (),
        (Stage(3, ()), Stage(5, ())),
        (Stage(5, ()), Stage(5, ())),
        (Stage(5, (), 0),),
        (Stage(5, ()), Stage(3, (), 1)),
    ],
    ids=["none", "rising", "equal", "fed by itself", "fed by a later one"],
)
def test_stages_out_of_order_are_a_mistake_of_ours(stages):
    with pytest.raises(ValueError, match="from wide to narrow"):
        Adapter("one", DIM, (3,), stages)


@pytest.mark.parametrize("left", [0, 4, 40, -10])
def test_a_damaged_file_is_said_so(tmp_path, left):
    place = tmp_path / "a.safetensors"
    chained().save(place)
    place.write_bytes(place.read_bytes()[:left])
    with pytest.raises(UserError, match=r"whole \.safetensors file; .*a\.safetensors is not"):
        Adapter.load(place)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="is not there"):
        Adapter.load(tmp_path / "a.safetensors")


def rewritten(place, change):
    """The file again, its description changed by a function of it."""
    with safe_open(place, "numpy") as file:
        config = json.loads(file.metadata()[KEY])
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(config)
    save_file(arrays, place, {KEY: json.dumps(config)})


def test_other_versions_and_other_files_are_refused(tmp_path):
    place = tmp_path / "a.safetensors"
    chained().save(place)
    rewritten(place, lambda config: config.update(format_version=99))
    with pytest.raises(UserError, match="not an adapter of format version 1"):
        Adapter.load(place)
    save_file({"vectors": ROWS}, place)
    with pytest.raises(UserError, match="not an adapter of format version 1"):
        Adapter.load(place)


def test_a_file_with_an_unknown_kind_of_map_is_refused(tmp_path):
    place = tmp_path / "a.safetensors"
    chained().save(place)
    rewritten(place, lambda config: config["stages"][1].update(maps=["spline", "select"]))
    with pytest.raises(UserError, match="got 'spline'"):
        Adapter.load(place)


@pytest.mark.parametrize("said", ["{", '{"format_version": 1}', None])
def test_a_description_that_does_not_match_its_arrays_is_said_so(tmp_path, said):
    place = tmp_path / "a.safetensors"
    chained().save(place)
    with safe_open(place, "numpy") as file:
        kept = file.metadata()[KEY] if said is None else said
    save_file({"0.0.order": np.arange(3)}, place, {KEY: kept})
    with pytest.raises(UserError, match=r"whole \.safetensors file; .*a\.safetensors is not"):
        Adapter.load(place)


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config["stages"][0].pop("width"),
        lambda config: config["stages"].reverse(),
        lambda config: config["stages"][1].update(width=6),
        lambda config: config.update(stages=3),
        lambda config: config.update(stages=[]),
        lambda config: config.update(dim=DIM + 1),
        lambda config: config.update(dim="many"),
        lambda config: config.update(widths=None),
    ],
)
def test_a_description_that_is_broken_is_said_so(tmp_path, change):
    place = tmp_path / "a.safetensors"
    chained().save(place)
    rewritten(place, change)
    with pytest.raises(UserError, match="is not"):
        Adapter.load(place)


def test_a_folder_that_is_not_there_is_said_so(tmp_path):
    with pytest.raises(UserError, match=r"folder that is there; .*none is not. Make it first"):
        chained().save(tmp_path / "none" / "a.safetensors")


def test_facts_that_are_no_json_are_refused(tmp_path):
    adapter = replace(one_stage(), facts={"loss": float("nan")})
    with pytest.raises(ValueError, match="JSON"):
        adapter.save(tmp_path / "a.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_rows_that_pairs_named_are_kept_in_the_file(tmp_path):
    adapter = replace(chained(), trained_rows=np.array([3, 5, 8], np.uint32))
    adapter.save(tmp_path / "a.safetensors")
    loaded = Adapter.load(tmp_path / "a.safetensors")
    assert loaded.trained_rows.tolist() == [3, 5, 8]
    assert loaded.cut(3).trained_rows.tolist() == [3, 5, 8]
    assert loaded.size_bytes() == chained().size_bytes()
    np.testing.assert_array_equal(loaded.transform(ROWS), chained().transform(ROWS))


def test_a_file_without_them_opens(tmp_path):
    chained().save(tmp_path / "a.safetensors")
    assert Adapter.load(tmp_path / "a.safetensors").trained_rows is None
