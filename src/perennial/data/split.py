"""Which rows train and which judge: the newest are held out, and nothing that belongs together is torn apart.

With a time column the test rows are the newest fifth or more; rows of one moment stay together. Without one, whole
entities are held out (the key), else single rows. The choice depends on the content and the seed only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from blake3 import blake3
from msgspec import Struct

from perennial.errors import DataError

__all__ = ["Split", "split"]

TEST_SHARE = 0.2


class Split(Struct, frozen=True, kw_only=True):
    """Row numbers, ascending, of both parts, and a sentence that says how they were chosen."""

    train: list[int]
    test: list[int]
    says: str

    def parts(self, table: pa.Table) -> tuple[pa.Table, pa.Table]:
        """The training and the test rows of the table that was split."""
        return table.take(self.train), table.take(self.test)


def split(
    table: pa.Table, *, time: str | None = None, key: str | None = None, share: float = TEST_SHARE, seed: int = 0
) -> Split:
    """Hold out at least `share` of the rows.

    Raises:
        DataError: A column is missing or has missing values, or there are fewer than two rows.

    >>> split(pa.table({"year": [3, 1, 2, 2, 2]}), time="year", share=0.4).test
    [0, 2, 3, 4]
    """
    if table.num_rows < 2:
        raise DataError(f"{table.num_rows} rows cannot be split", remedy="collect more rows")
    if time:
        moments, when, sizes = _groups(table, time)
        if len(moments) > 1:
            newest = np.arange(len(moments))[::-1]
            held = _first(newest, sizes, share)
            return _made(np.isin(when, held), f"held out rows with {time} from {moments[held[-1]]} on")
    if key:
        names, whose, sizes = _groups(table, key)
        if len(names) > 1:  # by hash, so that an entity stays on its side while others come and go
            draw = [blake3(f"{seed}:{name}".encode()).digest() for name in names.tolist()]
            held = _first(np.array(sorted(range(len(draw)), key=draw.__getitem__)), sizes, share)
            return _made(np.isin(whose, held), f"held out {len(held)} of {len(names)} values of {key!r}, seed {seed}")
    rows = np.random.default_rng(seed).permutation(table.num_rows)
    held = _first(rows, np.ones(len(rows)), share)
    return _made(np.isin(np.arange(len(rows)), held), f"held out rows at random, seed {seed}")


def _groups(table: pa.Table, name: str) -> tuple[Any, Any, Any]:
    """Distinct values in order, the index of each row's value, and how many rows each has."""
    values = _values(table, name).to_numpy()
    return np.unique(values, return_inverse=True, return_counts=True)


def _first(order: Any, sizes: Any, share: float) -> Any:
    """As many groups in this order as give `share` of the rows; one group at least is left for training."""
    enough = int(np.searchsorted(np.cumsum(sizes[order]), share * sizes.sum())) + 1
    return order[: min(enough, len(order) - 1)]


def _made(is_test: Any, says: str) -> Split:
    return Split(
        train=np.flatnonzero(~is_test).tolist(),
        test=np.flatnonzero(is_test).tolist(),
        says=f"{says}: {int(is_test.sum())} of {len(is_test)} rows",
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
