"""Data that have shifted fail a test: `assert_no_shift(reference, current)` says which columns, and by how much.

    from perennial.monitor.reporting.testing import assert_no_shift

    def test_todays_rows_are_like_the_training_rows():
        assert_no_shift("train.parquet", "today.parquet", ignore=["id"])

It fails on what the tolerance does not cover: a true distance above it, by more than noise explains, among all columns
together. Too few rows to tell is a failure of its own kind unless `undecided="pass"`: a test that cannot fail is none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from perennial.monitor.reporting.comparing import compare
from perennial.monitor.reporting.report import MonitorReport

__all__ = ["Shifted", "assert_no_shift"]


class Shifted(AssertionError):
    """What has shifted, as a test's failure; `report` holds everything that was found."""

    def __init__(self, message: str, report: MonitorReport) -> None:
        super().__init__(message)
        self.report = report


def assert_no_shift(
    reference: object,
    current: object,
    *,
    columns: Sequence[str] | None = None,
    target: str | None = None,
    prediction: str | None = None,
    probs: str | Mapping[str, str] | None = None,
    ignore: Sequence[str] = (),
    tolerance: float = 0.05,
    alpha: float = 0.05,
    undecided: Literal["fail", "pass"] = "fail",
    html: str | Path | None = None,
) -> MonitorReport:
    """Fail unless the inputs (and the answers, where there are some) are distributed as in the reference.

    Data that are wrong in another way (missing values, unseen categories, another unit) fail as well, and so does
    a model that realised performance shows to be worse.

    Args:
        reference: A frame of polars, pandas or pyarrow, or the path of a file or folder with a table.
        current: Likewise.
        columns: Only these inputs; None: all that both have.
        target: Column of the truth, which is no input.
        prediction: Column of the model's answers, which is no input.
        probs: Column with the probability of the second of two classes, or column by class.
        ignore: Columns that are not compared.
        tolerance: Population stability index up to which a column counts as unchanged.
        alpha: Share of the columns told to have shifted that may be false, on average.
        undecided: What columns with too few rows do.
        html: Write the whole report there when the test fails.

    Returns:
        The report, when nothing is wrong.

    Raises:
        Shifted: An AssertionError that names the columns with their numbers.
        Invalid, DataError, NotFound: A table or column cannot be used.
    """
    kept = set(columns or ())
    report = compare(
        reference,
        current,
        target=target,
        prediction=prediction,
        probs=probs,
        ignore=[*ignore, *_others(reference, kept, target, prediction, probs)] if kept else ignore,
        thorough=False,
        tolerance=tolerance,
        alpha=alpha,
    )
    wrong = [*_wrong(report), *(_undecided(report) if undecided == "fail" else [])]
    if not wrong:
        return report
    if html is not None:
        from perennial.store.files import LocalFiles

        files, path = LocalFiles(), Path(html).absolute()
        files.mkdirs(path.parent)
        files.write_atomic(path, report.html().encode())
        wrong.append(f"the whole report: {html}")
    head = f"{report.current.rows:,} rows are not like the {report.reference.rows:,} of the reference:"
    raise Shifted("\n".join([head, *(f"  {line}" for line in wrong), f"  ({report.budget})"]), report)


def _others(
    reference: object, kept: set[str], target: str | None, prediction: str | None, probs: str | Mapping[str, str] | None
) -> list[str]:
    """All columns of a table but these and those that have a role."""
    from perennial.data.scan import scan

    names: list[str] = scan(reference).schema.names
    roles = {target, prediction, *([probs] if isinstance(probs, str) else (probs or {}).values())}
    return [name for name in names if name not in kept and name not in roles]


def _wrong(report: MonitorReport) -> list[str]:
    from perennial.monitor.reporting.findings_text import decided

    lines = [f"{one.name} shifted: {one.says or decided(one)}" for one in report.shifted]
    answered = {"answers": report.answered.prediction, "truth": report.answered.label}
    lines += [
        f"the {name} shifted: {one.says or decided(one)}"
        for name, one in answered.items()
        if one is not None and one.is_shifted
    ]
    lines += [one.says for one in report.issues if one.severity != "info"]
    lines += [one.says for one in report.findings if one.severity == "critical" and one.kind == "performance"]
    return lines


def _undecided(report: MonitorReport) -> list[str]:
    few = [one for one in report.columns if one.decision == "undecided"]
    if not few:
        return []
    names = ", ".join(one.name for one in few[:8]) + (" ..." if len(few) > 8 else "")
    reason = few[0].says or "too few rows"
    return [f"too few rows to tell for {len(few)} of {len(report.columns)} columns ({names}): {reason}"]
