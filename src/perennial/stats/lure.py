"""The mean loss of a pool from rows labelled one after the other, each chosen on purpose (LURE).

Labelling where a model is likely wrong makes the mean of those losses far too large. Weights that know with which
probability each row was drawn from what was left make it right again, and often much sharper than a random sample.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from perennial.stats.arrays import Floats, Ints, check_open_unit, finite_vector, same_length
from perennial.stats.errors import NothingToCount, OutOfRange
from perennial.stats.results import Interval
from perennial.stats.tails import student_quantile

__all__ = ["ASSUMPTION", "draw_in_turn", "lure", "lure_weights"]

ASSUMPTION: Final = "each row was drawn from what was left of the pool with the probability written down for it"
MIN_DRAWS: Final = 10  # below this many draws the interval is unbounded


def draw_in_turn(scores: ArrayLike, draws: int, *, seed: int = 0) -> tuple[Ints, Floats]:
    """Draw rows one by one without replacement, each with probability in proportion to its score among those left.

    Args:
        scores: Above 0, shape (N,): the larger, the sooner. Proportional to the expected loss is best for `lure`.
        draws: How many, at most N.
        seed: Equal seeds draw equal rows.

    Returns:
        Row numbers in the order of drawing and the probability with which each was drawn, both of shape (draws,).

    Raises:
        OutOfRange: A score is not above 0, or there are fewer rows than draws.

    Source: by exponential waiting times, Efraimidis & Spirakis (2006), Information Processing Letters 97.

    >>> rows, probs = draw_in_turn([1.0, 1.0, 2.0], 3)
    >>> sorted(rows.tolist()), float(probs[-1])
    ([0, 1, 2], 1.0)
    """
    rates = finite_vector(scores, "scores")
    if len(rates) and float(rates.min()) <= 0.0:
        raise OutOfRange("scores", float(rates.min()), "above 0: a row that cannot be drawn is in no estimate")
    if not 0 <= draws <= len(rates):
        raise OutOfRange("draws", draws, f"at most the {len(rates)} rows")
    waits: Floats = np.random.default_rng(seed).exponential(size=len(rates)) / rates
    rows: Ints = np.argsort(waits, kind="stable")[:draws].astype(np.int64)
    drawn = rates[rows]
    # What is left at each draw, added up from the smallest side so that the last probability is 1 to the last bit.
    rest = float(rates.sum() - drawn.sum()) if draws < len(rates) else 0.0
    left: Floats = np.cumsum(drawn[::-1])[::-1] + rest
    return rows, np.minimum(1.0, drawn / left)


def lure_weights(probs: ArrayLike, *, pool: int) -> Floats:
    """v_m = 1 + (N - M)/(N - m) * (1/((N - m + 1) q_m) - 1), for the m-th of M draws.

    Args:
        probs: q_m, the probability of each draw among the rows then left, shape (M,), in the order of drawing.
        pool: N, rows of the pool before the first draw.

    Raises:
        OutOfRange: A probability is outside (0, 1], or there are more draws than rows.

    >>> lure_weights([1 / 4, 1 / 3], pool=4).round(9).tolist()
    [1.0, 1.0]
    """
    q = finite_vector(probs, "probs")
    draws = len(q)
    if draws > pool:
        raise OutOfRange("probs", f"{draws} draws", f"at most the {pool} rows of the pool")
    if draws and not (float(q.min()) > 0.0 and float(q.max()) <= 1.0):
        raise OutOfRange("probs", "outside (0, 1] in some draw", "in (0, 1]")
    m: Floats = np.arange(1, draws + 1, dtype=np.float64)
    if draws == pool:
        return np.ones(draws)
    return 1.0 + (pool - draws) / (pool - m) * (1.0 / ((pool - m + 1.0) * q) - 1.0)


def lure(losses: ArrayLike, probs: ArrayLike, *, pool: int, confidence: float = 0.95) -> Interval:
    """Mean loss of the whole pool, unbiased, with an interval.

    risk = mean(v_m loss_m). It is also a weighted mean of terms a_m = loss_m/(N q_m) + (losses drawn before)/N, each of
    which has the pool's mean as its expectation whatever was drawn before; the spread of these terms, a martingale's,
    gives the interval.

    Args:
        losses: Of the drawn rows in the order of drawing, shape (M,).
        probs: As in `lure_weights`.
        pool: Rows of the pool before the first draw.
        confidence: Coverage probability, for many draws.

    Returns:
        Interval of the pool's mean; unbounded below 10 draws, of width 0 once every row is drawn.

    Raises:
        LengthMismatch: The arrays differ in length.
        OutOfRange: A loss is not finite, a probability outside (0, 1], or more draws than rows.
        NothingToCount: Nothing was drawn.

    Source: Farquhar, Gal & Rainforth, ICLR 2021; Kossen, Farquhar, Gal & Rainforth, ICML 2021.

    >>> lure([0.0, 1.0, 0.0, 1.0], [1 / 4, 1 / 3, 1 / 2, 1.0], pool=4).estimate
    0.5
    """
    check_open_unit("confidence", confidence)
    loss = finite_vector(losses, "losses")
    q = finite_vector(probs, "probs")
    same_length("probs", q, len(loss))
    draws = len(loss)
    if draws == 0:
        raise NothingToCount("losses")
    estimate = float((lure_weights(q, pool=pool) * loss).mean())
    if draws == pool:
        half = 0.0
    elif draws < MIN_DRAWS:
        half = math.inf
    else:
        m: Floats = np.arange(1, draws + 1, dtype=np.float64)
        before: Floats = np.cumsum(loss) - loss
        terms = loss / (pool * q) + before / pool
        parts: Floats = pool * (pool - draws) / ((pool - m + 1.0) * (pool - m)) / draws
        variance = float((parts**2 * (terms - estimate) ** 2).sum()) * draws / (draws - 1)
        half = student_quantile(0.5 + confidence / 2.0, draws - 1) * math.sqrt(variance)
    return Interval(
        low=estimate - half,
        high=estimate + half,
        estimate=estimate,
        level=confidence,
        n=draws,
        method="LURE",
    )
