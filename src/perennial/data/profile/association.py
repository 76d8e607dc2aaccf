"""What two columns have to do with each other, read from a profile's sample of rows.

Between two numbers: Spearman's rank correlation, and Pearson's. Between two columns of categories: Cramér's V, with
Bergsma's correction. Between categories and a number: the correlation ratio, corrected for the number of groups. All
are 0 for columns that have nothing to do with each other, up to the noise of the sample: 0.02 at 10,000 rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial.data.profile.arrays import Floats, Ints
from perennial.data.profile.columns import ColumnProfile
from perennial.data.profile.profiles import Profile

__all__ = ["Associations", "Group", "Pair", "TargetRelation", "associations", "target_relations"]

MOST = 40  # columns that are compared with each other; the page shows each pair as a square
GROUPS = 10  # into which a column is cut beside the target
CATEGORIES = 30  # that are told apart; the rest is one
CLASSES = 6  # of a target that are told apart
FEW = 10  # a number with at most so many different values is a class when it is the target
MIN_ROWS = 30  # fewer rows say nothing about two columns
_Z = 1.959964  # 95 %


class Pair(NamedTuple):
    """Two columns: `value` in [-1, 1] by `measure`; `pearson` only for two numbers."""

    first: str
    second: str
    value: float
    measure: str
    pearson: float | None = None


class Associations(NamedTuple):
    """`matrix[i, j]` is the value of columns i and j, NaN where it is not known; `pairs` come strongest first."""

    names: list[str]
    matrix: Floats
    pairs: list[Pair]
    left_out: int


class Group(NamedTuple):
    """Rows of which a column has one value or range: the target's mean, or its classes' shares, with 95 % intervals."""

    label: str
    rows: int
    values: list[float]
    low: float
    high: float


class TargetRelation(NamedTuple):
    """What a column tells about the target: `strength` in [0, 1], and the target in each group of the column's values.

    `names` says of what the values of a group are: the target's mean, the share of one of two classes, or of each.
    """

    column: str
    strength: float
    names: list[str]
    groups: list[Group]
    are_shares: bool = False


def associations(profile: Profile) -> Associations:
    """Every pair of columns that can be compared; of a wide table, of its first 40 such columns."""
    frame = profile.sample.frame()
    sampled = set(frame.columns)
    usable = [column for column in profile.columns if _is_usable(column, sampled)]
    chosen = usable[:MOST]
    names = [column.name for column in chosen]
    matrix, pearson = np.full((len(names), len(names)), np.nan), np.full((len(names), len(names)), np.nan)
    numbers = [place for place, column in enumerate(chosen) if column.kind != "text"]
    values = [_numbers(frame[names[place]]) for place in numbers]
    if values:
        square = np.ix_(numbers, numbers)
        pearson[square] = _correlations(np.column_stack(values))
        matrix[square] = _correlations(np.column_stack([_ranks(column) for column in values]))
    codes = {place: _codes(frame[names[place]]) for place, column in enumerate(chosen) if column.kind == "text"}
    numeric = dict(zip(numbers, values, strict=True))
    for one, its in codes.items():
        for other, number in numeric.items():
            matrix[one, other] = matrix[other, one] = _correlation_ratio(its, number)
        for other, theirs in codes.items():
            if other > one:
                matrix[one, other] = matrix[other, one] = _cramers_v(its, theirs)
    np.fill_diagonal(matrix, 1.0)
    pairs: list[Pair] = []
    for i, first in enumerate(names):
        for j, second in enumerate(names[:i]):
            both = (i in codes) + (j in codes)
            if math.isfinite(matrix[i, j]):
                measure = ("rank correlation", "correlation ratio", "Cramér's V")[both]
                linear = float(pearson[i, j]) if math.isfinite(pearson[i, j]) else None
                pairs.append(Pair(second, first, float(matrix[i, j]), measure, linear))
    pairs.sort(key=lambda pair: -abs(pair.value))
    return Associations(names, matrix, pairs, len(usable) - len(chosen))


def target_relations(profile: Profile) -> list[TargetRelation]:
    """What each column tells about the target, strongest first; [] when there is no target or nothing in it."""
    frame = profile.sample.frame()
    if profile.target is None or profile.target not in frame.columns:
        return []
    target = profile[profile.target]
    known = frame.filter(pl.col(profile.target).is_not_null())
    if known.height < MIN_ROWS or target.n_distinct < 2:
        return []
    truth = known[profile.target]
    if target.kind in ("number", "time") and target.n_distinct > FEW:
        numbers, classes, names = _numbers(truth), None, [f"mean {profile.target}"]
    else:
        told = truth.cast(pl.String)
        names = cast(list[str], told.value_counts(sort=True)[profile.target].to_list())
        names = sorted(names[:CLASSES]) + (["other"] if len(names) > CLASSES else [])
        numbers, classes = None, _codes(told, names)
    found: list[TargetRelation] = []
    sampled = set(known.columns)
    for column in profile.columns:
        if column.name == profile.target or not _is_usable(column, sampled):
            continue
        labels, groups = _grouped(known[column.name], column)
        if numbers is not None:
            strength = _correlation_ratio(groups, numbers)
            made = [_mean(label, numbers[groups == code]) for code, label in enumerate(labels)]
        else:
            its = cast(Ints, classes)
            strength = _cramers_v(groups, its)
            made = [_shares(label, its[groups == code], len(names)) for code, label in enumerate(labels)]
        says = [f"share of {names[1]}"] if len(names) == 2 and classes is not None else names
        found.append(
            TargetRelation(column.name, strength, says, [group for group in made if group.rows], numbers is None)
        )
    return sorted(found, key=lambda relation: -(relation.strength if math.isfinite(relation.strength) else -1))


def _is_usable(column: ColumnProfile, sampled: set[str]) -> bool:
    if column.name not in sampled or column.kind == "other" or column.n_distinct < 2:
        return False
    # Texts that are nearly all different, such as names and keys, have no groups to compare.
    return column.kind != "text" or column.n_distinct <= max(CATEGORIES, 0.2 * column.present)


def _numbers(values: pl.Series) -> Floats:
    numbers: Floats = values.cast(pl.Float64).to_numpy().astype(np.float64)
    return np.where(np.isfinite(numbers), numbers, np.nan)


def _ranks(values: Floats) -> Floats:
    return pl.Series(values, nan_to_null=True).rank("average").cast(pl.Float64).to_numpy()


def _correlations(values: Floats) -> Floats:
    """Pearson's for every two columns, over the rows in which both have a value."""
    present = np.isfinite(values)
    mask = present.astype(np.float64)
    with np.errstate(all="ignore"):
        center = np.where(present, values, 0.0).sum(0) / np.maximum(mask.sum(0), 1)
        spread = np.sqrt((np.where(present, values - center, 0.0) ** 2).sum(0) / np.maximum(mask.sum(0), 1))
        scaled = np.where(present, (values - center) / np.where(spread > 0, spread, np.nan), 0.0)
        n = mask.T @ mask
        one = scaled.T @ mask / n
        square = (scaled**2).T @ mask / n
        spreads = np.sqrt(np.maximum(square - one**2, 0.0))
        found = (scaled.T @ scaled / n - one * one.T) / (spreads * spreads.T)
    found[(n < MIN_ROWS) | (spreads * spreads.T < 1e-9)] = np.nan
    return np.clip(found, -1.0, 1.0)


