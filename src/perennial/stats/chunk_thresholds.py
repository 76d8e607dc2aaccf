"""When is a metric of a chunk of rows out of the ordinary? Thresholds learned from chunks of the reference.

Mean +- 3 standard deviations of K chunks, as is usual (with K in the denominator), forgets that both are estimates:
one-sided it alarms on 3.6 % of clean chunks at K = 5 and on 1.2 % at K = 10 instead of on 0.135 %. `chunk_threshold`
uses the exact prediction bound. Where chunk values are skewed, or no chunk of that size stood in the reference,
`block_bootstrap_threshold` builds windows out of whole days or entities, because rows of one day resemble each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from perennial.stats.arrays import Ints, check_open_unit, finite_vector
from perennial.stats.errors import NothingToCount, OutOfRange
from perennial.stats.results import Finding, Json
from perennial.stats.tails import student_above, student_quantile

__all__ = ["ChunkThreshold", "Side", "block_bootstrap_threshold", "chunk_multiplier", "chunk_threshold"]

Side = Literal["upper", "lower", "both"]
Statistic = Callable[[Ints, Ints], float]

ALPHA: Final = 0.00135  # one clean chunk in 741: what three standard deviations promise and do not keep
WINDOWS: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkThreshold:
    """The range in which the value of a further chunk lies with probability 1 - alpha if nothing changed.

    Attributes:
        low: -inf where only high values are news.
        high: inf where only low values are news.
        alpha: Probability that a clean chunk lies outside.
        mean: Of the values that it was learned from.
        sd: Their standard deviation, n - 1 in the denominator.
        chunks: Number of values: reference chunks, or bootstrap windows.
        method: "t" or "block bootstrap".
    """

    low: float
    high: float
    alpha: float
    mean: float
    sd: float
    chunks: int
    method: str

    def judge(self, value: float) -> Finding:
        """Compare the value of one further chunk with the range.

        Returns:
            Decision "outside" or "inside". The statistic is the value, the effect its distance from the reference mean,
            the threshold the end that it was compared with; the p-value is that of the t bound (None for a bootstrap
            range, which holds no law).

        >>> chunk_threshold([0.82, 0.83, 0.81, 0.82, 0.83], side="lower", alpha=0.01).judge(0.7).decision
        'outside'
        """
        if not math.isfinite(value):
            raise OutOfRange("value", value, "finite")
        is_outside = not self.low <= value <= self.high
        end = self.low if value < self.mean else self.high
        ends = " to ".join("any" if math.isinf(bound) else f"{bound:.5g}" for bound in (self.low, self.high))
        return Finding(
            method=f"chunk threshold, {self.method}",
            decision="outside" if is_outside else "inside",
            reasons=(f"{value:.5g} lies {'outside' if is_outside else 'inside'} {ends} ({self.chunks} chunks)",),
            statistic=value,
            effect=value - self.mean,
            threshold=end if math.isfinite(end) else None,
            p_value=self._p_value(value) if self.method == "t" else None,
            n=self.chunks,
            params={"alpha": self.alpha},
        )

    def _p_value(self, value: float) -> float:
        away = value - self.mean
        if math.isinf(self.low) or math.isinf(self.high):
            away = away if math.isinf(self.low) else -away
            tails = 1.0
        else:
            away, tails = abs(away), 2.0
        if self.sd == 0.0:
            return 1.0 if away <= 0.0 else 0.0
        t = away / (self.sd * math.sqrt(1.0 + 1.0 / self.chunks))
        return min(1.0, tails * student_above(t, self.chunks - 1))

    def as_dict(self) -> dict[str, Json]:
        """Plain JSON values; an end that is not finite becomes None."""
        low, high = (bound if math.isfinite(bound) else None for bound in (self.low, self.high))
        return {
            "low": low,
            "high": high,
            "alpha": self.alpha,
            "mean": self.mean,
            "sd": self.sd,
            "chunks": self.chunks,
            "method": self.method,
        }


def chunk_multiplier(chunks: int, *, alpha: float = ALPHA) -> float:
    """Standard deviations from the mean of K chunks within which one more lies with probability 1 - alpha, one-sided.

    t_{K-1, 1-alpha} sqrt(1 + 1/K).

    Raises:
        OutOfRange: Fewer than 2 chunks, or alpha out of range.

    Source: prediction interval of a normal sample, Fisher (1935), Annals of Eugenics 6, 391-398.

    >>> [round(chunk_multiplier(k), 2) for k in (5, 10, 20, 40)]
    [7.25, 4.29, 3.53, 3.24]
    """
    check_open_unit("alpha", alpha)
    if chunks < 2:
        raise OutOfRange("chunks", chunks, "at least 2", remedy="cut the reference into more chunks")
    return student_quantile(1.0 - alpha, chunks - 1) * math.sqrt(1.0 + 1.0 / chunks)


def chunk_threshold(values: ArrayLike, *, alpha: float = ALPHA, side: Side = "upper") -> ChunkThreshold:
    """Range for a further chunk: mean of the chunk values plus or minus `chunk_multiplier` times their deviation.

    Exact for independent, normally distributed chunk values, of which a metric of some hundred rows each is close.

    Args:
        values: The metric in each reference chunk, shape (K,), K >= 2, all chunks of about the size to be judged.
        alpha: Probability that a clean chunk lies outside; shared by both ends where `side` is "both".
        side: Which values are news: "upper" (errors, distances), "lower" (accuracy, AUC) or "both".

    Raises:
        OutOfRange: A value is not finite, there are fewer than two, or a setting is out of range.

    >>> found = chunk_threshold([0.10, 0.12, 0.11, 0.09, 0.10])
    >>> round(found.high, 4), found.low
    (0.1867, -inf)
    """
    array = finite_vector(values, "values")
    if side not in ("upper", "lower", "both"):
        raise OutOfRange("side", side, "'upper', 'lower' or 'both'")
    reach = chunk_multiplier(len(array), alpha=alpha / 2.0 if side == "both" else alpha)
    mean, sd = float(np.mean(array)), float(np.std(array, ddof=1))
    return ChunkThreshold(
        low=-math.inf if side == "upper" else mean - reach * sd,
        high=math.inf if side == "lower" else mean + reach * sd,
        alpha=alpha,
        mean=mean,
        sd=sd,
        chunks=len(array),
        method="t",
    )


def block_bootstrap_threshold(
    blocks: ArrayLike,
    statistic: Statistic,
    *,
    size: int,
    windows: int = WINDOWS,
    alpha: float = 0.01,
    seed: int = 0,
) -> ChunkThreshold:
    """Upper bound of a distance between the reference and a window, from windows made of the reference itself.

    In each of `windows` rounds, whole blocks are drawn with replacement until they fill a reference of the size it has,
    and again until they fill a window of `size` rows; both are drawn, because both are noisy. The bound is the
    k-th smallest of the distances, k = ceil((1 - alpha)(windows + 1)): the next clean window exceeds it with
    probability at most alpha, up to the error of the bootstrap.

    Args:
        blocks: Block of each reference row (its day, its entity), shape (n,), of any sortable kind. Give each row one
            of its own only where rows are independent.
        statistic: Distance of the rows numbered by the first array (reference) from those numbered by the second.
        size: Rows of a window.
        windows: Rounds.
        alpha: Probability that a clean window exceeds the bound.
        seed: Equal seeds give equal results.

    Raises:
        NothingToCount: There is no row.
        OutOfRange: Fewer than two blocks, or so few windows that their largest value is no bound at this alpha.

    Source: cluster bootstrap, Davison & Hinkley (1997), Bootstrap Methods and their Application, chapter 3.8.

    >>> values = np.arange(200.0) % 10
    >>> far = block_bootstrap_threshold(
    ...     np.arange(200) // 10, lambda a, b: abs(values[a].mean() - values[b].mean()), size=50, windows=100)
    >>> round(far.high, 6)  # every block holds the digits 0 to 9, so their mean never moves
    0.0
    """
    check_open_unit("alpha", alpha)
    ids: NDArray[np.generic] = np.asarray(blocks)
    if ids.ndim != 1:
        raise OutOfRange("blocks", f"of shape {ids.shape}", "one-dimensional")
    if len(ids) == 0:
        raise NothingToCount("blocks")
    if size < 1:
        raise OutOfRange("size", size, "at least 1")
    rank = math.ceil((1.0 - alpha) * (windows + 1))
    if rank > windows:
        least = math.ceil(1.0 / alpha) - 1
        raise OutOfRange("windows", windows, f"at least {least} at alpha {alpha:g}")
    _, unit = np.unique(ids, return_inverse=True)
    order: Ints = np.argsort(unit, kind="stable").astype(np.int64)
    sizes = np.bincount(unit)
    if len(sizes) < 2:
        raise OutOfRange("blocks", "all the same", "at least two different ones")
    starts: Ints = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
    blocks_of = _Blocks(order, starts, sizes.astype(np.int64))
    rng = np.random.default_rng(seed)
    found = np.empty(windows)
    for i in range(windows):
        found[i] = statistic(blocks_of.draw(rng, len(ids)), blocks_of.draw(rng, size))
    if not bool(np.isfinite(found).all()):
        raise OutOfRange("statistic", "not finite in some window", "finite", remedy="take larger windows")
    high = float(np.partition(found, rank - 1)[rank - 1])
    return ChunkThreshold(
        low=-math.inf,
        high=high,
        alpha=alpha,
        mean=float(np.mean(found)),
        sd=float(np.std(found, ddof=1)),
        chunks=windows,
        method="block bootstrap",
    )


class _Blocks(NamedTuple):
    """Row numbers block by block, and where each block starts and how many rows it has."""

    rows: Ints
    starts: Ints
    sizes: Ints

    def draw(self, rng: np.random.Generator, size: int) -> Ints:
        """Rows of blocks drawn with replacement until there are `size`; the last block is cut at a random place."""
        picked: Ints = np.empty(0, dtype=np.int64)
        total = 0
        while total < size:
            more = 1 + int((size - total) / self.sizes.mean())
            picked = np.concatenate([picked, rng.integers(len(self.sizes), size=more)])
            total = int(self.sizes[picked].sum())
        ends: Ints = np.cumsum(self.sizes[picked])
        last = int(np.searchsorted(ends, size))
        picked, counts = picked[: last + 1], self.sizes[picked[: last + 1]].copy()
        first = self.starts[picked].copy()
        spare = int(ends[last]) - size
        counts[last] -= spare
        first[last] += int(rng.integers(spare + 1))
        # The numbers first, first + 1, ... of each picked block, without a loop over blocks.
        within = np.arange(size) - np.repeat(np.cumsum(counts) - counts, counts)
        return self.rows[np.repeat(first, counts) + within]
