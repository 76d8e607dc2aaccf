"""What people say of a model: kept as said, never guessed, each change on record."""

from __future__ import annotations

import pytest

from perennial.clock import FixedClock
from perennial.errors import Invalid, NotFound, PerennialError
from perennial.registry.registered import Registered
from perennial.registry.versions import Models
from perennial.store.actor import acting
from perennial.store.events import Events
from perennial.store.records import Records


@pytest.fixture
def wages(models: Models) -> Models:
    models.register(name="wages", package="a" * 64, origin="loop")
    return models


def test_nobody_has_said_anything_of_a_new_model(wages: Models) -> None:
    facts = wages.about(name="wages")
    assert (facts.purpose, facts.owner, facts.risk, facts.limits) == ("", "", "", "")
    assert (facts.review_by, facts.at, facts.by) == (None, None, "")


@pytest.mark.parametrize("records", ["sqlite", "postgresql"], indirect=True)
def test_what_is_said_is_kept_with_who_said_it_and_the_rest_stays(wages: Models, clock: FixedClock) -> None:
    with acting("Ada", "page"):
        wages.describe(name="wages", purpose="tells a fair wage", owner="pay team", review_by="2027-06-30")
    clock.advance(60)
    with acting("Grace", "cli"):
        facts = wages.describe(name="wages", risk="high", description="log hourly wage")
    assert (facts.purpose, facts.owner, facts.risk) == ("tells a fair wage", "pay team", "high")
    assert (facts.description, facts.review_by) == ("log hourly wage", "2027-06-30")
    assert (facts.by, facts.at) == ("Grace", clock.now())
    assert wages.about(name="wages") == facts


def test_an_empty_text_takes_a_fact_away(wages: Models) -> None:
    wages.describe(name="wages", purpose="pay", review_by="2027-06-30")
    facts = wages.describe(name="wages", purpose=" ", review_by="")
    assert (facts.purpose, facts.review_by) == ("", None)


def test_each_change_is_an_event_that_names_the_facts_and_not_their_text(wages: Models, records: Records) -> None:
    wages.describe(name="wages", owner="Ada Lovelace", risk="high")
    wages.describe(name="wages", owner="Ada Lovelace")  # nothing new
    found = [event for event in Events(records).list() if event.kind == "model.described"]
    assert [(event.subject, event.payload) for event in found] == [("model/wages", {"facts": ["owner", "risk"]})]


@pytest.mark.parametrize("day", ["soon", "2027-02-30", "30.6.2027"])
def test_a_day_that_is_none_is_refused_and_nothing_is_kept(wages: Models, day: str) -> None:
    with pytest.raises(Invalid, match="is not a day"):
        wages.describe(name="wages", purpose="pay", review_by=day)
    assert wages.about(name="wages").purpose == ""


def test_of_a_model_that_is_not_there_nothing_can_be_said(models: Models) -> None:
    with pytest.raises(NotFound):
        models.describe(name="nothing", purpose="x")
    with pytest.raises(NotFound):
        models.about(name="nothing")


def test_a_model_of_clients_takes_what_was_said_along_when_it_is_renamed(
    models: Models, registered: Registered
) -> None:
    registered.create(name="old")
    models.describe(name="old", purpose="tries")
    registered.rename(name="old", new_name="new")
    assert models.about(name="new").purpose == "tries"
    registered.delete(name="new")
    registered.create(name="new")
    assert models.about(name="new").purpose == "", "a new model of an old name begins anew"


def test_the_inventory_has_each_model_with_what_is_live_and_what_waits(wages: Models, registered: Registered) -> None:
    wages.register(name="wages", package="b" * 64, origin="loop")
    wages.approve(name="wages", version=1)
    wages.set_alias(name="wages", alias="best", version=1)
    wages.describe(name="wages", purpose="pay")
    registered.create(name="empty")
    empty, line = wages.inventory()
    assert (empty.facts.name, empty.versions, empty.newest, empty.newest_state) == ("empty", 0, None, None)
    assert (line.versions, line.newest, line.newest_state, line.waiting) == (2, 2, "candidate", 1)
    assert (line.aliases, line.facts.purpose) == ({"best": 1}, "pay")


def test_any_version_can_be_tagged_and_its_tags_come_with_it(wages: Models, records: Records) -> None:
    wages.set_tag(name="wages", version=1, key="team", value="pay")
    wages.set_tag(name="wages", version=1, key="team", value="survey")
    wages.set_tag(name="wages", version=1, key="frozen")
    assert wages.get(name="wages").tags == {"frozen": "", "team": "survey"}
    assert [version.tags for version in wages.list()] == [{"frozen": "", "team": "survey"}]
    wages.delete_tag(name="wages", version=1, key="frozen")
    wages.delete_tag(name="wages", version=1, key="frozen")
    assert wages.get(name="wages").tags == {"team": "survey"}
    tagged = [event.kind for event in Events(records).list() if "tagged" in event.kind]
    assert tagged == ["model.tagged"] * 3 + ["model.untagged"]
    with pytest.raises(NotFound):
        wages.set_tag(name="wages", version=9, key="x")
    with pytest.raises(Invalid):
        wages.set_tag(name="wages", version=1, key="../x")


def test_a_rejection_needs_a_comment(wages: Models) -> None:
    for comment in ("", "  \n"):
        with pytest.raises(Invalid, match="needs a comment"):
            wages.reject(name="wages", version=1, comment=comment)
    assert wages.get(name="wages").state == "candidate"
    assert wages.reject(name="wages", version=1, comment="weak in the south").comment == "weak in the south"


def test_an_approval_is_of_the_package_that_was_looked_at_and_says_so(wages: Models, records: Records) -> None:
    with pytest.raises(PerennialError, match="is the package aaaaaaaaaaaa, not bbbbbbbbbbbb"):
        wages.approve(name="wages", version=1, package="b" * 64)
    with acting("Ada", "page"):
        wages.approve(name="wages", version=1, package="a" * 64, comment="fine")
    (event,) = (event for event in Events(records).list() if event.kind == "model.approved")
    assert event.payload == {"by": "Ada", "comment": "fine", "package": "a" * 64}
