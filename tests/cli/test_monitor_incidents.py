"""`perennial monitor`: incidents, what people say of them, maintenance, notices, the dashboard."""

from __future__ import annotations

import getpass
import json
from pathlib import Path

import pytest

from perennial.api.connect import open
from perennial.monitor.findings import NewFinding
from tests.cli.conftest import Perennial

ME = getpass.getuser()


@pytest.fixture
def alarmed(project: Path, candidate: None) -> None:
    """A workspace in which an endpoint was found to answer worse, twice, and its inputs to have shifted."""
    with open() as ws:
        ws.models.approve(name="salary", version=1)
        ws.endpoints.start_rollout(name="salary", version=1, stages=[], because="")
        now = ws.clock.now()
        found = [
            NewFinding(
                key=f"{kind}/{number}", version=1, kind=kind, severity=severity, window_from=now - 10 - number,
                window_to=now - number, says=f"{kind} number {number}", evidence={"psi": 0.3},
            )
            for number, (kind, severity) in enumerate(
                [("performance_drop", "critical"), ("performance_drop", "critical"), ("covariate_shift", "warn")]
            )
        ]  # fmt: skip
        ws.monitor.step(endpoint="salary", version=1, name="all", cursor_from=0, cursor_to=1, state={}, found=found)


@pytest.mark.usefixtures("alarmed")
def test_what_is_wrong_is_listed_newest_first(perennial: Perennial) -> None:
    said = perennial("monitor", "incidents")
    assert said.code == 0
    lines = said.out.splitlines()
    assert lines[0].split()[:4] == ["incident", "severity", "state", "version"]
    assert lines[1].split()[:5] == ["2", "warn", "open", "salary@1", "inputs"]
    assert lines[2].split()[:5] == ["1", "critical", "open", "salary@1", "performance"]
    assert lines[3] == "salary: 0 false alarms in 30 days, 1 was promised (2 incidents)"
    told = perennial("monitor", "incidents", "salary", "--json").json
    assert [(one["number"], one["findings"]) for one in told["incidents"]] == [(2, 1), (1, 2)]
    wrong = perennial("monitor", "incidents", "nobody")
    assert (wrong.code, "nobody" in wrong.err) == (2, True)


@pytest.mark.usefixtures("alarmed")
def test_an_incident_goes_through_its_life_in_the_persons_name(perennial: Perennial) -> None:
    said = perennial("monitor", "acknowledge", "1")
    assert (said.code, said.out.splitlines()[0]) == (0, "incident 1 of salary is looked after by you")
    told = perennial("monitor", "explain", "1", "--comment", "a new form", "--cause", "data-bug", "--json").json
    assert (told["state"], told["cause"], told["explained_by"]) == ("explained", "data bug", ME)
    assert perennial("monitor", "close", "1").code == 2  # without a comment
    assert perennial("monitor", "close", "1", "--comment", "the form is mended").code == 0
    again = perennial("monitor", "close", "1", "--comment", "again")
    assert (again.code, f"closed already, by {ME}" in again.err) == (2, True)
    shown = perennial("monitor", "show", "1").out
    for line in (
        "incident 1: salary version 1, performance, critical, closed",
        f"explained by {ME}: data bug, a new form",
        f"by {ME}: the form is mended",
        "performance_drop number 1",
        "incident.acknowledged",
        "notice to log (critical): waiting",
    ):
        assert line in shown
    story = perennial("monitor", "show", "1", "--json").json
    assert [event["kind"] for event in story["events"]] == [
        f"incident.{what}" for what in ("opened", "acknowledged", "explained", "closed")
    ]
    assert all(f"{ME} via" in event["actor"] for event in story["events"])
    assert "incident.closed" in perennial("log", "incident/1").out
    assert perennial("monitor", "incidents").out.split().count("critical") == 0
    assert "closed" in perennial("monitor", "incidents", "--all").out


