"""What a comparison found, as plain values: text, JSON, a page of its own, a display in a notebook.

A report holds numbers that were computed elsewhere (`monitor.standalone`) and draws nothing that is not in them:
whoever reads the JSON form has all that the page shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import msgspec
from msgspec import Struct

__all__ = [
    "Answered",
    "Column",
    "Diagnosed",
    "Estimators",
    "Grid",
    "Issue",
    "Measured",
    "MonitorReport",
    "Performance",
    "Said",
    "Series",
    "Share",
    "Side",
    "Together",
]

Severity = Literal["info", "warn", "critical"]


class Side(Struct, frozen=True, kw_only=True):
    """One side: what a reader calls it, its rows, how many of them have their truth, its times in microseconds."""

    name: str
    rows: int
    labelled: int
    start: int | None = None
    end: int | None = None


class Said(Struct, frozen=True, kw_only=True):
    """A finding in words. `rests_on`: what must hold for it to be true, or what keeps noise out of it."""

    severity: Severity
    kind: str
    says: str
    rests_on: str = ""


class Column(Struct, frozen=True, kw_only=True):
    """One column on both sides.

    `decision`: "shifted", "within tolerance" or "undecided". `excess`: PSI above what noise alone makes of it. `labels`
    are those of the bins in which `reference` and `current` rows were counted; the numbers that are None do not apply.
    """

    name: str
    kind: str
    decision: str
    psi: float | None
    excess: float | None
    p_value: float | None
    js: float | None = None
    l_infinity: float | None = None
    hellinger: float | None = None
    ks: float | None = None
    wasserstein: float | None = None
    reference_missing: float = 0.0
    current_missing: float = 0.0
    unseen: float = 0.0
    says: str = ""
    labels: list[str] = []
    reference: list[int] = []
    current: list[int] = []

    @property
    def is_shifted(self) -> bool:
        """Beyond the tolerance, by more than noise."""
        return self.decision == "shifted"


class Grid(Struct, frozen=True, kw_only=True):
    """Excess PSI of each column in each window: `excess[column][window]`, None where there are too few rows.

    `marked`: cells that shifted beyond the tolerance by one test over all of them together.
    """

    window: str
    labels: list[str]
    rows: list[int]
    columns: list[str]
    excess: list[list[float | None]]
    marked: list[list[bool]]
    rests_on: str


class Measured(Struct, frozen=True, kw_only=True):
    """A value with its 95 % interval; an end is None where too few rows give none."""

    value: float | None
    low: float | None = None
    high: float | None = None
    rows: int = 0


class Series(Struct, frozen=True, kw_only=True):
    """One way to know a metric, window by window. `method`: "realised" or the estimator's name."""

    method: str
    points: list[Measured]
    rests_on: str
    is_chosen: bool = False


class Performance(Struct, frozen=True, kw_only=True):
    """A metric on the reference, on all current rows and in each window, realised and estimated.

    `overall` maps a method to its value on all current rows. `is_worse`: by the realised value where there are labels,
    else by the chosen estimate: its interval lies on the worse side of the reference's interval.
    """

    metric: str
    higher_is_better: bool
    reference: Measured
    overall: dict[str, Measured]
    rests_on: dict[str, str]
    chosen: str | None
    is_worse: bool
    says: str
    labels: list[str] = []
    series: list[Series] = []


class Estimators(Struct, frozen=True, kw_only=True):
    """How an estimator of a metric has done where labels came later: `mae` is its mean distance from what came true.

    `bias` is the mean of what it said less that, `covered` the share of windows that came to lie within its band.
    """

    metric: str
    method: str
    windows: int
    mae: float
    bias: float
    covered: float


class Issue(Struct, frozen=True, kw_only=True):
    """Something wrong with the data of a column (or of the table, where `column` is empty)."""

    kind: str
    column: str
    severity: Severity
    says: str


class Together(Struct, frozen=True, kw_only=True):
    """A test of all columns at once: what it measures, its value, the decision in words."""

    method: str
    decision: str
    value: float | None
    threshold: float | None
    says: str
    rests_on: str


class Share(Struct, frozen=True, kw_only=True):
    """What part of the change of the loss comes from where, in units of the loss, with its 95 % interval."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None


class Diagnosed(Struct, frozen=True, kw_only=True):
    """Why, and what the evidence supports doing about it. `rest`: all else that the diagnosis told."""

    cause: str
    action: str
    says: list[str]
    would_change: list[str]
    shares: list[Share] = []
    columns: list[str] = []
    slices: list[str] = []
    period: str = ""
    cost: str = ""
    rest: dict[str, Any] = {}


class Answered(Struct, frozen=True, kw_only=True):
    """What is compared beside the inputs: the model's answers and the truth, as columns."""

    prediction: Column | None = None
    label: Column | None = None


class MonitorReport(Struct, frozen=True, kw_only=True):
    """One comparison. `budget`: how many of its findings may be false, in a sentence."""

    title: str
    reference: Side
    current: Side
    task: str
    tolerance: float
    alpha: float
    budget: str
    findings: list[Said]
    columns: list[Column]
    answered: Answered = Answered()
    together: list[Together] = []
    grid: Grid | None = None
    performance: list[Performance] = []
    estimators: list[Estimators] = []
    issues: list[Issue] = []
    diagnosis: Diagnosed | None = None
    left_out: dict[str, str] = {}
    not_told: list[str] = []

    @property
    def severity(self) -> Severity:
        """Of the gravest finding."""
        told = {one.severity for one in self.findings}
        return "critical" if "critical" in told else "warn" if "warn" in told else "info"

    @property
    def is_quiet(self) -> bool:
        """Nothing shifted beyond its tolerance, nothing is wrong with the data, the model is not worse."""
        return self.severity == "info"

    @property
    def shifted(self) -> list[Column]:
        """Inputs that shifted, farthest first."""
        return sorted((one for one in self.columns if one.is_shifted), key=lambda one: -(one.excess or 0.0))

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        return {"severity": self.severity, **msgspec.to_builtins(self)}

    def json(self) -> str:
        """Everything as JSON."""
        return msgspec.json.format(msgspec.json.encode(self.as_dict()), indent=2).decode()

    def lines(self) -> Iterator[str]:
        """What a person reads in a terminal."""
        from perennial.monitor.reporting.findings_text import lines

        return lines(self)

    def text(self) -> str:
        """`lines` as one text."""
        return "\n".join(self.lines())

    def html(self) -> str:
        """A page with everything in it: it loads nothing and runs nothing."""
        from perennial.monitor.reporting.page import html

        return html(self)

    def charts(self) -> dict[str, str]:
        """The charts by name, each as an SVG file of its own."""
        from perennial.monitor.reporting.page import charts

        return charts(self)

    def _repr_html_(self) -> str:
        """For a notebook."""
        from perennial.monitor.reporting.page import fragment

        return fragment(self)

    def __repr__(self) -> str:
        return f"<MonitorReport {self.title!r}: {self.severity}, {len(self.shifted)} of {len(self.columns)} shifted>"
