"""Whether two sets of bin counts are further apart than is tolerated and than noise explains.

A fixed threshold on a raw distance alarms on noise in small windows; a plain p-value alarms on nothing in large ones.
`tolerance_test` asks the useful question instead: is the true PSI above the tolerance? Nothing here knows columns,
windows or alarms.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, cast

import numpy as np
from numpy.typing import ArrayLike

from perennial.stats.arrays import Counts, Floats, Mask, check_open_unit
from perennial.stats.counts import all_counts
from perennial.stats.errors import OutOfRange
from perennial.stats.results import Finding, Json
from perennial.stats.shift import noise_floor
from perennial.stats.sparse_bins import MIN_EXPECTED, is_thin_bin, merged_bins, thin_bins
from perennial.stats.tails import noncentral_chi2_sf

__all__ = ["ALPHA", "TOLERANCE_PSI", "tolerance_test", "tolerance_tests"]

TOLERANCE_PSI: Final = 0.05  # nats; two equal bins moving to 61 % and 39 %
ALPHA: Final = 0.05
MIN_ROWS: Final = 100  # per side; below this the smoothing itself moves PSI by as much as the noise does


def tolerance_test(
    reference_counts: ArrayLike,
    current_counts: ArrayLike,
    tolerance: float = TOLERANCE_PSI,
    *,
    alpha: float = ALPHA,
    min_expected: float = MIN_EXPECTED,
    min_rows: int = MIN_ROWS,
    merge: bool = True,
) -> Finding:
    """Test whether the true PSI between two windows is above a tolerance.

    With s = 1/n + 1/m, PSI/s of two samples follows a noncentral chi-squared law with B - 1 degrees of freedom and
    noncentrality (true PSI)/s. The p-value is its upper tail at noncentrality tolerance/s: small only if the observed
    PSI is too large for any true PSI within the tolerance. At the tolerance itself it rejects in about `alpha` of the
    windows, whatever their size; without shift it hardly ever does.

    Args:
        reference_counts: Rows per bin of the reference, shape (B,).
        current_counts: Rows per bin of the current window, same bins.
        tolerance: Largest true PSI that is still acceptable, >= 0, in nats. 0 tests for any difference at all.
        alpha: Probability of the decision "shifted" at the tolerance.
        min_expected: Rows each bin must be expected to hold on both sides.
        min_rows: Rows each side must hold for the law above to fit; how long a window should be is the caller's choice.
        merge: Pool bins that hold too few rows (`merge_sparse`); otherwise such bins make the test undecided.

    Returns:
        Decision "shifted", "within tolerance" or "undecided" (too few rows; then there is no p-value). The statistic is
        the PSI, the effect its excess over the noise floor, the threshold the tolerance. `details` holds the noise
        floor, the other distances, and how many bins were used and pooled.

    Raises:
        BinMismatch: The two differ in length.
        OutOfRange: A count or a setting is out of range.

    Source: noncentral chi-squared law of PSI as in Potgieter, van Zyl, Schutte & Lombard, arXiv 2307.11878.

    >>> tolerance_test([1000] * 10, [1300, 700] + [1000] * 8).decision
    'within tolerance'
    >>> tolerance_test([10] * 10, [1] * 10).decision
    'undecided'
    """
    pairs = [(reference_counts, current_counts)]
    return tolerance_tests(pairs, tolerance, alpha=alpha, min_expected=min_expected, min_rows=min_rows, merge=merge)[0]


def tolerance_tests(
    pairs: Iterable[tuple[ArrayLike, ArrayLike]],
    tolerance: float = TOLERANCE_PSI,
    *,
    alpha: float = ALPHA,
    min_expected: float = MIN_EXPECTED,
    min_rows: int = MIN_ROWS,
    merge: bool = True,
) -> list[Finding]:
    """`tolerance_test` of many columns, each on its own: the same findings, in a quarter of the time.

    Args:
        pairs: Reference and current counts of each column; columns may differ in their bins.
        tolerance: As there, and so on.

    >>> [test.decision for test in tolerance_tests([([500, 500], [900, 100]), ([400, 600], [410, 590])])]
    ['shifted', 'within tolerance']
    """
    check_open_unit("alpha", alpha)
    if not 0.0 <= tolerance < math.inf:
        raise OutOfRange("tolerance", tolerance, "at least 0 and finite")
    params: dict[str, Json] = {
        "tolerance": float(tolerance),
        "alpha": alpha,
        "min_expected": min_expected,
        "min_rows": min_rows,
        "merge": merge,
    }
    sides = all_counts(list(pairs))
    rows = _rows(sides)
    filled = [place for place, (n, m) in enumerate(rows) if n and m]
    used = _used([sides[place] for place in filled], min_expected, merge=merge)
    measured = dict(zip(filled, zip(used, _distances(used), strict=True), strict=True))
    found: list[Finding] = []
    for place, (n, m) in enumerate(rows):
        own = dict(params)
        if place in measured:
            found.append(_judged(*measured[place], n, m, own))
        else:
            found.append(_undecided(f"a window is empty ({n} reference rows, {m} current rows)", n, m, own, {}))
    return found


class _Used(NamedTuple):
    """Counts of one column in the bins that are tested, and how many bins its pool took in."""

    r: Floats
    c: Floats
    pooled: int


class _Apart(NamedTuple):
    """How far the smoothed shares of one column are apart."""

    psi: float
    l_infinity: float
    js_distance: float
    hellinger: float


def _rows(sides: Sequence[tuple[Floats, Floats]]) -> list[tuple[int, int]]:
    """Rows of each column, on either side."""
    if not sides:
        return []
    starts, _ = _spans([r for r, _ in sides])
    n, m = (np.add.reduceat(np.concatenate(side), starts) for side in zip(*sides, strict=True))
    return [(round(before), round(now)) for before, now in zip(n.tolist(), m.tolist(), strict=True)]


def _used(sides: Sequence[tuple[Floats, Floats]], min_expected: float, *, merge: bool) -> list[_Used]:
    """Without empty bins, and with those pooled that are too thin; each side has rows."""
    if not sides:
        return []
    starts, lengths = _spans([r for r, _ in sides])
    r, c = (np.concatenate(side) for side in zip(*sides, strict=True))
    both = r + c
    n, m = (np.add.reduceat(side, starts) for side in (r, c))
    # Most columns have neither empty nor thin bins, which is told of all of them at once.
    expected = np.repeat(np.minimum(n, m), lengths) * (both / np.repeat(n + m, lengths))
    odd: Mask = (expected < (min_expected if merge else 0.0)) | (both == 0.0)
    is_odd: list[bool] = np.logical_or.reduceat(odd, starts).tolist()
    found: list[_Used] = []
    for (own_r, own_c), odd_one in zip(sides, is_odd, strict=True):
        if not odd_one:
            found.append(_Used(own_r, own_c, 0))
        elif merge:
            found.append(_Used(*merged_bins(own_r, own_c, min_expected)))
        else:
            filled: Mask = (own_r + own_c) > 0
            found.append(_Used(own_r[filled], own_c[filled], 0))
    return found


def _distances(columns: Sequence[_Used]) -> list[_Apart]:
    """All distances of all columns: logarithms are taken of all bins at once, sums are those of one column."""
    if not columns:
        return []
    starts, lengths = _spans([one.r for one in columns])
    p, q = (
        _smoothed_spans(np.concatenate(side), starts, lengths)
        for side in zip(*((x.r, x.c) for x in columns), strict=True)
    )
    middle = (p + q) / 2.0
    gap, ratio = q - p, np.log(q / p)
    to_p, to_q = np.log(p / middle), np.log(q / middle)
    roots = np.sqrt(p) - np.sqrt(q)
    divergence = np.add.reduceat(p * to_p + q * to_q, starts) / 2.0
    measured = (
        np.add.reduceat(gap * ratio, starts),
        np.maximum.reduceat(np.abs(gap), starts),
        np.sqrt(np.maximum(divergence, 0.0) / math.log(2.0)),
        np.sqrt(np.add.reduceat(roots * roots, starts) / 2.0),
    )
    return [_Apart(*one) for one in zip(*(side.tolist() for side in measured), strict=True)]


def _spans(columns: Sequence[Floats]) -> tuple[Counts, Counts]:
    """Where each column starts when they are laid end to end, and its length."""
    lengths = np.array([len(one) for one in columns], dtype=np.int64)
    return np.cumsum(lengths) - lengths, lengths


def _smoothed_spans(counts: Floats, starts: Counts, lengths: Counts) -> Floats:
    smoothed = counts + 0.5
    return smoothed / np.repeat(np.add.reduceat(smoothed, starts), lengths)


def _judged(used: _Used, apart: _Apart, n: int, m: int, params: dict[str, Json]) -> Finding:
    """The finding about one column that has rows on both sides."""
    tolerance, alpha = cast(float, params["tolerance"]), cast(float, params["alpha"])
    min_expected, min_rows = cast(float, params["min_expected"]), cast(float, params["min_rows"])
    bins, value = len(used.r), apart.psi
    floor = noise_floor(n, m, bins)
    details: dict[str, Json] = {
        "psi": value,
        "noise_floor": floor,
        "excess": value - floor,
        "l_infinity": apart.l_infinity,
        "js_distance": apart.js_distance,
        "hellinger": apart.hellinger,
        "bins": bins,
        "bins_pooled": used.pooled,
    }
    if min(n, m) < min_rows:
        return _undecided(f"too few rows: {n} and {m}, at least {min_rows} needed on each side", n, m, params, details)
    if params["merge"]:  # only the pool can be thin, and only where it took in every bin
        is_thin = used.pooled > 0 and is_thin_bin(float(used.r[-1]), float(used.c[-1]), n, m, min_expected)
    else:
        is_thin = bool(thin_bins(used.r, used.c, min_expected).any())
    if is_thin:
        reason = f"too few rows: some bin expects fewer than {min_expected:g} rows; merge bins or take a longer window"
        return _undecided(reason, n, m, params, details)

    if bins < 2:
        p_value = 1.0
        reason = "all rows fall into one bin in both windows"
    else:
        scale = 1.0 / n + 1.0 / m
        p_value = noncentral_chi2_sf(value / scale, df=bins - 1, nc=tolerance / scale)
        relation = "too large" if p_value <= alpha else "not too large"
        likely = f"p {p_value:.3g}" if p_value >= 1e-4 else "p < 0.0001"
        reason = f"PSI {value:.4g} is {relation} for a true PSI of {tolerance:g} ({likely}, alpha {alpha:g})"
    return Finding(
        method="psi tolerance test",
        decision="shifted" if p_value <= alpha else "within tolerance",
        reasons=(reason, f"noise floor {floor:.4g}, excess {value - floor:.4g}"),
        statistic=value,
        effect=value - floor,
        threshold=tolerance,
        p_value=p_value,
        n=n,
        m=m,
        params=params,
        details=details,
    )


def _undecided(reason: str, n: int, m: int, params: dict[str, Json], details: dict[str, Json]) -> Finding:
    return Finding(
        method="psi tolerance test",
        decision="undecided",
        reasons=(reason,),
        statistic=cast(float | None, details.get("psi")),
        effect=cast(float | None, details.get("excess")),
        threshold=cast(float, params["tolerance"]),
        n=n,
        m=m,
        params=params,
        details=details,
    )
