"""Whether a share of rows is larger than a reference and a tolerance allow, from counts alone.

Exact for independent rows: the reference share is not taken as known but bounded from its own counts, and the
probability that the bound is wrong is part of the p-value.
"""

from __future__ import annotations

from typing import Final

from perennial.stats.arrays import check_open_unit
from perennial.stats.errors import OutOfRange
from perennial.stats.means import clopper_pearson
from perennial.stats.results import Finding
from perennial.stats.tails import binomial_above

__all__ = ["excess_share_test"]

METHOD: Final = "excess share test"


def excess_share_test(
    successes: int,
    trials: int,
    *,
    reference_successes: int,
    reference_trials: int,
    tolerance: float = 0.01,
    relative_tolerance: float = 0.0,
    alpha: float = 0.001,
) -> Finding:
    """Test whether the true share is above the reference's by more than is tolerated.

    With b the upper Clopper-Pearson bound of the reference share at level 1 - alpha/2, the p-value is
    P(Binomial(trials, b + tolerance + relative_tolerance b) >= successes) + alpha/2, at most 1. As the bound is wrong
    with probability alpha/2 at most, the decision "above" is wrong with probability alpha at most.

    Args:
        successes: Current rows that count, of `trials`.
        trials: Current rows.
        reference_successes: The same of the reference.
        reference_trials: Reference rows; with 0 nothing is known and the test is undecided.
        tolerance: How much larger the true share may be.
        relative_tolerance: The same as a part of the reference share.
        alpha: Probability of a wrong "above".

    Returns:
        Decision "above", "within tolerance" or "undecided" (a side is empty). The statistic is the current share, the
        effect its difference from the reference share, the threshold the largest share that is tolerated.

    Raises:
        OutOfRange: A count or setting is out of range.

    >>> excess_share_test(50, 1000, reference_successes=100, reference_trials=10_000).decision
    'above'
    >>> excess_share_test(2, 10, reference_successes=100, reference_trials=10_000).decision
    'within tolerance'
    """
    check_open_unit("alpha", alpha)
    if not 0 <= successes <= trials:
        raise OutOfRange("successes", successes, f"0 to {trials}")
    if not 0 <= reference_successes <= reference_trials:
        raise OutOfRange("reference_successes", reference_successes, f"0 to {reference_trials}")
    if trials == 0 or reference_trials == 0:
        empty = "current" if trials == 0 else "reference"
        return Finding(method=METHOD, decision="undecided", reasons=(f"no {empty} rows",), n=reference_trials, m=trials)
    bound = clopper_pearson(reference_successes, reference_trials, alpha=alpha)
    allowed = min(1.0, bound.high + tolerance + relative_tolerance * bound.high)
    chance = binomial_above(successes, trials, allowed) if allowed < 1.0 else 1.0
    share, before = successes / trials, reference_successes / reference_trials
    p_value = min(1.0, chance + alpha / 2.0)
    return Finding(
        method=METHOD,
        decision="above" if chance <= alpha / 2.0 else "within tolerance",
        reasons=(f"{share:.4g} of {trials} rows, {before:.4g} of {reference_trials} before, {allowed:.4g} tolerated",),
        statistic=share,
        effect=share - before,
        threshold=allowed,
        p_value=p_value,
        n=reference_trials,
        m=trials,
        params={"tolerance": tolerance, "relative_tolerance": relative_tolerance, "alpha": alpha},
        details={"chance": chance, "reference_share": before},
    )