def _codes(values: pl.Series, names: Sequence[str] | None = None) -> Ints:
    """Each value as the number of its category, the rest as one more; -1 is missing."""
    if names is None:
        names = cast(list[str], values.drop_nulls().value_counts(sort=True)[values.name].to_list())[:CATEGORIES]
    places = {name: place for place, name in enumerate(names) if name != "other"}
    coded = values.replace_strict(places, default=names.index("other") if "other" in names else len(names))
    return np.where(values.is_null().to_numpy(), -1, coded.cast(pl.Int64).fill_null(-1).to_numpy())


def _cramers_v(first: Ints, second: Ints) -> float:
    """Source: Bergsma (2013), Journal of the Korean Statistical Society 42, 323-328."""
    both = (first >= 0) & (second >= 0)
    n = int(both.sum())
    if n < MIN_ROWS:
        return math.nan
    _, rows = np.unique(first[both], return_inverse=True)
    _, columns = np.unique(second[both], return_inverse=True)
    r, c = int(rows.max()) + 1, int(columns.max()) + 1
    if min(r, c) < 2:
        return math.nan
    table = np.bincount(rows * c + columns, minlength=r * c).reshape(r, c).astype(np.float64)
    expected = table.sum(1, keepdims=True) * table.sum(0, keepdims=True) / n
    phi2 = max(0.0, float(((table - expected) ** 2 / expected).sum()) / n - (r - 1) * (c - 1) / (n - 1))
    shorter = min(r - (r - 1) ** 2 / (n - 1), c - (c - 1) ** 2 / (n - 1)) - 1
    return math.sqrt(min(1.0, phi2 / shorter)) if shorter > 0 else math.nan


