"""Do two clouds of points come from one distribution? Kernel and energy distances, with permutations.

For embeddings and other points of many coordinates that mean nothing one by one. Both cost the square of the number of
rows, so at most 1,000 a side are drawn. The p-value comes from exchanging rows between the two sides at random: exact
for independent rows, too small where rows of one day or entity resemble each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from perennial.stats.arrays import Floats, Mask, check_open_unit
from perennial.stats.errors import LengthMismatch, OutOfRange
from perennial.stats.results import Finding, Json

__all__ = ["energy_distance", "energy_test", "median_distance", "mmd2", "mmd_test"]

MAX_ROWS: Final = 1000
PERMUTATIONS: Final = 200
ALPHA: Final = 0.01
MIN_ROWS: Final = 20
# A move of every coordinate by 0.1 standard deviations gives about 0.003 (in many coordinates; 0.002 in one) ...
TOLERANCE_MMD2: Final = 0.002
# ... and 0.0025 here, a quarter of the squared move, whatever the number of coordinates.
TOLERANCE_ENERGY: Final = 0.0025


def median_distance(points: ArrayLike) -> float:
    """Median Euclidean distance between two different points, the usual width of a Gaussian kernel.

    Args:
        points: shape (n, d), n >= 2.

    >>> median_distance([[0.0], [1.0], [3.0]])
    2.0
    """
    return _median(np.sqrt(_squares(_cloud(points, "points"))))


def mmd2(reference: ArrayLike, current: ArrayLike, *, width: float | None = None) -> float:
    """Squared maximum mean discrepancy of two clouds, unbiased: 0 on average if they are alike, so it may be negative.

    Mean k(x, x') + mean k(y, y') - 2 mean k(x, y) over different points, with k = exp(-|a - b|^2 / (2 width^2)).

    Args:
        reference: shape (n, d), n >= 2.
        current: shape (m, d), m >= 2.
        width: None for the median distance between all points.

    Raises:
        LengthMismatch: The clouds differ in their number of coordinates.
        OutOfRange: A coordinate is not finite, or there are fewer than two points.

    Source: Gretton, Borgwardt, Rasch, Scholkopf & Smola (2012), JMLR 13, 723-773, lemma 6.
    """
    x, y = _clouds(reference, current)
    kernel, _ = _kernel(_squares(np.vstack([x, y])), width)
    return float(_discrepancy(kernel, _labels(len(x), len(y)))[0])


def energy_distance(reference: ArrayLike, current: ArrayLike) -> float:
    """Energy distance of two clouds in the unit of the coordinates, unbiased: 2E|X - Y| - E|X - X'| - E|Y - Y'|.

    Raises:
        LengthMismatch, OutOfRange: As `mmd2`.

    Source: Szekely & Rizzo (2013), Journal of Statistical Planning and Inference 143, 1249-1272.
    """
    x, y = _clouds(reference, current)
    return -float(_discrepancy(np.sqrt(_squares(np.vstack([x, y]))), _labels(len(x), len(y)))[0])


def mmd_test(
    reference: ArrayLike,
    current: ArrayLike,
    *,
    tolerance: float = TOLERANCE_MMD2,
    alpha: float = ALPHA,
    permutations: int = PERMUTATIONS,
    max_rows: int = MAX_ROWS,
    seed: int = 0,
) -> Finding:
    """Test whether two clouds of points differ, by the squared maximum mean discrepancy with a Gaussian kernel.

    Shifted if the permutation p-value is at most alpha and the estimate is above the tolerance.

    Args:
        reference: shape (n, d).
        current: shape (m, d).
        tolerance: Largest MMD^2 that is still acceptable, in [0, 2].
        alpha: Probability of the decision "shifted" if there is no difference, at most.
        permutations: The smallest p-value is 1/(permutations + 1).
        max_rows: Rows drawn from each side.
        seed: Of the rows drawn and of the permutations.

    Returns:
        Decision "shifted", "within tolerance" or "undecided" (too few rows). Statistic and effect are MMD^2; the
        p-value is against no difference at all, so the tolerance is compared with the effect. `details` holds the width
        and the rows used.

    Raises:
        LengthMismatch: The clouds differ in their number of coordinates.
        OutOfRange: A coordinate is not finite, or a setting is out of range.

    Source: as `mmd2`; p-value as Phipson & Smyth (2010), Statistical Applications in Genetics 9, article 39.

    >>> rng = np.random.default_rng(0)
    >>> mmd_test(rng.normal(size=(200, 8)), rng.normal(0.5, 1.0, size=(200, 8))).decision
    'shifted'
    """
    settings = _Settings(tolerance, alpha, permutations, max_rows, seed)

    def measure(x: Floats, y: Floats) -> _Measured:
        kernel, width = _kernel(_squares(np.vstack([x, y])), None)
        return _Measured(kernel, 1.0, {"width": width})

    return _test("mmd", "MMD^2", reference, current, settings, measure)


def energy_test(
    reference: ArrayLike,
    current: ArrayLike,
    *,
    tolerance: float = TOLERANCE_ENERGY,
    alpha: float = ALPHA,
    permutations: int = PERMUTATIONS,
    max_rows: int = MAX_ROWS,
    seed: int = 0,
) -> Finding:
    """Test whether two clouds of points differ, by the energy distance; no kernel to choose.

    As `mmd_test`, with the energy coefficient, the energy distance over 2E|X - Y|, as the effect: 0 for equal
    distributions, 1 at most, free of the unit. A move of every coordinate by a standard deviations gives about a^2/4.

    >>> rng = np.random.default_rng(0)
    >>> found = energy_test(rng.normal(size=(300, 4)), rng.normal(size=(300, 4)))
    >>> found.decision
    'within tolerance'
    """
    settings = _Settings(tolerance, alpha, permutations, max_rows, seed)

    def measure(x: Floats, y: Floats) -> _Measured:
        distances = np.sqrt(_squares(np.vstack([x, y])))
        across = 2.0 * float(np.mean(distances[: len(x), len(x) :]))
        return _Measured(-distances, across or 1.0, {"across": across})

    return _test("energy", "energy coefficient", reference, current, settings, measure)


@dataclass(frozen=True, slots=True)
class _Settings:
    tolerance: float
    alpha: float
    permutations: int
    max_rows: int
    seed: int

    def __post_init__(self) -> None:
        check_open_unit("alpha", self.alpha)
        if not 0.0 <= self.tolerance <= 2.0:
            raise OutOfRange("tolerance", self.tolerance, "between 0 and 2")
        least = math.ceil(1.0 / self.alpha) - 1
        if self.permutations < least:
            raise OutOfRange("permutations", self.permutations, f"at least {least} at alpha {self.alpha:g}")
        if self.max_rows < MIN_ROWS:
            raise OutOfRange("max_rows", self.max_rows, f"at least {MIN_ROWS}")


class _Measured(NamedTuple):
    """How alike each two points are, shape (n + m, n + m); what the statistic is divided by to give the effect."""

    similarity: Floats
    unit: float
    details: dict[str, Json]


def _test(
    name: str,
    words: str,
    reference: ArrayLike,
    current: ArrayLike,
    settings: _Settings,
    measure: Callable[[Floats, Floats], _Measured],
) -> Finding:
    whole_x, whole_y = _clouds(reference, current, least=0)
    n, m = len(whole_x), len(whole_y)
    params: dict[str, Json] = {
        "tolerance": settings.tolerance,
        "alpha": settings.alpha,
        "permutations": settings.permutations,
        "max_rows": settings.max_rows,
        "seed": settings.seed,
    }
    if min(n, m) < MIN_ROWS:
        return Finding(
            method=f"{name} two-sample test",
            decision="undecided",
            reasons=(f"too few rows: {n} and {m}, at least {MIN_ROWS} needed on each side",),
            threshold=settings.tolerance,
            n=n,
            m=m,
            params=params,
        )
    rng = np.random.default_rng(settings.seed)
    x, y = _some(rng, whole_x, settings.max_rows), _some(rng, whole_y, settings.max_rows)
    measured = measure(x, y)
    statistic, p_value = _permuted(rng, measured.similarity, len(x), len(y), settings.permutations)
    effect = statistic / measured.unit
    return Finding(
        method=f"{name} two-sample test",
        decision="shifted" if p_value <= settings.alpha and effect > settings.tolerance else "within tolerance",
        reasons=(
            (
                f"{words} {effect:.4g}, tolerance {settings.tolerance:g}; as large in {p_value:.2%} of "
                f"{settings.permutations} exchanges of rows between the windows (alpha {settings.alpha:g})"
            ),
        ),
        statistic=statistic,
        effect=effect,
        threshold=settings.tolerance,
        p_value=p_value,
        n=n,
        m=m,
        params=params,
        details={**measured.details, "rows_used": [len(x), len(y)]},
    )


def _some(rng: np.random.Generator, points: Floats, most: int) -> Floats:
    if len(points) <= most:
        return points
    return points[np.sort(rng.choice(len(points), size=most, replace=False))]


def _permuted(rng: np.random.Generator, similarity: Floats, n: int, m: int, permutations: int) -> tuple[float, float]:
    """The statistic and the share of relabellings (the true one included) that reach it."""
    relabelled = rng.permuted(np.tile(_labels(n, m), (permutations, 1)), axis=1)
    found = _discrepancy(similarity, np.vstack([_labels(n, m), relabelled]))
    # Relabellings that swap equal points differ in the last bits only; they reach it as well.
    reached = int(np.count_nonzero(found[1:] >= found[0] - 1e-12 * float(np.abs(similarity).max())))
    return float(found[0]), (1 + reached) / (1 + permutations)


def _discrepancy(similarity: Floats, labels: Floats) -> Floats:
    """Mean similarity within each side less that across, for each row of labels (1: reference), shape (rows,)."""
    n = float(labels[0].sum())
    m = labels.shape[1] - n
    own = np.diag(similarity)
    pulled: Floats = labels @ similarity
    within_x = np.einsum("ij,ij->i", pulled, labels)
    across = pulled.sum(axis=1) - within_x
    within_y = float(similarity.sum()) - within_x - 2.0 * across
    own_x = labels @ own
    return (
        (within_x - own_x) / (n * (n - 1.0))
        + (within_y - (float(own.sum()) - own_x)) / (m * (m - 1.0))
        - 2.0 * across / (n * m)
    )


def _labels(n: int, m: int) -> Floats:
    return np.concatenate([np.ones(n), np.zeros(m)])[np.newaxis, :]


def _kernel(squares: Floats, width: float | None) -> tuple[Floats, float]:
    if width is None:
        width = _median(np.sqrt(squares))
    if not 0.0 < width < math.inf:
        if width != 0.0:
            raise OutOfRange("width", width, "above 0 and finite")
        width = 1.0  # more than half of the pairs are equal: any width tells equal from different
    return np.exp(-squares / (2.0 * width * width)), width


def _median(distances: Floats) -> float:
    rows, columns = np.triu_indices(len(distances), k=1)
    return float(np.median(distances[rows, columns]))


def _squares(points: Floats) -> Floats:
    """Squared distances, shape (n, n), exactly 0 on the diagonal."""
    # Around the mean the products are small, so differences of squares keep their digits.
    centred: Floats = points - points.mean(axis=0)
    norms: Floats = np.einsum("ij,ij->i", centred, centred)
    found: Floats = np.maximum(norms[:, np.newaxis] + norms - 2.0 * (centred @ centred.T), 0.0)
    np.fill_diagonal(found, 0.0)
    return found


def _clouds(reference: ArrayLike, current: ArrayLike, *, least: int = 2) -> tuple[Floats, Floats]:
    x, y = _cloud(reference, "reference", least=least), _cloud(current, "current", least=least)
    if x.shape[1] != y.shape[1]:
        raise LengthMismatch("coordinates of current", x.shape[1], y.shape[1])
    return x, y


def _cloud(points: ArrayLike, name: str, *, least: int = 2) -> Floats:
    array: Floats = np.asarray(points, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] == 0 or len(array) < least:
        raise OutOfRange(name, f"of shape {array.shape}", f"of shape (n, d), n >= {least}")
    finite: Mask = np.isfinite(array)
    if not bool(finite.all()):
        raise OutOfRange(f"{name}[{int(np.argmin(finite.all(axis=1)))}]", "not finite", "finite")
    return array
