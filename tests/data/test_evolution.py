"""What breaks those who rely on a schema, and what new data may change by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from msgspec.structs import replace

from perennial.clock import FixedClock
from perennial.data.datasets import DatasetVersion
from perennial.data.evolution import accepted_by_rule, adopt, changes, diff_lines, merged
from perennial.data.inference import infer
from perennial.data.schema import Check, Column, Dependency, Order, Schema, Violation
from perennial.data.schemas import Schemas
from perennial.errors import Conflict
from perennial.store.records import Records, create_tables
from perennial.types import Micros

FARE = Column(name="fare", type="float64", minimum=0.0, maximum=100.0, at_least=0.0)
PAID = Column(name="paid", type="string", categories=["card", "cash"], absent_in=["serving"])
NOTE = Column(name="note", type="string", nullable=True, presence=0.5, patterns=["[a-z]+"], drift_limit=0.1)
TRIP = Column(name="trip", type="int64", unique=True)
TRIPS = Schema(
    columns=[TRIP, FARE, PAID, NOTE],
    keys=[["trip"]],
    dependencies=[Dependency(determinants=["trip"], dependent="paid", holds=0.99)],
    orders=[Order(lower="trip", upper="fare")],
    checks=[Check(name="fare", where="fare < 1000")],
    bad_rows="quarantine",
    min_rows=10,
)


def with_column(name: str, **different: object) -> Schema:
    columns = [replace(column, **different) if column.name == name else column for column in TRIPS.columns]
    return replace(TRIPS, columns=columns)


COMPATIBLE = {
    "a new column": replace(TRIPS, columns=[*TRIPS.columns, Column(name="tips", type="float64", nullable=True)]),
    "wider range": with_column("fare", maximum=200.0),
    "another category": with_column("paid", categories=["card", "cash", "coin"]),
    "any category": with_column("paid", categories=None),
    "another pattern": with_column("note", patterns=["[a-z]+", "[A-Z]+"]),
    "never missing": with_column("note", nullable=False, presence=None),
    "present more often": with_column("note", presence=0.9),
    "a harder limit": with_column("fare", at_least=1.0, at_most=500.0),
    "errors": with_column("fare", severity="error"),
    "a stricter drift limit": with_column("note", drift_limit=0.05),
    "there in all environments": with_column("paid", absent_in=[]),
    "another order": replace(TRIPS, columns=TRIPS.columns[::-1]),
    "one more key": replace(TRIPS, keys=[["trip"], ["fare", "paid"]]),
    "a dependency that was merely seen is gone": replace(TRIPS, dependencies=[]),
    "one more check": replace(TRIPS, checks=[*TRIPS.checks, Check(name="more", where="fare > 1")]),
    "bad rows stop": replace(TRIPS, bad_rows="stop"),
    "more rows": replace(TRIPS, min_rows=20),
    "nothing by rule": replace(TRIPS, accept_by_rule="none"),
}
BREAKING = {
    "lost": replace(TRIPS, columns=TRIPS.columns[:-1]),
    "whole numbers are fractions": with_column("trip", type="float64"),
    "fractions are whole numbers": with_column("fare", type="int64"),
    "may be missing": with_column("fare", nullable=True),
    "present less often": with_column("note", presence=0.4),
    "present in no known share": with_column("note", presence=None),
    "twice": with_column("trip", unique=False),
    "a limit is lifted": with_column("fare", at_least=None),
    "a limit is lower": with_column("fare", at_least=-1.0),
    "drift is not looked at": with_column("note", drift_limit=None),
    "not there": with_column("paid", absent_in=["serving", "training"]),
    "no key": replace(TRIPS, keys=[]),
    "no check": replace(TRIPS, checks=[]),
    "another check of this name": replace(TRIPS, checks=[Check(name="fare", where="fare < 2000")]),
    "a check only warns": replace(TRIPS, checks=[replace(TRIPS.checks[0], severity="warning")]),
    "bad rows pass": replace(TRIPS, bad_rows="warn"),
    "fewer rows": replace(TRIPS, min_rows=1),
    "all by rule": replace(TRIPS, accept_by_rule="all"),
}


@pytest.mark.parametrize("after", COMPATIBLE.values(), ids=COMPATIBLE)
def test_what_all_can_still_rely_on_is_compatible(after: Schema) -> None:
    found = changes(TRIPS, after)
    assert len(found) == 1
    assert not found[0].breaking
    assert accepted_by_rule(TRIPS, found)


@pytest.mark.parametrize("after", BREAKING.values(), ids=BREAKING)
def test_what_nobody_can_rely_on_any_longer_is_breaking(after: Schema) -> None:
    found = changes(TRIPS, after)
    assert len(found) == 1
    assert found[0].breaking
    assert not accepted_by_rule(TRIPS, found)


@pytest.mark.parametrize("before", {**COMPATIBLE, **BREAKING}.values(), ids={**COMPATIBLE, **BREAKING})
def test_every_difference_is_told_in_both_directions_and_none_is_invented(before: Schema) -> None:
    assert changes(before, TRIPS)
    assert changes(before, before) == []


@pytest.mark.parametrize(
    "different",
    [{"categories": ["card", "cash", "coin"]}, {"categories": None}, {"maximum": 200.0}, {"patterns": None}],
)
def test_values_that_a_person_made_an_error_are_let_in_by_a_person_only(different: dict[str, object]) -> None:
    name = "paid" if "categories" in different else "fare" if "maximum" in different else "note"
    [change] = changes(with_column(name, severity="error"), with_column(name, severity="error", **different))
    assert change.breaking


def test_a_lost_column_is_guessed_to_be_renamed_only_to_one_of_its_type() -> None:
    renamed = replace(TRIPS, columns=[TRIP, replace(FARE, name="fares"), PAID, NOTE])
    assert "was it renamed to 'fares'?" in changes(TRIPS, renamed)[0].says
    retyped = replace(TRIPS, columns=[TRIP, Column(name="fares", type="string"), PAID, NOTE])
    assert "renamed" not in changes(TRIPS, retyped)[0].says


def test_the_diff_is_reviewable_with_what_breaks_first() -> None:
    after = replace(
        with_column("paid", categories=["card", "cash", "coin", "coupon"]),
        keys=[["fare"]],
    )
    columns = [column for column in after.columns if column.name != "note"]
    columns.append(Column(name="tips", type="float64", nullable=True))
    assert list(diff_lines(changes(TRIPS, replace(after, columns=columns)))) == [
        "breaking: what relies on the schema before may fail",
        "  - note: is gone, was string",
        "  - (table): no longer holds: trip tell rows apart",
        "compatible:",
        "  ~ paid: 2 more categories: 'coin', 'coupon'",
        "  + tips: is new: float64, may be missing",
        "  + (table): holds: fare tell rows apart",
    ]
    assert list(diff_lines([])) == ["no difference"]


def test_what_new_data_show_is_taken_over_and_what_a_person_set_stays() -> None:
    seen = Schema(
        columns=[
            Column(name="trip", type="string", unique=False),
            Column(name="fare", type="float64", nullable=True, minimum=-5.0, maximum=300.0),
            Column(name="paid", type="string", categories=["cash", "coin"]),
            Column(name="tips", type="float64"),
        ]
    )
    found = merged(TRIPS, seen)
    assert [column.name for column in found.columns] == ["trip", "fare", "paid", "tips"]
    trip, fare, paid, tips = found.columns
    assert (trip.type, trip.unique) == ("string", False)
    assert fare == replace(FARE, nullable=True, minimum=-5.0, maximum=300.0), "what was seen; the limit stays"
    assert paid == replace(PAID, categories=["card", "cash", "coin"])
    assert tips == seen.columns[3]
    assert (found.checks, found.bad_rows, found.min_rows) == (TRIPS.checks, "quarantine", 10)
    assert found.keys == [["trip"]]


@pytest.mark.parametrize("low, high, expected", [(2.0, 109.0, (0.0, 100.0)), (-1.0, 111.0, (-1.0, 111.0))])
def test_a_range_is_widened_when_it_is_left_by_more_than_its_slack(
    low: float, high: float, expected: tuple[float, float]
) -> None:
    fare = merged(TRIPS, with_column("fare", minimum=low, maximum=high)).columns[1]
    assert (fare.minimum, fare.maximum) == expected


def test_a_range_of_times_is_widened_as_well() -> None:
    at = Column(name="at", type="date", minimum="2020-01-01", maximum="2020-12-31")
    for seen, expected in (("2021-01-31", "2020-12-31"), ("2022-01-31", "2022-01-31")):
        found = merged(Schema(columns=[at]), Schema(columns=[replace(at, maximum=seen)]))
        assert found.columns[0].maximum == expected


def test_relations_of_a_lost_column_go_with_it() -> None:
    found = merged(TRIPS, replace(TRIPS, columns=TRIPS.columns[1:]))
    assert (found.keys, found.dependencies, found.orders) == ([], [], [])


def test_a_tidy_batch_demands_nothing_new() -> None:
    tidy = Schema(
        columns=[
            replace(TRIP),
            Column(name="fare", type="float64", minimum=10.0, maximum=20.0, unique=True),
            Column(name="paid", type="string", categories=["cash"]),
            Column(name="note", type="string", patterns=["[a-c]+"], categories=["a"]),
        ]
    )
    assert merged(TRIPS, tidy) == TRIPS


def test_only_what_was_found_to_break_is_taken_over() -> None:
    seen = infer(pl.DataFrame({"trip": [1, 1], "fare": [5.0, None], "paid": ["cash", "cash"], "note": "a"}).to_arrow())
    missing = Violation(column="fare", kind="missing", severity="warning", says="", count=1)
    assert merged(TRIPS, seen, [missing]) == with_column("fare", nullable=True)
    assert merged(TRIPS, seen, []) == TRIPS


def test_a_column_that_training_may_lack_is_not_lost() -> None:
    spare = with_column("note", absent_in=["training"])
    assert merged(spare, replace(spare, columns=spare.columns[:-1])) == spare


@pytest.fixture
def schemas(tmp_path: Path) -> Iterator[Schemas]:
    with Records.open(f"sqlite:///{tmp_path / 'records.db'}", clock=FixedClock(Micros(5))) as records:
        create_tables(records)
        yield Schemas(records)


def committed(version: int, schema: Schema, *violations: Violation, state: str = "accepted") -> DatasetVersion:
    return DatasetVersion(
        name="trips",
        version=version,
        logical="0" * 64,
        manifest="0" * 64,
        rows=10,
        schema=schema,
        state=state,  # type: ignore[arg-type]
        parent=None,
        run_id=None,
        violations=list(violations),
        changes={},
        at=5,
        accepted_by=None,
    )


def warning(column: str, kind: str) -> Violation:
    return Violation(column=column, kind=kind, severity="warning", says="")  # type: ignore[arg-type]


def test_the_schema_of_the_first_version_is_adopted_once(schemas: Schemas) -> None:
    first = adopt(schemas, committed(1, TRIPS))
    assert first is not None
    assert (first.state, first.dataset_version) == ("accepted", 1)
    assert adopt(schemas, committed(1, TRIPS)) is None, "there is nothing more to learn"
    assert schemas.list() == [first]


def test_files_without_rows_and_a_first_draft_teach_nothing(schemas: Schemas) -> None:
    assert adopt(schemas, committed(1, Schema(columns=[]))) is None
    assert adopt(schemas, committed(1, TRIPS, state="draft")) is None
    assert adopt(schemas, replace(committed(1, TRIPS), rows=0)) is None, "an empty table tells nothing of its types"
    assert schemas.list() == []


def test_new_data_widen_by_rule_and_ask_when_they_break(schemas: Schemas) -> None:
    adopt(schemas, committed(1, TRIPS))
    coin = with_column("paid", categories=["coin"])
    widened = adopt(schemas, committed(2, coin, warning("paid", "category")))
    assert widened is not None
    assert (widened.state, widened.decided_by) == ("accepted", "rule: compatible changes")
    lost = replace(TRIPS, columns=TRIPS.columns[:-1])
    waiting = adopt(schemas, committed(3, lost, warning("note", "lost"), state="draft"))
    assert waiting is not None
    assert (waiting.state, waiting.dataset_version) == ("proposed", 3)
    assert [change.says for change in waiting.changes if change.breaking] == ["is gone, was string"]
    schemas.decide(name="trips", version=waiting.version, accept=False)
    again = adopt(schemas, committed(4, lost, warning("note", "lost"), state="draft"))
    assert again is not None
    assert again.state == "rejected", "nobody is asked twice"


def test_a_version_adopts_onto_the_schema_that_somebody_accepted_meanwhile(schemas: Schemas) -> None:
    adopt(schemas, committed(1, TRIPS))

    class Overtaken(Schemas):
        """Between the first look and the word that follows it, somebody accepts another schema."""

        overtaken = False

        def propose(self, **given):  # type: ignore[no-untyped-def]
            if not self.overtaken:
                self.overtaken = True
                made = schemas.propose(name="trips", schema=with_column("fare", maximum=150.0))
                schemas.decide(name="trips", version=made.version, accept=True)
            return super().propose(**given)

    coin = with_column("paid", categories=["coin"])
    adopted = adopt(Overtaken(schemas._records), committed(2, coin, warning("paid", "category")))
    assert adopted is not None
    fare, paid = adopted.schema.columns[1:3]
    assert (fare.maximum, paid.categories) == (150.0, ["card", "cash", "coin"])


def test_a_schema_that_never_stands_still_is_an_error(schemas: Schemas) -> None:
    adopt(schemas, committed(1, TRIPS))

    class Restless(Schemas):
        def propose(self, **given):  # type: ignore[no-untyped-def]
            raise Conflict("accepted meanwhile")

    with pytest.raises(Conflict):
        adopt(
            Restless(schemas._records),
            committed(2, with_column("paid", categories=["coin"]), warning("paid", "category")),
        )
