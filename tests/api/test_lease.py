"""Writes under a lease: a leader that slept while another one took over is refused, whatever it wants to write."""

from __future__ import annotations

import pytest

from perennial.api import connect
from perennial.api.client import HeldLease
from perennial.errors import Conflict
from perennial.renew.retraining import LEAD
from perennial.workspace import Workspace
from tests.api.conftest import Served


def joined(served: Served, lease: HeldLease) -> Workspace:
    return connect.join(served.folder, origin="reconciler", lease=lease)


def decide(ws: Workspace, key: str) -> None:
    ws.renew.decide(endpoint="x", key=key, trigger="by_hand", verdict="no", reason="asked", evidence={}, live=None)


def test_F28_a_former_leader_writes_nothing_more(served: Served) -> None:
    old, new = HeldLease(LEAD), HeldLease(LEAD)
    with joined(served, old) as before, joined(served, new) as after:
        old.epoch = before.renew.lead(holder="here") or 0
        decide(before, "first")
        new.epoch = after.renew.lead(holder="here") or 0  # the same machine: at once, under a new epoch
        assert new.epoch > old.epoch
        with pytest.raises(Conflict):
            decide(before, "late")
        with pytest.raises(Conflict):
            before.renew.keep_lead(holder="here", epoch=old.epoch)
        decide(after, "second")
        assert [decision.key for decision in after.renew.decisions(endpoint="x")] == ["first", "second"]


def test_F28_another_machine_waits_for_the_end_of_the_term(served: Served) -> None:
    lease = HeldLease(LEAD)
    with joined(served, lease) as ws:
        assert ws.renew.lead(holder="here") is not None
        assert ws.renew.lead(holder="elsewhere") is None
