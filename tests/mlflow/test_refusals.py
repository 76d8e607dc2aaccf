"""What a client may not do, with a token and without one, and what it is told then."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.mlflow.conftest import Client, Server

DELETES = ("delete run", "delete experiment", "rename experiment", "delete version", "delete model")


def answers(client: Client, server: Server, folder: Path, token: str) -> dict[str, list[str]]:
    out = folder / "told.json"
    done = client.run("refusals.py", server.uri, str(out), token=token)
    assert out.exists(), done.stdout + done.stderr
    return json.loads(out.read_text())


@pytest.mark.parametrize("known", [True, False], ids=["with a token", "without one"])
def test_what_is_served_is_decided_elsewhere_and_the_message_names_the_command(
    newest: Client, emptied: Server, tmp_path: Path, known: bool
) -> None:
    told = answers(newest, emptied, tmp_path, emptied.token if known else "")
    for name in ("alias live", "alias candidate", "no alias live", "stage Production"):
        code, message = told[name]
        assert code == "PERMISSION_DENIED", (name, told[name])
        assert "perennial " in message, (name, told[name])
    for name in ("traces", "webhook"):
        assert told[name][0] == "NOT_IMPLEMENTED", (name, told[name])
        assert "docs/mlflow-compatibility.md" in told[name][1]
    if known:
        assert {told[name][0] for name in ("delete run", "rename experiment", "delete version")} == {"done"}
    else:
        assert {told[name][0] for name in DELETES} == {"UNAUTHENTICATED"}, told
        assert all("MLFLOW_TRACKING_TOKEN" in told[name][1] for name in DELETES), told
