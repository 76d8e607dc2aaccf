"""How far people who label the same items agree, beyond what chance alone would give.

1 is full agreement, 0 what chance gives, below 0 less than that. Under 0.667 labels carry no conclusion: it is the
guideline that needs work, not the model (Krippendorff, Content Analysis, chapter 12).
"""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike

from perennial.stats.arrays import Floats, Mask
from perennial.stats.errors import NothingToCount, OutOfRange

__all__ = ["ENOUGH_AGREEMENT", "Scale", "fleiss_kappa", "krippendorff_alpha"]

Scale = Literal["nominal", "ordinal", "interval", "ratio"]
ENOUGH_AGREEMENT: Final = 0.667


def krippendorff_alpha(labels: ArrayLike, *, scale: Scale = "nominal") -> float:
    """Agreement of any number of people, of whom each need not have labelled each item.

    alpha = 1 - observed / expected disagreement, over all pairs of labels of one item, and over all pairs of labels.
    The disagreement of two values is 1 ("nominal"), the number of labels between them ("ordinal"), their distance
    ("interval") or that over their sum ("ratio"), squared.

    Args:
        labels: A row for each person, a column for each item, shape (people, items); NaN where there is no label.
            Categories as numbers. Items with one label say nothing and are left out.
        scale: What a difference of two values means.

    Returns:
        At most 1; NaN where all labels are one value, so that there was nothing to disagree on.

    Raises:
        NothingToCount: No item has two labels.
        OutOfRange: `labels` is not two-dimensional, a value is infinite, or negative on the ratio scale.

    Source: Krippendorff (2011), Computing Krippendorff's Alpha-Reliability.

    >>> round(krippendorff_alpha([[1, 2, 3, 3], [1, 2, 3, 2]]), 4)
    0.6667
    """
    table: Floats = np.asarray(labels, dtype=np.float64)
    if table.ndim != 2 or bool(np.isinf(table).any()):
        raise OutOfRange("labels", f"of shape {table.shape}", "two-dimensional, finite or NaN")
    present: Mask = ~np.isnan(table)
    paired: Mask = present.sum(axis=0) >= 2
    values: Floats = np.unique(table[:, paired][present[:, paired]])
    if len(values) == 0:
        raise NothingToCount("labels")
    counts: Floats = np.stack([(table[:, paired] == value).sum(axis=0) for value in values], axis=1).astype(np.float64)
    of_item: Floats = counts.sum(axis=1)
    # Pairs within items, each item's weighing as many labels as it has.
    together: Floats = (counts / (of_item - 1.0)[:, np.newaxis]).T @ counts
    together -= np.diag((counts / (of_item - 1.0)[:, np.newaxis]).sum(axis=0))
    totals: Floats = counts.sum(axis=0)
    apart = _apart(values, totals, scale)
    expected = float(totals @ apart @ totals) / (float(totals.sum()) - 1.0)
    return 1.0 - float((together * apart).sum()) / expected if expected > 0.0 else float("nan")


def fleiss_kappa(counts: ArrayLike) -> float:
    """Agreement of equally many people on each item, who need not be the same ones.

    kappa = (P - P_e) / (1 - P_e): P is the mean share of agreeing pairs, P_e the sum of the squared shares of classes.

    Args:
        counts: How many people gave item i the class j, shape (items, classes), each row summing to the same number.

    Returns:
        At most 1; NaN where all labels are of one class.

    Raises:
        OutOfRange: Rows do not sum to one number of at least 2, or a count is negative.

    Source: Fleiss (1971), Psychological Bulletin 76, 378-382.

    >>> round(fleiss_kappa([[3, 0], [0, 3], [2, 1]]), 4)
    0.55
    """
    table: Floats = np.asarray(counts, dtype=np.float64)
    if table.ndim != 2 or len(table) == 0 or bool((table < 0.0).any()):
        raise OutOfRange("counts", f"of shape {table.shape}", "two-dimensional, not empty, and not negative")
    people = float(table[0].sum())
    if people < 2.0 or not bool((table.sum(axis=1) == people).all()):
        raise OutOfRange("counts", table.sum(axis=1).tolist(), "of rows that sum to one number of at least 2")
    agreeing = float(((table * table).sum(axis=1) - people).mean()) / (people * (people - 1.0))
    by_chance = float(((table.sum(axis=0) / table.sum()) ** 2).sum())
    return (agreeing - by_chance) / (1.0 - by_chance) if by_chance < 1.0 else float("nan")


def _apart(values: Floats, totals: Floats, scale: Scale) -> Floats:
    """Squared disagreement of each two values, shape (K, K)."""
    one, other = values[:, np.newaxis], values[np.newaxis, :]
    if scale == "nominal":
        return (one != other).astype(np.float64)
    if scale == "ordinal":
        # Labels from one value to the other, both ends by half.
        reach: Floats = np.cumsum(totals) - totals / 2.0
        return (reach[:, np.newaxis] - reach[np.newaxis, :]) ** 2
    if scale == "interval":
        return (one - other) ** 2
    if scale != "ratio":
        raise OutOfRange("scale", scale, "'nominal', 'ordinal', 'interval' or 'ratio'")
    if float(values[0]) < 0.0:
        raise OutOfRange("labels", float(values[0]), "not negative on the ratio scale")
    total = one + other
    return np.where(total > 0.0, (one - other) / np.where(total > 0.0, total, 1.0), 0.0) ** 2
