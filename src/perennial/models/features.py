"""The contract of features: row by row, in order, without the target. Proven on real rows, refused otherwise.

Training computes features on a table, the prediction service on one row; the answers agree only if a row's features
depend on that row alone. `prove` shows it: f(all rows), f(some of them), f(those shuffled), f(each alone) and f again
must be equal. What needs other rows (a mean, a lag, a rank, a join that drops rows) is refused with its column named.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from perennial.data.column_types import canonical
from perennial.data.frames import FrameKind, native, to_arrow
from perennial.errors import DataError, PerennialError, UserCodeError
from perennial.loop.place import relative
from perennial.models.rows import POLARS_TYPES
from perennial.models.tensors import to_polars

__all__ = ["FeaturesFunction", "apply", "prove", "uses"]

FeaturesFunction = Callable[[Any], Any]

ROWS = 100  # rows that are tried one by one
RELATIVE, ABSOLUTE = 1e-9, 1e-12  # a vector unit may round a batch differently from a single row
_SEED = 0
_RAISED = "mend this line, or give it values that it can take"
_REMEDY = "compute it row by row; what needs other rows belongs into a step before features"


def apply(function: FeaturesFunction | None, frame: pl.DataFrame, kind: FrameKind) -> pl.DataFrame:
    """Call the features function on a frame of the library it expects; its result in canonical types.

    Raises:
        UserCodeError: The function raised; names its file and line.
        DataError: It returned something else than a frame with as many rows, or a column of a type no model takes.
    """
    if function is None:
        return frame
    try:
        made = function(frame if kind == "polars" else native(frame.to_arrow(), kind))
    except PerennialError:
        raise
    except Exception as error:  # the user's own code
        what = f"features raised {type(error).__name__}: {error}"
        raise UserCodeError(what, where=_line(function, error), remedy=_RAISED) from error
    try:
        result = _canonical(made)
    except DataError as error:
        raise DataError(error.what, where=_line(function), remedy=error.remedy) from error
    if result.height != frame.height:
        raise DataError(
            f"features returned {result.height} rows for {frame.height}",
            where=_line(function),
            remedy="keep every row: filter in the collect step or in a step before features",
        )
    return result


def prove(function: FeaturesFunction | None, frame: pl.DataFrame, kind: FrameKind, *, rows: int = ROWS) -> pl.DataFrame:
    """Show that the features work row by row on these rows; gives the features of all of them.

    Raises:
        DataError: They do not; names the column and a row.
    """
    whole = apply(function, frame, kind)
    if function is None:
        return whole
    where = _line(function)
    again = apply(function, frame, kind)
    _must_equal(whole, again, "differs from call to call", where, "remove what is random or depends on the time of day")
    chosen = np.sort(np.random.default_rng(_SEED).permutation(frame.height)[:rows])
    sample = frame[chosen]
    singles = [apply(function, sample[i], kind) for i in range(sample.height)]
    together = apply(function, sample, kind)
    _same_columns(together, [whole, *singles], where)
    alone = pl.concat([single.cast(pl.Schema(together.schema)) for single in singles])
    if _difference(together, alone) and not _difference(_sorted(together), _sorted(alone)):
        raise DataError("features change the order of the rows", where=where, remedy="leave the rows in their order")
    _must_equal(together, alone, "depends on other rows", where, _REMEDY)
    _must_equal(whole[chosen], alone, "depends on other rows", where, _REMEDY)
    order = np.random.default_rng(_SEED + 1).permutation(sample.height)
    shuffled = apply(function, sample[order], kind)
    _must_equal(alone[order], shuffled, "depends on the order of the rows", where, _REMEDY)
    return whole


def uses(function: FeaturesFunction | None, frame: pl.DataFrame, kind: FrameKind, column: str) -> bool:
    """Whether the features need this column: without it they fail, or give something else."""
    if function is None:
        return True
    sample = frame.head(ROWS)
    try:
        without = apply(function, sample.drop(column), kind)
    except (UserCodeError, DataError):
        return True
    with_it = apply(function, sample, kind)
    shared = [name for name in with_it.columns if name != column]
    return without.columns != shared or bool(_difference(with_it.select(shared), without))


def _canonical(made: object) -> pl.DataFrame:
    if isinstance(made, pl.DataFrame) and all(kind in _CANONICAL or isinstance(kind, pl.Array) for kind in made.dtypes):
        return made.with_columns(pl.selectors.float().fill_nan(None)) if pl.Float64 in made.dtypes else made
    table = canonical(to_arrow(made))
    return to_polars(table, "features column", "spread it over columns of numbers or text, one value each")


_CANONICAL = frozenset(POLARS_TYPES.values())


def _same_columns(expected: pl.DataFrame, singles: list[pl.DataFrame], where: str) -> None:
    for single in singles:
        odd = [
            name
            for name in (*expected.columns, *single.columns)
            if (name in expected.columns) != (name in single.columns)
        ]
        if odd:
            raise DataError(
                f"features column {odd[0]!r} is there or not depending on other rows",
                where=where,
                remedy="make the same columns for every row, for example by listing the categories",
            )


def _must_equal(expected: pl.DataFrame, found: pl.DataFrame, claim: str, where: str, remedy: str) -> None:
    difference = _difference(expected, found)
    if difference:
        column, row = difference
        a, b = expected[column][row], found[column][row]
        raise DataError(
            f"features column {column!r} {claim}: {a!r} in one batch, {b!r} in another", where=where, remedy=remedy
        )


def _difference(a: pl.DataFrame, b: pl.DataFrame) -> tuple[str, int] | None:
    """The first column and row where two frames of one shape differ."""
    for name in a.columns:
        x, y = a[name], b[name].cast(a[name].dtype, strict=False)
        if x.dtype == pl.Float64:
            close = ((x - y).abs() <= ABSOLUTE + RELATIVE * y.abs()) | (x == y)
            equal = close.fill_null(False) | (x.is_null() & y.is_null())
        else:
            equal = x.eq_missing(y)
        if not equal.all():
            return name, int((~equal).arg_max() or 0)
    return None


def _sorted(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.sort(frame.columns)


def _line(function: FeaturesFunction, error: BaseException | None = None) -> str:
    """The user's file and line: where it raised, or else where the function begins."""
    code = getattr(function, "__code__", None)
    if code is None:
        return getattr(function, "__name__", type(function).__name__)
    frames = traceback.extract_tb(error.__traceback__) if error else []
    lines = [frame.lineno for frame in frames if frame.filename == code.co_filename]
    return f"{relative(code.co_filename)}:{lines[-1] if lines and lines[-1] else code.co_firstlineno}"
