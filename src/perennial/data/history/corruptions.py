"""What goes wrong with batches in practice, done to a sound one, to see which metrics would notice.

Each corruption is a name that a person understands and the broken batch. Nothing is random but what the seed says.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import polars as pl
import polars.selectors as cs

__all__ = ["Corrupted", "corruptions"]

NULL_SHARES = (0.05, 0.5)
FACTORS = (10.0, 1000.0)
KEPT = (0.9, 0.5, 0.1)  # of the rows, of a file that was cut off
SHIFT_HOURS = 5


class Corrupted(NamedTuple):
    """A broken batch, and what was done to it: the kind, and the columns it concerns (empty: the whole batch)."""

    kind: str
    columns: str
    batch: pl.DataFrame


def corruptions(batch: pl.DataFrame, *, before: pl.DataFrame | None = None, seed: int = 0) -> Iterator[Corrupted]:
    """Every corruption that can happen to this batch: a burst of missing values, a changed unit (x 10, x 1000), swapped
    columns, remapped categories, a cut-off file, a file loaded twice, a stale copy of `before`, a shifted time zone.
    """
    draw = np.random.default_rng(seed)
    height = batch.height
    for share in KEPT:
        yield Corrupted(f"cut off after {share:.0%}", "", batch.head(round(height * share)))
    yield Corrupted("loaded twice", "", pl.concat([batch, batch]))
    if before is not None:
        yield Corrupted("stale copy", "", before)
    for name in batch.columns:
        for share in NULL_SHARES:
            lost = pl.Series(draw.random(height) < share)
            broken = batch.with_columns(pl.when(lost).then(None).otherwise(pl.col(name)).alias(name))
            yield Corrupted(f"{share:.0%} missing", name, broken)
    for name in batch.select(cs.numeric()).columns:
        for factor in FACTORS:
            yield Corrupted(f"x {factor:g}", name, batch.with_columns((pl.col(name) * factor).alias(name)))
    for kind in (cs.numeric(), cs.string()):
        for one, other in pairwise(batch.select(kind).columns):
            swapped = batch.with_columns(pl.col(one).alias(other), pl.col(other).alias(one))
            yield Corrupted("swapped", f"{one}, {other}", swapped)
    for name in batch.select(cs.string()).columns:
        known = batch.get_column(name).drop_nulls().unique().sort()
        if 1 < len(known) <= 50:
            turned = dict(zip(known.to_list(), [*known.to_list()[1:], known[0]], strict=True))
            remapped = batch.with_columns(pl.col(name).replace(turned))
            yield Corrupted("categories remapped", name, remapped)
    for name in batch.select(cs.datetime()).columns:
        shifted = batch.with_columns(pl.col(name) + pl.duration(hours=SHIFT_HOURS))
        yield Corrupted(f"times shifted by {SHIFT_HOURS} hours", name, shifted)
