"""What requirements are checked on, and the small things that several checks share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial import stats
from perennial.data.datasets import DatasetVersion
from perennial.errors import LoopError
from perennial.evaluate.answers import Answers, Floats, HeldOut

__all__ = [
    "Case",
    "Check",
    "DataFacts",
    "PackageFacts",
    "Refit",
    "Result",
    "ends",
    "failure_rate",
    "feature_of",
    "listed",
    "scores_of",
    "some_rows",
]

BEHAVIOUR_ROWS = 2000  # asked again with one thing changed; a share of 5 % is known to one percent by them

Result = tuple[bool | None, str, dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class PackageFacts:
    """The package that would be served. `folder`: where it lies; `size_bytes`: of all its files together."""

    size_bytes: int
    form: str | None = None
    folder: Path | None = None
    largest: Mapping[str, int] | None = None


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """How the data behind the model came through their checks.

    `quarantined`: rows that were kept out, at least so many. `broken`: what breaks with the schema or a check, as
    (sentence, rows), of rows that were not kept out; 0 rows where it is about a whole column.
    """

    rows: int
    quarantined: int = 0
    broken: Sequence[tuple[str, int]] = ()

    @classmethod
    def of(cls, version: DatasetVersion) -> DataFacts:
        """What is recorded with a version of a dataset; warnings are for people, and break nothing."""
        errors = [violation for violation in version.violations if violation.severity == "error"]
        if version.quarantine is None:
            return cls(rows=version.rows, broken=[(violation.says, violation.count) for violation in errors])
        return cls(
            rows=version.rows,
            quarantined=max((violation.count for violation in errors), default=0),
            broken=[(violation.says, 0) for violation in errors if not violation.count],
        )


@dataclass(frozen=True, kw_only=True)
class Refit:
    """The same training once more: its answers to the held-out rows, and the digest of its model's files."""

    answers: Answers
    digest: str | None = None


@dataclass(frozen=True, kw_only=True)
class Case:
    """What requirements are checked on.

    Attributes:
        task: "regression" or "classification".
        frame: The held-out rows as they come in a request, and whatever else the data say of them (not the target), in
            the order of `held_out`.
        inputs: The columns of `frame` that the model takes.
        held_out: Truth and answers of these rows.
        train: Truth and answers of the rows that the model was fitted to.
        train_frame: Their columns, as in `frame`.
        answer: The model: answers to rows that have the columns of `inputs`, others are ignored.
        predict: The same as a service does it for one row, for the clock; `answer` if there is nothing else.
        live_version: Its number, if there is one.
        live: Its answers to the rows of `fresh`.
        fresh: Mask of the held-out rows that the live version was not trained on.
        time: Column of moments; `key`: column of entities, where the loop names them.
        digest: Of the judged model's files.
        refit: Trains again on the same rows, with what chance the training has.
        uncompiled: The judged model's answers to the held-out rows in the form in which a refit answers. What serves
            may be compiled, and differs by rounding, which is not the training's doing. None: as `held_out`.
        call: Calls a function of the loop by name, with `frame`, `truth` and `answers`.
    """

    task: str
    frame: pl.DataFrame
    held_out: HeldOut
    train: HeldOut
    answer: Callable[[pl.DataFrame], Answers]
    inputs: Sequence[str] = ()
    train_frame: pl.DataFrame | None = None
    predict: Callable[[pl.DataFrame], object] | None = None
    live_version: int | None = None
    live: Answers | None = None
    fresh: NDArray[np.bool_] | None = None
    time: str | None = None
    key: str | None = None
    package: PackageFacts | None = None
    data: DataFacts | None = None
    digest: str | None = None
    refit: Callable[[int], Refit] | None = None
    uncompiled: Callable[[], Answers] | None = None
    call: Callable[[str, str, Mapping[str, Any]], Any] | None = None

    def asked(self, frame: pl.DataFrame) -> Answers:
        """Answers to these rows, in the coding of `held_out`."""
        return self.answer(frame).coded(self.held_out.answers.classes)

    @property
    def features(self) -> list[str]:
        """The columns that the model takes; all of the frame where that is not said."""
        return list(self.inputs) or self.frame.columns


Check = Callable[[Case, dict[str, Any]], Result]


def feature_of(case: Case, kind: str, name: str, *, numeric: bool = False) -> pl.Series:
    """A column of the held-out rows that the model takes.

    Raises:
        LoopError: There is none of this name, or it holds no numbers.
    """
    usable = [one for one in case.features if not numeric or case.frame[one].dtype.is_numeric()]
    if name not in usable:
        raise LoopError(
            f"require.{kind}({name!r}): the data have no such {'numeric ' if numeric else ''}column",
            remedy=f"use one of {', '.join(usable)}",
        )
    return case.frame[name]


def some_rows(case: Case, most: int = BEHAVIOUR_ROWS) -> NDArray[np.int64]:
    """Positions of held-out rows at even distances, at most so many."""
    rows = len(case.frame)
    return np.unique(np.linspace(0, rows - 1, min(most, rows)).astype(np.int64)) if rows else np.zeros(0, np.int64)


def scores_of(case: Case, answers: Answers, kind: str) -> Floats:
    """One number for each row that rises with the answer: the number, or the probability of the positive (last) class.

    Raises:
        LoopError: A classifier that gives no probabilities.
    """
    if case.task == "regression":
        return answers.prediction
    if answers.probabilities is None:
        raise LoopError(f"require.{kind} needs a model that gives probabilities", remedy="or a regression task")
    # Labels that the model never saw stand behind its own and have no probability.
    known = np.flatnonzero(answers.probabilities.any(axis=0))
    code = answers.positive if answers.positive is not None else int(known[-1])
    return answers.probabilities[:, code]


def failure_rate(failed: int, tried: int, allowed: float) -> tuple[bool | None, str, dict[str, Any]]:
    """Whether a share of failures is within what is allowed, by its exact upper bound at 95 %.

    True where the bound is within it, or nothing failed and nothing may; False where the share is beyond it; None where
    these rows cannot tell.
    """
    if tried == 0:
        return None, "no row could be tried", {"tried": 0, "failed": 0}
    bound = stats.clopper_pearson(failed, tried, alpha=0.1).high  # one-sided 95 %
    share = failed / tried
    evidence = {"tried": tried, "failed": failed, "share": share, "upper_bound": bound, "allowed": allowed}
    says = f"{failed} of {tried} ({share * 100:.3g} %, at most {bound * 100:.3g} % with 95 % confidence)"
    if share > allowed:
        return False, says, evidence
    if bound <= allowed or (failed == 0 and allowed == 0):
        return True, says, evidence
    return None, f"{says}: too few rows to tell whether it is within {allowed * 100:g} %", evidence


def ends(interval: stats.Interval | None) -> str:
    """The ends of an interval in words."""
    if interval is None or not np.isfinite(interval.low) or not np.isfinite(interval.high):
        return "too few rows for an interval"
    return f"{interval.level:.0%} interval {interval.low:.4g} to {interval.high:.4g}"


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
