import numpy as np
import pytest

import nestvec as nv


def test_a_codec_is_fitted_saved_and_loaded(vectors_file, tmp_path):
    result = nv.fit(vectors_file, tmp_path / "c.safetensors", spec="4xcb16", similarity="l2")
    codec = nv.Codec.load(tmp_path / "c.safetensors")
    assert (codec.spec, codec.metric, codec.dim) == (result.spec, "l2", 24)
    assert codec.encode(np.load(vectors_file)).shape == (150, result.bytes)


def test_auto_measures_and_takes_one_of_those_that_suit_the_rows(vectors_file, tmp_path):
    from nestvec.choose.specs import codebook_specs
    from nestvec.codec.spec import parse_spec

    result = nv.fit(vectors_file, tmp_path / "c.safetensors", spec="auto")
    lengths = {sum(term.amount for term in parse_spec(spec)) for spec in codebook_specs(150)}
    assert result.bytes in lengths
    assert nv.Codec.load(tmp_path / "c.safetensors").spec == result.spec


def test_what_cannot_be_is_refused(vectors_file, tmp_path):
    with pytest.raises(nv.UserError, match="safetensors"):
        nv.fit(vectors_file, tmp_path / "c.npy")
    with pytest.raises(nv.UserError, match="levels joined"):
        nv.fit(vectors_file, tmp_path / "c.safetensors", spec="4cb")
    with pytest.raises(nv.UserError, match="does not exist"):
        nv.fit(tmp_path / "no.npy", tmp_path / "c.safetensors")
