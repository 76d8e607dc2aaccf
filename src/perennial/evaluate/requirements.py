"""Requirements that run: each leaves a verdict with a sentence, what was found, and the evidence.

A requirement that does not apply (no live version yet, no row that the live version has not seen) passes with
`passed=None` and says so. Machine timings stand under "timing" in the evidence, because they differ from run to run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from perennial import stats
from perennial.errors import LoopError
from perennial.evaluate.answers import Answers, constant_answers
from perennial.evaluate.compare import compare, compared_by
from perennial.evaluate.evaluation import HeldOut
from perennial.evaluate.metrics import loss_of, measure, metric_named
from perennial.loop.declaration import Requirement

__all__ = ["Case", "Found", "check_requirements"]

MIN_SLICE_ROWS = 30  # a smaller slice is listed, not judged: its interval says nothing
SCALE_QUANTILE, SCALE_FACTOR = 0.95, 1.5  # of the absolute loss differences: beyond it the shadow's betting clips
MONOTONE_ROWS = 100
MONOTONE_STEPS = 10
MONOTONE_SLACK = 0.01  # of the answers' spread: a step against the direction smaller than this is rounding, not a trend
LATENCY_ROWS = 100
LATENCY_ROUNDS = 3


@dataclass(frozen=True, kw_only=True)
class Case:
    """What requirements are checked on.

    `frame` holds the held-out rows as they come in a request (without the target), in the order of `held_out.truth`.
    `live` holds the live version's answers to the rows of `fresh`, a mask of those it was not trained on.
    """

    task: str
    frame: pl.DataFrame
    held_out: HeldOut
    train_truth: NDArray[Any]
    predict: Callable[[pl.DataFrame], Sequence[dict[str, Any]]]
    live_version: int | None = None
    live: Answers | None = None
    fresh: NDArray[np.bool_] | None = None


@dataclass(frozen=True, kw_only=True)
class Found:
    """One verdict; see `registry.versions.Verdict`, which stores it."""

    kind: str
    sentence: str
    passed: bool | None
    says: str
    evidence: dict[str, Any]


Result = tuple[bool | None, str, dict[str, Any]]
Check = Callable[[Case, dict[str, Any]], Result]


def check_requirements(requirements: Sequence[Requirement], case: Case) -> list[Found]:
    """Every requirement's verdict, in the order declared.

    Raises:
        LoopError: A requirement names a metric or column that there is not.
    """
    return [_check(requirement, case) for requirement in requirements]


def _check(requirement: Requirement, case: Case) -> Found:
    passed, says, evidence = _CHECKS[requirement.kind](case, dict(requirement.options))
    return Found(kind=requirement.kind, sentence=requirement.sentence, passed=passed, says=says, evidence=evidence)


def _metric(case: Case, options: dict[str, Any]) -> Result:
    metric = metric_named(options["metric"], case.task)
    found = measure(metric, case.held_out.truth, case.held_out.answers, case.held_out.clusters)
    at_most, at_least = options.get("at_most"), options.get("at_least")
    passed = (at_most is None or found.estimate <= at_most) and (at_least is None or found.estimate >= at_least)
    bound = f"at most {at_most}" if at_most is not None else f"at least {at_least}"
    return passed, f"{metric.name} is {found.estimate:.4g} ({_ends(found)}), asked for {bound}", found.as_dict()


def _better_than_live(case: Case, options: dict[str, Any]) -> Result:
    margin = float(options["margin"])
    return _against_live(case, options, 0.0, lambda found: found.interval is not None and found.interval.low > margin)


def _not_worse_than_live(case: Case, options: dict[str, Any]) -> Result:
    enough = {"better", "non-inferior"}
    return _against_live(case, options, float(options["margin"]), lambda found: found.decision in enough)


def _against_live(
    case: Case, options: dict[str, Any], margin: float, passes: Callable[[stats.Finding], bool]
) -> Result:
    if case.live_version is None:
        return None, "there is no live version to compare with", {}
    if case.live is None or case.fresh is None:
        says = f"live version {case.live_version} can answer no held-out row that is new to it: nothing to compare"
        return None, says, {"fresh_rows": 0}
    rows = int(case.fresh.sum())
    if rows < MIN_SLICE_ROWS:
        says = f"only {rows} of the held-out rows are new to live version {case.live_version}: the shadow will decide"
        return None, says, {"fresh_rows": rows}
    metric = metric_named(options["metric"], case.task)
    truth, candidate = case.held_out.truth[case.fresh], case.held_out.answers.take(case.fresh)
    clusters = None if case.held_out.clusters is None else case.held_out.clusters[case.fresh]
    found = compare(metric, truth, case.live, candidate, margin=margin, clusters=clusters)
    # What the shadow's betting clips at: a large difference of loss, known before the shadow begins. A wrong label
    # costs 1 and no more; most labels agree, so that a quantile of the differences would be 0.
    saved = loss_of(case.task, truth, case.live) - loss_of(case.task, truth, candidate)
    quantile = float(np.quantile(np.abs(saved), SCALE_QUANTILE))
    scale = SCALE_FACTOR * quantile if case.task == "regression" else 1.0
    gain = f"{compared_by(metric)} improves by {found.effect:.4g} ({_ends(found.interval)})"
    says = f"{found.decision} against live version {case.live_version} on {rows} rows new to both: {gain}"
    return passes(found), says, {**found.as_dict(), "difference_scale": scale}


def _better_than_baseline(case: Case, options: dict[str, Any]) -> Result:
    metric = metric_named(options["metric"], case.task)
    trivial = constant_answers(case.train_truth, len(case.held_out.truth), case.task)
    found = compare(
        metric, case.held_out.truth, trivial, case.held_out.answers, margin=0.0, clusters=case.held_out.clusters
    )
    name = "the mean" if case.task == "regression" else "the most frequent label"
    says = f"{found.decision} against always answering {name}: {compared_by(metric)} improves by {found.effect:.4g}"
    if found.decision != "better" and found.reasons:
        says += f" ({found.reasons[0]})"
    return found.decision == "better", says, found.as_dict()


def _slices(case: Case, options: dict[str, Any]) -> Result:
    metric = metric_named(options["metric"], case.task)
    by, within = options["by"], float(options["within"])
    if by not in case.frame.columns:
        raise LoopError(
            f"require.slices(by={by!r}): the data have no such column",
            remedy=f"use one of {', '.join(case.frame.columns)}",
        )
    on = case.held_out
    overall = measure(metric, on.truth, on.answers, on.clusters).estimate
    bound = overall + within * abs(overall) * (-1 if metric.higher_is_better else 1)
    table: list[dict[str, Any]] = []
    labels = case.frame[by].cast(pl.String, strict=False).fill_null("(missing)").to_numpy()
    for label in sorted(set(labels)):
        rows = labels == label
        count = int(rows.sum())
        clusters = None if on.clusters is None else on.clusters[rows]
        found = measure(metric, on.truth[rows], on.answers.take(rows), clusters)
        beyond = found.high < bound if metric.higher_is_better else found.low > bound
        judged = count >= MIN_SLICE_ROWS
        table.append({"slice": label, "rows": count, "fails": bool(judged and beyond), **found.as_dict()})
    weak = [row["slice"] for row in table if row["fails"]]
    few = sum(row["rows"] < MIN_SLICE_ROWS for row in table)
    says = (
        f"{metric.name} is {overall:.4g} overall; clearly beyond {bound:.4g} in {', '.join(weak)}"
        if weak
        else f"{metric.name} is {overall:.4g} overall and in no {by} clearly beyond {bound:.4g}"
    )
    says += f" ({few} of {len(table)} slices have fewer than {MIN_SLICE_ROWS} rows and are not judged)" if few else ""
    return not weak, says, {"overall": overall, "bound": bound, "by": by, "slices": table}


def _monotone(case: Case, options: dict[str, Any]) -> Result:
    feature, increasing = options["feature"], bool(options["increasing"])
    if feature not in case.frame.columns or not case.frame[feature].dtype.is_numeric():
        numeric = [name for name in case.frame.columns if case.frame[name].dtype.is_numeric()]
        raise LoopError(
            f"require.monotone({feature!r}): the data have no such numeric column",
            remedy=f"use one of {', '.join(numeric)}",
        )
    positions = np.linspace(0, len(case.frame) - 1, min(MONOTONE_ROWS, len(case.frame))).astype(int)
    rows = case.frame[positions]
    kind = case.frame[feature].dtype
    grid = case.frame[feature].drop_nulls().unique().sort()
    grid = grid.filter(grid.is_finite())
    if len(grid) < 2:
        return None, f"the held-out rows have fewer than two values of {feature}: nothing to compare", {}
    steps = grid[np.unique(np.linspace(0, len(grid) - 1, min(MONOTONE_STEPS, len(grid))).astype(int))]
    answers = np.array(
        [_scores(case, rows.with_columns(pl.lit(value).cast(kind).alias(feature))) for value in steps.to_list()]
    )
    against = np.diff(answers, axis=0) * (-1.0 if increasing else 1.0)
    slack = MONOTONE_SLACK * float(np.std(answers))
    broken = int((against > slack).any(axis=0).sum())
    worst = max(float(against.max(initial=0.0)), 0.0)
    direction = "rises" if increasing else "falls"
    says = (
        f"the answer {direction} with {feature} for all {len(rows)} rows tried"
        if not broken
        else f"for {broken} of {len(rows)} rows the answer moves the wrong way as {feature} grows, by up to {worst:.4g}"
    )
    evidence = {"rows": len(rows), "broken": broken, "worst": worst, "steps": [float(value) for value in steps]}
    return broken == 0, says, evidence


def _scores(case: Case, frame: pl.DataFrame) -> NDArray[np.float64]:
    answers = Answers.of(case.predict(frame), case.task)
    if case.task == "regression":
        return answers.prediction
    if answers.probabilities is None:
        raise LoopError("require.monotone needs a model that gives probabilities", remedy="or a regression task")
    return answers.probabilities[:, -1]


def _latency(case: Case, options: dict[str, Any]) -> Result:
    limit_ms = float(options["p99_ms"])
    rows = [case.frame[index] for index in range(min(LATENCY_ROWS, len(case.frame)))]
    case.predict(rows[0])
    # Each row's quickest of some rounds: what else the machine does meanwhile is not the model's latency. One thread,
    # as in the prediction service: for one row, a pool of them costs more than it gives.
    taken = np.full((LATENCY_ROUNDS, len(rows)), np.inf)
    p99_ms = np.inf
    with threadpool_limits(1):
        for round_ in range(LATENCY_ROUNDS):
            for index, row in enumerate(rows):
                start = time.perf_counter()
                case.predict(row)
                taken[round_, index] = (time.perf_counter() - start) * 1000
            p99_ms = float(np.quantile(taken.min(axis=0), 0.99))
            if p99_ms <= limit_ms:
                break
    passed = p99_ms <= limit_ms
    says = f"one row takes {'less' if passed else 'more'} than {limit_ms:g} ms in 99 of 100 cases"
    return passed, says, {"rows": len(rows), "limit_ms": limit_ms, "timing": {"p99_ms": p99_ms}}


def _ends(interval: stats.Interval | None) -> str:
    if interval is None or not np.isfinite(interval.low) or not np.isfinite(interval.high):
        return "too few rows for an interval"
    return f"{interval.level:.0%} interval {interval.low:.4g} to {interval.high:.4g}"


_CHECKS: dict[str, Check] = {
    "metric": _metric,
    "better_than_live": _better_than_live,
    "not_worse_than_live": _not_worse_than_live,
    "better_than_baseline": _better_than_baseline,
    "slices": _slices,
    "monotone": _monotone,
    "latency": _latency,
}
