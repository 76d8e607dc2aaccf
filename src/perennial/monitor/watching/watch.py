"""What the monitors compute: pure functions of a reference, the rows since, and a detector's state.

Two questions, kept apart. Does it hurt? The detectors of realised performance answer, label by label, with a stated
mean number of labels between false alarms. Did the inputs change? The tolerance-aware test answers, window by window;
that is a reason to look, not to act.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perennial import stats
from perennial.monitor.findings import NewFinding
from perennial.monitor.watching.usual import Explained

__all__ = ["DetectorStep", "LossReference", "Shift", "detect_drop", "find_shift", "loss_reference"]

Floats = NDArray[np.float64]
QUANTILE = 0.995  # losses and residuals beyond this quantile of the held-out rows are clipped
UPPER_BOUND_PROB = 0.975
SHIFT_ALPHA = 0.05
QUIET = 86_400_000_000  # microseconds of event time: a broken model alarms again and again, and is told once a day
RECENT_ROWS = 200  # labels that a finding tells the mean of; part of the state, so that batches make no difference


@dataclass(frozen=True, kw_only=True)
class LossReference:
    """What held-out rows say of a version: the designs of its detectors and how a row is put on their scale.

    `residual_scale` is None for classification, where a row's loss is 0 or 1.
    """

    loss_scale: float
    loss_design: stats.Design
    residual_scale: float | None
    bias_design: stats.Design | None
    rows: int
    mean_loss: float
    bias_tolerance: float | None


@dataclass(frozen=True, kw_only=True)
class DetectorStep:
    """A detector's next state and what it found."""

    state: dict[str, Any]
    found: list[NewFinding]


def loss_reference(
    losses: Sequence[float],
    residuals: Sequence[float] | None,
    *,
    labels_between_false_alarms: float,
    tolerance: float,
) -> LossReference:
    """Design the detectors of one version from its held-out rows.

    Args:
        losses: Loss per held-out row, shape (n,), in any order: squared error, or 1 for a wrong label.
        residuals: Truth minus answer per held-out row for regression, with or without its sign, else None.
        labels_between_false_alarms: The budget, shared evenly by the detectors.
        tolerance: What is no drop: a mean residual of this share of the held-out root mean squared error, a rise of
            the mean loss by this share.
    """
    loss = np.asarray(losses, dtype=np.float64)
    detectors = 1 if residuals is None else 2
    threshold = labels_between_false_alarms * detectors
    scale = 1.0 if residuals is None else _large(loss)
    clipped = np.minimum(loss / scale, 1.0)
    # The bound bets row by row and holds for a random order: of sorted losses it would lie below their mean.
    shuffled = np.random.default_rng(0).permutation(np.sort(clipped))
    allowed = stats.upper_bound(shuffled, level=UPPER_BOUND_PROB).high + tolerance * float(clipped.mean())
    # A bound at the edge of the range leaves nothing to bet on; such a reference is too small to alarm from anyway.
    design = stats.Design.above(min(max(allowed, 1e-6), 0.98), threshold=threshold)
    if residuals is None:
        return LossReference(
            loss_scale=scale,
            loss_design=design,
            residual_scale=None,
            bias_design=None,
            rows=len(loss),
            mean_loss=float(loss.mean()),
            bias_tolerance=None,
        )
    residual_scale = _large(np.abs(np.asarray(residuals, dtype=np.float64)))
    tolerated = tolerance * float(np.sqrt(loss.mean()))
    half = min(tolerated / (2 * residual_scale), 0.49)
    return LossReference(
        loss_scale=scale,
        loss_design=design,
        residual_scale=residual_scale,
        bias_design=stats.Design.two_sided(0.5 - half, 0.5 + half, threshold=threshold),
        rows=len(loss),
        mean_loss=float(loss.mean()),
        bias_tolerance=tolerated,
    )


def _large(values: Floats) -> float:
    return float(np.quantile(values, QUANTILE)) or float(values.max()) or 1.0


