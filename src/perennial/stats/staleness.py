"""What any rule for retraining would have cost, from one replay.

The staleness matrix holds in row i the loss of the model trained before period i, in period i and each later one. It
takes one training a period; after that every rule, and the best there could have been, is costed without any.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final, cast

import numpy as np
from numpy.typing import ArrayLike

from perennial.stats.arrays import Floats, Mask
from perennial.stats.errors import OutOfRange
from perennial.stats.results import Json, plain

__all__ = ["Schedule", "best_schedule", "excess_schedule", "loss_by_age", "periodic_schedule", "schedule"]

PATIENCE: Final = 1.25  # trainings that an aging model may cost; chosen on the Elec2 stream, where 1.1 to 1.5 hold


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When models were trained, and what that cost.

    Attributes:
        trained: Periods before which a model was trained, the first (0) included.
        loss: Losses of all periods, each with the model of its time.
        cost: `loss`, and the price of each training but the first.
    """

    trained: tuple[int, ...]
    loss: float
    cost: float

    def regret(self, best: Schedule) -> float:
        """How much dearer this was than the best: 0.1 is a tenth.

        >>> Schedule(trained=(0,), loss=1.0, cost=1.1).regret(Schedule(trained=(0,), loss=1.0, cost=1.0)).__round__(3)
        0.1
        """
        return self.cost / best.cost - 1.0

    def as_dict(self) -> dict[str, Json]:
        """Plain JSON values."""
        return {item.name: plain(cast(object, getattr(self, item.name))) for item in fields(self)}


def schedule(losses: ArrayLike, trained: Sequence[int], *, training_cost: float) -> Schedule:
    """What it costs to train before these periods.

    Args:
        losses: Staleness matrix, shape (T, T), in units of cost: losses[i, j] of the model trained before period i in
            period j >= i. What lies below the diagonal is not looked at.
        trained: Periods before which a model is trained, increasing; period 0 is one whether it is named or not.
        training_cost: Price of a training, in the same unit, at least 0.

    Raises:
        OutOfRange: The matrix is none, a period lies outside it, or the price is negative.

    >>> schedule([[0.1, 0.3, 0.5], [0.0, 0.1, 0.3], [0.0, 0.0, 0.1]], [2], training_cost=0.2)
    Schedule(trained=(0, 2), loss=0.5, cost=0.7)
    """
    table = _matrix(losses, training_cost)
    periods = len(table)
    begins = tuple(sorted({0, *trained}))
    if begins[0] < 0 or begins[-1] >= periods:
        raise OutOfRange("trained", list(trained), f"periods from 0 to {periods - 1}")
    ends = (*begins[1:], periods)
    loss = sum(float(table[begin, begin:end].sum()) for begin, end in zip(begins, ends, strict=True))
    return Schedule(trained=begins, loss=loss, cost=loss + training_cost * (len(begins) - 1))


def best_schedule(losses: ArrayLike, *, training_cost: float) -> Schedule:
    """The cheapest schedule there could have been: what rules are measured by, as it knows what comes.

    By dynamic programming: D[j] = min over i <= j of D[i - 1] + price + sum of losses[i, i..j].

    Args, Raises: As `schedule`.

    >>> best_schedule([[0.1, 0.3, 0.5], [0.0, 0.1, 0.3], [0.0, 0.0, 0.05]], training_cost=0.25).trained
    (0, 2)
    """
    table = _matrix(losses, training_cost)
    periods = len(table)
    until: Floats = np.cumsum(np.triu(table), axis=1)  # of the model of row i, up to and with period j
    cheapest, chosen = np.zeros(periods + 1), [0] * (periods + 1)
    for end in range(1, periods + 1):
        begins = np.arange(end)
        whole: Floats = cheapest[:end] + np.where(begins > 0, training_cost, 0.0) + until[:end, end - 1]
        chosen[end] = int(whole.argmin())
        cheapest[end] = float(whole[chosen[end]])
    trained: list[int] = []
    end = periods
    while end > 0:
        end = chosen[end]
        trained.append(end)
    return schedule(table, trained, training_cost=training_cost)


def periodic_schedule(losses: ArrayLike, length: int, *, training_cost: float) -> Schedule:
    """A new model before every `length`-th period.

    Args, Raises: As `schedule`; `length` is at least 1.

    >>> periodic_schedule([[0.1, 0.3, 0.5], [0.0, 0.1, 0.3], [0.0, 0.0, 0.1]], 2, training_cost=0.2).trained
    (0, 2)
    """
    if length < 1:
        raise OutOfRange("length", length, "at least 1")
    table = _matrix(losses, training_cost)
    return schedule(table, range(0, len(table), length), training_cost=training_cost)


def excess_schedule(losses: ArrayLike, *, training_cost: float, patience: float = PATIENCE) -> Schedule:
    """A new model when the old one has cost more than a training by being worse than it used to be.

    What a period's loss lies above the mean of all periods of the model so far is added up, never below 0; when the
    sum passes `patience` trainings, the next period begins with a new model. It looks at nothing but the past.

    Args:
        losses: As for `schedule`.
        training_cost: As for `schedule`.
        patience: In trainings, above 0.

    Raises:
        OutOfRange: As for `schedule`, or `patience` is not above 0.

    Source: The cumulative threshold of Mahadevan & Mathioudakis (2024), Knowledge-Based Systems, arXiv 2310.04216, with
        the model's own record in place of a loss that is known in advance.

    >>> excess_schedule([[0.1, 0.5, 0.9], [0.0, 0.1, 0.5], [0.0, 0.0, 0.1]], training_cost=0.1).trained
    (0, 2)
    """
    table = _matrix(losses, training_cost)
    if not patience > 0.0:
        raise OutOfRange("patience", patience, "above 0")
    trained, excess = [0], 0.0
    for period in range(len(table) - 1):
        own: Floats = table[trained[-1], trained[-1] : period + 1]
        excess = max(excess + float(own[-1] - own.mean()), 0.0)
        if excess > patience * training_cost:
            trained.append(period + 1)
            excess = 0.0
    return schedule(table, trained, training_cost=training_cost)


def loss_by_age(losses: ArrayLike) -> Floats:
    """Mean loss of models that are 0, 1, 2, ... periods old, shape (T,).

    >>> loss_by_age([[0.1, 0.3], [0.0, 0.2]]).round(2).tolist()
    [0.15, 0.3]
    """
    table = _matrix(losses, 0.0)
    return np.array([float(np.diagonal(table, age).mean()) for age in range(len(table))])


def _matrix(losses: ArrayLike, training_cost: float) -> Floats:
    table: Floats = np.asarray(losses, dtype=np.float64)
    if table.ndim != 2 or table.shape[0] != table.shape[1] or len(table) == 0:
        raise OutOfRange("losses", f"of shape {table.shape}", "square and not empty")
    above: Mask = np.isfinite(table[np.triu_indices(len(table))])
    if not bool(above.all()):
        raise OutOfRange("losses", "not finite somewhere", "finite on the diagonal and above it")
    if not 0.0 <= training_cost < np.inf:
        raise OutOfRange("training_cost", training_cost, "at least 0 and finite")
    return np.where(np.tri(len(table), k=-1) > 0.0, 0.0, table)
