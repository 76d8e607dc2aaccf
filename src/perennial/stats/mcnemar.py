"""McNemar's exact test: do two classifiers err on the same rows equally often?"""

from __future__ import annotations

from perennial.stats.errors import OutOfRange
from perennial.stats.means import clopper_pearson
from perennial.stats.results import Finding
from perennial.stats.tails import binomial_below

__all__ = ["mcnemar"]


def mcnemar(b: int, c: int, *, alpha: float = 0.05) -> Finding:
    """Exact test on the rows on which exactly one of two models is right.

    If both were equally good, each such row would favour either with probability 1/2. p = 2 P(X <= min(b, c)) for
    X ~ Binomial(b + c, 1/2), at most 1.

    Args:
        b: Rows on which only the champion is right.
        c: Rows on which only the challenger is right.
        alpha: Error probability of the decision.

    Returns:
        Decision "better" or "worse" (the challenger, at `alpha`), else "no difference shown". The effect is c / (b + c)
        with its exact interval; equally good is 1/2. Says nothing of by how much: that is `paired_losses`.

    Raises:
        OutOfRange: A count is negative, or alpha is out of range.

    Source: McNemar (1947), Psychometrika 12, 153-157; exact form as in Fay (2010), The R Journal 2(1), 53-58.

    >>> round(mcnemar(10, 25).p_value, 6)
    0.016674
    """
    for name, value in (("b", b), ("c", c)):
        if value < 0:
            raise OutOfRange(name, value, "at least 0")
    if not 0.0 < alpha < 1.0:
        raise OutOfRange("alpha", alpha, "strictly between 0 and 1")
    n = b + c
    if n == 0:
        return Finding(
            method="exact McNemar",
            decision="no difference shown",
            reasons=("the two models are right on the same rows",),
            p_value=1.0,
            n=0,
            params={"alpha": alpha},
        )
    p_value = min(1.0, 2.0 * binomial_below(min(b, c), n, 0.5))
    decision = "no difference shown"
    if p_value <= alpha:
        decision = "better" if c > b else "worse"
    return Finding(
        method="exact McNemar",
        decision=decision,
        reasons=(f"of {n} rows on which one model alone is right, it is the challenger on {c}",),
        statistic=float(min(b, c)),
        effect=c / n,
        threshold=0.5,
        p_value=p_value,
        interval=clopper_pearson(c, n, alpha=alpha),
        n=n,
        params={"alpha": alpha},
        details={"only_champion_right": b, "only_challenger_right": c},
    )
