"""Calibrate intervals and thresholds of risk on rows that the answering fit has not seen.

`Calibration` brings these rows, their truth and the answers; they are never the rows that judge the candidate, which
only measure afterwards what came of it. A fit or a parameter that was chosen on the calibration rows makes both
optimistic; the code of the loop is the only one who could do so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial import stats
from perennial.errors import DataError
from perennial.models.guards.conformal import absolute_scores, aps_scores, kept, lac_scores, quantile_scores, rank
from perennial.models.guards.fitted import Conformal, Fitted, NumberColumn, Risk
from perennial.models.guards.intervals import Intervals, features
from perennial.models.guards.rows import column_values, matrix_of
from perennial.models.guards.spec import FailSafe, Uncertain
from perennial.models.signature import Signature

__all__ = ["Answered", "Calibration", "calibrated", "measured", "needs_calibration", "risks", "says_conformal"]

Floats = NDArray[np.float64]

MIN_ROWS_FOR_HEADS = 300  # calibration rows from which the width of intervals follows the row
HEADS_SHARE = 1 / 3
MAX_HEAD_ROWS = 2_000
MAX_HEAD_COLUMNS = 64


@dataclass(frozen=True, kw_only=True)
class Answered:
    """Rows with their truth, and what a fit that has not seen them answers.

    `frame`: as requests have them; `truth`: the target; `values`: numbers, for a regression; `probabilities`: shape
    (n, k) in the order of `classes`, the labels of a classification.
    """

    frame: pl.DataFrame
    truth: NDArray[Any]
    values: Floats | None = None
    probabilities: Floats | None = None
    classes: Sequence[Any] = ()


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """`rows` calibrate; `test` only measures what came of it; `says` tells in words which rows both are."""

    rows: Answered
    test: Answered
    says: str


def needs_calibration(failsafe: FailSafe) -> bool:
    """Whether answers to unseen rows are needed, and so one more fit."""
    return failsafe.interval is not None or any(
        isinstance(guard, Uncertain) and guard.risk is not None for guard in failsafe.guards
    )


def calibrated(
    failsafe: FailSafe,
    signature: Signature,
    numbers: Sequence[NumberColumn],
    calibration: Calibration,
    arrays: dict[str, NDArray[Any]],
) -> Conformal:
    """The scores of the calibration rows go to `arrays`; what they are is returned."""
    policy, rows = failsafe.interval, calibration.rows
    assert policy is not None
    alpha = 1.0 - policy.level
    keep = np.arange(rows.frame.height)
    if signature.task == "classification":
        if rows.probabilities is None:
            raise DataError(
                "loop.interval() needs the probabilities of a classification, and this model gives labels only",
                remedy="train a model that gives probabilities, or take loop.interval() away",
            )
        every = aps_scores(rows.probabilities) if policy.sets == "aps" else lac_scores(rows.probabilities)
        found, kind = every[keep, _positions(rows)], policy.sets
    else:
        assert rows.values is not None
        found, kind = absolute_scores(rows.truth, rows.values), "absolute"
        if len(found) >= MIN_ROWS_FOR_HEADS and numbers:
            found, keep = _quantile(rows, matrix_of(rows.frame, numbers), alpha, arrays)
            kind = "quantile"
    arrays["conformal_all"] = kept(found)
    groups: list[Any] = []
    if policy.by is not None:
        is_class = policy.by == "class"
        named: list[Any] = rows.truth[keep].tolist() if is_class else column_values(rows.frame, policy.by, keep)
        groups = list(rows.classes) if is_class else sorted(set(named) - {None}, key=str)
        for at, group in enumerate(groups):
            arrays[f"conformal_{at}"] = kept(found[[value == group for value in named]])
    return Conformal(score=kind, by=policy.by, groups=groups, rows=len(found), level=policy.level)


def _quantile(
    rows: Answered, matrix: Floats, alpha: float, arrays: dict[str, NDArray[Any]]
) -> tuple[Floats, NDArray[np.int64]]:
    """Two linear quantiles of what the answers miss, learned on a third of the rows, and the scores of the others."""
    from sklearn.linear_model import QuantileRegressor

    assert rows.values is not None
    order = np.random.default_rng(0).permutation(len(matrix))
    first = min(int(len(order) * HEADS_SHARE), MAX_HEAD_ROWS)
    learn, keep = order[:first], np.sort(order[first:])
    # Of very many columns none: the answer itself says most about how far it may be off.
    columns = matrix if matrix.shape[1] <= MAX_HEAD_COLUMNS else np.zeros_like(matrix)
    table = np.column_stack([rows.values, columns])[learn]
    table = np.where(np.isnan(table), np.nanmean(np.where(np.isfinite(table), table, 0.0), axis=0), table)
    arrays["conformal_center"] = table.mean(axis=0)
    spread = table.std(axis=0)
    arrays["conformal_scale"] = np.where(spread > 0, spread, np.inf)  # what did not vary tells nothing
    if matrix.shape[1] > MAX_HEAD_COLUMNS:
        arrays["conformal_scale"][1:] = np.inf
    given = features(rows.values, matrix, arrays)
    missed = np.asarray(rows.truth, dtype=np.float64) - rows.values
    heads: list[Floats] = []
    for share in (alpha / 2, 1 - alpha / 2):
        head = QuantileRegressor(quantile=share, alpha=1e-3, fit_intercept=False)
        heads.append(head.fit(given[learn], missed[learn]).coef_)
    arrays["conformal_heads"] = np.stack(heads)
    bounds = rows.values[:, None] + given @ arrays["conformal_heads"].T
    return quantile_scores(rows.truth, bounds[:, 0], bounds[:, 1])[keep], keep


def measured(fitted: Fitted, conformal: Conformal, test: Answered) -> Conformal:
    """The same with the share of test rows whose truth was held."""
    if not test.frame.height:
        return conformal
    lookup = Intervals(fitted, 1.0 - conformal.level, test.classes)
    named = None if conformal.by in (None, "class") else column_values(test.frame, conformal.by)
    if test.probabilities is not None:
        members = lookup.members(test.probabilities, named)
        inside, sizes = members[np.arange(len(members)), _positions(test)], members.sum(axis=1)
    else:
        assert test.values is not None
        bounds = lookup.bounds(test.values, matrix_of(test.frame, fitted.numbers), named)
        truth = np.asarray(test.truth, dtype=np.float64)
        inside, sizes = (bounds[:, 0] <= truth) & (truth <= bounds[:, 1]), bounds[:, 1] - bounds[:, 0]
    size = float(sizes.mean())
    return msgspec.structs.replace(
        conformal, covered=float(inside.mean()), tested=len(inside), size=size if np.isfinite(size) else None
    )


def says_conformal(conformal: Conformal, calibration: Calibration) -> str:
    """What the intervals promise and on which rows, in a sentence."""
    kinds = {
        "absolute": "intervals of one width",
        "quantile": "intervals whose width follows the row",
        "lac": "sets of the labels that are probable enough",
        "aps": "sets of labels until their probabilities are enough",
    }
    told = f"{kinds[conformal.score]} hold the truth of {conformal.level:g} of the rows like {conformal.rows} that "
    told += f"calibrated them: {calibration.says}"
    if rank(conformal.rows, 1.0 - conformal.level) > conformal.rows:
        told += "; they are too few for this level, so that intervals are without end and sets hold every label"
    return told


def risks(failsafe: FailSafe, signature: Signature, calibration: Calibration) -> list[Risk]:
    """The threshold of each `guard.uncertain(risk=...)`.

    Raises:
        DataError: It asks for probabilities that there are none of, or for a risk that cannot be shown to be kept.
    """
    asked = [guard for guard in failsafe.guards if isinstance(guard, Uncertain) and guard.risk is not None]
    if not asked:
        return []
    rows = calibration.rows
    if signature.task != "classification" or rows.probabilities is None:
        raise DataError(
            "guard.uncertain(risk=...) needs the probabilities of a classification",
            remedy="for a regression say guard.uncertain(wider_than=...) and loop.interval()",
        )
    wrong = rows.probabilities.argmax(axis=1) != _positions(rows)
    found: list[Risk] = []
    for guard in asked:
        assert guard.risk is not None
        chosen = stats.risk_threshold(
            rows.probabilities.max(axis=1), wrong, risk=guard.risk, alpha=1.0 - guard.confidence
        )
        if chosen.threshold is None:
            raise DataError(
                f"no threshold keeps the share of wrong labels within {guard.risk:g} with confidence "
                f"{guard.confidence:g}: of the surest {chosen.rows} of {len(wrong)} calibration rows {chosen.risk:.3g} "
                f"are wrong, at most {chosen.upper:.3g}",
                remedy="allow a higher risk or less confidence, or collect more rows",
            )
        found.append(
            Risk(
                risk=guard.risk,
                confidence=guard.confidence,
                threshold=chosen.threshold,
                coverage=chosen.coverage,
                selective_risk=chosen.risk,
                upper=chosen.upper,
                rows=chosen.rows,
            )
        )
    return found


def _positions(rows: Answered) -> NDArray[np.int64]:
    at = {label: position for position, label in enumerate(rows.classes)}
    return np.array([at[label] for label in rows.truth.tolist()])
