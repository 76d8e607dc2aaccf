"""A gate that may be looked at after every row: the probability of ever refusing falsely stays below a level.

An e-detector alarms again and again, at a known mean rate; a gate decides once. Wealth of a bet against "the mean is at
most mu0" has mean 1 at most while that is true, so it reaches 1/alpha with probability alpha at most, whenever one
looks (Ville's inequality). A gate that starts with the stream has lost so much wealth on a long good time that a later
change is seen late; the restarting form opens a new bet at every row, from a purse that is divided beforehand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, cast

import numpy as np
from numpy.typing import ArrayLike

from perennial.stats.arrays import Floats, Ints, unit_vector
from perennial.stats.edetector import Design, log_bets
from perennial.stats.errors import OutOfRange
from perennial.stats.results import Finding, Json

__all__ = ["Gate", "GateState"]

_MAX_LOG: Final = 700.0  # exp(700) is the largest power that a float64 holds with room to spare
_BLOCK: Final = 4096  # rows per pass: sums of logarithms restart here, so digits are not worn away
_NOTHING: Final = -1e300  # logarithm of no wealth at all, finite so that a state is plain JSON


@dataclass(frozen=True, slots=True)
class GateState:
    """What a gate remembers between rows.

    Attributes:
        logs: Per component, ln of the wealth of all bets opened so far.
        observations: Rows (or batches) so far; those after a refusal are not counted.
        evidence: The e-value after the last of them.
        peak: The largest e-value so far; the gate has refused once this reached the threshold.
        refused_at: Number of the row at which it refused, from 1; None if it has not. A refusal is for good.
    """

    logs: tuple[float, ...]
    observations: int = 0
    evidence: float = 1.0
    peak: float = 1.0
    refused_at: int | None = None

    def as_dict(self) -> dict[str, Json]:
        """Plain JSON values; `from_dict` reads them back without loss."""
        return {
            "logs": list(self.logs),
            "observations": self.observations,
            "evidence": self.evidence,
            "peak": self.peak,
            "refused_at": self.refused_at,
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Json]) -> GateState:
        """Read back what `as_dict` gave.

        Raises:
            OutOfRange: A field is absent or of another type.
        """
        logs, observations, refused = (record.get(name) for name in ("logs", "observations", "refused_at"))
        evidence, peak = record.get("evidence"), record.get("peak")
        if not isinstance(logs, list) or not all(isinstance(log, int | float) for log in logs):
            raise OutOfRange("logs", logs, "a list of numbers")
        if not isinstance(observations, int) or not isinstance(refused, int | None):
            raise OutOfRange("observations", observations, "a whole number; refused_at one or none")
        if not isinstance(evidence, int | float) or not isinstance(peak, int | float):
            raise OutOfRange("evidence", evidence, "a number, as is peak")
        return cls(tuple(float(cast(float, log)) for log in logs), observations, float(evidence), float(peak), refused)


@dataclass(frozen=True, slots=True)
class Gate:
    """Refuse for good once the evidence against a bound on a mean reaches 1/alpha.

    E_t = sum_k w_k prod_i (1 + lambda_k (x_i - mu_k)). With `restarts`, a bet is opened at every row j = 1, 2, ... with
    the share 1/(j (j + 1)) of a purse of 1: E_t = sum_k w_k sum_{j <= t} prod_{i = j..t} (1 + ...) / (j (j + 1))
    + 1/(t + 1), the last term being what is still in the purse. A change after t good rows then costs a factor of about
    t^2, instead of all that was lost during them.

    Attributes:
        design: The bets, of kind "ville"; its threshold is 1/alpha.
        restarts: Whether bets are opened at every row.

    Source: Ville (1939); Shafer, Shen, Vereshchagin & Vovk (2011), Statistical Science 26, 84-101. Mixture over the
    times of change as in Shin, Ramdas & Rinaldo (2023), NEJSDS, arXiv 2203.03532.

    >>> gate = Gate.above(0.1, alpha=0.01)
    >>> gate.finding(gate.update(gate.start(), [1.0] * 8)).decision
    'refused'
    """

    design: Design
    restarts: bool = True

    def __post_init__(self) -> None:
        if self.design.kind != "ville":
            raise OutOfRange("design.kind", self.design.kind, "'ville'", remedy="pass kind='ville' to the design")

    @classmethod
    def above(cls, mu0: float, *, alpha: float = 0.01, restarts: bool = True) -> Gate:
        """Refuse when the mean has risen above `mu0`, with a probability of at most alpha if it never does.

        Raises:
            OutOfRange: `mu0` or alpha is out of range.
        """
        return cls(Design.above(mu0, threshold=_threshold(alpha), kind="ville"), restarts)

    @classmethod
    def below(cls, mu0: float, *, alpha: float = 0.01, restarts: bool = True) -> Gate:
        """Refuse when the mean has fallen below `mu0`."""
        return cls(Design.below(mu0, threshold=_threshold(alpha), kind="ville"), restarts)

    def start(self) -> GateState:
        """The state before the first row."""
        return GateState(logs=((_NOTHING if self.restarts else 0.0),) * len(self.design.mus))

    def update(self, state: GateState, values: ArrayLike) -> GateState:
        """Feed rows in order. Rows after a refusal change nothing. Feeding in pieces gives the same as all at once.

        Args:
            state: `start()`, or what an earlier call returned.
            values: Observations in [0, 1], shape (T,), oldest first.

        Raises:
            OutOfRange: A value is outside [0, 1], or the state is of another gate.
        """
        x = unit_vector(values, "values")
        for start in range(0, len(x), _BLOCK):
            state = self.advance(state, log_bets(self.design, x[start : start + _BLOCK]))
        return state

    def advance(self, state: GateState, log_bet_sums: ArrayLike) -> GateState:
        """Feed batches, each by its sum of `edetector.log_bets` over its rows; sums of shards add up.

        Args:
            state: `start()`, or what an earlier call returned.
            log_bet_sums: shape (batches, K), oldest first.

        Raises:
            OutOfRange: The shape or the state does not fit the design, or a sum is not finite.
        """
        logs: Floats = np.asarray(log_bet_sums, dtype=np.float64)
        parts = len(self.design.mus)
        if logs.ndim != 2 or logs.shape[1] != parts:
            raise OutOfRange("log_bet_sums", f"of shape {logs.shape}", f"of shape (batches, {parts})")
        if len(state.logs) != parts:
            raise OutOfRange("state", f"of {len(state.logs)} components", f"of {parts}, as the design")
        if not bool(np.isfinite(logs).all()):
            raise OutOfRange("log_bet_sums", "not finite", "finite")
        if len(logs) == 0 or state.refused_at is not None:
            return state
        wealth, purse = self._log_wealth(state, logs)
        evidence: Floats = np.exp(np.minimum(wealth, _MAX_LOG)) @ np.asarray(self.design.weights) + purse
        over: Ints = np.flatnonzero(evidence >= self.design.threshold)
        last = int(over[0]) if len(over) else len(logs) - 1
        seen = state.observations + last + 1
        return GateState(
            logs=tuple(float(max(log, _NOTHING)) for log in wealth[last]),
            observations=seen,
            evidence=float(evidence[last]),
            peak=max(state.peak, float(evidence[: last + 1].max())),
            refused_at=seen if len(over) else None,
        )

    def finding(self, state: GateState) -> Finding:
        """What the gate says so far.

        Returns:
            Decision "refused" or "not refused". The e-value is the largest so far, the p-value 1 over it, both valid at
            any time; the statistic is the e-value now.
        """
        alpha = 1.0 / self.design.threshold
        is_refused = state.refused_at is not None
        where = f"at row {state.refused_at}" if is_refused else f"so far ({state.observations} rows)"
        return Finding(
            method="ville gate",
            decision="refused" if is_refused else "not refused",
            reasons=(
                f"the evidence reached {state.peak:.4g} {where}; {self.design.threshold:g} refuses",
                f"a false refusal ever: probability at most {alpha:g}",
            ),
            statistic=state.evidence,
            threshold=self.design.threshold,
            p_value=min(1.0, 1.0 / state.peak),
            e_value=state.peak,
            n=state.observations,
            params={"alpha": alpha, "restarts": self.restarts, "design": self.design.as_dict()},
        )

    def _log_wealth(self, state: GateState, logs: Floats) -> tuple[Floats, Floats]:
        """Wealth of the open bets after each row, shape (T, K), and what is left in the purse, shape (T,)."""
        sums: Floats = np.cumsum(logs, axis=0)
        carries = np.asarray(state.logs)
        if not self.restarts:
            return sums + carries, np.zeros(len(logs))
        # W_t = f_t (W_{t-1} + 1/(t (t + 1))), unrolled: ln W_t = S_t + ln(W_0 + sum_j e^(-S_{j-1}) / (j (j + 1))).
        row: Floats = state.observations + np.arange(1.0, len(logs) + 1.0)
        earlier: Floats = np.vstack([np.zeros((1, logs.shape[1])), sums[:-1]])
        opened = -np.log(row * (row + 1.0))[:, np.newaxis] - earlier
        opened[0] = np.logaddexp(opened[0], carries)
        return sums + np.logaddexp.accumulate(opened, axis=0), 1.0 / (row + 1.0)


def _threshold(alpha: float) -> float:
    if not 0.0 < alpha < 1.0:
        raise OutOfRange("alpha", alpha, "strictly between 0 and 1")
    return 1.0 / alpha
