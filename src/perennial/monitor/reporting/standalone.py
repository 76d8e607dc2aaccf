"""Two samples in, a report out: everything that the monitors compute, on plain rows, without a workspace or a server.

What each part says is computed where it belongs (`profiles`, `quality`, `multivariate`, `estimating`, `diagnosis`);
here they are asked in turn and what they say is put together.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import msgspec

from perennial import stats
from perennial.monitor.diagnosing.diagnosis import Diagnosis, diagnose
from perennial.monitor.estimating.track_record import CONSTANT, TrackRecord
from perennial.monitor.multivariate.domain import Multivariate, compare_all
from perennial.monitor.profiling.comparison import ColumnShift, Comparison
from perennial.monitor.profiling.profiles import Profiler, WindowProfile, compare
from perennial.monitor.quality.check import check_quality
from perennial.monitor.quality.issue import QualityIssue
from perennial.monitor.reporting import findings_text
from perennial.monitor.reporting.performing import Performing, performance
from perennial.monitor.reporting.report import (
    Answered,
    Column,
    Diagnosed,
    Estimators,
    Grid,
    Issue,
    MonitorReport,
    Share,
    Side,
    Together,
)
from perennial.monitor.reporting.spans import Span, spans
from perennial.monitor.sample import Sample

__all__ = ["run"]

_plain = findings_text.plain_numbers
UNANSWERED_TOLERATED = 0.01  # share of the rows, more than before
SLICES = 3  # that the page names; the JSON form has all
_PARTS = {
    "covariate": "other inputs",
    "concept": "another relation of truth and inputs",
    "prior": "another mix of labels",
    "data bug": "rows that the fault touches",
    "rest": "all else",
}


def run(
    reference: Sample,
    current: Sample,
    *,
    window: str | None = None,
    thorough: bool = True,
    released: bool = False,
    apart: bool = False,
    title: str = "",
    names: tuple[str, str] = ("reference", "current"),
    left_out: Mapping[str, str] | None = None,
    tolerance: float = 0.05,
    alpha: float = 0.05,
    record: TrackRecord | None = None,
    seed: int = 0,
) -> MonitorReport:
    """What differs between two samples, whether it hurts, why, and what would help.

    Args:
        reference: Rows that the model was not trained on.
        current: Rows to look at, with the same inputs.
        window: How the current rows are cut, see `spans`.
        thorough: Also what learns something: all columns together, estimated performance, the diagnosis. Seconds to a
            minute; without it, well under a second.
        released: A version, a pipeline or a service was released between the two.
        apart: No row belongs to both sides, so that rows of the reference that come again are a copy.
        title: Of the report.
        names: What a reader calls the two sides.
        left_out: Columns that are not compared, with the reason.
        tolerance: PSI up to which a column counts as unchanged.
        alpha: Share of the columns told to have shifted that may be false, on average.
        record: How estimates of this model have done before, where that was kept; it chooses between estimators.
        seed: Of everything that is drawn at random.

    Raises:
        Invalid: There is no such window.
    """
    profiler = Profiler.of_reference(reference)
    before, now = profiler.profile(reference), profiler.profile(current)
    found, of = spans(current.at, current.rows, window)
    compared = compare(profiler, before, now, tolerance=tolerance, alpha=alpha)
    together = compare_all(reference.inputs, current.inputs, seed=seed) if thorough else None
    asked, answered, cut, scores = reference, current, found, None if together is None else together.scores
    lacking = [_unanswered(side) for side in (reference, current)]
    if any(lacking):
        # What is asked of answers is asked of the rows that have one; what those rows are like is told anew.
        asked, answered, scores = _with_answers(reference), _with_answers(current), None
        cut, _ = spans(answered.at, answered.rows, window)
    performing = performance(asked, answered, cut, estimate=thorough, scores=scores, record=record, seed=seed)
    issues = check_quality(profiler, before, now, former=[before] if apart else [])
    found_out = None
    if together is not None and reference.predictions is not None and current.predictions is not None:
        found_out = diagnose(
            asked,
            answered,
            released=released,
            scores=scores,
            issues=issues,
            estimator=performing.estimator,
            seed=seed,
        )
    report = MonitorReport(
        title=title or f"{names[1]} beside {names[0]}",
        reference=_side(names[0], reference),
        current=_side(names[1], current),
        task=reference.task,
        tolerance=tolerance,
        alpha=alpha,
        budget=findings_text.budget(alpha, tolerance, len(compared.columns)),
        findings=[],
        columns=[_column(one) for one in compared.columns.values()],
        answered=_answered(compared),
        together=[] if together is None else _together(together),
        grid=_grid(profiler, before, current, found, of, tolerance=tolerance, alpha=alpha) if len(found) > 1 else None,
        performance=performing.metrics,
        estimators=_estimators(performing),
        issues=[*_refused(lacking, reference, current), *(_issue(one) for one in issues)],
        diagnosis=None if found_out is None else _diagnosed(found_out),
        left_out=dict(left_out or {}),
        not_told=[
            *_not_told(reference, current, performing.not_estimated),
            *(() if found_out is None else found_out.unknown),
        ],
    )
    return msgspec.structs.replace(report, findings=findings_text.told(report))


def _estimators(performing: Performing) -> list[Estimators]:
    """The record of those that may be chosen, and of who says "as on the reference"."""
    if performing.estimator is None:
        return []
    shown = {CONSTANT, *performing.estimator.basis.candidates}
    told = [one for one in performing.estimator.record.standings() if one.method in shown]
    return [Estimators(**msgspec.structs.asdict(one)) for one in told]


def _side(name: str, sample: Sample) -> Side:
    at = sample.at
    return Side(
        name=name,
        rows=sample.rows,
        labelled=int(sample.is_labelled.sum()),
        start=None if at is None else int(at.min()),
        end=None if at is None else int(at.max()),
    )


def _column(found: ColumnShift, name: str | None = None) -> Column:
    words = found.words
    for verb in ("shifted", "did not shift beyond its tolerance"):
        words = words.removeprefix(f"{found.column} {verb}: ")
    return Column(
        name=name or found.column,
        kind=found.kind,
        decision=found.decision,
        psi=found.psi,
        excess=found.excess,
        p_value=found.p_value,
        js=found.js,
        l_infinity=found.l_infinity,
        hellinger=found.hellinger,
        ks=found.ks,
        wasserstein=found.wasserstein,
        reference_missing=found.reference_missing,
        current_missing=found.current_missing,
        unseen=max(0.0, found.unseen - found.reference_unseen),
        says=_plain(words),
        labels=list(found.labels),
        reference=[round(count) for count in found.reference],
        current=[round(count) for count in found.current],
    )


def _issue(found: QualityIssue) -> Issue:
    return Issue(
        kind=found.kind.replace("_", " "),
        column=found.column or "",
        severity=found.severity,
        says=_plain(found.says),
    )


def _unanswered(sample: Sample) -> int:
    """Rows that a model was asked and did not answer."""
    return 0 if sample.predictions is None else sample.predictions.null_count()


def _with_answers(sample: Sample) -> Sample:
    return sample if sample.predictions is None else sample.take(sample.predictions.is_not_null().to_numpy())


def _refused(lacking: Sequence[int], reference: Sample, current: Sample) -> Iterator[Issue]:
    """More rows without an answer than before."""
    before, rows = lacking[0] / reference.rows, current.rows
    now = lacking[1] / rows
    if now > before + UNANSWERED_TOLERATED:
        yield Issue(
            kind="unanswered",
            column="",
            severity="critical",
            says=f"the model gave no answer to {lacking[1]:,} of {rows:,} rows ({now:.1%}; {before:.1%} before); "
            "what is said of its answers is said of the others",
        )


def _diagnosed(found: Diagnosis) -> Diagnosed:
    head, *_ = found.says
    return Diagnosed(
        cause=found.cause,
        action=found.action,
        says=[_plain(sentence) for sentence in (head, *found.because, found.advice.because)],
        would_change=[_plain(sentence) for sentence in found.would_change],
        shares=[
            Share(name=_PARTS[name], value=part.estimate, low=_finite(part.low), high=_finite(part.high))
            for name, part in found.shares.items()
        ],
        columns=list(found.columns),
        slices=[_plain(one.says) for one in found.slices[:SLICES]],
        period="" if found.period is None else found.period.says,
        cost=""
        if found.cost is None
        else found.cost.says.replace(found.cost.metric, findings_text.metric_named(found.cost.metric), 1),
        rest=cast("dict[str, Any]", found.as_dict()),
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _answered(compared: Comparison) -> Answered:
    return Answered(
        prediction=None if compared.prediction is None else _column(compared.prediction, "answers"),
        label=None if compared.label is None else _column(compared.label, "truth"),
    )


def _together(found: Multivariate) -> list[Together]:
    tests = {"domain classifier": found.domain, "reconstruction error": found.reconstruction, **found.embeddings}
    says = dict(zip([name for name, test in tests.items() if test is not None], found.says, strict=True))
    rests_on = {
        "domain classifier": "inputs changed, not that it hurts; rows are independent of each other",
        "reconstruction error": "columns no longer hang together as they did; linear relations only",
    }
    return [
        Together(
            method=name,
            decision=test.decision,
            value=test.statistic,
            threshold=test.threshold,
            says=_plain(says[name]),
            rests_on=rests_on.get(name, "embeddings of one model"),
        )
        for name, test in tests.items()
        if test is not None
    ]


def _grid(
    profiler: Profiler,
    before: WindowProfile,
    current: Sample,
    found: Sequence[Span],
    of: str,
    *,
    tolerance: float,
    alpha: float,
) -> Grid:
    """Every column in every window; all cells are tested together, since all are looked at together."""
    told = [
        compare(profiler, before, profiler.profile(current.take(span.rows)), tolerance=tolerance, alpha=alpha).columns
        for span in found
    ]
    names = list(profiler.columns)
    cells = [(row, at) for row in range(len(names)) for at in range(len(found))]
    tested = {cell: p_value for cell in cells if (p_value := told[cell[1]][names[cell[0]]].p_value) is not None}
    kept = stats.benjamini_hochberg(list(tested.values()), alpha).indices if tested else ()
    marked = {list(tested)[index] for index in kept}
    return Grid(
        window=of,
        labels=[span.label for span in found],
        rows=[len(span.rows) for span in found],
        columns=names,
        excess=[
            [told[at][name].excess if (row, at) in tested else None for at in range(len(found))]
            for row, name in enumerate(names)
        ],
        marked=[[(row, at) in marked for at in range(len(found))] for row in range(len(names))],
        rests_on=(
            f"Of the cells marked, on average at most {alpha:.0%} have a true PSI within {tolerance:g} "
            f"(Benjamini-Hochberg over {len(tested)} cells)."
        ),
    )


def _not_told(reference: Sample, current: Sample, not_estimated: str) -> list[str]:
    told: list[str] = []
    if reference.predictions is None or current.predictions is None:
        side = "reference" if reference.predictions is None else "current"
        told.append(f"whether the answers changed or got worse: the {side} rows hold no answers of a model")
    elif reference.labels is None:
        told.append("whether the answers got worse: the reference has no truth to compare with")
    elif not current.is_labelled.any():
        told.append("whether the answers really got worse: no current row has its truth yet, so that it is estimated")
    if not_estimated:
        told.append(f"how good the answers are without their truth: {not_estimated}")
    if current.at is None:
        told.append("since when: the rows have no times")
    return told
