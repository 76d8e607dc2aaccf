"""The pages: what they show, who may decide on them, and that one bad record hides nothing else."""

from __future__ import annotations

import re
from urllib.parse import urlencode

import pytest
import sqlalchemy as sa

from perennial.models.facts.verdict import Verdict
from perennial.store.events import events
from perennial.types import Micros
from perennial.ui.words import moment, subject_path

from ..api.conftest import Answer, Served  # noqa: TID252  a test folder is no package with a full name

SCRIPT = "<script>alert(1)</script>"


def candidate(served: Served, *, reason: str = "", says: str = "0.42 to 0.45") -> None:
    verdict = Verdict(kind="metric", sentence="rmse at most 0.5", passed=True, says=says, evidence={"rmse": 0.43})
    served.owned.workspace.models.register(
        name="salary", package="0" * 64, origin="loop", verdicts=[verdict], reason=reason
    )


def post(served: Served, path: str, form: dict[str, str], **headers: str) -> Answer:
    given = {"content-type": "application/x-www-form-urlencoded", "origin": f"http://127.0.0.1:{served.port}"}
    return served.ask("POST", path, urlencode(form).encode(), given | headers)


def test_the_first_page_shows_what_needs_a_person(fresh: Served) -> None:
    assert "Nothing." in fresh.ask("GET", "/").body.decode()
    candidate(fresh)
    page = fresh.ask("GET", "/").body.decode()
    assert 'href="/models/salary/1"' in page
    assert "perennial approve salary@1" in page


def test_a_person_logs_in_by_the_link_and_approves_in_their_name(fresh: Served) -> None:
    candidate(fresh)
    link = fresh.call("link").json["path"]
    asked = fresh.ask("GET", link)
    assert "Who are you?" in asked.body.decode()
    code = re.search(r'name="code" value="([^"]+)"', asked.body.decode())
    assert code is not None
    entered = post(fresh, "/login", {"code": code[1], "person": "Grace"})
    assert (entered.status, entered.headers["location"]) == (303, "/")
    cookie = entered.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    session = {"cookie": cookie.partition(";")[0]}
    assert 'value="approve"' in fresh.ask("GET", "/models/salary/1", headers=session).body.decode()
    decided = post(fresh, "/models/salary/1", {"decision": "approve", "comment": "fine"}, **session)
    assert (decided.status, decided.headers["location"]) == (303, "/models/salary/1")
    version = fresh.owned.workspace.models.get(name="salary")
    assert (version.state, version.decided_by, version.comment) == ("approved", "Grace", "fine")
    post(fresh, "/logout", {}, **session)
    assert "reading only" in fresh.ask("GET", "/", headers=session).body.decode()


def test_the_link_works_once_and_looking_at_it_does_not_use_it_up(fresh: Served) -> None:
    link = fresh.call("link").json["path"]
    code = link.partition("=")[2]
    for _ in range(2):
        assert fresh.ask("GET", link).status == 200
    assert post(fresh, "/login", {"code": code, "person": " "}).status == 400, "a mistake does not use it up either"
    assert post(fresh, "/login", {"code": code, "person": "Ada"}).status == 303
    assert post(fresh, "/login", {"code": code, "person": "Eve"}).status == 401
    assert post(fresh, "/login", {"code": "guess", "person": "Eve"}).status == 401


def test_without_logging_in_nothing_is_decided_and_no_form_is_shown(fresh: Served) -> None:
    candidate(fresh)
    assert "<button" not in fresh.ask("GET", "/models/salary/1").body.decode()
    assert post(fresh, "/models/salary/1", {"decision": "approve"}).status == 401
    assert fresh.owned.workspace.models.get(name="salary").state == "candidate"


