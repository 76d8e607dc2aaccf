"""How often one test set may be asked before its answers mean nothing, and what to show so that it lasts.

Each look at a test set that steers what is tried next teaches a little of it. The ledger counts looks; these functions
say how many a set of rows can bear, and how many rows a number of looks needs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

from perennial.stats.arrays import check_open_unit
from perennial.stats.errors import OutOfRange
from perennial.stats.tails import log_normal_tail

__all__ = ["Ladder", "looks_borne", "rows_needed", "uses_left"]

MANY_USES: Final = 1_000_000_000  # "as many as anybody will ask": the formula gives astronomical numbers


def rows_needed(
    uses: int, failure: float, tolerance: float, disagreement: float = 1.0, *, adaptive: bool = True
) -> int:
    """Fresh rows for `uses` decisions "the new model is better than the live one by more than x, give or take".

    n = ln(4 H / failure) / (p h(tolerance / p)) with h(u) = (1 + u) ln(1 + u) - u, for H uses that were fixed in
    advance; (ln(4 / failure) + H ln 2) / (p h(tolerance / p)) if what came out steers later models. Bennett's
    inequality on differences that are 0 but for a share p of the rows, and a union bound over uses or over the 2^H
    sequences of answers. Rounded up.

    Args:
        uses: H >= 1, comparisons planned on this test set, all together.
        failure: Probability that any of them is wrong by more than `tolerance`.
        tolerance: Accepted error of the difference in accuracy, in (0, 1).
        disagreement: p, the share of rows on which the two models answer differently, at most; needs no labels. 1 if
            unknown.
        adaptive: Earlier results steer later models, as in a loop that retrains.

    Source: Renggli, Karlas, Ding, Liu, Schawinski, Wu & Zhang (2019), Continuous Integration of Machine Learning
    Models with ease.ml/ci, SysML.

    >>> rows_needed(32, 1e-4, 0.01, 0.1, adaptive=False), rows_needed(32, 1e-4, 0.01, 0.1, adaptive=True)
    (29048, 67706)
    """
    if uses < 1:
        raise OutOfRange("uses", uses, "at least 1")
    rate = _rate(failure, tolerance, disagreement)
    log_sequences = uses * math.log(2.0) if adaptive else math.log(uses)
    return math.ceil((math.log(4.0 / failure) + log_sequences) / rate)


def uses_left(
    rows: int,
    failure: float,
    tolerance: float,
    disagreement: float = 1.0,
    *,
    adaptive: bool = True,
    used: int = 0,
) -> int:
    """How many more decisions these rows can bear; 0 when the budget is spent, or was never there.

    The largest H with `rows_needed(H, ...) <= rows`, less those `used`. At most a thousand million.

    Args:
        rows: Rows of the test set.
        failure: As in `rows_needed`.
        tolerance: As in `rows_needed`.
        disagreement: As in `rows_needed`.
        adaptive: As in `rows_needed`.
        used: Decisions already taken on these rows.

    >>> uses_left(67_706, 1e-4, 0.01, 0.1, used=30), uses_left(67_706, 1e-4, 0.01, 0.1, used=40)
    (2, 0)
    """
    for name, count in (("rows", rows), ("used", used)):
        if count < 0:
            raise OutOfRange(name, count, "at least 0")
    exponent = rows * _rate(failure, tolerance, disagreement) - math.log(4.0 / failure)
    if adaptive:
        most = min(MANY_USES, math.floor(exponent / math.log(2.0)))
    else:
        most = MANY_USES if exponent > math.log(MANY_USES) else math.floor(math.exp(exponent))
    # A last bit must not make this and `rows_needed` contradict each other.
    if most < MANY_USES and rows_needed(max(most, 0) + 1, failure, tolerance, disagreement, adaptive=adaptive) <= rows:
        most = max(most, 0) + 1
    return max(0, most - used)


def looks_borne(lead: float, error: float, *, failure: float) -> int:
    """The last look at a test set at which a lead of this size over a fixed rival is still more than luck.

    The largest H with 2^(H - 1) Q(lead / error) <= failure, Q the upper tail of the normal distribution; 0 where the
    lead is not clear at the first look. Whoever has seen the yes or no of H - 1 looks may come with one of 2^(H - 1)
    models; if none of them were better than the rival, the chance that any shows such a lead is at most `failure`. So a
    look costs one bit, and a lead is worth as many looks as its p-value has bits. A look that tells a number tells more
    than a bit; the best that is known to be made of it, a vote weighted by what each try measured, gains about half a
    bit a look (it is lucky by lead / error = sqrt(2 H / pi) at most).

    Args:
        lead: How much better than the rival, paired on the rows of the test set.
        error: Its standard error, >= 0, in the same unit.
        failure: Probability that luck passes for a lead, in (0, 1).

    Source: the union bound over sequences of answers of Renggli et al. (2019), as in `rows_needed`, with the measured
    error in place of Bennett's bound.

    >>> [looks_borne(z, 1.0, failure=0.05) for z in (1.0, 2.0, 4.0, 12.0)]
    [0, 2, 11, 105]
    """
    check_open_unit("failure", failure)
    if not math.isfinite(lead):
        raise OutOfRange("lead", lead, "finite")
    if not 0.0 <= error < math.inf:
        raise OutOfRange("error", error, "at least 0 and finite")
    if lead <= 0.0:
        return 0
    if error == 0.0:
        return MANY_USES
    bits = (math.log(failure) - log_normal_tail(lead / error)) / math.log(2.0)
    return max(0, min(MANY_USES, math.floor(1.0 + bits)))


@dataclass(frozen=True, slots=True)
class Ladder:
    """What a leaderboard may show of losses on one test set: the best so far, renewed only by a clear improvement.

    A loss is shown only if it is below the best shown by more than `step`, and then rounded to `step`. What a small
    difference on these rows says about these rows alone is thereby not told to who submits.

    Attributes:
        step: Smallest improvement that is shown, > 0.
        shown: Best loss shown so far; inf before the first.

    Source: Blum & Hardt (2015), The Ladder: A Reliable Leaderboard for Machine Learning Competitions, ICML.

    >>> ladder = Ladder(0.01).after(0.3033).after(0.299)
    >>> ladder.shown, ladder.after(0.2889).shown
    (0.3, 0.29)
    """

    step: float = 0.01
    shown: float = math.inf

    def __post_init__(self) -> None:
        if not 0.0 < self.step < math.inf:
            raise OutOfRange("step", self.step, "above 0 and finite")

    def after(self, loss: float) -> Ladder:
        """The ladder after this loss was measured; the same one where it is no clear improvement."""
        if not math.isfinite(loss):
            raise OutOfRange("loss", loss, "finite")
        if not loss < self.shown - self.step:
            return self
        steps = round(loss / self.step)
        # 30 * 0.01 is 0.3 only after rounding to the digits that the step has.
        return replace(self, shown=round(steps * self.step, 12))


def _rate(failure: float, tolerance: float, disagreement: float) -> float:
    check_open_unit("failure", failure)
    check_open_unit("tolerance", tolerance)
    if not 0.0 < disagreement <= 1.0:
        raise OutOfRange("disagreement", disagreement, "above 0 and at most 1")
    u = tolerance / disagreement
    return disagreement * ((1.0 + u) * math.log1p(u) - u)
