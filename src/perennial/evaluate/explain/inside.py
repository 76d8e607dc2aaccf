"""Look into a scikit-learn pipeline: its last step, what that is given, and which of the model's columns it came from.

Which column an output of the transformers depends on is found by trying: one column at a time is set to many values,
and the outputs that move are its own. So every transformer is covered, also the user's. Where an output depends on two
columns (a product, a principal component), attributions cannot be handed back to columns: `Unfit`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial.evaluate.explain.additive import Unfit
from perennial.evaluate.explain.asked import Floats
from perennial.models.flavors.python import given

if TYPE_CHECKING:
    from perennial.models.package import Predictor

__all__ = ["Inside", "dense", "inside"]

TRIED_VALUES = 40  # of a number's observed values
TRIED_ROWS = 3  # rows in which each value is tried


@dataclass(frozen=True)
class Inside:
    """`last` is given `transform(x)`; column i of that comes from the model's column `source[i]`, -1 for none."""

    last: Any
    transform: Callable[[pl.DataFrame], Any]
    source: NDArray[np.int64]
    width: int

    def handed_back(self, values: Floats) -> Floats:
        """Attributions to the last step's inputs, shape (..., outputs), summed by the model's columns.

        Raises:
            Unfit: An input that seemed constant matters after all.
        """
        if values.shape[-1] != len(self.source):
            raise Unfit(f"its last step explains {values.shape[-1]} inputs and is given {len(self.source)}")
        unknown = np.abs(values[..., self.source < 0])
        if bool((unknown > 1e-9 * max(1.0, float(np.abs(values).max(initial=0.0)))).any()):
            raise Unfit("an input of its last step cannot be traced to a column")
        to_column = np.zeros((len(self.source), self.width))
        known = self.source >= 0
        to_column[np.flatnonzero(known), self.source[known]] = 1.0
        return values @ to_column


def inside(predictor: Predictor, sample: pl.DataFrame) -> Inside:
    """The last step of the predictor's model, which may be the model itself.

    Args:
        predictor: Its scorer holds a fitted model of scikit-learn's kind.
        sample: Rows as the model's columns, on which dependence is tried.

    Raises:
        Unfit: The transformers mix columns, or give no numbers.
    """
    model = predictor.scorer.model
    array = bool(predictor.scorer.options.get("array"))
    steps = cast("list[tuple[str, Any]]", getattr(model, "steps", [("", model)]))
    last = steps[-1][1]
    before = model[:-1] if len(steps) > 1 else None
    # scikit-learn's histogram gradient boosting encodes categories itself; its trees know the encoded columns.
    encode = getattr(last, "_preprocess_X", None) if getattr(last, "_preprocessor", None) is not None else None

    def transform(x: pl.DataFrame) -> Any:
        data = given(x, predictor.signature, array=array)
        data = data if before is None else before.transform(data)
        return data if encode is None else encode(data, reset=False)

    if before is None and encode is None:
        return Inside(last, transform, np.arange(sample.width), sample.width)
    return Inside(last, transform, _sources(transform, sample), sample.width)


def dense(data: Any) -> Floats:
    """What transformers give as an array of doubles.

    Raises:
        Unfit: It holds something else than numbers.
    """
    if hasattr(data, "toarray"):
        data = data.toarray()
    elif hasattr(data, "to_numpy"):
        data = data.to_numpy()
    try:
        array: Floats = np.asarray(data, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise Unfit("its last step is given something else than numbers") from error
    if array.ndim != 2:
        raise Unfit(f"its last step is given an array of {array.ndim} dimensions")
    return array


def _sources(transform: Callable[[pl.DataFrame], Any], sample: pl.DataFrame) -> NDArray[np.int64]:
    bases = sample[np.unique(np.linspace(0, sample.height - 1, TRIED_ROWS).astype(np.int64)).tolist()]
    probes, owners = [bases], [-1] * bases.height
    for at, series in enumerate(sample.get_columns()):
        for value in _tried(series):
            probes.append(bases.with_columns(pl.lit(value, dtype=series.dtype).alias(series.name)))
            owners += [at] * bases.height
    out = dense(transform(pl.concat(probes)))
    unmoved = np.tile(out[: bases.height], (len(out) // bases.height, 1))
    moved = (out != unmoved) & ~(np.isnan(out) & np.isnan(unmoved))
    owner = np.array(owners)
    source = np.full(out.shape[1], -1, dtype=np.int64)
    for at in range(sample.width):
        own = moved[owner == at].any(axis=0)
        if bool((own & (source >= 0)).any()):
            raise Unfit("its transformers compute one input of the last step from several columns")
        source[own] = at
    return source


def _tried(series: pl.Series) -> list[Any]:
    dtype = series.dtype
    values: list[Any] = [None] if series.null_count() else []
    if isinstance(dtype, pl.Enum):
        return values + dtype.categories.to_list()
    distinct = series.drop_nulls().unique(maintain_order=True)
    if dtype.is_numeric():
        distinct = distinct.sort()
    if len(distinct) > TRIED_VALUES:
        distinct = distinct.gather(np.linspace(0, len(distinct) - 1, TRIED_VALUES).astype(np.int64))
    return values + distinct.to_list()
