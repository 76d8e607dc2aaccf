"""Some training rows in a package that stand for "not known" when one answer is explained, wherever that happens.

What a column contributes to an answer is told against what is usual; what is usual, these rows say. With them a
package explains its answers where the dataset is not at hand. They are rows as requests have them, never the target,
and they are the data of whoever is in them: who may read the package may read them, as with the golden rows.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from perennial.errors import Corrupt

if TYPE_CHECKING:
    import polars as pl

    from perennial.models.signature import Signature

__all__ = ["BACKGROUND", "MAX_BYTES", "MAX_ROWS", "background_of", "read_background"]

BACKGROUND = "background.parquet"  # packages of before it was kept do not have it
MAX_ROWS = 100  # more changes attributions by less than their standard error
MAX_BYTES = 4 * 1024 * 1024  # in memory; of images there are fewer rows


def background_of(rows: pl.DataFrame) -> bytes:
    """At most 100 of these rows as Parquet, drawn without order; the same rows give the same bytes.

    Args:
        rows: Training rows as requests have them, at least one; they may be sorted by anything.
    """
    import numpy as np

    size = max(1, rows.estimated_size() // rows.height)
    count = min(rows.height, MAX_ROWS, max(1, MAX_BYTES // size))
    chosen = np.sort(np.random.default_rng(0).permutation(rows.height)[:count])
    buffer = io.BytesIO()
    rows[chosen.tolist()].write_parquet(buffer)
    return buffer.getvalue()


def read_background(data: bytes, signature: Signature) -> pl.DataFrame:
    """The rows that `background_of` kept, with the types of the signature.

    Raises:
        Corrupt: These are no rows of this signature.
    """
    import polars as pl

    from perennial.models.rows import polars_type

    fields = [field for field in signature.inputs if field.required]
    try:
        frame = pl.read_parquet(io.BytesIO(data))
        return frame.select(pl.col(field.name).cast(polars_type(field)) for field in fields)
    except pl.exceptions.PolarsError as error:
        raise Corrupt(
            f"the background rows of a model package are not rows of its model: {str(error).splitlines()[0]}",
            where=BACKGROUND,
            remedy="do not use this package",
        ) from error
