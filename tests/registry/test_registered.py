"""Registered models: what clients keep under a name, and what they may not undo."""

from __future__ import annotations

import pytest

from perennial.clock import FixedClock
from perennial.errors import AlreadyExists, Forbidden, Invalid, NotFound
from perennial.registry.model_versions import ModelVersions
from perennial.registry.registered import Registered
from perennial.registry.versions import Models, point
from perennial.store.events import Events
from perennial.store.records import Records

BOTH = pytest.mark.parametrize("records", ["sqlite", "postgresql"], indirect=True)
PACKAGE = "a" * 64


def kinds(records: Records) -> list[str]:
    return [event.kind for event in Events(records).list()]


def add(model_versions: ModelVersions, name: str = "m", count: int = 1) -> None:
    for _ in range(count):
        model_versions.create(name=name, source="s3://bucket/model")


def make_live(records: Records, models: Models, name: str = "wages") -> None:
    models.register(name=name, package=PACKAGE, origin="loop")
    records.write(lambda tx: point(tx, name, "live", 1))


@BOTH
def test_a_model_comes_back_as_it_was_made(registered: Registered, records: Records, clock: FixedClock) -> None:
    made = registered.create(name="price of oil", description="monthly", tags={"team": "energy", "empty": ""})
    assert registered.get(name="price of oil") == made
    assert (made.description, made.tags) == ("monthly", {"team": "energy", "empty": ""})
    assert (made.created, made.updated, made.aliases, made.latest) == (clock.now(), clock.now(), {}, [])
    assert [(event.kind, event.subject, event.payload) for event in Events(records).list()] == [
        ("model.created", "model/price of oil", {})
    ]


@BOTH
def test_a_name_is_given_once_and_again_after_its_model_was_deleted(
    registered: Registered, model_versions: ModelVersions, records: Records
) -> None:
    registered.create(name="m", tags={"a": "1"})
    add(model_versions, count=2)
    registered.set_alias(name="m", alias="best", version=2)
    with pytest.raises(AlreadyExists, match=r"Registered Model \(name=m\) already exists"):
        registered.create(name="m")
    registered.delete(name="m")
    for gone in (lambda: registered.get(name="m"), lambda: registered.delete(name="m")):
        with pytest.raises(NotFound, match="name=m not found"):
            gone()
    assert model_versions.search().versions == []
    fresh = registered.create(name="m")
    assert (fresh.tags, fresh.aliases, fresh.latest) == ({}, {}, [])
    assert kinds(records)[-2:] == ["model.removed", "model.created"]


@pytest.mark.parametrize("name", ["", "  ", "a/b", "a:b", ".", "..", "x" * 501, "nul\0", "half \ud800"])
def test_C15_a_name_that_leads_elsewhere_is_refused(registered: Registered, name: str) -> None:
    with pytest.raises(Invalid):
        registered.create(name=name)
    registered.create(name="fine")
    with pytest.raises(Invalid):
        registered.rename(name="fine", new_name=name)
    assert [model.name for model in registered.search().models] == ["fine"]


@pytest.mark.parametrize(
    "key, value",
    [("", "v"), ("a!", "v"), ("../a", "v"), ("/a", "v"), ("k" * 251, "v"), ("k", "v" * 100_001), ("k", "\0")],
)
def test_a_tag_over_its_limits_is_refused(registered: Registered, key: str, value: str) -> None:
    with pytest.raises(Invalid):
        registered.create(name="m", tags={key: value})
    registered.create(name="m")
    with pytest.raises(Invalid):
        registered.set_tag(name="m", key=key, value=value)
    assert registered.get(name="m").tags == {}


@BOTH
def test_tags_are_replaced_and_taking_away_what_is_not_there_is_no_change(
    registered: Registered, records: Records
) -> None:
    registered.create(name="m")
    registered.set_tag(name="m", key="a", value="1")
    registered.set_tag(name="m", key="a", value="v" * 100_000)
    assert registered.get(name="m").tags == {"a": "v" * 100_000}
    for _ in range(2):
        registered.delete_tag(name="m", key="a")
    assert registered.get(name="m").tags == {}
    assert kinds(records) == ["model.created", "model.tagged", "model.tagged", "model.untagged"]
    for change in (
        lambda: registered.set_tag(name="n", key="a", value="1"),
        lambda: registered.delete_tag(name="n", key="a"),
    ):
        with pytest.raises(NotFound):
            change()


@BOTH
def test_an_alias_points_at_one_version_and_latest_at_the_highest(
    registered: Registered, model_versions: ModelVersions
) -> None:
    registered.create(name="m")
    with pytest.raises(NotFound, match="no version yet"):
        registered.at_alias(name="m", alias="latest")
    add(model_versions, count=3)
    registered.set_alias(name="m", alias="best", version=1)
    registered.set_alias(name="m", alias="best", version=2)
    registered.set_alias(name="m", alias="second", version=2)
    found = registered.at_alias(name="m", alias="best")
    assert (found.version, found.aliases) == (2, ["best", "second"])
    assert registered.at_alias(name="m", alias="Latest").version == 3
    assert registered.get(name="m").aliases == {"best": 2, "second": 2}
    for _ in range(2):
        registered.delete_alias(name="m", alias="best")
    with pytest.raises(Invalid, match="alias best not found"):
        registered.at_alias(name="m", alias="best")
    with pytest.raises(NotFound):
        registered.at_alias(name="n", alias="best")
    with pytest.raises(NotFound):
        registered.set_alias(name="m", alias="best", version=9)


