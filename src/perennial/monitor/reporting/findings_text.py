"""What was found, in words: the sentences of a report, and how it reads in a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from perennial.data.profile.words import figure, percent
from perennial.monitor.reporting.report import Column, Measured, MonitorReport, Performance, Said

__all__ = ["budget", "decided", "likely", "lines", "measured", "method_named", "metric_named", "plain_numbers", "told"]

NAMED = 5  # columns that a sentence names
_METRICS = {"roc_auc": "ROC AUC", "accuracy": "accuracy", "f1": "F1", "rmse": "RMSE", "mae": "mean absolute error"}
_METHODS = {
    "cbpe": "CBPE",
    "pape": "PAPE",
    "dle": "DLE",
    "atc": "ATC",
    "mse": "MSE",
    "ppi": "labels and estimates",
    "constant": "as on the reference",
    "pape_sqrt": "PAPE, root of the weights",
}
_MARKS = {"critical": "!!", "warn": "! ", "info": "- "}


def metric_named(name: str) -> str:
    """
    >>> metric_named("roc_auc"), metric_named("bias")
    ('ROC AUC', 'bias')
    """
    return _METRICS.get(name, name.replace("_", " "))


def method_named(name: str) -> str:
    """
    >>> method_named("cbpe"), method_named("realised")
    ('CBPE', 'realised')
    """
    return _METHODS.get(name, name.replace("_", " "))


def likely(p_value: float | None) -> str:
    """
    >>> likely(0.03124), likely(1e-9), likely(None)
    ('0.0312', '< 0.0001', '–')
    """
    return "–" if p_value is None else "< 0.0001" if p_value < 1e-4 else f"{p_value:.3g}"


def measured(value: Measured | None) -> str:
    """
    >>> measured(Measured(value=0.9071, low=0.8993, high=0.915))
    '0.9071 (0.8993 to 0.915)'
    """
    if value is None:
        return "–"
    if value.low is None or value.high is None:
        return figure(value.value)
    return f"{figure(value.value)} ({figure(value.low)} to {figure(value.high)})"


def decided(column: Column) -> str:
    """What the test of one column said, in a sentence without its name."""
    if column.psi is None:
        return "too few rows to tell"
    told = f"PSI {figure(column.psi)}, {figure(column.excess)} beyond noise, p {likely(column.p_value)}"
    if column.current_missing - column.reference_missing >= 0.001:
        told += f"; missing {percent(column.reference_missing)} before, {percent(column.current_missing)} now"
    return told


def plain_numbers(text: str) -> str:
    """Powers of ten written out, as a reader would.

    >>> plain_numbers("mean 1.87e+05 before, loss moved by +7.37e+03 of +7.4e+03")
    'mean 187,000 before, loss moved by +7,370 of +7,400'
    """
    return re.sub(r"\d(?:\.\d+)?e\+\d\d", lambda found: figure(float(found[0])), text)


def budget(alpha: float, tolerance: float, columns: int) -> str:
    """What the report may be wrong about, in a sentence."""
    return (
        f"Of the columns told to have shifted, on average at most {percent(alpha)} have a true PSI within "
        f"{tolerance:g} (Benjamini-Hochberg over {columns} columns)."
    )


def told(report: MonitorReport) -> list[Said]:
    """The findings of a report, from its numbers."""
    found = [
        Said(severity=one.severity, kind="data quality", says=_issue(one.column, one.says)) for one in report.issues
    ]
    found += [*_answers(report), *_inputs(report)]
    answer, label = report.answered.prediction, report.answered.label
    if answer is not None and answer.is_shifted:
        found.append(
            Said(severity="warn", kind="prediction shift", says=f"the model's answers shifted: {decided(answer)}")
        )
    if label is not None and label.is_shifted:
        found.append(Said(severity="warn", kind="prior shift", says=f"the truth itself shifted: {decided(label)}"))
    found += [
        Said(
            severity="warn" if one.decision == "shifted" else "info",
            kind="multivariate",
            says=one.says,
            rests_on=one.rests_on,
        )
        for one in report.together
    ]
    return found


def lines(report: MonitorReport) -> Iterator[str]:
    """The report as a terminal shows it."""
    yield f"{report.title}: {report.current.rows:,} rows beside {report.reference.rows:,}"
    for severity in ("critical", "warn", "info"):
        for one in report.findings:
            if one.severity == severity:
                yield f"{_MARKS[severity]} {one.says}"
    diagnosis = report.diagnosis
    if diagnosis is not None:
        yield f"why: {diagnosis.cause}; what the evidence supports: {diagnosis.action}"
        yield from (f"   {sentence}" for sentence in diagnosis.says)
        yield from (f"   would change the verdict: {sentence}" for sentence in diagnosis.would_change)
    if report.shifted:
        yield ""
        yield from _table([*report.shifted])
    if report.performance:
        yield ""
        for one in report.performance:
            for method, value in one.overall.items():
                is_chosen = " (chosen)" if method == one.chosen and len(one.overall) > 1 else ""
                yield (
                    f"{metric_named(one.metric)}, {method_named(method)}{is_chosen}: {measured(value)}; "
                    f"reference {measured(one.reference)}"
                )
    yield ""
    if report.left_out:
        yield "not compared: " + "; ".join(f"{name} ({why})" for name, why in report.left_out.items())
    yield from (f"cannot say: {sentence}" for sentence in report.not_told)
    yield report.budget


def _table(columns: Sequence[Column]) -> Iterator[str]:
    rows = [
        (one.name, figure(one.psi), figure(one.excess), likely(one.p_value), percent(one.current_missing))
        for one in columns
    ]
    headings = ("column", "PSI", "beyond noise", "p", "missing")
    widths = [max(len(row[at]) for row in (headings, *rows)) for at in range(len(headings))]
    for row in (headings, *rows):
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _inputs(report: MonitorReport) -> list[Said]:
    shifted = report.shifted
    undecided = sum(one.decision == "undecided" for one in report.columns)
    rests_on = f"shifted: a true PSI above {report.tolerance:g}, beyond noise, with all columns tested together"
    few = f"; too few rows to tell for {undecided} of {len(report.columns)}" if undecided else ""
    if shifted:
        names = ", ".join(f"{one.name} ({figure(one.psi)})" for one in shifted[:NAMED])
        rest = f" and {len(shifted) - NAMED} more" if len(shifted) > NAMED else ""
        says = f"{len(shifted)} of {len(report.columns)} inputs shifted, by PSI: {names}{rest}{few}"
        return [Said(severity="warn", kind="covariate shift", says=says, rests_on=rests_on)]
    says = f"no input shifted beyond its tolerance{few}"
    return [Said(severity="info", kind="covariate shift", says=says, rests_on=rests_on)]


def _answers(report: MonitorReport) -> list[Said]:
    """What was realised, in one sentence; where nothing was, what is estimated."""
    found: list[Said] = []
    real = [one for one in report.performance if "realised" in one.overall]
    for which, how in ((real, "realised"), ([one for one in report.performance if one not in real], "")):
        if not which:
            continue
        bad = [one for one in which if one.is_worse]
        shown = bad or which
        told = ", ".join(
            f"{metric_named(one.metric)} {figure(_now(one).value)} ({figure(one.reference.value)} on the reference)"
            for one in shown
        )
        first = shown[0]
        if how:
            says = f"the answers are worse: {told}" if bad else f"no harm is shown: {told}"
            severity = "critical" if bad else "info"
        else:
            says = f"estimated without labels: {told}"
            severity = "warn" if bad else "info"
        rests_on = first.rests_on.get(how or first.chosen or "", "")
        found.append(
            Said(
                severity=severity, kind="performance" if how else "estimated performance", says=says, rests_on=rests_on
            )
        )
    best = report.estimators[0] if report.estimators else None
    if best is not None and best.windows > 1:
        says = (
            f"estimates of {metric_named(best.metric)}, where labels came later: {method_named(best.method)} was "
            f"nearest, off by {figure(best.mae)} on average over {best.windows} windows, {best.covered:.0%} within its "
            "band"
        )
        found.append(Said(severity="info", kind="track record", says=says))
    return found


def _now(found: Performance) -> Measured:
    """The value that a verdict rests on."""
    return found.overall.get("realised") or found.overall[found.chosen or next(iter(found.overall))]


def _issue(column: str, says: str) -> str:
    return f"{column}: {says}" if column and not says.startswith(column) else says