@pytest.mark.usefixtures("alarmed")
def test_a_false_alarm_is_shown_beside_what_was_promised(perennial: Perennial) -> None:
    for number in ("1", "2"):
        said = perennial("monitor", "false-alarm", number, "--comment", "a holiday")
        assert said.code == 0
    assert "salary: 2 false alarms in 30 days, 1 was promised" in said.out
    assert "2 false alarms in 30 days, 1 was promised" in perennial("monitor", "incidents").out
    assert perennial("monitor", "incidents", "--all").out.count("false alarm ") >= 2
    told = perennial("monitor", "incidents", "--json").json["feedback"]
    assert [(one["false_alarms"], one["promised"]) for one in told] == [(2, 1.0)]


@pytest.mark.usefixtures("alarmed")
def test_maintenance_begins_is_listed_and_ends(perennial: Perennial) -> None:
    said = perennial("monitor", "maintenance", "start", "salary", "--reason", "moving house", "--for", "2h")
    assert said.out.startswith("maintenance 1 of salary, from ")
    assert "maintenance 1 of salary until " in perennial("monitor", "incidents").out
    (window,) = perennial("monitor", "maintenance", "list", "--json").json
    assert (window["until"] - window["since"], window["by"]) == (7200 * 10**6, ME)
    assert perennial("monitor", "maintenance", "end", "1").code == 0
    again = perennial("monitor", "maintenance", "end", "1")
    assert (again.code, "ended at" in again.err) == (2, True)
    every = ("monitor", "maintenance", "start", "--all", "--reason", "x")
    assert perennial(*every, "--from", "2026-05-01", "--json").json["endpoint"] == ""
    assert "every endpoint" in perennial("monitor", "maintenance", "list").out


@pytest.mark.usefixtures("alarmed")
@pytest.mark.parametrize(
    "words, says",
    [
        (("start", "--reason", "x"), "name one endpoint, or say --all"),
        (("start", "salary", "--all", "--reason", "x"), "name one endpoint, or say --all"),
        (("start", "nobody", "--reason", "x"), "nobody"),
        (("start", "salary", "--reason", "x", "--for", "soon"), "is no duration"),
        (("start", "salary", "--reason", "x", "--from", "soon"), "is no time"),
        (("start", "salary", "--reason", " "), "needs a reason"),
        (("start", "salary"), "--reason"),
        (("end", "9"), "there is no maintenance window 9"),
    ],
)
def test_maintenance_that_makes_no_sense_is_refused(perennial: Perennial, words: tuple[str, ...], says: str) -> None:
    said = perennial("monitor", "maintenance", *words)
    assert said.code == 2
    assert says in said.err


@pytest.mark.usefixtures("alarmed")
def test_notices_are_listed_and_one_that_was_given_up_is_tried_again(perennial: Perennial) -> None:
    with open() as ws:
        first, _ = ws.notices.list()
        for attempt in range(1, 19):
            ws.notices.failed(key=first.key, attempt=attempt, error="the receiver answered 503")
    assert "1 notices did not arrive and were given up" in perennial("monitor", "incidents").out
    listed = perennial("monitor", "notices").out
    assert "given up" in listed
    assert "the receiver answered 503" in listed
    assert perennial("monitor", "notices", "--retry", first.key).code == 0
    assert {one["state"] for one in perennial("monitor", "notices", "--json").json} == {"waiting"}
    wrong = perennial("monitor", "notices", "--retry", "none")
    assert (wrong.code, "there is no notice" in wrong.err) == (2, True)


@pytest.mark.usefixtures("candidate")
def test_where_nothing_is_wrong_that_is_said(perennial: Perennial) -> None:
    assert perennial("monitor", "incidents").out == "nothing is wrong\n"
    assert perennial("monitor", "incidents", "--all").out == "there are none\n"
    assert perennial("monitor", "notices").out == "there are none\n"
    wrong = perennial("monitor", "show", "7")
    assert (wrong.code, "there is no incident 7" in wrong.err) == (2, True)
    assert perennial("monitor", "show", "seven").code == 2


def test_the_dashboard_needs_no_workspace(perennial: Perennial, project: Path) -> None:
    made = json.loads(perennial("monitor", "dashboard").out)
    assert made == perennial("monitor", "dashboard", "--json").json
    assert made["title"] == "Perennial: models in production"
    assert list(project.iterdir()) == []
