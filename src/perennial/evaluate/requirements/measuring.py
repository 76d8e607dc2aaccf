"""Requirements on what is measured on held-out rows: a metric, calibration."""

from __future__ import annotations

from typing import Any

import numpy as np

from perennial import stats
from perennial.evaluate.answers import Floats, HeldOut
from perennial.evaluate.calibration import calibration as calibration_table
from perennial.evaluate.metrics import measure_on, metric_named
from perennial.evaluate.requirements.case import Case, Result, ends

__all__ = ["calibration", "metric"]


def metric(case: Case, options: dict[str, Any]) -> Result:
    """The estimate is within the bound."""
    chosen = metric_named(options["metric"], case.task)
    found = measure_on(chosen, case.held_out)
    at_most, at_least = options.get("at_most"), options.get("at_least")
    passed = (at_most is None or found.estimate <= at_most) and (at_least is None or found.estimate >= at_least)
    bound = f"at most {at_most}" if at_most is not None else f"at least {at_least}"
    return passed, f"{chosen.name} is {found.estimate:.4g} ({ends(found)}), asked for {bound}", found.as_dict()


def calibration(case: Case, options: dict[str, Any]) -> Result:
    """The expected calibration error is within the bound; it fails only where its interval lies beyond."""
    bound = float(options["error_at_most"])
    tables = calibration_table(case.task, case.held_out)
    if not tables:
        rows = len(case.held_out)
        why = "the model gives no probabilities" if rows >= 100 else f"{rows} held-out rows are too few"
        return None, f"calibration cannot be measured: {why}", {"rows": rows}
    table = tables[0]
    unit = float(np.std(case.held_out.truth)) or 1.0 if case.task == "regression" else 1.0
    edges = np.array([part.low for part in table.bins])
    found = _interval(case.held_out, *_predicted(case.held_out, table.of), edges, unit)
    worst = max(table.bins, key=lambda part: abs(part.predicted - part.observed) * part.rows)
    of = f"of class {table.of}" if table.of not in {"prediction", "most probable class"} else f"of the {table.of}"
    says = f"the calibration error {of} is {found.estimate:.4g} ({ends(found)}), asked for at most {bound:g}"
    evidence = {
        **found.as_dict(),
        "of": table.of,
        "unit": "standard deviation of the truth" if unit != 1.0 else "share",
    }
    evidence["bins"] = [
        {"rows": part.rows, "predicted": part.predicted, "observed": part.observed} for part in table.bins
    ]
    if found.estimate <= bound:
        return True, says, evidence
    if not found.low > bound:
        return None, f"{says}: beyond it, but not clearly", evidence
    says += f"; most in {worst.rows} rows that were predicted {worst.predicted:.3g} on average"
    says += f" and were {worst.observed:.3g}"
    return False, says, evidence


def _predicted(on: HeldOut, of: str) -> tuple[Floats, Floats]:
    """What was predicted and what was observed, as the table of this name takes them."""
    if of == "prediction":
        return on.answers.prediction, on.truth
    assert on.answers.probabilities is not None
    if on.answers.positive is not None:
        return on.answers.probabilities[:, on.answers.positive], (on.truth == on.answers.positive).astype(np.float64)
    top = on.answers.probabilities.argmax(axis=1)
    return on.answers.probabilities[np.arange(len(on)), top], (top == on.truth).astype(np.float64)


def _interval(on: HeldOut, predicted: Floats, observed: Floats, edges: Floats, unit: float) -> stats.Interval:
    """The measured error, less and more what chance alone can add up to over the bins.

    Noise makes an error of calibration larger, so that its own bootstrap is of no use. But the error over the bins is
    off by at most the sum of what each bin's mean is off, and of that the bootstrap knows the 0.95 quantile: it is an
    interval that covers at least 95 %, and a calibrated model is not called uncalibrated for few rows.
    """
    k = len(edges)
    bins = np.clip(np.searchsorted(edges, predicted, side="right") - 1, 0, k - 1)
    draws = on.draws
    cell = draws.group * k + bins
    apart = np.bincount(cell, predicted - observed, draws.groups * k).reshape(draws.groups, k)
    sizes = draws.weights @ np.bincount(draws.group, minlength=draws.groups).astype(np.float64)
    measured = apart.sum(axis=0) / len(predicted)
    chance = np.abs(draws.weights @ apart / sizes[:, None] - measured).sum(axis=1)
    estimate, doubt = float(np.abs(measured).sum()) / unit, float(np.quantile(chance, 0.95)) / unit
    return stats.Interval(
        low=max(0.0, estimate - doubt),
        high=estimate + doubt,
        estimate=estimate,
        level=0.95,
        n=draws.units,
        method="bootstrap of each bin",
    )
