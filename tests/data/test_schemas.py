"""Schema versions: proposed, decided once, superseded when another one wins."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from msgspec.structs import replace

from perennial.clock import FixedClock
from perennial.data.schema import Column, Schema
from perennial.data.schemas import Schemas, SchemaVersion
from perennial.errors import Conflict, Invalid, NotFound, PerennialError
from perennial.store.actor import acting
from perennial.store.events import Events
from perennial.store.records import Records, create_tables
from perennial.types import Micros

T = TypeVar("T")
WAGES = Schema(columns=[Column(name="person", type="int64"), Column(name="wage", type="float64")])
WIDER = replace(WAGES, columns=[*WAGES.columns, Column(name="state", type="string")])
NARROWER = replace(WAGES, columns=WAGES.columns[:1])
OTHER = replace(WAGES, columns=WAGES.columns[1:])


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    with Records.open(f"sqlite:///{tmp_path / 'records.db'}", clock=FixedClock(Micros(5))) as records:
        create_tables(records)
        yield records


@pytest.fixture
def schemas(records: Records) -> Schemas:
    return Schemas(records)


@pytest.fixture
def wages(schemas: Schemas) -> SchemaVersion:
    return schemas.propose(name="wages", schema=WAGES, dataset_version=1)


def states(schemas: Schemas) -> list[str]:
    return [version.state for version in reversed(schemas.list(name="wages"))]


def together(*calls: Callable[[], T]) -> list[T | PerennialError]:
    """Run these at once; what each gave or was refused with."""
    begin = threading.Barrier(len(calls))
    told: list[T | PerennialError | None] = [None] * len(calls)

    def run(index: int) -> None:
        begin.wait()
        try:
            told[index] = calls[index]()
        except PerennialError as error:
            told[index] = error

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [each for each in told if each is not None]


def test_the_first_schema_is_accepted_by_rule(schemas: Schemas, records: Records, wages: SchemaVersion) -> None:
    assert (wages.version, wages.state, wages.decided_by, wages.changes) == (1, "accepted", "rule: first schema", [])
    assert schemas.get(name="wages") == wages
    assert schemas.get(name="other") is None
    assert [event.kind for event in Events(records).list()] == ["schema.proposed", "schema.decided"]


def test_a_compatible_change_from_data_is_accepted_by_rule(schemas: Schemas, wages: SchemaVersion) -> None:
    wider = schemas.propose(name="wages", schema=WIDER, dataset_version=2)
    assert (wider.version, wider.state, wider.is_compatible) == (2, "accepted", True)
    assert wider.decided_by == "rule: compatible changes"
    assert [change.column for change in wider.changes] == ["state"]
    assert schemas.get(name="wages") == wider
    assert schemas.get(name="wages", version=1) == wages, "what was accepted before stays on record"


@pytest.mark.parametrize("rule, schema, state", [("none", WIDER, "proposed"), ("all", NARROWER, "accepted")])
def test_the_rule_is_the_accepted_schemas_own(schemas: Schemas, rule: str, schema: Schema, state: str) -> None:
    schemas.propose(name="wages", schema=replace(WAGES, accept_by_rule=rule))  # type: ignore[arg-type]
    assert schemas.propose(name="wages", schema=schema, dataset_version=2).state == state


def test_a_breaking_change_from_data_waits_and_a_person_decides(
    schemas: Schemas, records: Records, wages: SchemaVersion
) -> None:
    waiting = schemas.propose(name="wages", schema=NARROWER, dataset_version=2)
    assert (waiting.state, waiting.is_compatible, waiting.decided_by) == ("proposed", False, None)
    assert schemas.get(name="wages") == wages, "what waits is not what holds"
    assert schemas.list(state="proposed") == [waiting]
    with acting("ada", "cli"):
        accepted = schemas.decide(name="wages", version=2, accept=True)
    assert (accepted.state, accepted.decided_by, accepted.decided_at) == ("accepted", "ada", 5)
    assert schemas.decide(name="wages", version=2, accept=True) == accepted, "again changes nothing"
    assert [event.kind for event in Events(records).list()][2:] == ["schema.proposed", "schema.decided"]


def test_what_a_person_writes_waits_even_when_it_is_compatible(schemas: Schemas, wages: SchemaVersion) -> None:
    assert schemas.propose(name="wages", schema=WIDER).state == "proposed"


def test_the_service_works_out_itself_what_a_proposal_changes(schemas: Schemas, wages: SchemaVersion) -> None:
    freed = replace(WIDER, columns=[*NARROWER.columns, Column(name="wage", type="string")], accept_by_rule="all")
    assert schemas.propose(name="wages", schema=freed, dataset_version=2).state == "proposed", (
        "nobody can say it is fine"
    )


def test_the_same_proposal_again_is_the_one_that_waits(
    schemas: Schemas, records: Records, wages: SchemaVersion
) -> None:
    waiting = schemas.propose(name="wages", schema=NARROWER, dataset_version=2)
    assert schemas.propose(name="wages", schema=NARROWER, dataset_version=3) == waiting
    assert schemas.propose(name="wages", schema=NARROWER) == waiting
    assert schemas.propose(name="wages", schema=WAGES, dataset_version=3) == wages
    assert len(Events(records).list()) == 3


def test_what_was_rejected_is_not_proposed_again_by_data_but_by_a_person(
    schemas: Schemas, wages: SchemaVersion
) -> None:
    schemas.propose(name="wages", schema=NARROWER, dataset_version=2)
    rejected = schemas.decide(name="wages", version=2, accept=False)
    assert schemas.propose(name="wages", schema=NARROWER, dataset_version=3) == rejected
    assert schemas.propose(name="wages", schema=NARROWER).version == 3


def test_an_earlier_schema_can_be_written_again(schemas: Schemas, wages: SchemaVersion) -> None:
    schemas.propose(name="wages", schema=WIDER, dataset_version=2)
    back = schemas.propose(name="wages", schema=WAGES)
    assert (back.version, back.state, back.is_compatible) == (3, "proposed", False)


def test_accepting_one_supersedes_what_else_waits(schemas: Schemas, records: Records, wages: SchemaVersion) -> None:
    schemas.propose(name="wages", schema=NARROWER, dataset_version=2)
    schemas.propose(name="wages", schema=WIDER)
    schemas.decide(name="wages", version=2, accept=True)
    assert states(schemas) == ["accepted", "accepted", "superseded"]
    with pytest.raises(Conflict, match="is superseded by version 2"):
        schemas.decide(name="wages", version=3, accept=True)
    assert [event.kind for event in Events(records).list()][-2:] == ["schema.decided", "schema.superseded"]
    assert Events(records).verify() == []


def test_newer_data_supersede_what_older_data_proposed_but_no_persons_words(
    schemas: Schemas, wages: SchemaVersion
) -> None:
    schemas.propose(name="wages", schema=NARROWER, dataset_version=2)
    schemas.propose(name="wages", schema=WIDER)
    schemas.propose(name="wages", schema=OTHER, dataset_version=3)
    assert states(schemas) == ["accepted", "superseded", "proposed", "proposed"]


def test_a_decision_is_not_turned_round(schemas: Schemas, wages: SchemaVersion) -> None:
    schemas.propose(name="wages", schema=NARROWER, dataset_version=2)
    schemas.decide(name="wages", version=2, accept=False)
    with pytest.raises(Conflict, match="is rejected"):
        schemas.decide(name="wages", version=2, accept=True)
    with pytest.raises(Conflict, match="is accepted"):
        schemas.decide(name="wages", version=1, accept=False)


def test_what_is_not_there_is_not_found(schemas: Schemas, wages: SchemaVersion) -> None:
    with pytest.raises(NotFound, match="no schema 7 of 'wages'"):
        schemas.get(name="wages", version=7)
    with pytest.raises(NotFound, match="no schema 1 of 'other'"):
        schemas.decide(name="other", version=1, accept=True)


def test_a_proposal_made_on_an_older_schema_is_refused(schemas: Schemas, wages: SchemaVersion) -> None:
    schemas.propose(name="wages", schema=WIDER, dataset_version=2, base=1)
    with pytest.raises(Conflict, match="schema 2 of 'wages' was accepted meanwhile"):
        schemas.propose(name="wages", schema=NARROWER, base=1)


@pytest.mark.parametrize("name", ["", "a@1", "a\nb", "x" * 251])
def test_a_schema_belongs_to_what_can_be_a_dataset(schemas: Schemas, name: str) -> None:
    with pytest.raises(Invalid, match="not a name"):
        schemas.propose(name=name, schema=WAGES)


def test_a_schema_that_contradicts_itself_is_refused(schemas: Schemas) -> None:
    with pytest.raises(Invalid, match=r"'flaot64' is not a type.*there is no column 'wages'"):
        schemas.propose(name="wages", schema=Schema(columns=[Column(name="wage", type="flaot64")], keys=[["wages"]]))
    assert schemas.list() == []


def test_F40_the_first_schema_is_one_however_many_propose_it_at_once(schemas: Schemas) -> None:
    told = together(*[lambda: schemas.propose(name="wages", schema=WAGES, base=0) for _ in range(8)])
    assert {version.version for version in told if isinstance(version, SchemaVersion)} == {1}
    assert all(isinstance(error, Conflict) for error in told if not isinstance(error, SchemaVersion))
    assert states(schemas) == ["accepted"]


def test_F40_of_two_different_first_schemas_one_is_the_first(schemas: Schemas) -> None:
    told = together(
        *[lambda schema=schema: schemas.propose(name="wages", schema=schema, base=0) for schema in (WAGES, WIDER)]
    )
    assert sorted(type(each).__name__ for each in told) == ["Conflict", "SchemaVersion"]


def test_F40_a_proposal_is_decided_once_when_two_persons_answer_at_once(
    schemas: Schemas, records: Records, wages: SchemaVersion
) -> None:
    for version in range(2, 12):
        schema = replace(NARROWER, min_rows=version)
        assert schemas.propose(name="wages", schema=schema).version == version
        told = together(
            lambda version=version: schemas.decide(name="wages", version=version, accept=True),
            lambda version=version: schemas.decide(name="wages", version=version, accept=False),
        )
        assert sorted(type(each).__name__ for each in told) == ["Conflict", "SchemaVersion"]
        won = next(each for each in told if isinstance(each, SchemaVersion))
        assert schemas.get(name="wages", version=version) == won
    assert len(Events(records).list(kind="schema.decided")) == 11


def test_F40_of_two_accepted_at_once_the_second_is_superseded(schemas: Schemas, wages: SchemaVersion) -> None:
    schemas.propose(name="wages", schema=NARROWER)
    schemas.propose(name="wages", schema=WIDER)
    told = together(*[lambda v=v: schemas.decide(name="wages", version=v, accept=True) for v in (2, 3)])
    assert sorted(type(each).__name__ for each in told) == ["Conflict", "SchemaVersion"]
    assert sorted(states(schemas)) == ["accepted", "accepted", "superseded"]
