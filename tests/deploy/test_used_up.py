"""What was judged by a test set beyond its budget is not deployed."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from perennial.deploy.endpoints import Endpoints
from perennial.errors import Refused
from perennial.registry.records import test_set_uses as looks
from perennial.registry.test_sets import JudgedOn
from perennial.registry.versions import Models
from perennial.store.records import Records


def test_a_version_whose_look_was_beyond_the_budget_is_not_deployed(records: Records, endpoints: Endpoints) -> None:
    models = Models(records)
    on = JudgedOn(test_set="a" * 64, rows=2000, sample="", loss=0.3, loss_name="share of wrong labels", planned=1)
    models.register(name="wages", package="f" * 64, origin="loop", judged_on=on)
    models.approve(name="wages", version=1)
    # As if it had been approved by a program that kept no ledger.
    records.write(lambda tx: tx.connection.execute(sa.update(looks).values(number=2)))
    with pytest.raises(Refused, match="used up: it was look 2 at 2000 rows whose budget is 1"):
        endpoints.start_rollout(name="wages", version=1, stages=[], because="by hand")
    records.write(lambda tx: tx.connection.execute(sa.update(looks).values(number=1)))
    assert endpoints.start_rollout(name="wages", version=1, stages=[], because="by hand").state == "live"
