"""A mean from few labels and many estimates, right however wrong the estimates are.

Estimated performance is as good as its assumption. With some labels one need not believe it: prediction-powered
inference uses the estimates f of all rows to lower the variance and the labels to remove whatever bias f has. Where the
rows to label can be chosen, labelling doubtful rows more often lowers it further, as long as the probability of each
choice was written down.

Both give the mean of the labels' quantity Y in [0, 1] or any unit: 1 for a right answer makes it accuracy, a loss a
loss.
"""

from __future__ import annotations

import math
from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike

from perennial.stats.arrays import Floats, check_open_unit, finite_vector, same_length, unit_vector
from perennial.stats.errors import NothingToCount, OutOfRange
from perennial.stats.results import Interval
from perennial.stats.tails import student_quantile

__all__ = ["ASSUMPTION_ACTIVE", "ASSUMPTION_POWERED", "active_mean", "active_probs", "powered_mean"]

ASSUMPTION_POWERED: Final = "labelled rows were chosen at random"
ASSUMPTION_ACTIVE: Final = "each row was labelled with the probability written down for it"
MIN_LABELS: Final = 20  # below this many the interval is unbounded: normal theory does not hold
UNIFORM_PART: Final = 0.2  # of the labels go to rows at random, whatever the estimates say

Target = Literal["window", "process"]


def powered_mean(
    labelled: ArrayLike,
    labelled_estimates: ArrayLike,
    other_estimates: ArrayLike,
    *,
    target: Target = "window",
    confidence: float = 0.95,
) -> Interval:
    """The mean of a window from a random sample of its labels and estimates for all of it (PPI++).

    theta = mean_lab(Y) + lambda (mean_others(f) - mean_lab(f)), lambda = Cov(Y, f) / ((1 + n/N) Var f). With useless
    estimates lambda is near 0 and this is the plain mean of the labels; it is never worse for long.

    Args:
        labelled: Y of the labelled rows, shape (n,).
        labelled_estimates: f of the same rows.
        other_estimates: f of the N rows without label.
        target: "window": the mean over exactly these n + N rows, as when a window's metric is asked for; the interval
            shrinks to nothing as all rows get labels. "process": the mean of what the rows are a sample of.
        confidence: Coverage probability.

    Returns:
        Interval, unbounded below 20 labels.

    Raises:
        LengthMismatch: The labelled arrays differ in length.
        OutOfRange: A value is not finite.
        NothingToCount: There is no labelled row.

    Source: Angelopoulos, Duchi & Zrnic, arXiv 2311.01453 (PPI++); Angelopoulos et al., Science 382 (2023) 669-674; of
    a finite window: Cochran (1977), Sampling Techniques, chapter 7.

    >>> rng = np.random.default_rng(0)
    >>> f = rng.uniform(0.5, 1.0, 5000)
    >>> hits = rng.random(5000) < f - 0.1
    >>> found = powered_mean(hits[:200], f[:200], f[200:])
    >>> bool(found.low < hits.mean() < found.high)
    True
    """
    check_open_unit("confidence", confidence)
    y, f = finite_vector(labelled, "labelled"), finite_vector(labelled_estimates, "labelled_estimates")
    same_length("labelled_estimates", f, len(y))
    others = finite_vector(other_estimates, "other_estimates")
    n, rest = len(y), len(others)
    if n == 0:
        raise NothingToCount("labelled")
    spread = float(f.var())
    slope = float(((y - y.mean()) * (f - f.mean())).mean()) / spread if spread > 1e-15 else 0.0
    shift = float(others.mean() - f.mean()) if rest else 0.0
    lam = slope / (1.0 + n / rest) if rest else 0.0
    estimate = float(y.mean()) + lam * shift
    freedom = max(n - 2, 1)
    if target == "window":
        residual = y - slope * f
        variance = (1.0 - n / (n + rest)) * float(((residual - residual.mean()) ** 2).sum()) / freedom / n
    else:
        residual = y - lam * f
        variance = float(((residual - residual.mean()) ** 2).sum()) / freedom / n
        variance += lam**2 * float(others.var()) / rest if rest else 0.0
    half = student_quantile(0.5 + confidence / 2.0, freedom) * math.sqrt(variance) if n >= MIN_LABELS else math.inf
    return Interval(
        low=estimate - half,
        high=estimate + half,
        estimate=estimate,
        level=confidence,
        n=n,
        method="prediction-powered (PPI++)",
    )


