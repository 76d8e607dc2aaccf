"""Is the challenger as good as the champion on the same rows? Four answers, by interval against margin.

Differences are champion minus challenger, so positive is better for losses and errors. Which rows, which slices and
what to do with the answer is decided elsewhere.
"""

from __future__ import annotations

import math
from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from perennial.stats.arrays import Floats, check_open_unit, finite_vector, same_length
from perennial.stats.errors import NothingToCount, OutOfRange
from perennial.stats.intervals import MIN_UNITS, percentile_interval
from perennial.stats.means import MIN_ASYMPTOTIC, asymptotic_interval
from perennial.stats.resampling import RESAMPLES, resample_means
from perennial.stats.results import Finding, Interval, Json
from perennial.stats.tails import normal_quantile

__all__ = [
    "MEANING",
    "PairedVerdict",
    "noninferiority_rows",
    "paired_anytime",
    "paired_losses",
    "paired_rmse",
    "paired_verdict",
]

PairedVerdict = Literal["better", "non-inferior", "inferior", "inconclusive"]


def paired_verdict(low: float, high: float, margin: float) -> PairedVerdict:
    """Four-way verdict on an improvement known to lie in [low, high].

    "better": low > 0. "non-inferior": low > -margin. "inferior": high < -margin. Otherwise "inconclusive": more data
    needed.

    >>> paired_verdict(-0.004, 0.02, margin=0.01)
    'non-inferior'
    """
    if not 0.0 <= margin < math.inf:
        raise OutOfRange("margin", margin, "at least 0 and finite")
    if low > 0.0:
        return "better"
    if low > -margin:
        return "non-inferior"
    return "inferior" if high < -margin else "inconclusive"


