"""What a report said of a window beside what is true of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from perennial.data.profile.words import figure
from perennial.monitor import compare
from perennial.monitor.reporting.findings_text import metric_named
from perennial.monitor.reporting.report import Measured, MonitorReport, Performance

from .known_truth import Case

__all__ = ["HEADINGS", "MAIN", "Judged", "judged", "wrong"]

EQUAL = 1e-6  # of a realised metric: both count the same rows
MAIN = {"classification": "roc_auc", "regression": "mae"}
HEADINGS = (
    "data, window",
    "what is true (how that is known)",
    "said: why",
    "said: do",
    "said: columns",
    "realised, by scikit-learn",
    "said: realised",
    "said: estimated without truth",
    "right?",
)


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A case, its report, and where they differ: `wrong` has a sentence for each difference in what was diagnosed.

    Attributes:
        missed: Metrics whose band of the estimate does not hold what was realised. No wrong diagnosis, but shown: what
            the estimate assumes does not hold there.
    """

    case: Case
    report: MonitorReport
    wrong: tuple[str, ...]
    missed: tuple[str, ...]

    def row(self) -> tuple[str, ...]:
        case, found = self.case, self.report.diagnosis
        main = MAIN[self.report.task]
        shown = next((one for one in self.report.performance if one.metric == main), None)
        return (
            f"{case.data}, {case.window}",
            f"{case.true} ({case.known})",
            "–" if found is None else found.cause,
            "–" if found is None else found.action,
            ", ".join(named(self.report, limit=4)) or "–",
            f"{metric_named(main)} {figure(case.realised[main])}" if case.realised else "nobody knows",
            _interval(None if shown is None else shown.overall.get("realised")),
            self._estimated(shown),
            "right" if not self.wrong else f"**wrong**: {'; '.join(self.wrong)}",
        )

    def _estimated(self, shown: Performance | None) -> str:
        known = None if shown is None else blind(shown)
        if shown is None or known is None:
            return "–"
        missed = " (missed)" if shown.metric in self.missed else ""
        return f"{_interval(known)}{missed}"


def judged(case: Case) -> Judged:
    """Ask for the report as a user would, with nothing but files, and hold it against the truth."""
    report = compare(case.reference, case.current, title=f"{case.data}: {case.window}", **case.asked)
    return Judged(
        case=case,
        report=report,
        wrong=tuple(wrong(case, report)),
        missed=tuple(
            one.metric
            for one in report.performance
            if one.metric in case.realised and not _holds(blind(one), case.realised[one.metric])
        ),
    )


def named(report: MonitorReport, *, limit: int | None = None) -> list[str]:
    """Columns that the diagnosis or the data quality names, in their order."""
    told = [] if report.diagnosis is None else list(report.diagnosis.columns)
    told += [name for one in report.issues for name in (one.column or "").split(", ") if name]
    return list(dict.fromkeys(told))[:limit]


def blind(found: Performance) -> Measured | None:
    """The estimate that was believed, of those that ask for no labels."""
    return None if found.chosen in (None, "ppi") else found.overall.get(found.chosen)


def wrong(case: Case, report: MonitorReport) -> list[str]:
    """What was diagnosed or measured otherwise than it is, a sentence each."""
    told: list[str] = []
    found = report.diagnosis
    if found is None:
        return ["nothing was diagnosed"]
    if found.cause not in case.causes:
        told.append(f"the cause is {' or '.join(case.causes)}")
    if found.action not in case.actions:
        told.append(f"what helps: {' or '.join(case.actions)}")
    if lacking := [name for name in case.columns if name not in named(report)]:
        told.append(f"not named: {', '.join(lacking)}")
    for one in report.performance:
        said = one.overall.get("realised")
        if said is not None and one.metric in case.realised:
            true = case.realised[one.metric]
            if said.value is None or not math.isclose(said.value, true, abs_tol=EQUAL, rel_tol=EQUAL):
                told.append(f"{metric_named(one.metric)} was {figure(true)}, not {figure(said.value)}")
    return told


def _holds(said: Measured | None, true: float) -> bool:
    return said is None or said.low is None or said.high is None or said.low <= true <= said.high


def _interval(said: Measured | None) -> str:
    if said is None:
        return "–"
    if said.low is None or said.high is None:
        return figure(said.value)
    return f"{figure(said.value)} ({figure(said.low)} to {figure(said.high)})"