def active_probs(doubt: ArrayLike, *, labels: float, uniform: float = UNIFORM_PART) -> Floats:
    """With which probability to label each row, so that about `labels` are labelled where they tell most.

    Proportional to (1 - uniform) * doubt / mean(doubt) + uniform, none above 1.

    Args:
        doubt: Expected standard deviation of Y - f of each row, shape (N,), at least 0, up to a common factor:
            sqrt(f (1 - f)) where f is the probability of a right answer.
        labels: Expected number of labels, above 0 and at most N.
        uniform: Share that is spent evenly; above 0, or a sure but wrong estimate would never be found out.

    Raises:
        OutOfRange: A doubt is negative or not finite, or a setting is out of range.

    Source: Zrnic & Candès, ICML 2024 (arXiv 2403.03208).

    >>> active_probs([0.5, 0.5, 0.0, 0.0], labels=2).round(2).tolist()
    [0.9, 0.9, 0.1, 0.1]
    """
    sds = finite_vector(doubt, "doubt")
    if not 0.0 < labels <= len(sds):
        raise OutOfRange("labels", labels, f"above 0 and at most the {len(sds)} rows")
    if float(sds.min()) < 0.0:
        raise OutOfRange("doubt", float(sds.min()), "at least 0")
    check_open_unit("uniform", uniform)
    mean = float(sds.mean())
    wanted: Floats = (1.0 - uniform) * sds / mean + uniform if mean > 0.0 else np.ones(len(sds))
    scale = labels / len(sds)
    # Rows cut at 1 leave some of the budget; it goes to the others in proportion.
    for _ in range(100):
        probs: Floats = np.minimum(1.0, scale * wanted)
        total = float(probs.sum())
        free = probs < 1.0
        if total >= labels * (1.0 - 1e-9) or not bool(free.any()):
            break
        scale *= 1.0 + (labels - total) / float(probs[free].sum())
    return np.minimum(1.0, scale * wanted)


def active_mean(
    estimates: ArrayLike,
    labelled: ArrayLike,
    values: ArrayLike,
    *,
    probs: ArrayLike,
    target: Target = "window",
    confidence: float = 0.95,
) -> Interval:
    """The mean of a window whose rows were labelled with known, unequal probabilities.

    theta = mean(f + (Y - f) xi / pi), xi = 1 where labelled. Every row must have been labelled independently of the
    others with its probability (`active_probs`).

    Args:
        estimates: f of all N rows, shape (N,).
        labelled: True where a row was labelled, shape (N,).
        values: Y of the labelled rows in their order, shape (n,).
        probs: pi of all rows, shape (N,), in (0, 1].
        target: As in `powered_mean`.
        confidence: Coverage probability.

    Returns:
        Interval, unbounded below 20 labels.

    Raises:
        LengthMismatch: The arrays do not fit together.
        OutOfRange: A value is not finite, or a probability is 0 or above 1.
        NothingToCount: No row was labelled.

    Source: Zrnic & Candès, ICML 2024 (arXiv 2403.03208); of a finite window: Horvitz & Thompson (1952), JASA 47.

    >>> rng = np.random.default_rng(0)
    >>> f = rng.uniform(0.5, 1.0, 5000)
    >>> hits = rng.random(5000) < f - 0.1
    >>> pi = active_probs(np.sqrt(f * (1 - f)), labels=200)
    >>> chosen = rng.random(5000) < pi
    >>> found = active_mean(f, chosen, hits[chosen], probs=pi)
    >>> bool(found.low < hits.mean() < found.high)
    True
    """
    check_open_unit("confidence", confidence)
    f = finite_vector(estimates, "estimates")
    rows = len(f)
    chosen = np.asarray(labelled, dtype=np.bool_)
    same_length("labelled", chosen, rows)
    pi = unit_vector(probs, "probs")
    same_length("probs", pi, rows)
    y = finite_vector(values, "values")
    n = int(chosen.sum())
    same_length("values", y, n)
    if n == 0:
        raise NothingToCount("labelled")
    if float(pi.min()) <= 0.0:
        raise OutOfRange("probs", 0.0, "above 0: a row that could never be labelled is in no estimate")
    off: Floats = np.zeros(rows)
    off[chosen] = (y - f[chosen]) / pi[chosen]
    parts = f + off
    estimate = float(parts.mean())
    if target == "window":
        variance = float((off[chosen] ** 2 * (1.0 - pi[chosen])).sum()) / rows**2
    else:
        variance = float(parts.var(ddof=1)) / rows
    freedom = max(n - 1, 1)
    half = student_quantile(0.5 + confidence / 2.0, freedom) * math.sqrt(variance) if n >= MIN_LABELS else math.inf
    return Interval(
        low=estimate - half,
        high=estimate + half,
        estimate=estimate,
        level=confidence,
        n=n,
        method="active, inverse probability",
    )
