"""The document against the server, by requests that schemathesis makes up."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from nestvec.serve import openapi
from nestvec.serve.settings import ServeSettings

from .conftest import running, settings_with


def references(value):
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for each in value.values():
            yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


def test_all_that_is_named_is_there():
    document = openapi.document(ServeSettings(api_key="a-long-enough-key"))
    schemas = document["components"]["schemas"]
    named = {reference.rpartition("/")[2] for reference in references(document)}
    assert named == set(schemas)
    ids = [op["operationId"] for path in document["paths"].values() for op in path.values()]
    assert len(ids) == len(set(ids))
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert ("401" in operation["responses"]) == (path != "/health")


@pytest.mark.slow
def test_requests_that_schemathesis_makes_up_are_answered_as_the_document_says(serving, tmp_path):
    pytest.importorskip("schemathesis")
    made_up = [Path(sys.executable).with_name("schemathesis"), "run", "--no-color", "--checks=all"]
    # a document cannot say that a width must be a trained one, or a plan fit a collection
    made_up += ["--exclude-checks=positive_data_acceptance", "--max-examples=12", "--seed=1"]
    made_up += ["--generation-deterministic", "--request-timeout=20", "--continue-on-failure"]
    settings = settings_with(requests_per_s=0)
    settings = replace(settings, api_key="a-long-enough-key")
    with running(serving()[0], settings) as server:
        bearer = "Authorization:Bearer a-long-enough-key"
        (tmp_path / "openapi.json").write_text(json.dumps(openapi.document(settings)))
        done = subprocess.run(
            [*made_up, "-H", bearer, "--url", server.address, "openapi.json"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, "\n".join(line[:300] for line in done.stdout.splitlines())
        assert server.ask("GET", "/health").status == 200
