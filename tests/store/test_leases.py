from __future__ import annotations

import pytest
import sqlalchemy as sa

from perennial.errors import Conflict
from perennial.store.events import Events
from perennial.store.leases import Leases
from perennial.store.records import Records, Transaction


class Watch:
    """A monotonic clock that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def leases(records: Records, watch: Watch) -> Leases:
    return Leases(records, monotonic=watch)


def test_one_holder_at_a_time(leases: Leases) -> None:
    assert leases.acquire("reconciler", "a", 10) is not None
    assert leases.acquire("reconciler", "b", 10) is None
    assert leases.acquire("another", "b", 10) is not None


def test_a_lease_that_is_given_back_is_free_at_once(leases: Leases) -> None:
    first = leases.acquire("reconciler", "a", 10)
    assert first is not None
    leases.release(first)
    second = leases.acquire("reconciler", "b", 10)
    assert second is not None
    assert second.epoch == first.epoch + 1


def test_a_restarted_holder_gets_its_lease_at_once_with_a_new_epoch(leases: Leases) -> None:
    first, second = leases.acquire("reconciler", "a", 10), leases.acquire("reconciler", "a", 10)
    assert first is not None
    assert second is not None
    assert second.epoch == first.epoch + 1


def test_F13_a_silent_holder_is_replaced_after_its_term_on_the_watchers_clock(leases: Leases, watch: Watch) -> None:
    first = leases.acquire("reconciler", "a", 10)
    assert first is not None
    for moment in (0, 5, 9):
        watch.now = moment
        assert leases.acquire("reconciler", "b", 10) is None
    leases.renew(first)
    for moment in (9.5, 15, 19):  # renewed at 9, first seen by the watcher at 9.5
        watch.now = moment
        assert leases.acquire("reconciler", "b", 10) is None
    watch.now = 20
    assert leases.acquire("reconciler", "b", 10) is not None


def test_F28_a_leader_that_wakes_up_late_is_refused_by_its_epoch(
    records: Records, leases: Leases, watch: Watch
) -> None:
    old = leases.acquire("reconciler", "a", 10)
    assert old is not None
    leases.acquire("reconciler", "b", 10)
    watch.now = 60
    assert leases.acquire("reconciler", "b", 10) is not None

    def act(tx: Transaction) -> None:
        tx.event("promoted", "model", {})
        leases.check(tx, old.name, old.epoch)

    with pytest.raises(Conflict, match="b has it with epoch 2"):
        records.write(act)
    assert Events(records).list() == []
    with pytest.raises(Conflict):
        leases.renew(old)
    leases.release(old)
    assert records.read(lambda c: c.execute(sa.text("select holder from leases")).scalar()) == "b"
