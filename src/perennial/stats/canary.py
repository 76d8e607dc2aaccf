"""Does a canary produce more than its share of bad events? Counts alone answer, at any time.

If nothing broke, each bad event (failure, missed latency objective) falls on the canary with a probability equal to its
share of the traffic. No baseline rate is needed. The same test watches for sample-ratio mismatch.
"""

from __future__ import annotations

import math
from typing import Final, Literal

from perennial.stats.arrays import check_open_unit
from perennial.stats.errors import OutOfRange
from perennial.stats.results import Finding
from perennial.stats.tails import log_beta

__all__ = ["CanaryDecision", "canary_test", "log_bayes_factor"]

CanaryDecision = Literal["roll back", "go on"]

PRIOR_EVENTS: Final = 10.0  # the prior weighs as much as ten bad events split as the traffic is
_MAX_LOG: Final = 700.0  # keeps exp() inside a float64


def log_bayes_factor(
    canary_events: int, total_events: int, traffic_share: float, *, prior: tuple[float, float] | None = None
) -> float:
    """Logarithm of the evidence that the canary's share of bad events is not its share of the traffic.

    BF = B(a + k, b + t - k) / B(a, b) / (s^k (1 - s)^(t - k)), with s the traffic share. Its mean is 1 if nothing
    broke, at any
    time: looking often is allowed.

    Args:
        canary_events: k, bad events on the canary.
        total_events: t, bad events on canary and baseline together.
        traffic_share: s, in (0, 1).
        prior: (a, b) of the Beta prior on the canary's share of bad events; default (10 s, 10 (1 - s)).

    Raises:
        OutOfRange: A count, the share or the prior is out of range.

    Source: Lindon & Malek (2022), Anytime-Valid Inference For Multinomial Count Data, NeurIPS 2022.

    >>> round(math.exp(log_bayes_factor(10, 12, 0.5, prior=(1.0, 1.0))), 5)
    4.77389
    """
    check_open_unit("traffic_share", traffic_share)
    if not 0 <= canary_events <= total_events:
        raise OutOfRange("canary_events", canary_events, f"between 0 and total_events ({total_events})")
    a, b = prior or (PRIOR_EVENTS * traffic_share, PRIOR_EVENTS * (1.0 - traffic_share))
    if a <= 0.0 or b <= 0.0:
        raise OutOfRange("prior", (a, b), "two positive numbers")
    other = total_events - canary_events
    null = canary_events * math.log(traffic_share) + other * math.log1p(-traffic_share)
    return log_beta(a + canary_events, b + other) - log_beta(a, b) - null


def canary_test(
    canary_events: int,
    total_events: int,
    traffic_share: float,
    *,
    alpha: float = 0.01,
    prior: tuple[float, float] | None = None,
) -> Finding:
    """Decide whether a canary has to be rolled back because of its bad events.

    "roll back" if the canary holds more than its share of them and the Bayes factor reaches 1/alpha. The probability of
    ever rolling back a canary that is as good as the baseline is at most alpha, however often one looks. Change the
    traffic share only together with a new count. With several kinds of bad events divide alpha by their number.

    Args:
        canary_events: Bad events on the canary since its share was set.
        total_events: Bad events on canary and baseline together in the same time.
        traffic_share: Share of the traffic that goes to the canary, in (0, 1).
        alpha: Bound on the probability of a false rollback.
        prior: See `log_bayes_factor`.

    Returns:
        Decision "roll back" or "go on". The e-value is the Bayes factor (at most e^700), the threshold 1/alpha, the
        p-value min(1, 1/BF), valid at any time. The effect estimates how many times as often as the baseline the canary
        fails per request; None if there are no bad events on the baseline.

    Raises:
        OutOfRange: As `log_bayes_factor`.

    >>> canary_test(30, 60, 0.1).decision
    'roll back'
    >>> canary_test(6, 60, 0.1).decision
    'go on'
    """
    check_open_unit("alpha", alpha)
    log_factor = log_bayes_factor(canary_events, total_events, traffic_share, prior=prior)
    factor = math.exp(min(log_factor, _MAX_LOG))
    share = canary_events / total_events if total_events else None
    has_more = share is not None and share > traffic_share
    decision: CanaryDecision = "roll back" if has_more and log_factor >= -math.log(alpha) else "go on"
    baseline_events = total_events - canary_events
    effect = None
    if baseline_events:
        effect = (canary_events / traffic_share) / (baseline_events / (1.0 - traffic_share))
    if share is None:
        reason = "no bad event yet"
    else:
        side = "more" if has_more else "not more"
        reason = f"{share:.3g} of the bad events at {traffic_share:.3g} of the traffic ({side} than its share)"
    return Finding(
        method="count bayes factor",
        decision=decision,
        reasons=(reason, f"Bayes factor {factor:.4g}, needed {1.0 / alpha:g}"),
        statistic=log_factor,
        effect=effect,
        threshold=1.0 / alpha,
        p_value=min(1.0, math.exp(min(0.0, -log_factor))),
        e_value=factor,
        n=total_events,
        params={"alpha": alpha, "traffic_share": traffic_share, "prior": list(prior) if prior else None},
        details={"canary_events": canary_events, "total_events": total_events, "canary_share": share},
    )