@pytest.mark.parametrize("alias", ["", "a b", "a.b", "a@b", "v1", "V22", "latest", "LATEST", "a" * 256])
def test_what_reads_as_something_else_is_no_alias(
    registered: Registered, model_versions: ModelVersions, alias: str
) -> None:
    registered.create(name="m")
    add(model_versions)
    with pytest.raises(Invalid):
        registered.set_alias(name="m", alias=alias, version=1)
    assert registered.get(name="m").aliases == {}


@pytest.mark.parametrize("alias", ["live", "candidate", "Live", "CANDIDATE"])
def test_the_aliases_of_what_is_served_are_read_only(
    registered: Registered, records: Records, models: Models, alias: str
) -> None:
    make_live(records, models)
    for change in (
        lambda: registered.set_alias(name="wages", alias=alias, version=1),
        lambda: registered.delete_alias(name="wages", alias=alias),
    ):
        with pytest.raises(Forbidden, match="perennial deploy wages@VERSION"):
            change()
    assert registered.get(name="wages").aliases == {"live": 1}
    assert registered.at_alias(name="wages", alias="live").version == 1


@BOTH
def test_renaming_moves_everything(
    registered: Registered, model_versions: ModelVersions, records: Records, clock: FixedClock
) -> None:
    registered.create(name="m", description="d", tags={"a": "1"})
    registered.create(name="taken")
    add(model_versions, count=3)
    model_versions.delete(name="m", version=3)
    registered.set_alias(name="m", alias="best", version=1)
    model_versions.set_tag(name="m", version=1, key="k", value="v")
    with pytest.raises(AlreadyExists, match="name=taken"):
        registered.rename(name="m", new_name="taken")
    clock.advance(5)
    moved = registered.rename(name="m", new_name="n")
    assert (moved.description, moved.tags, moved.aliases) == ("d", {"a": "1"}, {"best": 1})
    assert moved.updated == moved.created + 5_000_000
    assert [version.version for version in moved.latest] == [2]
    first = model_versions.get(name="n", version=1)
    assert (first.tags, first.aliases, first.updated) == ({"k": "v"}, ["best"], clock.now())
    with pytest.raises(NotFound):
        registered.get(name="m")
    # Numbers go on, also over those that were deleted.
    assert model_versions.create(name="n", source="s3://b/x").version == 4
    assert registered.rename(name="n", new_name="n").name == "n"
    event = next(event for event in Events(records).list() if event.kind == "model.renamed")
    assert (event.subject, event.payload) == ("model/m", {"to": "n"})


@pytest.mark.parametrize("is_live", [True, False])
def test_a_model_with_a_package_is_neither_renamed_nor_deleted(
    registered: Registered, records: Records, models: Models, is_live: bool
) -> None:
    models.register(name="wages", package=PACKAGE, origin="loop")
    if is_live:
        records.write(lambda tx: point(tx, "wages", "live", 1))
    before = kinds(records)
    for change in (
        lambda: registered.rename(name="wages", new_name="pay"),
        lambda: registered.delete(name="wages"),
    ):
        with pytest.raises(Forbidden, match="perennial deploy wages@VERSION"):
            change()
    assert [version.version for version in models.list(name="wages")] == [1]
    assert kinds(records) == before
    # Described and tagged it may be.
    registered.set_tag(name="wages", key="team", value="pay")
    assert registered.describe(name="wages", description="yearly").tags == {"team": "pay"}


@BOTH
def test_a_loop_keeps_the_model_of_its_versions(
    registered: Registered, models: Models, model_versions: ModelVersions, clock: FixedClock
) -> None:
    models.register(name="wages", package=PACKAGE, origin="loop", run_id="r1")
    clock.advance(10)
    assert model_versions.create(name="wages", source="s3://b/x").version == 2
    clock.advance(10)
    assert models.register(name="wages", package=PACKAGE, origin="loop", run_id="r2").version == 3
    assert models.register(name="wages", package=PACKAGE, origin="loop", run_id="r2").version == 3
    model = registered.get(name="wages")
    assert model.updated == model.created + 20_000_000 == clock.now()
    model_versions.delete(name="wages", version=2)
    assert models.register(name="wages", package=PACKAGE, origin="loop", run_id="r4").version == 4


@BOTH
def test_the_newest_version_of_each_stage(
    registered: Registered, models: Models, model_versions: ModelVersions, records: Records
) -> None:
    make_live(records, models)
    add(model_versions, "wages", 4)
    for version, stage in ((2, "staging"), (3, "STAGING"), (4, "archived")):
        model_versions.move(name="wages", version=version, stage=stage)

    def latest(*stages: str) -> dict[str, int]:
        return {found.stage: found.version for found in registered.latest(name="wages", stages=list(stages))}

    every = {"Production": 1, "Staging": 3, "Archived": 4, "None": 5}
    assert latest() == every
    assert {found.stage: found.version for found in registered.get(name="wages").latest} == every
    assert latest("none", "production") == {"Production": 1, "None": 5}
    with pytest.raises(Invalid, match="Invalid Model Version stage: bogus"):
        latest("bogus")
    with pytest.raises(NotFound):
        registered.latest(name="other")
