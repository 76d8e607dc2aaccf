"""The pages of incidents: what is wrong, what a person decides about it, and text that stays text."""

from __future__ import annotations

from urllib.parse import urlencode

from perennial.monitor.findings import NewFinding

from ..api.conftest import Answer, Served  # noqa: TID252  a test folder is no package with a full name

SCRIPT = "<script>alert(1)</script>"


def find(served: Served, number: int = 0, says: str = "too low") -> None:
    found = NewFinding(
        key=f"a/{number}", version=1, kind="performance_drop", severity="critical", window_from=number,
        window_to=number + 1, says=says, evidence={},
    )  # fmt: skip
    served.owned.workspace.monitor.step(
        endpoint="wages", version=1, name="a", cursor_from=number, cursor_to=number + 1, state={}, found=[found]
    )


def post(served: Served, path: str, form: dict[str, str], **headers: str) -> Answer:
    given = {"content-type": "application/x-www-form-urlencoded", "origin": f"http://127.0.0.1:{served.port}"}
    return served.ask("POST", path, urlencode(form).encode(), given | headers)


def text(served: Served, path: str, **headers: str) -> str:
    answer = served.ask("GET", path, headers=headers)
    assert answer.status == 200, path
    return answer.body.decode()


def test_incidents_are_listed_and_lead_to_their_story(fresh: Served) -> None:
    assert "Nothing is wrong." in text(fresh, "/incidents")
    find(fresh)
    page = text(fresh, "/incidents")
    for said in ('href="/incidents/1"', "critical", "too low", "0 false alarms in 30 days, 1 was promised"):
        assert said in page
    story = text(fresh, "/incidents/1")
    for said in ("incident.opened", "performance drop", "waiting", "closes by itself 7 days after"):
        assert said in story
    assert "<form" not in story.partition("<main")[2]  # nobody known decides nothing
    assert fresh.ask("GET", "/incidents/7").status == 404
    assert fresh.ask("GET", f"/incidents/{2**40}").status == 404


def test_an_incident_that_nobody_looks_after_needs_a_person(fresh: Served) -> None:
    find(fresh)
    page = text(fresh, "/")
    assert 'href="/incidents/1"' in page
    assert "perennial monitor show 1" in page
    fresh.owned.workspace.incidents.acknowledge(number=1)
    assert "perennial monitor show 1" not in text(fresh, "/")
    (notice,) = fresh.owned.workspace.notices.list()
    for attempt in range(1, 19):
        fresh.owned.workspace.notices.failed(key=notice.key, attempt=attempt, error="answered 503")
    assert f"perennial monitor notices --retry {notice.key}" in text(fresh, "/")
    assert "1 notices did not arrive" in text(fresh, "/incidents")


def test_a_person_decides_on_the_page_in_their_own_name(fresh: Served) -> None:
    find(fresh)
    cookie = fresh.log_in("Ada")
    assert "Acknowledge" in text(fresh, "/incidents/1", cookie=cookie)
    for form in (
        {"decision": "acknowledge", "comment": ""},
        {"decision": "explain", "comment": "a new form", "cause": "data bug"},
        {"decision": "false_alarm", "comment": "it was the form"},
    ):
        answer = post(fresh, "/incidents/1", form, cookie=cookie)
        assert (answer.status, answer.headers["location"]) == (303, "/incidents/1")
    incident = fresh.owned.workspace.incidents.get(number=1).incident
    assert (incident.acknowledged_by, incident.explained_by, incident.cause) == ("Ada", "Ada", "data bug")
    assert (incident.false_alarm_by, incident.closed_by, incident.state) == ("Ada", "Ada", "closed")
    assert "1 false alarm in 30 days, 1 was promised" in text(fresh, "/incidents?all=1")
    assert post(fresh, "/incidents/1", {"decision": "close", "comment": "x"}, cookie=cookie).status == 409
    assert post(fresh, "/incidents/1", {"decision": "forget"}, cookie=cookie).status == 400
    assert post(fresh, "/incidents/1", {"decision": "close", "comment": "x"}).status == 401


def test_maintenance_is_shown_while_it_lasts(fresh: Served) -> None:
    fresh.owned.workspace.maintenance.start(reason="moving house")
    assert "moving house" in text(fresh, "/incidents")
    fresh.owned.workspace.maintenance.end(number=1)
    assert "moving house" not in text(fresh, "/incidents")


def test_C07_what_was_found_and_said_stays_text(fresh: Served) -> None:
    find(fresh, says=SCRIPT)
    fresh.owned.workspace.incidents.explain(number=1, comment=SCRIPT)
    fresh.owned.workspace.incidents.false_alarm(number=1, comment=SCRIPT)
    fresh.owned.workspace.maintenance.start(reason=SCRIPT)
    for path in ("/", "/incidents?all=1", "/incidents/1", "/log"):
        assert SCRIPT not in text(fresh, path)
        assert "<script>" not in text(fresh, path).replace('<script src="/addresses.js" defer></script>', "")
