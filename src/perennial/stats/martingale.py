"""Does a new row look like those before it? A bet against exchangeability, valid whenever one looks.

Each row gets a conformal p-value: the share of rows at least as strange by some score (a residual, a distance). If rows
are exchangeable these are independent and uniform, and no bet on them grows; the "simple jumper" moves its stake
between small, large and no bet. `conformal_p_values` lets the reference grow with the stream, which is exact but takes
the rows after a change in as well, so that evidence fades. `fixed_reference_p_values` compares with a reference that
stays; its sampling error is paid for by a margin in the bets.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, cast

import numpy as np
from numpy.typing import ArrayLike

from perennial.stats.arrays import Floats, check_open_unit, finite_vector, unit_vector
from perennial.stats.errors import NothingToCount, OutOfRange
from perennial.stats.results import Finding, Json

__all__ = [
    "JumperState",
    "conformal_p_values",
    "fixed_reference_margin",
    "fixed_reference_p_values",
    "jump",
    "martingale_test",
]

JUMP: Final = 0.01  # share of the capital that changes its stake at each row
_THIRD: Final = 1.0 / 3.0


@dataclass(frozen=True, slots=True)
class JumperState:
    """What the simple jumper remembers.

    Attributes:
        shares: Part of the capital on each stake (-1, 0, 1), summing to 1.
        log_capital: Natural logarithm of the capital; it starts at 0.
        log_peak: Largest so far.
        n: Rows so far.
    """

    shares: tuple[float, float, float] = (_THIRD, _THIRD, _THIRD)
    log_capital: float = 0.0
    log_peak: float = 0.0
    n: int = 0

    @property
    def capital(self) -> float:
        """The e-value now: at most 1 on average if nothing changed; inf beyond 1e304."""
        return math.exp(self.log_capital) if self.log_capital < 700.0 else math.inf

    def as_dict(self) -> dict[str, Json]:
        """Plain JSON values; `from_dict` reads them back without loss."""
        return {
            "shares": list(self.shares),
            "log_capital": self.log_capital,
            "log_peak": self.log_peak,
            "n": self.n,
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Json]) -> JumperState:
        """Read back what `as_dict` gave.

        Raises:
            OutOfRange: A field is absent or of another type.
        """
        shares, n = record.get("shares"), record.get("n")
        log_capital, log_peak = record.get("log_capital"), record.get("log_peak")
        if not isinstance(shares, list) or len(shares) != 3 or not all(isinstance(one, int | float) for one in shares):
            raise OutOfRange("shares", shares, "three numbers")
        if not isinstance(log_capital, int | float) or not isinstance(log_peak, int | float):
            raise OutOfRange("log_capital", log_capital, "a number, as is log_peak")
        if not isinstance(n, int):
            raise OutOfRange("n", n, "a whole number")
        below, none, above = (float(cast(float, one)) for one in shares)
        return cls((below, none, above), float(log_capital), float(log_peak), n)


def jump(state: JumperState, p_values: ArrayLike, *, rate: float = JUMP, margin: float = 0.0) -> JumperState:
    """Feed p-values in order; feeding in pieces gives the same as all at once.

    Each step first spreads the share `rate` of the capital evenly over the stakes e in {-1, 0, 1}, then multiplies each
    part by 1 + e (p - 1/2) - |e| margin. Small p-values pay the stake -1, large ones the stake 1.

    Args:
        state: `JumperState()`, or what an earlier call returned.
        p_values: shape (T,), in [0, 1], oldest first.
        rate: J, in (0, 1).
        margin: How far the mean of the p-values may lie from 1/2 without anything having changed, in [0, 1/2).

    Raises:
        OutOfRange: A p-value or a setting is out of range.

    Source: Vovk, Petej, Nouretdinov, Ahlberg, Carlsson & Gammerman (2021), COPA, PMLR 152, 191-210.

    >>> round(jump(JumperState(), [0.1] * 20).capital, 3)
    251.452
    """
    return _run(state, unit_vector(p_values, "p_values"), rate, margin)[0]


def _run(state: JumperState, p: Floats, rate: float, margin: float) -> tuple[JumperState, Floats]:
    """The state after the p-values and the logarithm of the capital after each of them, shape (T,)."""
    check_open_unit("rate", rate)
    if not 0.0 <= margin < 0.5:
        raise OutOfRange("margin", margin, "at least 0 and below 0.5")
    low, none, high = state.shares
    even = rate * _THIRD  # the shares sum to 1
    log_capital, path = state.log_capital, np.empty(len(p))
    for i, gap in enumerate((p - 0.5).tolist()):
        low = ((1.0 - rate) * low + even) * (1.0 - gap - margin)
        none = (1.0 - rate) * none + even
        high = ((1.0 - rate) * high + even) * (1.0 + gap - margin)
        grown = low + none + high
        low, none, high = low / grown, none / grown, high / grown
        log_capital += math.log(grown)
        path[i] = log_capital
    peak = max([state.log_peak, *path.tolist()])
    return JumperState((low, none, high), log_capital, peak, state.n + len(p)), path


def conformal_p_values(scores: ArrayLike, *, earlier: ArrayLike = (), seed: int = 0) -> Floats:
    """Share of the rows up to each row that are at least as strange as it, ties broken at random.

    p_t = (#{i <= t: s_i > s_t} + U_t #{i <= t: s_i = s_t}) / t. Independent and uniform if all rows are exchangeable.

    Args:
        scores: Strangeness of each row, shape (T,), oldest first; higher is stranger. The scoring must not have been
            learned from these rows.
        earlier: Scores of the rows before them, which are compared with but get no p-value.
        seed: Of the tie-breaking. A row's draw depends on how many rows stood before it only, so a stream fed in pieces
            (each with all scores before it as `earlier`) gets the same p-values as all at once.

    Returns:
        shape (T,), in (0, 1].

    Raises:
        OutOfRange: A score is not finite.

    Source: Vovk, Gammerman & Shafer (2005), Algorithmic Learning in a Random World, chapter 7.
    """
    s, known = finite_vector(scores, "scores"), sorted(finite_vector(earlier, "earlier").tolist())
    uniforms = _uniforms(seed, len(known), len(s))
    found = np.empty(len(s))
    for i, (score, uniform) in enumerate(zip(s.tolist(), uniforms.tolist(), strict=True)):
        insort(known, score)
        after = bisect_right(known, score)
        same = after - bisect_left(known, score)
        found[i] = (len(known) - after + uniform * same) / len(known)
    return found


def fixed_reference_p_values(reference: ArrayLike, scores: ArrayLike, *, earlier: int = 0, seed: int = 0) -> Floats:
    """Share of a fixed reference, and the row itself, that is at least as strange as each row; ties broken at random.

    p = (#{r > s} + U (#{r = s} + 1)) / (n + 1). Rows after a change are never compared with each other. Given the
    reference, the p-values are independent but not quite uniform: bet with `fixed_reference_margin`.

    Args:
        reference: Scores of rows from before, shape (n,), not those the scoring was learned from.
        scores: shape (T,).
        earlier: Number of rows that had p-values before these, so that the draws go on where they stopped.
        seed: Of the tie-breaking.

    Raises:
        NothingToCount: The reference is empty.
        OutOfRange: A score is not finite.
    """
    known = np.sort(finite_vector(reference, "reference"))
    if len(known) == 0:
        raise NothingToCount("reference")
    s = finite_vector(scores, "scores")
    after = np.searchsorted(known, s, side="right")
    same = after - np.searchsorted(known, s, side="left")
    return (len(known) - after + _uniforms(seed, earlier, len(s)) * (same + 1)) / (len(known) + 1)


def fixed_reference_margin(n: int, *, beta: float) -> float:
    """How far from 1/2 the mean of fixed-reference p-values may lie through the choice of the reference alone.

    Given a reference of n rows, that mean is (U_1 + ... + U_n + 1/2)/(n + 1), up to ties, with the U_i independent and
    uniform: each reference row's own place in the true distribution. By Hoeffding's inequality it is further from 1/2
    than sqrt(ln(2/beta)/(2n)) with probability beta at most.

    The idea of betting within what a finite reference leaves open: Shaer, Bar, Prinster & Romano, arXiv 2602.13848. The
    bound used here is the simpler one for a bet on the mean.

    >>> round(fixed_reference_margin(10_000, beta=0.005), 4)
    0.0173
    """
    check_open_unit("beta", beta)
    if n < 1:
        raise OutOfRange("n", n, "at least 1")
    return math.sqrt(math.log(2.0 / beta) / (2.0 * n))


def martingale_test(
    scores: ArrayLike,
    *,
    reference: ArrayLike | None = None,
    tolerance: float = 0.0,
    alpha: float = 0.01,
    rate: float = JUMP,
    seed: int = 0,
) -> Finding:
    """Test whether a stream of scores ever stopped looking like what came before.

    Changed if the capital of the simple jumper ever reached 1/alpha (1/(alpha/2) with a fixed reference, whose margin
    takes the other half of alpha): a false alarm ever has probability at most alpha.

    Args:
        scores: Strangeness of each row, shape (T,), oldest first.
        reference: Scores of a reference that is to stay; None lets the stream be its own, growing reference.
        tolerance: How far the mean p-value may lie from 1/2, in [0, 0.4]: the AUC of telling current from reference
            scores less 1/2 that is still acceptable.
        alpha: Probability of a false alarm ever.
        rate: As in `jump`.
        seed: Of the tie-breaking.

    Returns:
        Decision "changed", "not changed" or "undecided" (a reference too small for its margin). The e-value is the
        largest capital so far, the statistic the capital now, the effect 1/2 less the mean p-value: above 0 if rows
        became stranger. `details["first"]` is the number of the row at which it alarmed, from 1.

    Raises:
        OutOfRange: A score is not finite, or a setting is out of range.

    >>> strange = np.concatenate([np.arange(200) % 10, np.full(50, 9.5)])
    >>> martingale_test(strange).decision
    'changed'
    """
    check_open_unit("alpha", alpha)
    if not 0.0 <= tolerance <= 0.4:
        raise OutOfRange("tolerance", tolerance, "between 0 and 0.4")
    params: dict[str, Json] = {"alpha": alpha, "tolerance": tolerance, "rate": rate, "seed": seed}
    if reference is None:
        p, margin, level, n = conformal_p_values(scores, seed=seed), tolerance, alpha, None
    else:
        p, level = fixed_reference_p_values(reference, scores, seed=seed), alpha / 2.0
        n = len(finite_vector(reference, "reference"))
        margin = tolerance + fixed_reference_margin(n, beta=alpha / 2.0)
    method = "conformal test martingale" + ("" if reference is None else ", fixed reference")
    if margin >= 0.5:
        return Finding(
            method=method,
            decision="undecided",
            reasons=(f"the reference holds too few rows: {n}",),
            threshold=1.0 / level,
            n=n,
            m=len(p),
            params=params,
        )
    state, path = _run(JumperState(), p, rate, margin)
    reached = np.flatnonzero(path >= -math.log(level))
    first = int(reached[0]) + 1 if len(reached) else None
    peak = math.exp(min(state.log_peak, 700.0))
    effect = 0.5 - float(np.mean(p)) if len(p) else 0.0
    return Finding(
        method=method,
        decision="not changed" if first is None else "changed",
        reasons=(
            f"the capital reached {peak:.4g}, {1.0 / level:g} alarms"
            + (f"; it did at row {first}" if first is not None else f" ({len(p)} rows)"),
            f"a false alarm ever: probability at most {alpha:g} if rows are exchangeable",
        ),
        statistic=state.capital if math.isfinite(state.capital) else None,
        effect=effect,
        threshold=1.0 / level,
        p_value=min(1.0, 1.0 / peak),
        e_value=peak,
        n=n,
        m=len(p),
        params=params,
        details={"margin": margin, "first": first, "rows": len(p)},
    )


def _uniforms(seed: int, start: int, count: int) -> Floats:
    """Draws number start, start + 1, ... of the stream of this seed: one 64-bit word each."""
    source = np.random.PCG64(seed)
    source.advance(start)
    return np.random.Generator(source).random(count)