def detect_drop(
    reference: LossReference,
    state: Mapping[str, Any] | None,
    *,
    version: int,
    losses: Floats,
    residuals: Floats | None,
    at: Sequence[int],
) -> DetectorStep:
    """Feed newly labelled rows, in the order of their labels, to the version's detectors.

    Rows fed in pieces give the same as all at once.

    Args:
        reference: The version's designs.
        state: What the previous step returned; None at first.
        version: The version that answered these rows.
        losses: Loss per row, shape (n,).
        residuals: Truth minus answer per row for regression, shape (n,), else None.
        at: When each row was predicted, microseconds.
    """
    streams: dict[str, tuple[stats.Design, Floats]] = {
        "loss": (reference.loss_design, np.minimum(losses / reference.loss_scale, 1.0))
    }
    if reference.bias_design is not None and reference.residual_scale is not None and residuals is not None:
        scaled = np.clip(residuals / reference.residual_scale, -1.0, 1.0)
        streams["bias"] = (reference.bias_design, (scaled + 1.0) / 2.0)
    before = dict(state or {})
    kept: list[list[float]] = before.get("recent", [])
    signed = np.zeros(len(losses)) if residuals is None else residuals
    fed = zip(at, losses.tolist(), signed.tolist(), strict=True)
    rows = [*kept, *([int(moment), loss, residual] for moment, loss, residual in fed)]
    states: dict[str, Any] = {"recent": rows[-RECENT_ROWS:]}
    told: dict[str, int] = dict(before.get("told", {}))
    found: list[NewFinding] = []
    for name, (design, values) in streams.items():
        held = stats.State.from_dict(before[name]) if name in before else design.start()
        start = 0
        while start < len(values):
            step = stats.update(design, held, values[start:])
            held = step.state
            if step.alarm is None:
                break
            start += step.alarm + 1
            recent = np.asarray(rows[: len(kept) + start][-RECENT_ROWS:])
            moment = int(recent[-1, 0])
            if moment >= told.get(name, moment - QUIET) + QUIET:
                told[name] = moment
                found.append(_drop(reference, design, name, version, held, step.evidence, recent))
        states[name] = held.as_dict()
    states["told"] = told
    return DetectorStep(state=states, found=found)


def _drop(
    reference: LossReference,
    design: stats.Design,
    name: str,
    version: int,
    held: stats.State,
    evidence: float,
    recent: Floats,
) -> NewFinding:
    """`recent`: the newest labels up to the alarm, as rows of moment, loss, residual."""
    mean_loss, bias = float(recent[:, 1].mean()), float(recent[:, 2].mean())
    numbers: dict[str, Any] = {
        "detector": name,
        "labels_seen": held.observations,
        "alarms": held.alarms,
        "e_value": evidence,
        "threshold": design.threshold,
        "recent_rows": len(recent),
        "recent_mean_loss": mean_loss,
        "held_out_mean_loss": reference.mean_loss,
        "held_out_rows": reference.rows,
        "budget": f"at most one false alarm in {design.threshold:g} labels",
    }
    if name == "bias":
        numbers |= {"recent_bias": bias, "bias_tolerance": reference.bias_tolerance}
        says = f"version {version} answers too {'low' if bias > 0 else 'high'}: by {abs(bias):.3g}"
    else:
        says = f"version {version} is wrong more than when it was tested: mean loss {mean_loss:.3g}"
        says += f", {reference.mean_loss:.3g} then"
    says += (
        f" (newest {len(recent)} of {held.observations} labels; e-value {evidence:.3g}, {design.threshold:g} needed)"
    )
    return NewFinding(
        key=f"drop/{version}/{name}/{held.alarms}",
        version=version,
        kind="performance_drop",
        severity="critical",
        window_from=int(recent[:, 0].min()),
        window_to=int(recent[:, 0].max()) + 1,
        says=says,
        evidence=numbers,
    )


@dataclass(frozen=True, kw_only=True)
class Shift:
    """One column's counts in the reference and in a window, over the same bins."""

    column: str
    reference: Sequence[int]
    current: Sequence[int]


