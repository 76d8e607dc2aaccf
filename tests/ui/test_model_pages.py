"""The pages of models: who may say and decide what on them, and a card that a browser opens without anything else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest

from perennial.registry.card.html import html
from perennial.workspace import Workspace

from ..api.conftest import Answer, Served  # noqa: TID252  a test folder is no package with a full name
from ..registry.card_facts import VERDICTS, registered  # noqa: TID252

IN_CI = os.environ.get("CI", "").lower() in {"1", "true"}
SCRIPT = "<script>alert(1)</script>"


def workspace(served: Served) -> Workspace:
    return served.owned.workspace


def post(served: Served, path: str, form: dict[str, str], **headers: str) -> Answer:
    given = {"content-type": "application/x-www-form-urlencoded", "origin": f"http://127.0.0.1:{served.port}"}
    return served.ask("POST", path, urlencode(form).encode(), given | headers)


def text(served: Served, path: str, **headers: str) -> str:
    answer = served.ask("GET", path, headers=headers)
    assert answer.status == 200, path
    return answer.body.decode()


def test_all_models_are_listed_with_what_people_say_of_them(fresh: Served) -> None:
    assert "There are no models yet." in text(fresh, "/models")
    ws = workspace(fresh)
    registered(ws.models, ws.objects)
    ws.models.describe(name="income", purpose="whom a survey asks again", risk="limited", review_by="2027-06-30")
    page = text(fresh, "/models")
    for said in (
        'href="/models/income"',
        'href="/models/income/1"',
        "whom a survey asks again",
        "limited",
        "2027-06-30",
    ):
        assert said in page
    assert 'href="/models"' in text(fresh, "/"), "every page leads there"


def test_a_model_shows_its_versions_and_a_person_says_what_it_is_for(fresh: Served) -> None:
    ws = workspace(fresh)
    registered(ws.models, ws.objects)
    ws.models.set_tag(name="income", version=1, key="team", value="survey")
    ws.models.set_alias(name="income", alias="best", version=1)
    page = text(fresh, "/models/income")
    for said in ("@best", "team: survey", "refused", "nobody has said", 'href="/models/income/1/card"'):
        assert said in page
    assert "<form class" not in page, "whoever only reads is shown no form"
    assert post(fresh, "/models/income", {"purpose": "x"}).status == 401
    session = {"cookie": fresh.log_in("Grace")}
    assert 'name="purpose"' in text(fresh, "/models/income", **session)
    answer = post(fresh, "/models/income", {"purpose": "for surveys", "owner": "team"}, **session)
    assert (answer.status, answer.headers["location"]) == (303, "/models/income")
    facts = ws.models.about(name="income")
    assert (facts.purpose, facts.owner, facts.by) == ("for surveys", "team", "Grace")
    assert post(fresh, "/models/income", {"review_by": "soon"}, **session).status == 400


def test_a_decision_on_the_page_is_about_the_package_that_it_showed(fresh: Served) -> None:
    ws = workspace(fresh)
    version = registered(ws.models, ws.objects, verdicts=VERDICTS[:1])
    session = {"cookie": fresh.log_in()}
    page = text(fresh, "/models/income/1", **session)
    assert f'name="package" value="{version.package}"' in page
    other = post(fresh, "/models/income/1", {"decision": "approve", "package": "0" * 64}, **session)
    assert other.status == 409
    assert post(fresh, "/models/income/1", {"decision": "reject"}, **session).status == 400, "it needs a comment"
    done = post(fresh, "/models/income/1", {"decision": "approve", "package": version.package or ""}, **session)
    assert done.status == 303
    assert "approved" in text(fresh, "/models/income/1")


def test_a_version_shows_where_it_comes_from_and_who_decided(fresh: Served) -> None:
    ws = workspace(fresh)
    ws.runs.start(loop="income", run_id="a" * 32, git_commit="abcdef")
    version = registered(ws.models, ws.objects, verdicts=VERDICTS[:1], run_id="a" * 32)
    ws.models.approve(name="income", version=1, comment="good enough")
    page = text(fresh, "/models/income/1")
    for said in (version.package or "", version.evaluation or "", "a" * 32, "abcdef", "good enough", "accuracy is"):
        assert said in page


def test_the_card_is_served_with_a_policy_of_its_own(fresh: Served) -> None:
    ws = workspace(fresh)
    registered(ws.models, ws.objects)
    answer = fresh.ask("GET", "/models/income/1/card")
    assert answer.status == 200
    assert answer.body.decode() == html(ws.cards.get(name="income", version=1))
    rules = answer.headers["content-security-policy"].split("; ")
    assert {"default-src 'none'", "form-action 'none'", "base-uri 'none'", "frame-ancestors 'none'"} <= set(rules)
    assert "'self'" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_C07_what_people_write_stays_text(fresh: Served) -> None:
    ws = workspace(fresh)
    registered(ws.models, ws.objects, reason=SCRIPT)
    ws.models.describe(name="income", purpose=SCRIPT, owner=SCRIPT, description=SCRIPT)
    ws.models.set_tag(name="income", version=1, key="k", value=SCRIPT)
    session = {"cookie": fresh.log_in()}
    for path in ("/models", "/models/income", "/models/income/1", "/models/income/1/card"):
        page = text(fresh, path, **session)
        assert SCRIPT not in page, path
        assert "&lt;script&gt;" in page, path
        assert " style=" not in page, path


def test_a_live_model_whose_review_day_has_passed_needs_a_person(fresh: Served) -> None:
    ws = workspace(fresh)
    registered(ws.models, ws.objects, verdicts=VERDICTS[:1])
    ws.models.describe(name="income", review_by="2020-01-31", retire_by="2999-01-01")
    assert "looked at again" not in text(fresh, "/"), "it is not live"
    ws.models.approve(name="income", version=1)
    ws.endpoints.start_rollout(name="income", version=1, stages=[], because="")
    page = text(fresh, "/")
    assert "is live, and should have been looked at again by 2020-01-31" in page
    assert 'href="/models/income/1"' in page
    assert "should not be used any more" not in page
    ws.models.describe(name="income", review_by="2999-01-01")
    assert "looked at again" not in text(fresh, "/")


@pytest.mark.parametrize(
    "path", ["/models/nothing", "/models/income/9", f"/models/income/{2**40}", "/models/income/9/card"]
)
def test_what_is_not_there_is_a_404(fresh: Served, path: str) -> None:
    ws = workspace(fresh)
    registered(ws.models, ws.objects)
    answer = fresh.ask("GET", path)
    assert answer.status == 404
    assert "<h1>404</h1>" in answer.body.decode()


def test_a_browser_opens_the_card_from_a_file_and_asks_for_nothing_else(fresh: Served, tmp_path: Path) -> None:
    browser = shutil.which("chromium")
    if browser is None:
        reason = "chromium is not installed"
        pytest.fail(reason) if IN_CI else pytest.skip(reason)
    ws = workspace(fresh)
    registered(ws.models, ws.objects)
    file = tmp_path / "card.html"
    file.write_text(html(ws.cards.get(name="income")), encoding="utf-8")
    asked = _asked_for(browser, file, tmp_path / "log.json", title="income version 1")
    assert {url for url in asked if url.startswith("file:")} <= {file.as_uri()}
    empty = tmp_path / "empty.html"
    empty.write_text("<title>empty</title>", encoding="utf-8")
    own = _asked_for(browser, empty, tmp_path / "other.json", title="empty")  # what it asks its makers for
    assert {_host(url) for url in asked if not url.startswith("file:")} <= {_host(url) for url in own}


def _asked_for(browser: str, file: Path, log: Path, *, title: str) -> set[str]:
    """The addresses that a browser asks for when it opens a file, by its own log of the network."""
    done = subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
            "--disable-component-update", "--disable-sync", f"--user-data-dir={log}.profile",
            f"--log-net-log={log}", "--virtual-time-budget=3000", "--dump-dom", file.as_uri(),
        ],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert f"<title>{title}</title>" in done.stdout, done.stderr
    return set(re.findall(r'"url":"([^"]+)"', log.read_text(encoding="utf-8", errors="replace")))


def _host(url: str) -> str:
    return urlsplit(url).netloc
