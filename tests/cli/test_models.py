"""`perennial models` and what MLflow's clients registered."""

from __future__ import annotations

import pytest

from perennial.api.connect import open
from tests.cli.conftest import Perennial


@pytest.mark.usefixtures("candidate")
def test_a_version_that_a_client_registered_is_listed_shown_and_not_approved(perennial: Perennial) -> None:
    with open() as ws:
        ws.model_versions.create(name="salary", source="s3://bucket/model", description="tuned by hand")
        ws.registered.set_alias(name="salary", alias="tuned", version=3)
    listed = perennial("models", "list").out.splitlines()
    assert listed[-1].split()[:3] == ["salary@3", "unreviewed", "@tuned"]
    shown = perennial("models", "show", "salary@3").out
    for line in ("salary version 3: unreviewed", "description: tuned by hand", "source: s3://bucket/model"):
        assert line in shown
    said = perennial("approve", "salary@3")
    assert said.code == 1
    assert "has no package" in said.err
    assert "perennial deploy FOLDER/model.pkl --name salary --sample ROWS.parquet" in said.err
    status = perennial("status")
    assert "salary@1" in status.out
    assert "salary@3" not in status.out
