"""The unmodified clients of MLflow: every call once against MLflow's own server and once against ours."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.mlflow.comparison import IGNORED, Ignored, differences, report
from tests.mlflow.conftest import Client, Server


def compare(client: Client, theirs: Server, ours: Server, folder: Path) -> None:
    with ThreadPoolExecutor(2) as side_by_side:
        asked = side_by_side.submit(client.calls, theirs.uri, folder / "theirs.json")
        answered = client.calls(ours.uri, folder / "ours.json", token=ours.token)
        expected = asked.result()
    used: set[Ignored] = set()
    found = list(differences(expected, answered, used))
    sys.stdout.write(report(found) + "\n")
    wrong = [entry for entry in expected if "broken" in entry or "message" in entry or "unexpected" in entry]
    assert not wrong, "the script itself went wrong against MLflow's own server"
    assert len(expected) > 500
    assert not found, report(found)
    assert used == set(IGNORED), f"no longer needed: {set(IGNORED) - used}"


def test_the_newest_client_gets_the_same_answers_from_our_server_as_from_mlflows(
    newest: Client, theirs: Server, emptied: Server, tmp_path: Path
) -> None:
    compare(newest, theirs, emptied, tmp_path)


def test_client_3_12_gets_the_same_answers_from_our_server_as_from_mlflows(
    oldest: Client, theirs: Server, emptied: Server, tmp_path: Path
) -> None:
    compare(oldest, theirs, emptied, tmp_path)


@pytest.mark.long
def test_pytorch_and_keras_log_by_themselves(toolkits: Client, emptied: Server, tmp_path: Path) -> None:
    done = toolkits.run("toolkits.py", emptied.uri, token=emptied.token)
    assert done.returncode == 0, done.stdout + done.stderr
