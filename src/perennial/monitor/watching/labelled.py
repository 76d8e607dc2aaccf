"""What the truth says of a window: wrong where it should be right, sure where it should not be, and for whom.

Where a loop retrains on a drop, realised performance is followed label by label instead (`watch.detect_drop`), with the
budget that the loop states. A window is looked at once its labels have had time to come, so that those that come
first do not speak for all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial import stats
from perennial.models.reference import count
from perennial.monitor.findings import NewFinding
from perennial.monitor.sample import Sample, places
from perennial.monitor.watching.expecting import certainty
from perennial.monitor.watching.streams import Stream, Told
from perennial.monitor.watching.watched import Look, Watched, excess, finding, loss_scale
from perennial.monitor.windows import Window
from perennial.stats.bins import CategoryBins, NumericBins

__all__ = ["look_at_labels"]

Floats = NDArray[np.float64]
MIN_ROWS = 30  # labelled rows of a window, or of one slice in it, below which nothing is said
MIN_SLICE_ROWS = 50  # of the reference
MAX_SLICES = 20  # of a column, the most frequent: each has its part of the budget
MISCALIBRATION = 0.03  # probability
PRIOR_TOLERANCE = 0.05  # population stability index


def look_at_labels(watched: Watched, state: Mapping[str, Any] | None, window: Window, rows: Sample) -> Look:
    """Look at one window whose labels have come.

    Args:
        watched: The version.
        state: What the look before returned; None at first.
        window: Event times of the rows.
        rows: What the version answered in it; rows without the truth count for nothing.
    """
    known = rows.is_labelled
    labelled = rows if known.all() else rows.take(known)
    held = dict(state or {})
    if labelled.rows < MIN_ROWS or not len(watched.losses):
        return Look(held, [])
    found: list[NewFinding] = []
    for kind, look in (
        ("performance_drop", _performance),
        ("concept_drift", _concept),
        ("calibration", _calibration),
        ("slice_drop", _slices),
        ("prior_shift", _prior),
    ):
        if kind not in watched.off:
            one = look(watched, held, window, labelled)
            held |= one.state
            found += one.found
    return Look(held, found)


def _performance(watched: Watched, held: Mapping[str, Any], window: Window, rows: Sample) -> Look:
    """Losses beside those of the reference."""
    scale = loss_scale(watched)

    def make() -> Stream:
        losses = _clipped(watched.losses, scale)
        evidence = watched.evidence("performance_drop")
        return Stream.of_reference(losses, tolerance=excess(losses, scale), evidence=evidence, span=scale)

    stream = watched.once("performance", make)
    told = _stepped(watched, stream, held.get("performance"), rows.losses())
    if not told.is_alarm:
        return Look({"performance": told.state}, [])
    says = (
        f"version {watched.version} is wrong more than when it was tested: mean loss {float(rows.losses().mean()):.3g} "
        f"on {rows.rows} labelled rows, {float(watched.losses.mean()):.3g} then"
    )
    found = finding(watched, "performance_drop", window, says, _numbers(stream, told), severity="critical")
    return Look({"performance": told.state}, [found])


def _concept(watched: Watched, held: Mapping[str, Any], window: Window, rows: Sample) -> Look:
    """Losses beyond what the model's own certainty, calibrated on the reference, leads to expect on these very rows.

    Rows that are harder than before raise both; only a changed relation of truth and inputs (or inputs beyond the
    reference, where no calibration holds) raises the one without the other.
    """
    if watched.expected is None:
        return Look({}, [])
    scale = loss_scale(watched)

    def make() -> Stream:
        return Stream.of_reference(
            _clipped(watched.losses, scale) - _clipped(watched.expected_losses, scale),
            tolerance=excess(watched.losses, scale),
            evidence=watched.evidence("concept_drift"),
            low=-scale,
            span=2.0 * scale,
        )

    stream = watched.once("concept", make)
    expected = watched.expected(rows)
    told = stream.step(held.get("concept"), _clipped(rows.losses(), scale) - _clipped(expected, scale))
    if not told.is_alarm:
        return Look({"concept": told.state}, [])
    loss, reckoned = float(rows.losses().mean()), float(expected.mean())
    says = (
        f"the model errs more than these inputs explain: mean loss {loss:.3g} on {rows.rows} labelled rows, "
        f"{reckoned:.3g} was to be expected of them"
    )
    evidence = _numbers(stream, told) | {
        "mean_loss": loss,
        "expected_loss": reckoned,
        "reference_loss": float(watched.losses.mean()),
        "assumption": "none; the reference loss holds on rows like those of the reference",
    }
    found = finding(watched, "concept_drift", window, says, evidence, severity="critical")
    return Look({"concept": told.state}, [found])


def _calibration(watched: Watched, held: Mapping[str, Any], window: Window, rows: Sample) -> Look:
    """Whether the model is right as often as its probabilities say."""
    if watched.reference.probs is None or rows.probs is None:
        return Look({}, [])

    def make() -> Stream:
        return Stream.of_reference(
            _surprise(watched.reference.take(watched.reference.is_labelled)),
            tolerance=MISCALIBRATION,
            evidence=watched.evidence("calibration"),
            side="both",
            low=-1.0,
            span=2.0,
        )

    stream = watched.once("calibration", make)
    told = stream.step(held.get("calibration"), _surprise(rows))
    if not told.is_alarm:
        return Look({"calibration": told.state}, [])
    sure, right = float(np.nanmean(certainty(rows))), 1.0 - float(rows.losses().mean())
    verdict = "too sure" if sure > right else "too modest"
    says = f"the model is {verdict}: its answers say {sure:.3f}, and {right:.3f} of them are right ({rows.rows} labels)"
    evidence = _numbers(stream, told) | {"said": sure, "right": right}
    return Look({"calibration": told.state}, [finding(watched, "calibration", window, says, evidence)])


def _slices(watched: Watched, held: Mapping[str, Any], window: Window, rows: Sample) -> Look:
    """Losses of each value of the declared columns, beside those of the same value in the reference."""
    reference, scale = watched.reference, loss_scale(watched)
    wanted = watched.once("slices", lambda: {name: _values(reference, name) for name in watched.slices})
    streams = sum(map(len, wanted.values()))
    losses_now = rows.losses()
    states: dict[str, Any] = {}
    found: list[NewFinding] = []
    for column, value, now in _by_value(rows, losses_now, wanted):
        name = f"{column}={value}"
        if len(now) < MIN_ROWS:
            continue

        def make(column: str = column, value: str = value) -> Stream:
            within = _is(reference.inputs[column].cast(pl.String()), value) & reference.is_labelled
            losses = _clipped(reference.losses()[within], scale)
            evidence = watched.evidence("slice_drop", streams=streams)
            return Stream.of_reference(losses, tolerance=excess(losses, scale), evidence=evidence, span=scale)

        stream = watched.once(f"slice/{name}", make)
        told = _stepped(watched, stream, held.get(f"slice/{name}"), now)
        states[f"slice/{name}"] = told.state
        if told.is_alarm:
            says = (
                f"worse where {column} is {value}: mean loss {float(now.mean()):.3g} on {len(now)} labelled rows, "
                f"{stream.reference_mean:.3g} when tested"
            )
            evidence = _numbers(stream, told) | {"column": column, "value": value}
            found.append(finding(watched, "slice_drop", window, says, evidence, of=name))
    return Look(states, found)


def _prior(watched: Watched, held: Mapping[str, Any], window: Window, rows: Sample) -> Look:
    """Whether the truth itself is distributed differently."""
    assert rows.labels is not None
    bins, before = watched.once("labels", lambda: _label_bins(watched.reference))
    now = count(bins, rows.labels)
    test = stats.tolerance_test(before, now, tolerance=PRIOR_TOLERANCE, alpha=watched.level("prior_shift"))
    if test.decision != "shifted":
        return Look({}, [])
    evidence = {
        "psi": test.statistic,
        "p_value": test.p_value,
        "tolerance": PRIOR_TOLERANCE,
        "rows": rows.rows,
        "reference": dict(zip(bins.labels, _shares(before), strict=True)),
        "current": dict(zip(bins.labels, _shares(now), strict=True)),
    }
    says = f"the truth is distributed differently ({rows.rows} labelled rows): {test.reasons[0]}"
    return Look({}, [finding(watched, "prior_shift", window, says, evidence)])


def _label_bins(reference: Sample) -> tuple[CategoryBins | NumericBins, NDArray[np.int64]]:
    assert reference.labels is not None
    known = reference.labels.filter(reference.is_labelled)
    if reference.task == "classification":
        bins = CategoryBins.from_reference(known.to_list())
        return bins, bins.count(known.to_list())
    numeric = NumericBins.from_reference(known.to_numpy())
    return numeric, numeric.count(known.to_numpy())


def _stepped(watched: Watched, stream: Stream, state: Mapping[str, Any] | None, losses: Floats) -> Told:
    """The stream after the losses of a window; right and wrong labels are fed as their numbers."""
    if watched.reference.task == "classification":
        return stream.step_counts(state, int(losses.sum()), len(losses))
    return stream.step(state, losses)  # which clips them


def _numbers(stream: Stream, told: Told) -> dict[str, Any]:
    return {
        "e_value": told.evidence,
        "threshold": stream.design.threshold,
        "rows": told.rows,
        "mean": told.mean,
        "reference_mean": stream.reference_mean,
        "reference_rows": stream.reference_rows,
        "tolerance": stream.tolerance,
    }


def _clipped(losses: Floats, scale: float) -> Floats:
    return np.clip(losses, 0.0, scale)


def _surprise(rows: Sample) -> Floats:
    found = (1.0 - rows.losses()) - certainty(rows)
    return found[~np.isnan(found)]


def _values(reference: Sample, column: str) -> list[str]:
    if column not in reference.inputs.columns:
        return []
    known = reference.inputs[column].filter(reference.is_labelled).cast(pl.String()).drop_nulls()
    counts = known.value_counts(sort=True, name="rows")
    kept = counts.filter(pl.col("rows") >= MIN_SLICE_ROWS).head(MAX_SLICES)
    return sorted(kept[column].to_list())


def _by_value(rows: Sample, losses: Floats, wanted: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str, Floats]]:
    """Column, value and the losses of the rows that have it."""
    for column, values in wanted.items():
        if column in rows.inputs.columns:
            found = places(rows.inputs[column].cast(pl.String()), values)
            for place, value in enumerate(values):
                yield column, value, losses[found == place]


def _is(values: pl.Series, value: str) -> NDArray[np.bool_]:
    found = values == value
    return (found.fill_null(value=False) if found.null_count() else found).to_numpy()


def _shares(counts: NDArray[np.int64]) -> list[float]:
    return (counts / max(int(counts.sum()), 1)).round(6).tolist()
