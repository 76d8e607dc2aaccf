"""Would more data help, and was training stopped in time? Curves, and what they say in words."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np

from perennial.evaluate.answers import HeldOut, Ints
from perennial.evaluate.compare import compare, compared_by
from perennial.evaluate.material import Budget, Material
from perennial.evaluate.metrics import Metric, measure_on
from perennial.models.facts.evaluation import Curve

__all__ = ["learning_curve", "training_curves"]

PARTS = (0.1, 0.2, 0.4, 0.7, 1.0)
MIN_ROWS = 20  # fewer training rows are no part
HIGHER = ("auc", "acc", "score", "f1", "r2", "precision", "recall", "ndcg", "validation", "train")
LOWER = ("loss", "error", "err", "rmse", "mae", "mse", "mape", "rmsle", "deviance", "l1", "l2", "entropy", "nll")
OVERSHOOT = 0.05  # of what training gained: a line that ends so much below its best was trained beyond it
LAST_PART = 0.1  # of the iterations: a best one in there is the end


def learning_curve(
    metric: Metric, *, test: HeldOut, train: HeldOut, material: Material, budget: Budget, seed: int = 0
) -> tuple[list[Curve], list[str]]:
    """The metric on the test rows after training on parts of the training rows, each part within the next.

    The whole is the judged model. Parts are made of whole entities. A part that would not end within the budget, as
    those before it took, is left out and named.

    Args:
        metric: By which.
        test: Held-out rows with the judged model's answers.
        train: Training rows with its answers.
        material: Rows and the way to retrain.
        budget: Of time.
        seed: Of the order in which entities join.
    """
    assert material.fit is not None
    order = np.random.default_rng(seed).permutation(train.draws.units)
    joined = order[train.draws.unit]  # the place of each row's entity in that order
    seen: dict[int, tuple[HeldOut, HeldOut]] = {}
    left_out: list[int] = []
    per_row = 0.0
    for share in PARTS[:-1]:
        rows: Ints = np.flatnonzero(joined < share * train.draws.units).astype(np.int64)
        if len(rows) < MIN_ROWS:
            continue
        if not budget.allows(per_row * len(rows)):
            left_out.append(len(rows))
            continue
        began = time.monotonic()
        ask = material.fit(rows)
        answers, own = ask(material.requests), ask(material.train_frame.select(material.inputs)[rows])
        per_row = (time.monotonic() - began) / len(rows)
        seen[len(rows)] = (test.with_answers(answers), train.take(rows).with_answers(own))
    seen[len(train)] = (test, train)
    curves = [
        _curve(f"{metric.name} on {name}", {rows: pair[which] for rows, pair in seen.items()}, metric)
        for which, name in enumerate(("unseen rows", "training rows"))
    ]
    says = [
        f"learning curve: {rows} training rows were left out, retraining would have gone beyond its time"
        for rows in left_out
    ]
    return [curve for curve in curves if len(curve.x) > 1], [*says, *_more_data(metric, test, seen)]


def training_curves(recorded: Mapping[str, Sequence[float]]) -> tuple[list[Curve], list[str]]:
    """What the toolkit recorded while it trained, and where it should have stopped.

    A line that is best well before its end, and ends worse by more than a twentieth of what was gained, was trained
    beyond its best iteration. Lines of training rows do not do that, so it needs not be known which are which.
    """
    curves: list[Curve] = []
    says: list[str] = []
    for name, values in recorded.items():
        line = np.asarray(values, dtype=np.float64)
        if len(line) < 2 or not np.isfinite(line).all():
            continue
        curves.append(
            Curve(kind="training", name=name, x=[float(step + 1) for step in range(len(line))], y=line.tolist())
        )
        sign = 1.0 if _is_higher_better(name, line) else -1.0
        best = int(np.argmax(sign * line))
        gained, lost = sign * (line[best] - line[0]), sign * (line[best] - line[-1])
        if best < (1 - LAST_PART) * len(line) - 1 and lost > OVERSHOOT * max(gained, 1e-12):
            says.append(
                f"training went beyond its best: {name} is best at iteration {best + 1} of {len(line)} "
                f"({line[best]:.4g}) and {line[-1]:.4g} at the end"
            )
    return curves, says


def _curve(name: str, parts: Mapping[int, HeldOut], metric: Metric) -> Curve:
    rows = sorted(count for count, on in parts.items() if metric.why_not(on.truth, on.answers) is None)
    found = [measure_on(metric, parts[count]) for count in rows]
    has_ends = all(np.isfinite(one.low) for one in found)
    return Curve(
        kind="learning",
        name=name,
        x=[float(count) for count in rows],
        y=[one.estimate for one in found],
        low=[one.low for one in found] if has_ends else None,
        high=[one.high for one in found] if has_ends else None,
    )


def _more_data(metric: Metric, test: HeldOut, seen: Mapping[int, tuple[HeldOut, HeldOut]]) -> list[str]:
    """The whole against the largest part that is at most half of it, or else the largest there is."""
    whole = max(seen)
    smaller = [rows for rows in seen if rows <= whole / 2] or [rows for rows in seen if rows < whole]
    if not smaller:
        return []
    half = max(smaller)
    found = compare(metric, test.truth, seen[half][0].answers, test.answers, margin=0.0, clusters=test.clusters)
    gain = f"from {half} to {whole} training rows {compared_by(metric)} improves by {found.effect or 0.0:.4g}"
    if found.decision == "better":
        return [f"more data would help: {gain}"]
    return [f"more data would hardly help: {gain}, which may be chance"]


def _is_higher_better(name: str, line: np.ndarray) -> bool:
    word = name.lower()
    if any(part in word for part in LOWER):
        return False
    if any(part in word for part in HIGHER):
        return True
    return bool(line[-1] > line[0])
