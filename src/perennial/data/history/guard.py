"""Learn from past batches what the next one may be, with a stated budget of false alarms; judge a batch by it.

Every metric of the last batches gets a law (`stats.batches`). The bounds are those that notice the most corruptions of
the last batch for their share of the budget (greedy); what is left of the budget is spread over the other metrics, for
what nobody thought of. A batch is unusual when it leaves any of the bounds.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from msgspec import Struct

from perennial.data.history.corruptions import corruptions
from perennial.data.history.metrics import BatchMetrics, measure
from perennial.errors import DataError
from perennial.stats.batches import MIN_BATCHES, BatchLaw, learn_law

__all__ = ["BUDGET", "Bound", "Guard", "Unusual", "judge", "learn"]

BUDGET = 0.001  # one false alarm in a thousand batches, all metrics together
TRIED = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)  # shares of the budget that one bound may take
REST = 0.2  # share of the budget that is kept for metrics which no known corruption moves
EXTREMES = ("largest(", "smallest(")  # of heavy tails: one batch in twenty may hold a value that none before had

SHARES = ("share of ", "missing(", "zero(", "negative(", "distinct(", "with digits(", "empty(", "true(")
NEVER_NEGATIVE = ("sd(", "mean length(", "mean hour(", "log rows")


class Bound(Struct, frozen=True, kw_only=True):
    """The band of one metric: a sound batch leaves it with probability at most `rate`."""

    metric: str
    low: float
    high: float
    expected: float
    rate: float
    law: str
    is_chosen: bool  # because it notices corruptions; else for what nobody thought of


class Unusual(Struct, frozen=True, kw_only=True):
    """A metric outside its band. `rate`: how often a sound batch would be that far out, at most."""

    metric: str
    value: float
    low: float
    high: float
    rate: float
    says: str


class Guard(Struct, frozen=True, kw_only=True):
    """The bounds, the budget of false alarms that they keep together, and what was noticed of the corruptions tried.

    `noticed` and `missed` are of "kind (columns)".
    """

    budget: float
    batches: int
    bounds: list[Bound]
    noticed: list[str]
    missed: list[str]


def learn(
    history: Sequence[BatchMetrics],
    *,
    last: pl.DataFrame | None = None,
    before_last: pl.DataFrame | None = None,
    budget: float = BUDGET,
) -> Guard:
    """Learn the bounds for the next batch.

    Args:
        history: Metrics of earlier, sound batches, oldest first; the first has none of distance and is only compared.
        last: Rows of the newest of them, to try corruptions on; without it the budget is spread evenly.
        before_last: Rows of the one before, for the stale copy.
        budget: Probability that a sound batch is called unusual, over all metrics together.

    Raises:
        DataError: Fewer than 8 batches.
    """
    if len(history) <= MIN_BATCHES:
        raise DataError(
            f"{len(history)} batches are too few to learn what is usual",
            remedy=f"collect {MIN_BATCHES + 1 - len(history)} more; until then the schema alone is checked",
        )
    laws = _laws(history)
    tried = [] if last is None else list(corruptions(last, before=before_last))
    if last is None or not tried:
        chosen: dict[str, float] = {}
        detected: set[int] = set()
    else:
        # Beside the batch before it, as the sound one was: beside itself every change would show.
        surprises = [_surprise(laws, measure(broken.batch, history[-2])) for broken in tried]
        chosen, detected = _choose(laws, surprises, budget * (1.0 - REST))
    others = [metric for metric in laws if metric not in chosen]
    left = budget - sum(chosen.values())
    rates = chosen | {metric: left / len(others) for metric in others}
    names = [f"{broken.kind} ({broken.columns})" if broken.columns else broken.kind for broken in tried]
    return Guard(
        budget=budget,
        batches=len(history),
        bounds=[_bound(metric, laws[metric], rate, metric in chosen) for metric, rate in sorted(rates.items())],
        noticed=[name for place, name in enumerate(names) if place in detected],
        missed=[name for place, name in enumerate(names) if place not in detected],
    )


def judge(guard: Guard, batch: BatchMetrics) -> list[Unusual]:
    """Every metric of a batch that is outside its band, the most surprising first."""
    found: list[Unusual] = []
    for bound in guard.bounds:
        value = batch.values.get(bound.metric)
        if value is None or bound.low <= value <= bound.high:
            continue
        reach = max(bound.high - bound.expected, 1e-300)
        says = f"{bound.metric} is {value:.6g}, expected {bound.expected:.6g} ({bound.low:.6g} to {bound.high:.6g})"
        found.append(
            Unusual(
                metric=bound.metric,
                value=value,
                low=bound.low,
                high=bound.high,
                rate=bound.rate * min(1.0, (reach / max(abs(value - bound.expected), reach)) ** 2),
                says=says,
            )
        )
    return sorted(found, key=lambda unusual: unusual.rate)


def _laws(history: Sequence[BatchMetrics]) -> dict[str, BatchLaw]:
    laws: dict[str, BatchLaw] = {}
    for metric in history[-1].values:
        values = [batch.values[metric] for batch in history if metric in batch.values]
        if len(values) >= MIN_BATCHES:
            noise = [batch.noise[metric] for batch in history if metric in batch.noise]
            law = learn_law(
                values,
                noise=sum(noise) / len(noise) if noise else 0.0,
                may_be_normal=not metric.startswith(EXTREMES),
            )
            if law is not None:
                laws[metric] = law
    return laws


def _surprise(laws: dict[str, BatchLaw], broken: BatchMetrics) -> dict[str, float]:
    return {metric: law.rate_of(broken.values[metric]) for metric, law in laws.items() if metric in broken.values}


def _choose(
    laws: dict[str, BatchLaw], surprises: Sequence[dict[str, float]], budget: float
) -> tuple[dict[str, float], set[int]]:
    """Greedy cover: the bound that notices the most further corruptions for its rate, while the budget lasts."""
    candidates = {
        (metric, budget * share): {
            place for place, surprise in enumerate(surprises) if surprise.get(metric, 1.0) < budget * share
        }
        for metric in laws
        for share in TRIED
    }
    chosen: dict[str, float] = {}
    detected: set[int] = set()
    left = budget
    while True:
        best, worth = None, 0.0
        for (metric, rate), noticed in candidates.items():
            gain = len(noticed - detected)
            if metric not in chosen and rate <= left and gain / rate > worth:
                best, worth = (metric, rate), gain / rate
        if best is None:
            spare = budget / sum(chosen.values()) if chosen else 1.0  # the narrowest bands that the budget allows
            return {metric: rate * spare for metric, rate in chosen.items()}, detected
        chosen[best[0]] = best[1]
        left -= best[1]
        detected |= candidates[best]


def _bound(metric: str, law: BatchLaw, rate: float, is_chosen: bool) -> Bound:
    low, high = law.band(rate)
    if metric.startswith(SHARES):
        low, high = max(low, 0.0), min(high, 1.0)
    elif metric.startswith(NEVER_NEGATIVE):
        low = max(low, 0.0)
    kind = f"{'steps ' if law.is_differenced else ''}{'normal' if law.kind == 'normal' else 'of any law'}"
    return Bound(metric=metric, low=low, high=high, expected=law.centre, rate=rate, law=kind, is_chosen=is_chosen)