def test_C05_a_form_from_elsewhere_or_of_another_kind_decides_nothing(fresh: Served) -> None:
    candidate(fresh)
    session = {"cookie": fresh.log_in()}
    form = {"decision": "approve"}
    assert post(fresh, "/models/salary/1", form, **session, origin="http://evil.example").status == 403
    assert post(fresh, "/models/salary/1", form, **session, origin="").status in (401, 403)
    assert post(fresh, "/models/salary/1", form, **session, **{"content-type": "text/plain"}).status == 400
    assert fresh.owned.workspace.models.get(name="salary").state == "candidate"


@pytest.mark.parametrize("form", [{}, {"decision": "explode"}, {"decision": "approve" * 9999}])
def test_a_form_that_is_none_is_a_4xx_page(fresh: Served, form: dict[str, str]) -> None:
    candidate(fresh)
    answer = post(fresh, "/models/salary/1", form, cookie=fresh.log_in())
    assert answer.status in (400, 413)
    assert "<h1>" in answer.body.decode()


def test_C07_text_from_the_records_stays_text(fresh: Served) -> None:
    candidate(fresh, reason=SCRIPT, says=SCRIPT)
    fresh.owned.workspace.models.reject(name="salary", version=1, comment=SCRIPT)
    for path in ("/", "/log", "/models/salary/1", f"/login?code={SCRIPT}"):
        assert SCRIPT not in fresh.ask("GET", path).body.decode()


def test_a_live_endpoint_has_a_page_and_can_be_rolled_back_from_it(fresh: Served) -> None:
    fresh.owned.workspace.models.register(name="salary", package="0" * 64, origin="imported")
    assert fresh.ask("GET", "/endpoints/salary").status == 404
    answer = post(fresh, "/endpoints/salary", {"reason": "worse"}, cookie=fresh.log_in())
    assert answer.status == 404


def test_the_time_line_goes_back_page_by_page(fresh: Served) -> None:
    for _ in range(120):
        fresh.owned.workspace.models.register(name="salary", package="0" * 64, origin="imported")
    newest = fresh.ask("GET", "/log").body.decode()
    assert newest.count("model.registered") == 100
    older = re.search(r'href="(/log\?before=\d+)"', newest)
    assert older is not None
    assert fresh.ask("GET", older[1]).body.decode().count("model.registered") == 20
    for odd in ("-1", "x", "9" * 30, ""):
        assert fresh.ask("GET", f"/log?before={odd}").status == 200


def test_P5_one_damaged_event_is_named_and_the_others_are_shown(fresh: Served) -> None:
    for _ in range(3):
        candidate(fresh)
    damaged = sa.update(events).where(events.c.seq == 2).values(payload=b"\x00not JSON")
    fresh.owned.records.write(lambda tx: tx.connection.execute(damaged))
    page = fresh.ask("GET", "/log")
    assert page.status == 200
    assert "event 2 cannot be read" in page.body.decode()
    assert page.body.decode().count("model.registered") == 2


def test_P5_a_part_that_cannot_be_read_is_named_and_the_others_are_shown(fresh: Served) -> None:
    candidate(fresh)
    damaged = sa.text("UPDATE model_versions SET verdicts = 'not JSON'")
    table = fresh.owned.workspace.models  # makes sure that the tables are known
    assert table is not None
    fresh.owned.records.write(lambda tx: tx.connection.execute(damaged))
    page = fresh.ask("GET", "/")
    assert page.status == 200
    assert "model versions cannot be read" in page.body.decode()
    assert "<h1>Endpoints</h1>" in page.body.decode()


def test_a_moment_that_is_none_is_shown_as_it_is() -> None:
    assert moment(Micros(0)) == "1970-01-01 00:00:00"
    assert moment(None) == "-"
    assert moment(10**30).startswith("? (")


@pytest.mark.parametrize(
    "subject, path",
    [
        ("model/salary/3", "/models/salary/3"),
        ("model/salary", "/models/salary"),
        ("endpoint/a b", "/endpoints/a%20b"),
        ("dataset/x/1", "/log"),
        ("odd", "/log"),
    ],
)
def test_an_event_leads_to_what_it_is_about(subject: str, path: str) -> None:
    assert subject_path(subject) == path