def paired_losses(
    champion_loss: ArrayLike,
    challenger_loss: ArrayLike,
    *,
    margin: float,
    clusters: ArrayLike | None = None,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Finding:
    """Compare mean losses on the same rows by a paired bootstrap, looked at once.

    Args:
        champion_loss: Loss per row, shape (n,), lower is better: 0/1 errors, absolute errors, log losses, costs.
        challenger_loss: The same rows in the same order.
        margin: Largest deterioration that is still acceptable, >= 0, in the unit of the loss.
        clusters: Identifier per row; clusters (entities, days) instead of rows are resampled.
        confidence: Coverage of the two-sided interval.
        resamples: Number of resamples.
        seed: Equal seeds give equal results.

    Returns:
        Decision "better", "non-inferior", "inferior" or "inconclusive"; the effect is the mean loss saved by the
        challenger.

    Raises:
        LengthMismatch: The arrays differ in length.
        OutOfRange: A value is not finite, or a setting is out of range.
        NothingToCount: There is no row.

    Source: Efron & Tibshirani (1993), An Introduction to the Bootstrap; verdict as in Piaggio et al. (2012), JAMA 308,
    2594.

    >>> champion = np.tile([0.0, 1.0], 500)
    >>> paired_losses(champion, champion * (np.arange(1000) > 100), margin=0.01).decision
    'better'
    """
    a, b = _pair(champion_loss, challenger_loss, "loss")
    check_open_unit("confidence", confidence)
    drawn = resample_means(np.column_stack([a - b]), clusters=clusters, resamples=resamples, seed=seed)
    interval = percentile_interval(
        float(drawn.means[0]), drawn.resampled[:, 0], units=drawn.units, confidence=confidence
    )
    details: dict[str, Json] = {"champion_mean": float(a.mean()), "challenger_mean": float(b.mean())}
    params: dict[str, Json] = {"resamples": resamples, "seed": seed, "clustered": clusters is not None}
    return _finding("paired bootstrap of mean losses", interval, margin, rows=len(a), params=params, details=details)


def paired_rmse(
    champion_error: ArrayLike,
    challenger_error: ArrayLike,
    *,
    margin: float,
    clusters: ArrayLike | None = None,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Finding:
    """Compare root mean squared errors on the same rows by a paired bootstrap, looked at once.

    As `paired_losses`, with the effect RMSE(champion) - RMSE(challenger), so that the margin is in the unit of the
    target.

    Args:
        champion_error: Prediction minus truth per row, shape (n,); the sign does not matter.
        challenger_error: The same rows in the same order.
        margin: Largest rise of the RMSE that is still acceptable, >= 0, in the unit of the target.
        clusters: As in `paired_losses`.
        confidence: As in `paired_losses`.
        resamples: As in `paired_losses`.
        seed: As in `paired_losses`.

    >>> error = np.random.default_rng(0).normal(size=2000)
    >>> paired_rmse(error, 1.2 * error, margin=0.05).decision
    'inferior'
    """
    a, b = _pair(champion_error, challenger_error, "error")
    check_open_unit("confidence", confidence)
    drawn = resample_means(np.column_stack([a * a, b * b]), clusters=clusters, resamples=resamples, seed=seed)
    roots: Floats = np.sqrt(drawn.resampled)
    champion, challenger = (float(root) for root in np.sqrt(drawn.means))
    interval = percentile_interval(
        champion - challenger, roots[:, 0] - roots[:, 1], units=drawn.units, confidence=confidence
    )
    details: dict[str, Json] = {"champion_rmse": champion, "challenger_rmse": challenger}
    params: dict[str, Json] = {"resamples": resamples, "seed": seed, "clustered": clusters is not None}
    return _finding("paired bootstrap of rmse", interval, margin, rows=len(a), params=params, details=details)


def paired_anytime(
    champion_loss: ArrayLike,
    challenger_loss: ArrayLike,
    *,
    margin: float,
    tuned_for: int,
    clusters: ArrayLike | None = None,
    alpha: float = 0.05,
) -> Finding:
    """Compare mean losses on the same rows while they arrive, looking as often as one likes.

    Asymptotic confidence sequence of the loss difference. With probability 1 - alpha no look, however many, gives an
    interval without the true difference. Costs width: about 1.5 times that of `paired_losses` at `tuned_for` rows.

    Args:
        champion_loss: Loss per row so far, shape (n,).
        challenger_loss: The same rows in the same order.
        margin: As in `paired_losses`.
        tuned_for: Number of rows (clusters, if given) at which the interval is to be tightest. Fix it in advance.
        clusters: Identifier per row; the difference is then averaged per cluster and every cluster counts the same.
        alpha: Probability of ever missing the true difference.

    Returns:
        As `paired_losses`; "inconclusive" below 100 rows (clusters).

    Source: Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas (2024), Annals of Statistics 52, 2613-2640.

    >>> champion = np.tile([0.0, 1.0], 500)
    >>> paired_anytime(champion, champion * (np.arange(1000) > 200), margin=0.01, tuned_for=1000).decision
    'better'
    """
    a, b = _pair(champion_loss, challenger_loss, "loss")
    difference = a - b
    if clusters is not None:
        ids: NDArray[np.generic] = np.asarray(clusters)
        same_length("clusters", ids, len(a))
        inverse = np.unique(ids, return_inverse=True)[1]
        difference = np.bincount(inverse, weights=difference) / np.bincount(inverse)
    interval = asymptotic_interval(
        float(difference.mean()), float(difference.std()), len(difference), tuned_for=tuned_for, alpha=alpha
    )
    details: dict[str, Json] = {"champion_mean": float(a.mean()), "challenger_mean": float(b.mean())}
    params: dict[str, Json] = {"tuned_for": tuned_for, "alpha": alpha, "clustered": clusters is not None}
    return _finding("anytime paired comparison", interval, margin, rows=len(a), params=params, details=details)


def noninferiority_rows(disagreement: float, margin: float, *, alpha: float = 0.05, power: float = 0.8) -> int:
    """Rows a paired comparison of accuracies needs to show non-inferiority of an equally good challenger.

    n = (z_{1-alpha} + z_power)^2 d / margin^2, rounded up.

    Args:
        disagreement: d, share of rows on which exactly one of the two models is right, in (0, 1].
        margin: Largest acceptable loss of accuracy, in (0, 1).
        alpha: One-sided error probability.
        power: Probability of reaching the verdict.

    >>> noninferiority_rows(0.1, 0.01)
    6183
    """
    if not 0.0 < disagreement <= 1.0:
        raise OutOfRange("disagreement", disagreement, "above 0 and at most 1")
    for name, value in (("margin", margin), ("alpha", alpha), ("power", power)):
        check_open_unit(name, value)
    quantiles = normal_quantile(1.0 - alpha) + normal_quantile(power)
    return math.ceil(quantiles**2 * disagreement / margin**2)


def _pair(champion: ArrayLike, challenger: ArrayLike, what: str) -> tuple[Floats, Floats]:
    a = finite_vector(champion, f"champion_{what}")
    b = finite_vector(challenger, f"challenger_{what}")
    same_length(f"challenger_{what}", b, len(a))
    if len(a) == 0:
        raise NothingToCount(f"champion_{what}")
    return a, b


MEANING: Final[dict[PairedVerdict, str]] = {
    "better": "the whole interval is above 0",
    "non-inferior": "the whole interval is above minus the margin",
    "inferior": "the whole interval is below minus the margin",
    "inconclusive": "the interval reaches from below minus the margin to above it: more data needed",
}


def _finding(
    method: str, interval: Interval, margin: float, *, rows: int, params: dict[str, Json], details: dict[str, Json]
) -> Finding:
    decision = paired_verdict(interval.low, interval.high, margin)
    reasons = [MEANING[decision]]
    if not math.isfinite(interval.low):
        needed = MIN_ASYMPTOTIC if interval.anytime else MIN_UNITS
        reasons = [f"too few independent units: {interval.n}, at least {needed} needed"]
    elif decision == "non-inferior" and interval.high < 0.0:
        reasons.append("worse than the champion, by less than the margin")
    return Finding(
        method=method,
        decision=decision,
        reasons=tuple(reasons),
        statistic=interval.estimate,
        effect=interval.estimate,
        threshold=-margin,
        interval=interval,
        n=rows,
        params={"margin": margin, "confidence": interval.level, **params},
        details={"units": interval.n, **details},
    )
