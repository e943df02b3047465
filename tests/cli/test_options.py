import dataclasses
import typing

import pytest
from click.testing import CliRunner

from nestvec.cli import build, choose, embed, evaluate, fit
from nestvec.errors import UserError
from nestvec.jobs import settings

PAIRS = [
    (build.command, settings.BuildSettings, settings.BuildOptions),
    (choose.command, settings.ChooseSettings, settings.ChooseOptions),
    (evaluate.command, settings.EvaluateSettings, settings.EvaluateOptions),
    (embed.command, settings.EmbedSettings, settings.EmbedOptions),
    (fit.command, settings.FitSettings, settings.FitOptions),
]
RENAMED = {"no_vectors": "store_vectors"}
#: settings that a command leaves at their default, and why: vectors are not embedded
NOT_ASKED = {"embed": {"vector_column", "queries", "qrels"}}


@pytest.mark.parametrize(("command", "record", "options"), PAIRS)
def test_each_setting_is_an_option_and_a_keyword(command, record, options):
    fields = {field.name for field in dataclasses.fields(record)}
    assert set(typing.get_type_hints(options)) == fields
    names = {RENAMED.get(p.name, p.name) for p in command.params}
    assert fields - NOT_ASKED.get(command.name, set()) <= names | {"vector_column"}


@pytest.mark.parametrize(("command", "record", "options"), PAIRS)
def test_defaults_are_those_of_the_settings(command, record, options):
    arguments = ["x", "--out", "y"] if command.name in ("embed", "fit") else []
    found = command.make_context(command.name, arguments).params
    for field in dataclasses.fields(record):
        if field.name in found:
            assert found[field.name] == field.default


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"keep": 0.0}, "keep"),
        ({"keep": 1.01}, "keep"),
        ({"max_bytes": 0}, "max_bytes"),
        ({"sample_queries": 1}, "sample_queries"),
        ({"similarity": "cosin"}, "similarity"),
        ({"seed": -1}, "seed"),
    ],
)
def test_settings_refuse_what_cannot_be(changes, word):
    with pytest.raises(UserError, match=word):
        settings.BuildSettings(**changes)


def test_a_number_must_be_one():
    done = CliRunner().invoke(build.command, ["x", "--keep", "much"])
    assert done.exit_code == 2
