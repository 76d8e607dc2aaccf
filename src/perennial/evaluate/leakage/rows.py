"""Held-out rows that are no news: training rows, entities of training rows, rows and columns from the future."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial import stats
from perennial.data.row_sample import row_codes
from perennial.evaluate.leakage.suspicion import Sides, Strength, Suspicion

__all__ = ["shared_entities", "shared_rows", "time_travel"]

SHARED_ROWS = 0.01  # of the held-out rows, beyond what the data repeat anyway
OUT_OF_ORDER = 0.01  # of the rows


def shared_rows(sides: Sides) -> list[Suspicion]:
    """Held-out rows that are training rows as well, target included, beyond what these data repeat by themselves.

    How often that is, the training rows tell: the share of them that have a twin among the others.
    """
    train, test, apart = sides.train, sides.test, {sides.time, sides.key}
    columns = [name for name in sides.features if name not in apart and train[name].dtype == test[name].dtype]
    if not columns:
        return []

    def coded(frame: pl.DataFrame, target: Any) -> NDArray[np.uint64]:
        rounded = [pl.col(name).round_sig_figs(6) if frame[name].dtype.is_float() else pl.col(name) for name in columns]
        return row_codes(frame.select(rounded).with_columns(pl.Series("\1target", target)))

    seen, held = coded(train, sides.train_target), coded(test, sides.test_target)
    distinct, counts = np.unique(seen, return_counts=True)
    twins = float(counts[counts > 1].sum()) / len(seen)
    shared = np.isin(held, distinct)
    count = int(shared.sum())
    share = count / len(held)
    evidence: dict[str, Any] = {"shared": count, "rows": len(held), "twins_in_training": twins}
    evidence["first"] = np.flatnonzero(shared)[:5].tolist()
    clear = stats.clopper_pearson(count, len(held), alpha=0.05).low
    told = f"{count} of {len(held)} held-out rows stand in the training data as well, with the same target"
    if clear > 1.5 * twins + SHARED_ROWS:
        says = f"{told}; of the training rows, {twins * 100:.3g} % have a twin"
        return [Suspicion(kind="shared rows", strength="strong", says=says, evidence=evidence)]
    if share > 5 * SHARED_ROWS:
        says = f"{told}, as often as these data repeat themselves: are rows entered twice?"
        return [Suspicion(kind="shared rows", strength="weak", says=says, evidence=evidence)]
    return []


def shared_entities(sides: Sides) -> list[Suspicion]:
    """Entities on both sides, where rows are not parted by time: the model is asked about whom it knows."""
    key, train, test = sides.key, sides.train, sides.test
    if key is None or sides.time is not None or key not in train.columns or key not in test.columns:
        return []
    both = test[key].is_in(train[key].unique().implode())
    count = int(both.sum() or 0)
    if not count:
        return []
    says = f"{count} of {len(test)} held-out rows are of a {key} that has training rows as well"
    strength: Strength = "strong" if count > 5 * SHARED_ROWS * len(test) else "weak"
    return [Suspicion(kind="shared entities", columns=(key,), strength=strength, says=says, evidence={"rows": count})]


def time_travel(sides: Sides) -> list[Suspicion]:
    """Held-out rows that are older than the newest training row; columns with moments after the row's own."""
    time, train, test = sides.time, sides.train, sides.test
    if time is None or time not in train.columns or time not in test.columns:
        return []
    found: list[Suspicion] = []
    newest = train[time].max()
    older = int((test[time] < newest).sum() or 0)
    if older > OUT_OF_ORDER * len(test):
        says = (
            f"{older} of {len(test)} held-out rows are older than the newest training row: the model saw their future"
        )
        found.append(Suspicion(kind="time travel", strength="strong", says=says, evidence={"older_rows": older}))
    if not train[time].dtype.is_temporal():
        return found
    for name in sides.features:
        if name == time or not test[name].dtype.is_temporal() or test[name].dtype == pl.Time:
            continue
        after = sum(
            int((frame[name].cast(pl.Datetime("us")) > frame[time].cast(pl.Datetime("us"))).sum() or 0)
            for frame in (train, test)
        )
        rows = len(train) + len(test)
        if after > OUT_OF_ORDER * rows:
            says = f"{name} is later than {time} in {after} of {rows} rows: it was not known at that moment"
            evidence = {"later_rows": after}
            found.append(
                Suspicion(kind="time travel", columns=(name,), strength="strong", says=says, evidence=evidence)
            )
    return found
