"""What was deleted and can still be restored; emptying it erases for good.

Files that a registered version is made of stay, whoever deleted the run or model that logged them.
"""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from perennial.clock import Clock
from perennial.errors import Invalid
from perennial.registry.records import versions
from perennial.store.records import Records, Transaction
from perennial.tracking.artifacts import Artifacts
from perennial.tracking.logged_models import LoggedModels
from perennial.tracking.removal import deleted_before, erase_experiment, erase_model, erase_run
from perennial.types import JSON

__all__ = ["Erased", "Trash"]

LONGEST_S = 100 * 365 * 86_400  # more is no time, but a number that slipped
TOGETHER = 20  # runs of one transaction: others write in between


class Erased(msgspec.Struct, frozen=True, kw_only=True):
    """How many were erased, or would be."""

    runs: int
    models: int
    experiments: int


class Trash:
    """Deleted runs, logged models and experiments. Safe for concurrent use; emptying it may be killed and repeated."""

    def __init__(self, records: Records, artifacts: Artifacts, logged_models: LoggedModels, clock: Clock) -> None:
        self._records = records
        self._artifacts = artifacts
        self._logged_models = logged_models
        self._clock = clock

    def empty(self, *, older_than_s: float = 0.0, dry_run: bool = False) -> Erased:
        """Erase what was deleted longer ago than this. Names of experiments can be used again.

        Args:
            older_than_s: Seconds since it was deleted.
            dry_run: Only tell what would be erased.

        Raises:
            Invalid: A negative time, or one that is longer than any.
        """
        if not 0 <= older_than_s <= LONGEST_S:
            says = f"the time since something was deleted is 0 to {LONGEST_S} s, not {older_than_s}"
            raise Invalid(says, where="older_than_s", remedy="leave it out to erase all that is deleted")
        moment = self._clock.now() - round(older_than_s * 1e6)
        runs, models, numbers = self._records.read(lambda connection: deleted_before(connection, moment))
        if not dry_run:
            for start in range(0, len(runs), TOGETHER):
                self._erase(runs[start : start + TOGETHER], [], [])
            for start in range(0, len(models), TOGETHER):
                self._erase([], models[start : start + TOGETHER], [])
            self._erase([], [], numbers)
            self._artifacts.free()  # also what an upload or an erasure that was killed left in the bucket
        return Erased(runs=len(runs), models=len(models), experiments=len(numbers))

    def _erase(self, runs: list[str], models: list[str], numbers: list[int]) -> None:
        roots = {model: self._logged_models.get(model_id=model, deleted=True).artifact_uri for model in models}

        def change(tx: Transaction) -> None:
            def spare(root: str) -> bool:
                """Whether a registered version is made of what lies below."""
                stored = versions.c.storage
                found = sa.select(versions.c.name).where(
                    versions.c.removed.is_(None), stored >= root, stored < f"{root}0"
                )
                return tx.connection.execute(found.limit(1)).first() is not None

            for run in runs:
                erase_run(tx, run, spare)
            for model, root in roots.items():
                erase_model(tx, model, root, spare)
            for number in numbers:
                erase_experiment(tx, number)
            if runs or models or numbers:
                counts: dict[str, JSON] = {"runs": len(runs), "models": len(models), "experiments": len(numbers)}
                tx.event("tracking.erased", "trash", counts)

        self._records.write(change)
