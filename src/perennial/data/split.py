"""Which rows train and which judge: the newest are held out, and nothing that belongs together is torn apart.

With a time column the test rows are the newest fifth or more; rows of one moment stay together. Without one, whole
entities are held out (the key), else single rows. The choice depends on the content and the seed only.

A gap keeps the labels' delay: of the rows that are not held out, those so new that their label was not known yet when
the test begins are in no part, because a model that is trained at that moment could not have had them.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pyarrow as pa
from blake3 import blake3
from msgspec import Struct
from pyarrow import types

from perennial.errors import DataError
from perennial.types import JSON

__all__ = ["Split", "split"]

TEST_SHARE = 0.2
By = Literal["time", "group", "random"]


class Split(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Row numbers, ascending, of the parts, and a sentence that says how they were chosen.

    `left_out` are rows of the gap, in no part; `cuts` the first moments of validation and test, where it is by time.
    """

    train: list[int]
    test: list[int]
    validation: list[int] = []
    left_out: list[int] = []
    cuts: list[str] = []
    says: str

    def parts(self, table: pa.Table) -> tuple[pa.Table, pa.Table]:
        """The training and the test rows of the table that was split."""
        return table.take(self.train), table.take(self.test)

    def summary(self) -> dict[str, JSON]:
        """What is recorded with a run: how the parts were chosen and how large they are."""
        counts = {"train": self.train, "validation": self.validation, "test": self.test, "left_out": self.left_out}
        rows: dict[str, JSON] = {name: len(part) for name, part in counts.items()}
        return {"says": self.says, "cuts": [*self.cuts], "rows": rows}


def split(
    table: pa.Table,
    *,
    by: By | None = None,
    time: str | None = None,
    key: str | None = None,
    share: float = TEST_SHARE,
    validation: float = 0.0,
    gap_s: float = 0.0,
    seed: int = 0,
) -> Split:
    """Hold out at least `share` of the rows for the test, and at least `validation` of them before that.

    Args:
        table: The rows.
        by: "time", "group" or "random"; None: time where there is one, else the key, else at random.
        time: Column of moments.
        key: Column whose equal values belong together.
        share: Of the rows, for the test.
        validation: Of the rows, between training and test: the newest before the test, other groups, other rows.
        gap_s: Time between the newest training row and the first row held out, in seconds; for numbers in a time
            column, in their unit. Likewise between validation and test.
        seed: For groups and random rows.

    Raises:
        DataError: A column is missing or has missing values, or there are too few rows or moments.

    >>> split(pa.table({"year": [3, 1, 2, 2, 2]}), time="year", share=0.4).test
    [0, 2, 3, 4]
    >>> split(pa.table({"t": [0, 1, 2, 3, 4]}), time="t", gap_s=2).left_out
    [3]
    """
    if table.num_rows < 2:
        raise DataError(f"{table.num_rows} rows cannot be split", remedy="collect more rows")
    _check_named(by, time, key)
    if time and by in (None, "time"):
        moments, when, sizes = _groups(table, time)
        if len(moments) > 1 + bool(validation):
            return _by_time(time, moments, when, sizes, share, validation, _in_unit(table.column(time), gap_s))
        if by == "time":
            raise DataError(f"column {time!r} holds {len(moments)} moments: too few to split by", remedy="collect more")
    if key and by in (None, "group"):
        names, whose, sizes = _groups(table, key)
        if len(names) > 1 + bool(validation):  # by hash, so that an entity stays on its side while others come and go
            draw = [blake3(f"{seed}:{name}".encode()).digest() for name in names.tolist()]
            order = np.array(sorted(range(len(draw)), key=draw.__getitem__))
            held, between = _two(order, sizes, share, validation)
            says = f"held out {len(held)} of {len(names)} values of {key!r}, seed {seed}"
            return _made(np.isin(whose, held), np.isin(whose, between), says)
        if by == "group":
            raise DataError(f"column {key!r} holds {len(names)} values: too few to split by", remedy="collect more")
    rows = np.random.default_rng(seed).permutation(table.num_rows)
    held, between = _two(rows, np.ones(len(rows)), share, validation)
    at = np.arange(len(rows))
    return _made(np.isin(at, held), np.isin(at, between), f"held out rows at random, seed {seed}")


