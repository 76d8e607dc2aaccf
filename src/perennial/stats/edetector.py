"""Alarm on a stream whose mean has risen, with a stated false-alarm rate and no assumption of independence.

An e-detector bets, at several stakes, that values in [0, 1] exceed a bound on their mean. As long as the mean of each
value given the past stays within the bound, the mean number of observations between alarms is at least the threshold.
The state is a few floats, fit for JSON; nothing here stores it, and nothing here knows what the stream measures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, cast

import numpy as np
from numpy.typing import ArrayLike

from perennial.stats.arrays import Floats, Mask, unit_vector
from perennial.stats.errors import OutOfRange
from perennial.stats.results import Json

__all__ = ["Design", "Kind", "State", "Step", "advance", "alarms", "log_bet_sum", "log_bets", "update"]

Kind = Literal["sr", "cusum", "ville"]

COMPONENTS: Final = 12
THRESHOLD: Final = 1e5  # observations between false alarms, at least, on average
_MAX_STAKE: Final = 0.999  # a bet never risks everything: factors stay above 0.001 and logarithms finite
_MAX_LOG: Final = 700.0  # exp(700) is the largest power that a float64 holds with room to spare
_BLOCK: Final = 4096  # observations per pass: long sums of logarithms restart here, so digits are not worn away
_TOGETHER: Final = 64  # factors multiplied before a logarithm is taken, at most


@dataclass(frozen=True, slots=True)
class Design:
    """What an e-detector bets on, fixed before the stream starts.

    Component k multiplies its wealth by 1 + lambda_k (x - mu_k) at each observation x. Positive lambdas bet that the
    mean is above mu_k, negative ones that it is below.

    Attributes:
        mus: Bound on the mean each component bets against, shape (K,), in (0, 1).
        lambdas: Stakes, shape (K,), not 0, with all factors positive on [0, 1].
        weights: Share of each component, shape (K,), positive, summing to 1.
        threshold: Alarm when the weighted mean wealth reaches this, > 1. See `kind` for what it guarantees.
        kind: "sr" (Shiryaev-Roberts) and "cusum": at least `threshold` observations between false alarms on average;
            "sr" detects sooner, "cusum" alarms less. "ville": the probability of ever alarming falsely is at most
            1/threshold.
    """

    mus: tuple[float, ...]
    lambdas: tuple[float, ...]
    weights: tuple[float, ...]
    threshold: float = THRESHOLD
    kind: Kind = "sr"

    def __post_init__(self) -> None:
        if not len(self.mus) == len(self.lambdas) == len(self.weights) > 0:
            raise OutOfRange("lambdas", f"{len(self.lambdas)} long", "as long as mus and weights, and not empty")
        if not 1.0 < self.threshold <= 1e200:
            raise OutOfRange("threshold", self.threshold, "above 1 and at most 1e200")
        if self.kind not in ("sr", "cusum", "ville"):
            raise OutOfRange("kind", self.kind, "'sr', 'cusum' or 'ville'")
        if any(weight <= 0.0 for weight in self.weights) or abs(sum(self.weights) - 1.0) > 1e-9:
            raise OutOfRange("weights", self.weights, "positive and summing to 1")
        for mu, stake in zip(self.mus, self.lambdas, strict=True):
            if not 0.0 < mu < 1.0:
                raise OutOfRange("mu0", mu, "strictly between 0 and 1")
            if stake == 0.0 or min(1.0 - stake * mu, 1.0 + stake * (1.0 - mu)) <= 0.0:
                raise OutOfRange("lambda", stake, f"not 0, above {-1.0 / (1.0 - mu):g} and below {1.0 / mu:g}")

    @classmethod
    def above(
        cls, mu0: float, *, threshold: float = THRESHOLD, kind: Kind = "sr", alternatives: Sequence[float] | None = None
    ) -> Design:
        """Detect that the mean has risen above `mu0`.

        lambda_k = min((p_k - mu0) / (mu0 (1 - mu0)), 0.999 / mu0), the best stake if the mean becomes p_k.

        Args:
            mu0: Upper bound on the mean while all is well, in (0, 1): an upper confidence bound of the reference mean
                plus a tolerance (`means.upper_bound`).
            threshold: See `Design`.
            kind: See `Design`.
            alternatives: Means p_k to be quick at, each above mu0. Default: mu0 + 12 distances from 0.01 (or half
                of the largest, if that is less) to (1 - mu0)/2, evenly spaced in logarithm.

        Raises:
            OutOfRange: `mu0`, `threshold` or an alternative is out of range.

        Source: Shin, Ramdas & Rinaldo (2023), NEJSDS, arXiv 2203.03532.

        >>> design = Design.above(0.1, threshold=100.0)
        >>> update(design, design.start(), [1.0] * 10).alarm
        3
        """
        return cls._of(*_bets_above(mu0, alternatives), threshold=threshold, kind=kind)

    @classmethod
    def below(cls, mu0: float, *, threshold: float = THRESHOLD, kind: Kind = "sr") -> Design:
        """Detect that the mean has fallen below `mu0`: `above` for 1 - x against 1 - mu0."""
        mus, stakes = _bets_above(1.0 - mu0, None)
        return cls._of([mu0] * len(mus), [-stake for stake in stakes], threshold=threshold, kind=kind)

    @classmethod
    def two_sided(cls, low: float, high: float, *, threshold: float = THRESHOLD, kind: Kind = "sr") -> Design:
        """Detect that the mean has left [low, high]: half of the weight bets on either side.

        Raises:
            OutOfRange: `low` is above `high`, or one is out of range.
        """
        if low > high:
            raise OutOfRange("low", low, f"at most high ({high})")
        up, down = cls.above(high), cls.below(low)
        return cls._of(up.mus + down.mus, up.lambdas + down.lambdas, threshold=threshold, kind=kind)

    @classmethod
    def _of(cls, mus: Sequence[float], stakes: Sequence[float], *, threshold: float, kind: Kind) -> Design:
        weight = 1.0 / len(mus)
        return cls(tuple(mus), tuple(stakes), (weight,) * len(mus), threshold, kind)

    @property
    def budget(self) -> str:
        """The guarantee, as a sentence for users."""
        if self.kind == "ville":
            return f"a false alarm ever: probability at most {1.0 / self.threshold:g}"
        return f"at most 1 false alarm per {self.threshold:,.0f} observations, on average"

    def start(self) -> State:
        """The state before the first observation."""
        return State(carries=(0.0,) * len(self.mus))

    def as_dict(self) -> dict[str, Json]:
        """Plain JSON values; `from_dict` reads them back without loss."""
        return {
            "mus": list(self.mus),
            "lambdas": list(self.lambdas),
            "weights": list(self.weights),
            "threshold": self.threshold,
            "kind": self.kind,
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Json]) -> Design:
        """Read back what `as_dict` gave.

        Raises:
            OutOfRange: A field is absent or of another type.
        """
        threshold = record.get("threshold")
        if not isinstance(threshold, int | float):
            raise OutOfRange("threshold", threshold, "a number")
        mus, lambdas, weights = (_numbers(record, name) for name in ("mus", "lambdas", "weights"))
        return cls(mus, lambdas, weights, float(threshold), cast(Kind, record.get("kind")))


@dataclass(frozen=True, slots=True)
class State:
    """What an e-detector remembers between observations.

    Attributes:
        carries: Per component, the logarithm of what the next factor multiplies: ln(M + 1) for "sr", ln(max(M, 1)) for
            "cusum", ln M for "ville"; 0 at the start and after an alarm. Always finite, however long the stream.
        observations: Observations (or batches) since the start.
        alarms: Alarms since the start.
    """

    carries: tuple[float, ...]
    observations: int = 0
    alarms: int = 0

    def as_dict(self) -> dict[str, Json]:
        """Plain JSON values; `from_dict` reads them back without loss."""
        return {"carries": list(self.carries), "observations": self.observations, "alarms": self.alarms}

    @classmethod
    def from_dict(cls, record: Mapping[str, Json]) -> State:
        """Read back what `as_dict` gave.

        Raises:
            OutOfRange: A field is absent or of another type.
        """
        observations, alarms = record.get("observations"), record.get("alarms")
        if not isinstance(observations, int) or not isinstance(alarms, int):
            raise OutOfRange("observations", observations, "a whole number, as is alarms")
        return cls(_numbers(record, "carries"), observations, alarms)


class Step(NamedTuple):
    """Where a call left the detector.

    Attributes:
        state: State after the observations used; reset if there was an alarm.
        alarm: Position of the first alarm among the observations passed, or None. Those after it were not used.
        evidence: Weighted mean wealth after the last observation used, before any reset, at most about 1e304; 0 if none
            was used. This is the e-value to show, compare or pass to `e_benjamini_hochberg`.
    """

    state: State
    alarm: int | None
    evidence: float


def log_bets(design: Design, values: ArrayLike) -> Floats:
    """Logarithms of the factors each observation contributes: ln(1 + lambda_k (x_i - mu_k)).

    Their sum over the rows of a batch is all a shard needs to report: sums of shards add up, and `advance` takes them.

    Args:
        design: The bets.
        values: Observations in [0, 1], shape (T,).

    Returns:
        shape (T, K).

    Raises:
        OutOfRange: A value is outside [0, 1] or not a number.
    """
    x = unit_vector(values, "values")
    if len(x) > 2 and bool(((x == 0.0) | (x == 1.0)).all()):  # right or wrong: two rows of logarithms say it all
        return _log_factors(design, np.array([0.0, 1.0]))[x.astype(np.intp)]
    return _log_factors(design, x)


def log_bet_sum(design: Design, values: ArrayLike) -> Floats:
    """The sum of `log_bets` over all observations, in a fraction of the time: what `advance` takes of a batch.

    Where all are 0 or 1 it is told by their numbers; otherwise factors are multiplied, as many as a float64 can hold
    together, before a logarithm is taken.

    Args:
        design: The bets.
        values: Observations in [0, 1], shape (T,).

    Returns:
        shape (K,).

    Raises:
        OutOfRange: A value is outside [0, 1] or not a number.

    >>> design = Design.above(0.1)
    >>> bool(np.allclose(log_bet_sum(design, [0.2, 0.5]), log_bets(design, [0.2, 0.5]).sum(axis=0)))
    True
    """
    x = unit_vector(values, "values")
    of_zero, of_one = ends = _log_factors(design, np.array([0.0, 1.0]))
    ones = int(np.count_nonzero(x == 1.0))
    if ones + int(np.count_nonzero(x == 0.0)) == len(x):
        return ones * of_one + (len(x) - ones) * of_zero
    # A factor lies between those of 0 and 1, so these say how many can be multiplied.
    together = int(min(_MAX_LOG / np.abs(ends).max(), _TOGETHER))
    if together < 2:
        return log_bets(design, x).sum(axis=0)
    factors: Floats = np.asarray(design.lambdas)[:, np.newaxis] * (x - np.asarray(design.mus)[:, np.newaxis])
    factors += 1.0
    return np.log(np.multiply.reduceat(factors, np.arange(0, len(x), together), axis=1)).sum(axis=1)


def update(design: Design, state: State, values: ArrayLike) -> Step:
    """Feed observations one by one, in order, until the first alarm or the end.

    "sr": M_k <- (1 + lambda_k (x - mu_k)) (M_k + 1); "cusum": ... max(M_k, 1); "ville": ... M_k from 1. Alarm when the
    weighted mean of M reaches the threshold; then M starts anew. Feeding in pieces gives the same as feeding at once.

    Args:
        design: The bets.
        state: `design.start()` or the state of an earlier step.
        values: Observations in [0, 1], shape (T,), oldest first.

    Raises:
        OutOfRange: A value is outside [0, 1] or not a number, or the state is of another design.

    >>> design = Design.above(0.1, alternatives=[0.15, 0.2, 0.3, 0.5])
    >>> round(update(design, design.start(), [float(i % 5 == 0) for i in range(50)]).evidence, 3)
    78.294
    """
    x = unit_vector(values, "values")
    evidence = 0.0
    for start in range(0, len(x), _BLOCK):
        state, alarm, evidence = advance(design, state, log_bets(design, x[start : start + _BLOCK]))
        if alarm is not None:
            return Step(state, start + alarm, evidence)
    return Step(state, None, evidence)


def advance(design: Design, state: State, log_bet_sums: ArrayLike) -> Step:
    """Feed batches, each given by its sum of `log_bets`, until the first alarm or the end.

    "sr": M_k <- exp(l_k) (M_k + 1) once per batch. The guarantee then counts batches instead of observations. With one
    row per batch this is `update`.

    Args:
        design: The bets.
        state: `design.start()` or the state of an earlier step.
        log_bet_sums: shape (batches, K), oldest first.

    Raises:
        OutOfRange: The shape or the state does not fit the design, or a sum is not finite.
    """
    logs: Floats = np.asarray(log_bet_sums, dtype=np.float64)
    parts = len(design.mus)
    if logs.ndim != 2 or logs.shape[1] != parts:
        raise OutOfRange("log_bet_sums", f"of shape {logs.shape}", f"of shape (batches, {parts})")
    if len(state.carries) != parts:
        raise OutOfRange("state", f"of {len(state.carries)} components", f"of {parts}, as the design")
    if not bool(np.isfinite(logs).all()):
        raise OutOfRange("log_bet_sums", "not finite", "finite")
    if len(logs) == 0:
        return Step(state, None, 0.0)

    wealth = _log_wealth(design.kind, np.asarray(state.carries), logs)
    evidence: Floats = np.exp(np.minimum(wealth, _MAX_LOG)) @ np.asarray(design.weights)
    over: Mask = evidence >= design.threshold
    if over.any():
        first = int(over.argmax())
        after = State((0.0,) * parts, state.observations + first + 1, state.alarms + 1)
        return Step(after, first, float(evidence[first]))
    carries = tuple(_carry(design.kind, wealth[-1]).tolist())
    return Step(State(carries, state.observations + len(logs), state.alarms), None, float(evidence[-1]))


def alarms(design: Design, state: State, values: ArrayLike) -> tuple[State, tuple[int, ...]]:
    """Feed all observations, starting anew after each alarm.

    Returns:
        The state after the last observation and the positions of the alarms.

    >>> design = Design.above(0.1, threshold=100.0)
    >>> alarms(design, design.start(), [1.0] * 10)[1]
    (3, 7)
    """
    x = unit_vector(values, "values")
    found: list[int] = []
    start = 0
    while start < len(x):
        # One block at a time: an alarm early in a long array must not cost the bets of the rest.
        state, alarm, _ = update(design, state, x[start : start + _BLOCK])
        if alarm is None:
            start += _BLOCK
        else:
            found.append(start + alarm)
            start += alarm + 1
    return state, tuple(found)


def _log_factors(design: Design, x: Floats) -> Floats:
    factors: Floats = x[:, np.newaxis] - np.asarray(design.mus)
    factors *= np.asarray(design.lambdas)
    return np.log1p(factors, out=factors)


def _log_wealth(kind: Kind, carries: Floats, logs: Floats) -> Floats:
    # ln M_t = S_t + ln(e^C + e^(-S_1) + ... + e^(-S_(t-1))) with S the running sum of logs and C the carry: the
    # recursion unrolled, so that it runs along the stream without a Python loop. "cusum" has the maximum in place of
    # the sum. One observation or batch has nothing to add up.
    if len(logs) == 1:
        return logs + carries
    sums: Floats = np.cumsum(logs, axis=0)
    if kind == "ville":
        return sums + carries
    earlier = np.vstack([carries, -sums[:-1]])
    combine = np.logaddexp if kind == "sr" else np.maximum
    return sums + combine.accumulate(earlier, axis=0)


def _carry(kind: Kind, log_wealth: Floats) -> Floats:
    if kind == "sr":
        return np.logaddexp(log_wealth, 0.0)
    return np.maximum(log_wealth, 0.0) if kind == "cusum" else log_wealth


def _bets_above(mu0: float, alternatives: Sequence[float] | None) -> tuple[list[float], list[float]]:
    if not 0.0 < mu0 < 1.0:
        raise OutOfRange("mu0", mu0, "strictly between 0 and 1")
    if alternatives is None:
        farthest = 0.5 * (1.0 - mu0)
        nearest = min(0.01, farthest / 2.0)
        alternatives = [mu0 + float(step) for step in np.geomspace(nearest, farthest, COMPONENTS)]
    for alternative in alternatives:
        if not mu0 < alternative <= 1.0:
            raise OutOfRange("alternatives", alternative, f"above mu0 ({mu0}) and at most 1")
    stakes = [min((p - mu0) / (mu0 * (1.0 - mu0)), _MAX_STAKE / mu0) for p in alternatives]
    return [mu0] * len(stakes), stakes


def _numbers(record: Mapping[str, Json], name: str) -> tuple[float, ...]:
    values = record.get(name)
    if not isinstance(values, list) or not all(isinstance(value, (int, float)) for value in values):
        raise OutOfRange(name, values, "a list of numbers")
    return tuple(map(float, cast("list[float]", values)))
