import json

import numpy as np
import pytest

import nestvec as nv


def test_the_room_and_the_function_share_a_name(vectors_file):
    import nestvec.choose.grid

    assert callable(nestvec.choose.grid.evaluate_grid)
    result = nv.choose(vectors_file, spec="int8", keep=0.9)
    assert (result.spec, result.met) == ("int8", True)


def test_an_array_will_do(vectors_file):
    found = nv.choose(np.load(vectors_file), spec="8xcb16", max_bytes=9)
    value = json.loads(json.dumps(found.to_json()))
    assert value["bytes_per_vector"] <= 9
    assert value["total_bytes"] == 150 * value["bytes_per_vector"] + value["codec_bytes"]
    assert set(value["kept"]) == {"value", "low", "high"}


def test_what_cannot_be_kept_is_said_and_the_nearest_shown(vectors_file):
    found = nv.choose(vectors_file, spec="4xcb2", keep=1.0, max_bytes=5)
    assert not found.met
    assert "Nothing measured" in found.sentence
    assert found.warnings


def test_wishes_that_cannot_be():
    with pytest.raises(nv.UserError, match="keep must be"):
        nv.choose("x", keep=2)