def _by_time(time: str, moments: Any, when: Any, sizes: Any, share: float, validation: float, gap: Any) -> Split:
    held, between = _two(np.arange(len(moments))[::-1], sizes, share, validation)
    first_test = moments[held[-1]]
    cuts = [first_test] if not len(between) else [moments[between[-1]], first_test]
    row_moments = moments[when]
    is_test, is_between = np.isin(when, held), np.isin(when, between)
    too_new = np.zeros(len(when), dtype=bool)
    if gap is not None:
        # A label is known `gap` after its row; what is known at the very moment of the cut counts.
        too_new = ~is_test & (row_moments > first_test - gap)
        if len(between):
            too_new |= ~is_test & ~is_between & (row_moments > cuts[0] - gap)
    if not (~is_test & ~is_between & ~too_new).any():
        raise DataError(
            f"no row is old enough to train on: labels must be known by {cuts[0]}",
            remedy="collect older rows, or shorten the labels' delay",
        )
    says = f"held out rows with {time} from {first_test} on"
    made = _made(is_test, is_between & ~too_new, says, too_new)
    return Split(
        train=made.train,
        test=made.test,
        validation=made.validation,
        left_out=made.left_out,
        cuts=[str(cut) for cut in cuts],
        says=made.says,
    )


def _check_named(by: By | None, time: str | None, key: str | None) -> None:
    wanted = {"time": time, "group": key}
    if by in wanted and not wanted[by]:
        option = {"time": "time", "group": "key"}[by]
        raise DataError(f"a split by {by} needs a column", remedy=f'name it: Loop(..., {option}="...")')


def _groups(table: pa.Table, name: str) -> tuple[Any, Any, Any]:
    """Distinct values in order, the index of each row's value, and how many rows each has."""
    values = _values(table, name).to_numpy()
    return np.unique(values, return_inverse=True, return_counts=True)


def _in_unit(column: pa.ChunkedArray, gap_s: float) -> Any:
    """The gap as what can be taken from a moment of this column; None when there is none."""
    if not gap_s:
        return None
    if types.is_integer(column.type) or types.is_floating(column.type):
        return gap_s
    if types.is_temporal(column.type):
        return np.timedelta64(round(gap_s * 1e6), "us")
    raise DataError(f"a gap cannot be taken from moments of type {column.type}", remedy="let the column hold times")


def _two(order: Any, sizes: Any, share: float, validation: float) -> tuple[Any, Any]:
    """Groups in this order for the test and, after them, for validation; one at least is left for training."""
    held = _first(order, sizes, share, 1 + bool(validation))
    if not validation:
        return held, order[:0]
    rest = order[len(held) :]
    return held, _first(rest, sizes, validation * sizes.sum() / sizes[rest].sum(), 1)


def _first(order: Any, sizes: Any, share: float, left: int) -> Any:
    """As many groups in this order as give `share` of their rows; `left` groups at least stay."""
    enough = int(np.searchsorted(np.cumsum(sizes[order]), share * sizes[order].sum())) + 1
    return order[: max(min(enough, len(order) - left), 1)]


def _made(is_test: Any, is_validation: Any, says: str, left_out: Any = None) -> Split:
    out = np.zeros(len(is_test), dtype=bool) if left_out is None else left_out
    says = f"{says}: {int(is_test.sum())} of {len(is_test)} rows"
    if is_validation.any():
        says += f"; {int(is_validation.sum())} before them for validation"
    if out.any():
        says += f"; {int(out.sum())} left out, whose label was not known yet"
    return Split(
        train=np.flatnonzero(~is_test & ~is_validation & ~out).tolist(),
        test=np.flatnonzero(is_test).tolist(),
        validation=np.flatnonzero(is_validation).tolist(),
        left_out=np.flatnonzero(out).tolist(),
        says=says,
    )


def _values(table: pa.Table, name: str) -> pa.ChunkedArray:
    if name not in table.column_names:
        raise DataError(f"there is no column {name!r}", remedy=f"the table has {', '.join(table.column_names)}")
    values = table.column(name)
    if values.null_count:
        raise DataError(
            f"column {name!r} is missing in {values.null_count} rows", remedy="drop them in the collect step"
        )
    return values
