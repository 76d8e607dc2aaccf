"""Everything measured of one model on one held-out set, as it is stored (`models.facts.evaluation`).

Metrics with intervals, the gap to training, trivial baselines, calibration, slices, fairness, robustness, curves, what
happens without a group, and the live version on the same rows. Each part needs what it needs: without the rows there
are no slices, without a way to retrain no learning curve. Sentences that a reviewer should read are in `says`.

Bounds: training rows are measured on at most 200,000 of them, disturbances on 20,000, the search for weak slices looks
at 200,000 of its half; everything else uses all rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from perennial import stats
from perennial.evaluate.answers import HeldOut
from perennial.evaluate.baselines import baselines
from perennial.evaluate.calibration import calibration
from perennial.evaluate.columns import grouped, grouped_columns
from perennial.evaluate.compare import compare, compare_slices, compared_by, comparison
from perennial.evaluate.curves import learning_curve, training_curves
from perennial.evaluate.fairness import fairness
from perennial.evaluate.leave_out import leave_groups_out, rolling_origin
from perennial.evaluate.material import Budget, Live, Material
from perennial.evaluate.metrics import Metric, loss_of, measure_on, metrics_of
from perennial.evaluate.robustness import robustness
from perennial.evaluate.slices import search_slices, slice_metric, slice_table, weak_slices_say
from perennial.loop.declaration import EvaluatePolicy
from perennial.models.facts.evaluation import Comparison, Estimate, Evaluation

__all__ = ["Estimate", "Evaluation", "HeldOut", "evaluate", "main_metric"]

OVERFITTING_RATIO = 1.5  # a test loss this many times the training loss is named overfitting when intervals are apart
TRAIN_ROWS = 200_000  # of the training rows, taken evenly: the gap is not known better by more


def main_metric(task: str) -> str:
    """The metric that stands for a task where none is named."""
    return "rmse" if task == "regression" else "accuracy"


def evaluate(
    task: str,
    *,
    test: HeldOut,
    train: HeldOut,
    split: str,
    answers: str | None = None,
    material: Material | None = None,
    live: Live | None = None,
    policy: EvaluatePolicy | None = None,
) -> Evaluation:
    """Measure a model on the rows held out, on those it was fitted to, and beside trivial and live models.

    Args:
        task: "regression" or "classification".
        test: Rows the model has not seen.
        train: Rows it was fitted to.
        split: How the two were divided, in words.
        answers: Digest of the stored answers to the test rows.
        material: The rows themselves and ways to ask and retrain; without it what needs them is left out.
        live: The live version's answers, where there is one and some rows are new to it.
        policy: What the loop asks for beyond the defaults.

    Raises:
        LoopError: The policy names a column that there is not.
    """
    policy = policy or EvaluatePolicy()
    test = test.coded(train.answers.classes)  # one coding, labels that only one of the two has included
    train = train.coded(test.answers.classes)
    chosen = next(metric for metric in metrics_of(task, test) if metric.name == main_metric(task))
    found = _Found()
    on_test, on_train = _measured(task, test), _measured(task, _some(train))
    overfits = _overfits(task, test, train) if _are_apart(on_test[chosen.name], on_train[chosen.name]) else None
    if overfits is not None:
        found.says.append(f"it overfits: {overfits}")
    trivial, saved = _beside_trivial(chosen, test, train, material, found)
    if live is not None:
        _beside_live(chosen, test, live, material, policy, found)
    found.parts["calibration"] = calibration(task, test)
    if material is not None:
        _of_rows(task, chosen, test, material, policy, found)
        _by_retraining(chosen, test, train, material, policy, found)
    return Evaluation(
        task=task,
        metric=chosen.name,
        split=split,
        test=on_test,
        train=on_train,
        baseline=trivial["constant"],
        saved_over_baseline=saved.as_dict(),
        overfits=overfits,
        answers=answers,
        baselines=trivial,
        comparisons=found.comparisons,
        says=found.says,
        **found.parts,
    )


@dataclass
class _Found:
    """What the parts add to an evaluation."""

    says: list[str] = field(default_factory=list[str])
    comparisons: list[Comparison] = field(default_factory=list[Comparison])
    parts: dict[str, Any] = field(default_factory=dict[str, Any])


def _beside_trivial(
    chosen: Metric, test: HeldOut, train: HeldOut, material: Material | None, found: _Found
) -> tuple[dict[str, dict[str, Estimate]], stats.Finding]:
    measured: dict[str, dict[str, Estimate]] = {}
    findings: dict[str, stats.Finding] = {}
    for name, made in baselines(chosen.task, test=test, train=train, material=material).items():
        on = test.with_answers(made)
        measured[name] = _measured(chosen.task, on)
        one = compare(chosen, test.truth, made, test.answers, margin=0.0, clusters=test.clusters)
        findings[name] = one
        found.comparisons.append(comparison(chosen, one, f"the {name} baseline", 0.0))
        if one.decision == "inferior":
            found.says.append(f"the {name} baseline is better: {found.comparisons[-1].says}")
        elif one.decision != "better":
            found.says.append(f"no better than the {name} baseline: {found.comparisons[-1].says}")
    return measured, findings["constant"]


def _beside_live(
    chosen: Metric, test: HeldOut, live: Live, material: Material | None, policy: EvaluatePolicy, found: _Found
) -> None:
    on = test.take(live.fresh)
    one = compare(chosen, on.truth, live.answers, on.answers, margin=0.0, clusters=on.clusters)
    found.comparisons.append(comparison(chosen, one, live.name, 0.0))
    if material is None:
        return
    for column in policy.groups:
        made = grouped(material.test_frame[column]) if column in material.test_frame.columns else None
        if made is None:
            continue  # `fairness` says so
        codes = made.codes[live.fresh]
        slices = {f"{column} = {label}": codes == code for code, label in enumerate(made.labels)}
        for name, finding in compare_slices(chosen, on, live.answers, slices, margin=0.0).items():
            found.comparisons.append(comparison(chosen, finding, f"{live.name} where {name}", 0.0))
            if finding.decision == "inferior":
                found.says.append(
                    f"worse than {live.name} where {name}: {compared_by(chosen)} falls behind by "
                    f"{-(finding.effect or 0.0):.4g}"
                )


def _of_rows(
    task: str, chosen: Metric, test: HeldOut, material: Material, policy: EvaluatePolicy, found: _Found
) -> None:
    frame = material.test_frame
    names = [name for name in (material.key, material.time) if name is not None]
    columns = grouped_columns(frame, leave_out=names)
    table, searched = slice_table(task, test, columns), search_slices(task, test, columns)
    found.parts["slices"] = [*table, *searched]
    found.says += weak_slices_say(table, slice_metric(task)) + weak_slices_say(searched, slice_metric(task))
    found.parts["fairness"], says = fairness(task, test, frame, policy.groups)
    found.says += says
    if policy.robustness:
        found.parts["robustness"] = robustness(
            chosen, test, material.requests, material.ask, nullable=material.nullable
        )


def _by_retraining(
    chosen: Metric, test: HeldOut, train: HeldOut, material: Material, policy: EvaluatePolicy, found: _Found
) -> None:
    curves, says = training_curves(material.training)
    if material.fit is None:
        if policy.learning_curve or policy.leave_out or policy.time_split:
            says.append("no learning curve, no group left out, no time split: this model cannot be trained again here")
    else:
        budget = Budget(policy.budget_s)
        if policy.leave_out:
            found.parts["left_out"], told = leave_groups_out(
                chosen, test=test, train=train, material=material, columns=policy.leave_out, budget=budget
            )
            says += told
        if policy.learning_curve:
            made, told = learning_curve(chosen, test=test, train=train, material=material, budget=budget)
            curves, says = [*curves, *made], [*says, *told]
        if policy.time_split and material.time is not None:
            made, told = rolling_origin(chosen, train=train, material=material, budget=budget)
            curves, says = [*curves, *made], [*says, *told]
    found.parts["curves"] = curves
    found.says += says


def _some(train: HeldOut) -> HeldOut:
    if len(train) <= TRAIN_ROWS:
        return train
    return train.take(np.linspace(0, len(train) - 1, TRAIN_ROWS).astype(np.int64))


def _measured(task: str, on: HeldOut) -> dict[str, Estimate]:
    return {metric.name: _estimate(metric, on) for metric in metrics_of(task, on)}


def _estimate(metric: Metric, on: HeldOut) -> Estimate:
    interval = measure_on(metric, on)
    return Estimate(
        value=interval.estimate,
        low=interval.low if np.isfinite(interval.low) else None,
        high=interval.high if np.isfinite(interval.high) else None,
        rows=len(on),
    )


def _are_apart(a: Estimate, b: Estimate) -> bool:
    if a.low is None or a.high is None or b.low is None or b.high is None:
        return False
    return a.low > b.high or a.high < b.low


def _overfits(task: str, test: HeldOut, train: HeldOut) -> str | None:
    unseen, seen = (float(loss_of(task, part.truth, part.answers).mean()) for part in (test, train))
    if unseen <= OVERFITTING_RATIO * seen:
        return None
    name = "mean squared error" if task == "regression" else "error rate"
    return (
        f"the {name} on unseen rows ({unseen:.4g}) is {unseen / seen:.1f} times that on the training rows ({seen:.4g})"
        if seen > 0
        else f"no error on the training rows, {unseen:.4g} {name} on unseen rows"
    )
