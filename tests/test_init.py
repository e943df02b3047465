import typing

import pytest

import nestvec as nv


@pytest.mark.parametrize("name", nv.__all__)
def test_every_public_name_is_there_and_documented(name):
    assert getattr(nv, name).__doc__
    assert name in dir(nv)


def test_unknown_names_are_refused():
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = nv.no_such_name


def test_options_are_typed():
    for job in (nv.build, nv.evaluate, nv.embed, nv.fit):
        assert typing.get_type_hints(job)["options"]
