"""From a finding to a receiver: the owner writes the notice, the reconciler sends it, killed or not."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from perennial.api import connect
from perennial.monitor.findings import NewFinding
from perennial.supervise.upfile import read_up
from tests.monitor.receivers import papers, web_server

from . import conftest
from .conftest import Project, until


def find(project: Project, number: int, kind: str = "data_quality") -> None:
    with connect.open(project.home) as ws:
        now = ws.clock.now()
        found = NewFinding(
            key=f"a/{number}", version=1, kind=kind, severity="critical", window_from=now - 1, window_to=now,  # type: ignore[arg-type]
            says=f"finding {number}", evidence={},
        )  # fmt: skip
        ws.monitor.step(
            endpoint="line", version=1, name="a", cursor_from=number, cursor_to=number + 1, state={}, found=[found]
        )


def test_F38_a_finding_reaches_its_receiver_while_processes_die_and_the_receiver_is_away(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = papers(tmp_path)
    with web_server(own.context()) as hook:
        for name, value in {
            "WEBHOOK_URL": f"https://localhost:{hook.port}/",
            "WEBHOOK_SECRET": "very secret",
            "OUTBOUND_ALLOW": "localhost",
            "OUTBOUND_CA": str(own.authority),
        }.items():
            monkeypatch.setitem(conftest.ENVIRONMENT, f"PERENNIAL_{name}", value)
        project.up()
        find(project, 0)
        find(project, 1)  # of the same incident
        until(lambda: hook.posts, "the first notice")
        hook.answers = [503]
        find(project, 2, "performance_drop")
        until(lambda: len(hook.posts) == 2, "the second notice, which is refused")
        up = read_up(project.home)
        assert up is not None
        os.kill(up.children["reconcile"], signal.SIGKILL)  # its successor goes on
        until(lambda: len(hook.posts) == 3, "the second notice again")
        listed = until(
            lambda: (
                (told := project.done("monitor", "notices")) and all(one["state"] == "sent" for one in told) and told
            )
        )
    keys = [headers["webhook-id"] for _, headers, _ in hook.posts]
    assert keys[1] == keys[2] != keys[0]
    assert [json.loads(body)["incident"]["number"] for _, _, body in hook.posts] == [1, 2, 2]
    assert {(one["incident"], one["target"]) for one in listed} == {
        (1, "log"),
        (1, "webhook"),
        (2, "log"),
        (2, "webhook"),
    }
    logged = "".join(path.read_text() for path in (project.home / "logs").glob("reconcile*"))
    assert "incident 1, quality: finding 0" in logged
    assert "very secret" not in logged
    assert project.end() == 0
