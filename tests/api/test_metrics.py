"""The owner's metrics: for anybody on this machine, in the text format."""

from __future__ import annotations

from collections.abc import Callable

from perennial.config import Settings
from perennial.monitor.findings import NewFinding

from .conftest import Served


def test_the_owner_tells_metrics_in_prometheus_text_format(fresh: Served) -> None:
    found = NewFinding(
        key="a", version=1, kind="data_quality", severity="critical", window_from=1, window_to=2, says="x", evidence={}
    )
    fresh.owned.workspace.monitor.step(
        endpoint="wages", version=1, name="a", cursor_from=0, cursor_to=1, state={}, found=[found]
    )
    answer = fresh.ask("GET", "/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert (
        'perennial_findings_total{endpoint="wages",kind="data_quality",severity="critical"} 1' in answer.body.decode()
    )
    assert fresh.ask("POST", "/metrics", b"").status == 405


def test_a_person_decides_about_an_incident_in_their_own_name(fresh: Served) -> None:
    found = NewFinding(
        key="a", version=1, kind="data_quality", severity="critical", window_from=1, window_to=2, says="x", evidence={}
    )
    fresh.owned.workspace.monitor.step(
        endpoint="wages", version=1, name="a", cursor_from=0, cursor_to=1, state={}, found=[found]
    )
    page = {"cookie": fresh.log_in("Ada"), "origin": f"http://127.0.0.1:{fresh.port}"}
    body = b'{"number":1,"comment":"mended"}'
    kind = {"content-type": "application/json"}
    assert fresh.ask("POST", "/api/incidents/close", body, kind).status == 401  # nobody known
    assert fresh.ask("POST", "/api/incidents/close", body, kind | page).json["closed_by"] == "Ada"
    assert fresh.ask("POST", "/api/incidents/close", body, kind | page).status == 409


def test_F14_a_decision_that_is_sent_twice_is_made_once(fresh: Served) -> None:
    answers = [fresh.call("maintenance.start", {"reason": "moving house"}, idempotency_key="k1").json for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]
    assert len(fresh.call("maintenance.list").json) == 1


def test_C19_secrets_of_the_settings_are_not_told(served_with: Callable[[Settings], Served]) -> None:
    told = {"webhook_url": "https://example.org/T1/B2", "webhook_secret": "whsec_abc", "smtp_password": "very secret"}
    served = served_with(Settings(**told, slack_webhook_url="https://example.org/T3", smtp_host="mail.example.org"))
    answer = served.call("system.settings")
    shown = {one["name"]: one["value"] for one in answer.json}
    assert {shown[name] for name in (*told, "slack_webhook_url")} == {"***"}
    assert shown["smtp_host"] == "mail.example.org"
    for secret in ("example.org/T", "abc", "very secret"):
        assert secret.encode() not in answer.body
        assert secret not in repr(served.owned.workspace.settings)