def _correlation_ratio(groups: Ints, values: Floats) -> float:
    """Square root of the share of the variance that lies between groups, less what chance would explain."""
    both = (groups >= 0) & np.isfinite(values)
    n = int(both.sum())
    if n < MIN_ROWS:
        return math.nan
    _, places, counts = np.unique(groups[both], return_inverse=True, return_counts=True)
    its = values[both] - values[both].mean()
    total = float(its @ its)
    if counts.size < 2 or total <= 0 or n <= counts.size or not math.isfinite(total):
        return math.nan
    means = np.bincount(places, weights=its) / counts
    share = float((counts * means**2).sum()) / total
    return math.sqrt(max(0.0, 1 - (1 - share) * (n - 1) / (n - counts.size)))


def _grouped(values: pl.Series, column: ColumnProfile) -> tuple[list[str], Ints]:
    """Labels of groups, and each row's group. A number is cut at quantiles, so that each group has enough rows."""
    from perennial.data.profile.words import of_value, of_values

    if column.kind == "text" or column.n_distinct <= GROUPS:
        counted = values.drop_nulls().value_counts(sort=True)[values.name].to_list()
        kept = counted[:GROUPS]
        kept = sorted(kept) if column.kind != "text" else kept
        codes = np.full(len(values), len(kept), np.int64)
        for code, value in enumerate(kept):
            codes[(values == value).fill_null(False).to_numpy()] = code
        labels = [of_value(value, column) for value in kept]
        if len(counted) > len(kept):
            labels.append("other")
    else:
        numbers = _numbers(values)
        finite = numbers[np.isfinite(numbers)]
        edges: NDArray[np.float64] = np.unique(
            np.quantile(finite, np.arange(1, GROUPS + 1) / GROUPS, method="inverted_cdf")
        )
        codes = np.searchsorted(edges, numbers, side="left").astype(np.int64)
        low, *told = of_values([float(finite.min()), *(float(edge) for edge in edges)], column)
        labels = [low if low == told[0] else f"{low} to {told[0]}", *(f"to {upper}" for upper in told[1:])]
        labels.append("infinite")
    missing = values.is_null().to_numpy()
    if missing.any():
        codes[missing] = len(labels)
        labels.append("missing")
    return labels, codes


def _mean(label: str, values: Floats) -> Group:
    values = values[np.isfinite(values)]
    n = int(values.size)
    mean = float(values.mean()) if n else math.nan
    half = _Z * float(values.std(ddof=1)) / math.sqrt(n) if n > 1 else 0.0
    return Group(label, n, [mean], mean - half, mean + half)


def _shares(label: str, classes: Ints, number: int) -> Group:
    n = int(classes.size)
    shares = [float(share) for share in np.bincount(classes, minlength=number)[:number] / max(n, 1)]
    if number != 2:
        return Group(label, n, shares, math.nan, math.nan)
    p, z2 = shares[1], _Z * _Z  # Wilson's interval
    middle = (p + z2 / (2 * max(n, 1))) / (1 + z2 / max(n, 1))
    half = _Z * math.sqrt(p * (1 - p) / max(n, 1) + z2 / (4 * max(n, 1) ** 2)) / (1 + z2 / max(n, 1))
    return Group(label, n, [p], middle - half, middle + half)