def find_shift(
    columns: Sequence[Shift],
    prediction: Shift | None,
    *,
    version: int,
    window_from: int,
    window_to: int,
    tolerance: float,
    min_rows: int,
    explain: Callable[[], Explained] | None = None,
) -> list[NewFinding]:
    """Test each column of one window against the version's reference, and the predictions as well.

    Columns are tested together: of the shifts reported, at most 5 % are false on average (Benjamini-Hochberg).
    `explain` tells what of the window is usual for its weekday and season; it is asked only where something shifted,
    and what it explains is told as information.
    """
    made: list[Explained] = []

    def explained() -> Explained:
        if not made:
            made.append(Explained() if explain is None else explain())
        return made[0]

    found: list[NewFinding] = []
    looked_at = [*columns, *([] if prediction is None else [prediction])]
    results = stats.tolerance_tests(
        [(shift.reference, shift.current) for shift in looked_at], tolerance=tolerance, min_rows=min_rows
    )
    tests = {shift.column: test for shift, test in zip(columns, results, strict=False)}  # the last is the prediction's
    decided = {name: test for name, test in tests.items() if test.p_value is not None}
    kept = stats.benjamini_hochberg([test.p_value or 0.0 for test in decided.values()], SHIFT_ALPHA).indices
    shifted = [list(decided)[index] for index in kept]
    table = {name: _numbers(test) for name, test in tests.items()}
    rows = sum(columns[0].current) if columns else 0
    untold = len(tests) - len(decided)
    if columns:
        usual = {name: why for name, why in explained().columns.items() if name in shifted} if shifted else {}
        ranked = sorted(set(shifted) - usual.keys(), key=lambda name: (-(tests[name].effect or 0.0), name))
        found.append(
            NewFinding(
                key=f"shift/{version}/{window_from}",
                version=version,
                kind="covariate_shift",
                severity="warn" if ranked else "info",
                window_from=window_from,
                window_to=window_to,
                says=_shifted_words(ranked, usual)
                + f" ({rows} rows, tolerance PSI {tolerance:g}"
                + (f"; too few rows to tell for {untold} of {len(tests)} columns)" if untold else ")"),
                evidence={
                    "shifted": ranked,
                    "columns": table,
                    "rows": rows,
                    "tolerance": tolerance,
                    **({"usual": usual} if usual else {}),
                    **({"changed_now": explained().changed_now} if shifted else {}),
                },
            )
        )
    if prediction is not None:
        test = results[-1]
        usual_answers = explained().prediction if test.decision == "shifted" else None
        is_shifted = test.decision == "shifted" and usual_answers is None
        found.append(
            NewFinding(
                key=f"prediction_shift/{version}/{window_from}",
                version=version,
                kind="prediction_shift",
                severity="warn" if is_shifted else "info",
                window_from=window_from,
                window_to=window_to,
                says=f"predictions {_VERB[test.decision]}: {test.reasons[0]}"
                + (f"; usual at this time: {usual_answers}" if usual_answers else ""),
                evidence=_numbers(test)
                | {"rows": sum(prediction.current)}
                | ({"usual": usual_answers} if usual_answers else {}),
            )
        )
    return found


_VERB = {"shifted": "shifted", "within tolerance": "did not shift", "undecided": "may or may not have shifted"}


def _shifted_words(shifted: Sequence[str], usual: Mapping[str, str]) -> str:
    told = f"inputs shifted: {', '.join(shifted)}" if shifted else "no input shifted beyond its tolerance"
    if usual:
        reasons = "; ".join(dict.fromkeys(usual.values()))
        told = f"{told if shifted else 'no input shifted beyond what is usual'}; usual at this time: "
        told += f"{', '.join(sorted(usual))} ({reasons})"
    return told


def _numbers(test: stats.Finding) -> dict[str, Any]:
    return {
        "decision": test.decision,
        "psi": test.statistic,
        "excess": test.effect,
        "p_value": test.p_value,
        "reference_rows": test.n,
        "window_rows": test.m,
    }
