"""Two data frames compared where one works on them: in a notebook, a script, a test.

`perennial.monitor.compare(before, after, target=..., prediction=...)` takes frames of polars, pandas or pyarrow and
gives a report that a notebook displays. Nothing is stored, and no workspace is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from perennial.monitor.reporting.sides import Roles, two_sides

if TYPE_CHECKING:
    from perennial.monitor.reporting.report import MonitorReport
    from perennial.monitor.sample import Task

__all__ = ["compare", "compared"]


def compare(
    reference: object,
    current: object,
    *,
    target: str | None = None,
    prediction: str | None = None,
    probs: str | Mapping[str, str] | None = None,
    time: str | None = None,
    window: str | None = None,
    ignore: Sequence[str] = (),
    task: Task | None = None,
    model: str | Path | None = None,
    trust_code: bool = False,
    thorough: bool = True,
    released: bool = False,
    tolerance: float = 0.05,
    alpha: float = 0.05,
    names: tuple[str, str] = ("reference", "current"),
    title: str = "",
    seed: int = 0,
) -> MonitorReport:
    """What differs between two tables, whether it hurts, why, and what would help.

    Args:
        reference: A frame of polars, pandas or pyarrow, or the path of a file or folder with a table. Rows that the
            model was not trained on: on training rows every model looks better than it is.
        current: The rows to look at, likewise.
        target: Column of the truth, where it is known.
        prediction: Column of the model's answers.
        probs: Column with the probability of the second of two classes, or column by class.
        time: Column of event times.
        window: "hour", "day", "week", "month" or "500 rows"; None: chosen by the number of rows.
        ignore: Columns that are not compared.
        task: "regression" or "classification", where the guess from the target is wrong.
        model: A model's file or folder, which is asked where a table has no answers.
        trust_code: You vouch for code in it.
        thorough: Also what learns something: all columns together, estimated performance, the diagnosis.
        released: A version, a pipeline or a service was released between the two.
        tolerance: Population stability index up to which a column counts as unchanged.
        alpha: Share of the reported columns that may be false.
        names: What the report calls the two sides.
        title: Of the report.
        seed: Of everything that is drawn at random.

    Returns:
        A report: shown by a notebook; `.text()`, `.html()`, `.json()`, `.shifted`, `.severity` elsewhere.

    Raises:
        Invalid, DataError, NotFound: A table or column cannot be used; says what to do.

    >>> before = pl.DataFrame({"age": [20.0, 30.0, 40.0, 50.0, 60.0] * 100})
    >>> compare(before, before.with_columns(pl.col("age") + 25), thorough=False).shifted[0].name
    'age'
    """
    roles = Roles(target=target, prediction=prediction, probs=probs, time=time, ignore=tuple(ignore), task=task)
    return compared(
        _frame(reference),
        _frame(current),
        roles,
        model=None if model is None else Path(model),
        trust_code=trust_code,
        window=window,
        thorough=thorough,
        released=released,
        tolerance=tolerance,
        alpha=alpha,
        names=names,
        title=title,
        seed=seed,
    )


def compared(
    reference: pl.DataFrame,
    current: pl.DataFrame,
    roles: Roles,
    *,
    model: Path | None = None,
    trust_code: bool = False,
    window: str | None = None,
    thorough: bool = True,
    released: bool = False,
    tolerance: float = 0.05,
    alpha: float = 0.05,
    names: tuple[str, str] = ("reference", "current"),
    title: str = "",
    seed: int = 0,
) -> MonitorReport:
    """`compare`, of frames that are polars' already."""
    from perennial.monitor.reporting.predicting import with_answers
    from perennial.monitor.reporting.standalone import run

    if model is not None:
        reference, current, roles = with_answers(reference, current, roles, model=model, trusted=trust_code)
    sides = two_sides(reference, current, roles)
    return run(
        sides.reference,
        sides.current,
        window=window,
        thorough=thorough,
        released=released,
        apart=True,
        title=title,
        names=names,
        left_out=sides.left_out,
        tolerance=tolerance,
        alpha=alpha,
        seed=seed,
    )


def _frame(what: object) -> pl.DataFrame:
    from perennial.data.scan import scan

    if isinstance(what, pl.DataFrame):
        return what
    return scan(what).lazy().collect()
