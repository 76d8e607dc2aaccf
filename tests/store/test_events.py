from __future__ import annotations

import threading

import pytest
import sqlalchemy as sa

from perennial.errors import Invalid
from perennial.store.events import Events, events, events_head
from perennial.store.records import Records, Transaction


@pytest.fixture
def chain(records: Records) -> Events:
    for number in range(6):
        records.write(lambda tx, n=number: tx.event("counted" if n % 2 else "made", f"s{n % 3}", {"n": n}))
    return Events(records)


def test_events_are_numbered_from_one_and_found_by_subject_and_kind(chain: Events) -> None:
    assert [event.seq for event in chain.list()] == [1, 2, 3, 4, 5, 6]
    assert [event.payload for event in chain.list(subject="s1")] == [{"n": 1}, {"n": 4}]
    assert [event.seq for event in chain.list(kind="counted", after=2, limit=1)] == [4]
    assert chain.head() == 6
    assert chain.verify() == []


def test_numbers_have_no_gaps_whoever_commits_first_and_whoever_fails(records: Records) -> None:
    def work(worker: int) -> None:
        for number in range(10):

            def change(tx: Transaction, number: int = number) -> None:
                tx.event("made", f"w{worker}", {"n": number})
                if number % 3 == 0:
                    raise Invalid("undone")

            if number % 3 == 0:
                with pytest.raises(Invalid):
                    records.write(change)
            else:
                records.write(change)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = Events(records).list()
    assert [event.seq for event in found] == list(range(1, 8 * 6 + 1))
    assert Events(records).verify() == []


@pytest.mark.parametrize("field", ["payload", "actor", "kind", "subject", "at", "hash", "prev"])
def test_P10_an_edited_event_shows(records: Records, chain: Events, field: str) -> None:
    value = {"payload": b'{"n":9}', "at": 5}.get(field, "0" * 64)
    records.write(lambda tx: tx.connection.execute(sa.update(events).where(events.c.seq == 3).values({field: value})))
    assert any("event 3" in problem for problem in chain.verify())


def test_P10_a_removed_event_shows(records: Records, chain: Events) -> None:
    records.write(lambda tx: tx.connection.execute(sa.delete(events).where(events.c.seq == 3)))
    assert "events 3 to 3 are missing" in chain.verify()


def test_P10_a_cut_tail_shows(records: Records, chain: Events) -> None:
    records.write(lambda tx: tx.connection.execute(sa.delete(events).where(events.c.seq > 4)))
    assert chain.verify() == ["the chain ends at event 4, its head says 6: the tail was cut or added"]


def test_P10_an_event_put_in_between_shows(records: Records, chain: Events) -> None:
    def forge(tx: Transaction) -> None:
        row = tx.connection.execute(sa.select(events).where(events.c.seq == 6)).one()._asdict()
        tx.connection.execute(sa.insert(events), row | {"seq": 7})
        tx.connection.execute(sa.update(events_head).values(seq=7))

    records.write(forge)
    assert any("event 7" in problem for problem in chain.verify())


@pytest.mark.parametrize("payload", [{"x": float("nan")}, {"x": float("inf")}, {"x": "\ud800"}])
def test_an_event_that_is_not_json_fails_its_own_change_only(records: Records, payload: dict[str, object]) -> None:
    with pytest.raises(Invalid):
        records.write(lambda tx: tx.event("made", "x", payload))
    with pytest.raises(Invalid):
        records.write(lambda tx: tx.event("made", "with NUL \0", {}))
    records.write(lambda tx: tx.event("made", "x", {"text": "a NUL \0 in a payload is fine"}))
    assert Events(records).list()[0].payload == {"text": "a NUL \0 in a payload is fine"}
