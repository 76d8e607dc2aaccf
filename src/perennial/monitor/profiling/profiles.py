"""Profile a window of rows: what monitoring needs of it, counted once, and nothing of any row.

A `Profiler` is made from reference rows and fixes where everything is counted. What it counts of a window, a shard or
a slice, a `WindowProfile`, adds up: `profile(a) + profile(b)` is the profile of the rows of both, exactly for counts
and up to rounding for sums. Rows or labels that come late revise a window by counting that window again: extremes and
samples of hashes cannot be taken apart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Self, cast

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial.errors import Invalid
from perennial.monitor.profiling.comparison import Comparison, compared
from perennial.monitor.profiling.counting import (
    THREADS,
    ColumnPlan,
    NameTable,
    count_rows,
    count_series,
    kind_of,
    place_series,
)
from perennial.monitor.profiling.hashes import KeptHashes
from perennial.monitor.profiling.tallies import ColumnTally, LossSums, added
from perennial.monitor.sample import Sample, Task
from perennial.monitor.windows import CELLS, DAY, Window, calendar_cells
from perennial.stats.bins import CategoryBins, NumericBins

__all__ = ["Profiler", "WindowProfile", "compare"]

FORMAT = 1
PLACING_ROWS = 20_000  # evenly spaced reference rows that place the bins; all rows are counted in them
SCORE_BINS = 100
SHARE_OF_HOURS = 0.98  # of reference rows in which a column is the hour of the event time, for it to be one


@dataclass(frozen=True, kw_only=True, eq=False)
class WindowProfile:
    """What rows of a window add up to.

    Attributes:
        window: Event times of the window; None where it has none.
        rows: How many rows (after re-weighting: how many independent ones they are worth).
        columns: By input column.
        new_columns: Rows with a column that the reference has not, by column.
        prediction: Of the answers.
        label: Of the known truths; rows without one are missing.
        scores: Rows by predicted class (rows of the array) and by hundredth of the probability: of the second of two
            classes, of the predicted one of more. Shape (classes, 100); None without probabilities.
        losses: Of all labelled rows.
        slices: The same per bin of each slicing column.
        calendar: Rows per cell of the week and season (`windows.calendar_cells`); None without times.
        first: Earliest event time, microseconds.
        last: Latest.
        distinct_rows: Sample of the distinct rows of inputs.
        revision: How often the window was counted again because rows or labels came late.
    """

    window: Window | None = None
    rows: float
    columns: Mapping[str, ColumnTally]
    new_columns: Mapping[str, int] = field(default_factory=dict)
    prediction: ColumnTally | None = None
    label: ColumnTally | None = None
    scores: NDArray[np.int64] | None = None
    losses: LossSums | None = None
    slices: Mapping[str, LossSums] = field(default_factory=dict)
    calendar: NDArray[np.int64] | None = None
    first: int | None = None
    last: int | None = None
    distinct_rows: KeptHashes
    revision: int = 0

    @property
    def is_revised(self) -> bool:
        """Rows or labels came late and the window was counted again."""
        return self.revision > 0

    def revised(self, before: WindowProfile) -> WindowProfile:
        """This profile as the next revision of the one it takes the place of."""
        return replace(self, window=before.window, revision=before.revision + 1)

    def __add__(self, other: Self) -> WindowProfile:
        """The profile of the rows of both. What only one of them has (labels, times) is dropped where it would mislead.

        Raises:
            Invalid: They were counted with different profilers.
        """
        if self.columns.keys() != other.columns.keys():
            raise Invalid("profiles of different columns do not add up", remedy="profile both with the same profiler")
        return WindowProfile(
            window=_spanned(self.window, other.window),
            rows=self.rows + other.rows,
            columns={name: tally + other.columns[name] for name, tally in self.columns.items()},
            new_columns=added(self.new_columns, other.new_columns),
            prediction=_both(self.prediction, other.prediction),
            label=_both(self.label, other.label),
            scores=_both(self.scores, other.scores),
            losses=_both(self.losses, other.losses),
            slices={name: sums + other.slices[name] for name, sums in self.slices.items() if name in other.slices},
            calendar=_both(self.calendar, other.calendar),
            first=_extreme(min, self.first, other.first),
            last=_extreme(max, self.last, other.last),
            distinct_rows=self.distinct_rows + other.distinct_rows,
            revision=max(self.revision, other.revision),
        )

    def to_bytes(self) -> bytes:
        """Msgpack: about 4 kB for ten columns of a thousand rows, at most 2.5 kB for each column."""
        record = {
            "format": FORMAT,
            "window": None if self.window is None else (self.window.start, self.window.end),
            "rows": self.rows,
            "columns": {name: tally.as_dict() for name, tally in self.columns.items()},
            "new_columns": dict(self.new_columns),
            "prediction": self.prediction.as_dict() if self.prediction is not None else None,
            "label": self.label.as_dict() if self.label is not None else None,
            "scores": self.scores.tolist() if self.scores is not None else None,
            "losses": self.losses.as_dict() if self.losses is not None else None,
            "slices": {name: sums.as_dict() for name, sums in self.slices.items()},
            "calendar": None if self.calendar is None else _sparse(self.calendar),
            "first": self.first,
            "last": self.last,
            "distinct_rows": self.distinct_rows.as_dict(),
            "revision": self.revision,
        }
        return msgspec.msgpack.encode(record)

    @classmethod
    def from_bytes(cls, data: bytes) -> WindowProfile:
        """What `to_bytes` gave.

        Raises:
            Invalid: These bytes are no profile, or one of a later format.
        """
        try:
            stored: dict[str, Any] = msgspec.msgpack.decode(data)
            if stored["format"] != FORMAT:
                raise Invalid(f"a window profile of format {stored['format']}", remedy=f"this version reads {FORMAT}")
            tally, sums = ColumnTally.from_dict, LossSums.from_dict
            return cls(
                window=None if stored["window"] is None else Window(*stored["window"]),
                rows=stored["rows"],
                columns={name: tally(item) for name, item in stored["columns"].items()},
                new_columns=stored["new_columns"],
                prediction=None if stored["prediction"] is None else tally(stored["prediction"]),
                label=None if stored["label"] is None else tally(stored["label"]),
                scores=None if stored["scores"] is None else np.asarray(stored["scores"], dtype=np.int64),
                losses=None if stored["losses"] is None else sums(stored["losses"]),
                slices={name: sums(item) for name, item in stored["slices"].items()},
                calendar=None if stored["calendar"] is None else _dense(stored["calendar"]),
                first=stored["first"],
                last=stored["last"],
                distinct_rows=KeptHashes.from_dict(stored["distinct_rows"]),
                revision=stored["revision"],
            )
        except (msgspec.DecodeError, KeyError, TypeError) as error:
            raise Invalid(f"these bytes are no window profile: {error}", remedy="count the window again") from error


class Profiler:
    """Where everything is counted, fixed on a reference. Safe for concurrent use.

    Attributes:
        columns: How each input column is counted.
        prediction: How answers are; None where the reference has none.
        label: How truths are.
        task: Of the model.
        classes: Labels as texts.
        by: Columns whose bins are slices of the losses.
    """

    def __init__(
        self,
        columns: Mapping[str, ColumnPlan],
        *,
        prediction: ColumnPlan | None,
        label: ColumnPlan | None,
        task: Task,
        classes: tuple[str, ...],
        by: Sequence[str] = (),
    ) -> None:
        unknown = [name for name in by if name not in columns]
        if unknown:
            raise Invalid(f"no column {unknown[0]!r} to slice by", where=f"columns: {', '.join([*columns][:20])}")
        self.columns = dict(columns)
        self.prediction, self.label = prediction, label
        self.task: Task = task
        self.classes, self.by = classes, tuple(by)
        self._tables = {
            name: NameTable(plan.bins.categories)
            for name, plan in columns.items()
            if isinstance(plan.bins, CategoryBins)
        }

    @classmethod
    def of_reference(cls, sample: Sample, *, by: Sequence[str] = ()) -> Profiler:
        """Bins at the quantiles and most frequent values of reference rows.

        Args:
            sample: Held-out rows, later than training where there is time.
            by: Columns to sum losses by, bin by bin.

        Raises:
            Invalid: There are no rows, or a column to slice by is not there.
        """
        if sample.rows == 0:
            raise Invalid("a reference without rows", remedy="take rows on which the model was tested")
        places = np.linspace(0, sample.rows - 1, min(sample.rows, PLACING_ROWS)).round().astype(np.int64)
        places = places[np.append(True, places[1:] > places[:-1])]
        inputs = sample.inputs.get_columns()
        with ThreadPoolExecutor(THREADS) as pool:
            plans = pool.map(lambda series: _plan(series, places, sample.at), inputs)
            columns = {series.name: plan for series, plan in zip(inputs, plans, strict=True)}
        answers, truths = sample.predictions, sample.labels
        own = CategoryBins(sample.classes) if sample.task == "classification" else None
        return cls(
            columns,
            prediction=None if answers is None else _answer_plan(answers, own, places),
            label=None if truths is None and answers is None else _answer_plan(_known(truths, answers), own, places),
            task=sample.task,
            classes=sample.classes,
            by=by,
        )

    def profile(self, sample: Sample, *, window: Window | None = None) -> WindowProfile:
        """Count rows, in one pass over each column.

        Args:
            sample: Any rows. A column that is not there counts as missing in every row.
            window: The event times that these are all the rows of.
        """
        counted = count_rows(sample.inputs, self.columns, self._tables, at=sample.at)
        losses = sample.losses()
        slices = {
            name: LossSums.of(losses, self.places(name, sample.inputs), self.columns[name].bins.n_bins)
            for name in self.by
            if name in sample.inputs.columns
        }
        is_labelled = sample.labels is not None and sample.predictions is not None
        at = sample.at if sample.at is not None and sample.rows else None
        return WindowProfile(
            window=window,
            rows=sample.rows,
            columns=counted.columns,
            new_columns={name: sample.rows for name in sample.inputs.columns if name not in self.columns},
            prediction=self._answers(sample.predictions, self.prediction),
            label=self._answers(sample.labels, self.label),
            scores=self._scores(sample),
            losses=LossSums.of(losses, np.zeros(len(losses), np.int64), 1) if is_labelled else None,
            slices=slices if is_labelled else {},
            calendar=None if sample.at is None else np.bincount(calendar_cells(sample.at), minlength=CELLS),
            first=None if at is None else int(at.min()),
            last=None if at is None else int(at.max()),
            distinct_rows=counted.rows,
        )

    def places(self, column: str, frame: pl.DataFrame) -> NDArray[np.int64]:
        """The bin of each row in one column, shape (n,)."""
        return place_series(frame[column], self.columns[column], self._tables.get(column))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `from_dict` reads them back without loss."""
        return {
            "format": FORMAT,
            "columns": {name: plan.as_dict() for name, plan in self.columns.items()},
            "prediction": None if self.prediction is None else self.prediction.as_dict(),
            "label": None if self.label is None else self.label.as_dict(),
            "task": self.task,
            "classes": list(self.classes),
            "by": list(self.by),
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Profiler:
        """What `to_dict` gave."""
        plan = ColumnPlan.from_dict
        return cls(
            {name: plan(item) for name, item in stored["columns"].items()},
            prediction=None if stored["prediction"] is None else plan(stored["prediction"]),
            label=None if stored["label"] is None else plan(stored["label"]),
            task=stored["task"],
            classes=tuple(stored["classes"]),
            by=stored["by"],
        )

    def _answers(self, values: pl.Series | None, plan: ColumnPlan | None) -> ColumnTally | None:
        return None if values is None or plan is None else count_series(values, plan)

    def _scores(self, sample: Sample) -> NDArray[np.int64] | None:
        if sample.probs is None or sample.predictions is None or sample.classes != self.classes:
            return None
        plan = ColumnPlan(kind="text", bins=CategoryBins(self.classes))
        answered = place_series(sample.predictions, plan)
        chosen = sample.probs[:, 1]
        if len(self.classes) > 2:
            chosen = sample.probs[np.arange(sample.rows), np.minimum(answered, len(self.classes) - 1)]
        known = (answered < len(self.classes)) & ~np.isnan(chosen)
        bins = np.minimum((chosen[known] * SCORE_BINS).astype(np.int64), SCORE_BINS - 1)
        counts = np.bincount(answered[known] * SCORE_BINS + bins, minlength=len(self.classes) * SCORE_BINS)
        return counts.reshape(len(self.classes), SCORE_BINS)


def compare(
    profiler: Profiler,
    reference: WindowProfile,
    current: WindowProfile,
    *,
    tolerance: float = 0.05,
    alpha: float = 0.05,
    tolerances: Mapping[str, float] | None = None,
    importances: Mapping[str, float] | None = None,
    any_dependence: bool = False,
) -> Comparison:
    """Which columns of a window are further from the reference than is tolerated, answers and truths alike.

    Args:
        profiler: That both were counted with.
        reference: Counts of the reference, whole or matched (`monitor.references`).
        current: Counts of the window.
        tolerance: Largest true PSI that is no shift, in nats.
        alpha: Bound on the share of false ones among the columns that are selected.
        tolerances: The same of single columns, such as `references.usual_shifts`.
        importances: How much the model heeds each column; shifts are ranked by excess times importance.
        any_dependence: Benjamini-Yekutieli instead of Benjamini-Hochberg: holds however columns depend on each other,
            and selects less.
    """
    return compared(
        profiler.columns,
        reference.columns,
        current.columns,
        prediction=_alike(profiler.prediction, reference.prediction, current.prediction),
        label=_alike(profiler.label, reference.label, current.label),
        tolerance=tolerance,
        alpha=alpha,
        tolerances=tolerances,
        importances=importances,
        any_dependence=any_dependence,
    )


def _plan(series: pl.Series, places: NDArray[np.int64], at: NDArray[np.int64] | None) -> ColumnPlan:
    kind = kind_of(series.dtype)
    if kind == "text":
        named = series[places].cast(pl.String()).alias("text").value_counts(name="rows")
        bins = CategoryBins.from_distinct(named["text"].to_list(), named["rows"].to_numpy())
        return ColumnPlan(kind=kind, bins=bins, is_slow=_is_slow(series, places, at))
    if kind != "number":
        return ColumnPlan(kind=kind, bins=NumericBins(None, ()))
    numbers = series.cast(pl.Float64())
    chosen = numbers[places].to_numpy()
    bins = NumericBins.from_reference(chosen)
    if bins.low is None:
        return ColumnPlan(kind=kind, bins=bins)
    low, high = cast(float, numbers.min()), cast(float, numbers.max())  # NaN is left out
    if not math.isfinite(low) or not math.isfinite(high):
        finite = numbers.filter(numbers.is_finite())
        low, high = cast(float, finite.min()), cast(float, finite.max())
    uppers = bins.uppers if high <= bins.uppers[-1] else (*bins.uppers[:-1], high)
    if len(bins.uppers) == 1 and high > bins.uppers[0]:
        uppers = (bins.uppers[0], high)  # the value that fills all sampled rows keeps its own bin
    return ColumnPlan(
        kind=kind,
        bins=NumericBins(low, uppers),
        centre=float(np.mean(chosen[np.isfinite(chosen)])),
        is_hour=at is not None and _is_hour(chosen, at[places]),
        is_slow=_is_slow(series, places, at),
    )


def _is_hour(values: NDArray[np.float64], at: NDArray[np.int64]) -> bool:
    hours = at // 3_600_000_000 % 24
    return len(np.unique(hours)) > 1 and bool(np.mean(values == hours) >= SHARE_OF_HOURS)


def _is_slow(series: pl.Series, places: NDArray[np.int64], at: NDArray[np.int64] | None) -> bool:
    """One value on most of the days that have more than one row."""
    if at is None:
        return False
    days = pl.DataFrame({"day": at[places] // DAY, "value": series[places]}).group_by("day")
    told = days.agg(rows=pl.len(), values=pl.col("value").n_unique()).filter(pl.col("rows") > 1)
    return told.height > 1 and float((told["values"] == 1).mean() or 0.0) > 0.5  # pyright: ignore[reportArgumentType]


def _answer_plan(values: pl.Series, own: CategoryBins | None, places: NDArray[np.int64]) -> ColumnPlan:
    if own is not None:
        return ColumnPlan(kind="text", bins=own)
    return _plan(values, places, None)


def _known(truths: pl.Series | None, answers: pl.Series | None) -> pl.Series:
    """Reference truths, or answers where nothing is labelled yet."""
    if truths is not None and truths.null_count() < len(truths):
        return truths
    assert answers is not None or truths is not None  # asked by the caller
    return cast(pl.Series, answers if answers is not None else truths)


def _alike(
    plan: ColumnPlan | None, reference: ColumnTally | None, current: ColumnTally | None
) -> tuple[ColumnPlan, ColumnTally, ColumnTally] | None:
    return None if plan is None or reference is None or current is None else (plan, reference, current)


def _both(one: Any, other: Any) -> Any:
    return None if one is None or other is None else one + other


def _spanned(one: Window | None, other: Window | None) -> Window | None:
    if one is None or other is None:
        return None
    return Window(min(one.start, other.start), max(one.end, other.end))


def _extreme(of: Any, one: int | None, other: int | None) -> int | None:
    if one is None or other is None:
        return other if one is None else one
    return of(one, other)


def _sparse(counts: NDArray[np.int64]) -> list[list[int]]:
    used = np.flatnonzero(counts)
    return [used.tolist(), counts[used].tolist()]


def _dense(stored: list[list[int]]) -> NDArray[np.int64]:
    counts = np.zeros(CELLS, np.int64)
    counts[stored[0]] = stored[1]
    return counts
