"""A card as a page: one HTML file with everything in it, which loads nothing, runs nothing, and reads well on paper.

Every text is escaped; the page forbids by its own policy whatever its templates do not hold.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from perennial.models.facts.evaluation import Curve, Estimate, Evaluation, LeftOut, Slice
from perennial.models.facts.verdict import Verdict
from perennial.registry.card import words
from perennial.registry.card.charts import (
    Line,
    calibration_chart,
    curves_chart,
    effect_chart,
    importance_chart,
    intervals,
)
from perennial.registry.card.facts import Card

__all__ = ["html", "policy"]

SLICES = 40  # that are drawn; the JSON form has all
IMPORTANCES = 20


def html(card: Card) -> str:
    """The page."""
    body = _environment().get_template("card.html").render(_values(card))
    return (
        _environment()
        .get_template("page.html")
        .render(
            title=f"{card.name} version {card.version}",
            style=Markup(_style()),  # noqa: S704  ours
            policy=policy(),
            body=Markup(body),  # noqa: S704  made by our template, which escapes
        )
    )


def policy() -> str:
    """The content security policy of the page: its own style sheet and nothing else."""
    sealed = base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{sealed}'; base-uri 'none'; form-action 'none'"


def _values(card: Card) -> dict[str, Any]:
    evaluation = card.evaluation
    return {
        "card": card,
        "evaluation": evaluation,
        "main": evaluation.test.get(evaluation.metric) if evaluation else None,
        "overview": _overview(card),
        "worth": _worth_a_look(card),
        "metrics": _metrics(evaluation) if evaluation else [],
        "baselines": _baselines(evaluation) if evaluation else {},
        "beside": _beside(evaluation) if evaluation else Markup(),
        "curves": _curves(evaluation) if evaluation else [],
        "slices": _slices(evaluation) if evaluation else [],
        "searched": [one for one in evaluation.slices if one.found_by != "column"] if evaluation else [],
        "fairness": [(one, _groups(evaluation, one)) for one in evaluation.fairness] if evaluation else [],
        "calibration": [(one, calibration_chart(one, f"calibration of {one.of}")) for one in evaluation.calibration]
        if evaluation
        else [],
        "robust": _robust(evaluation) if evaluation else Markup(),
        "left_out": _left_out(evaluation) if evaluation else [],
        "importance": importance_chart(
            card.explanation.importance[:IMPORTANCES], "how much the loss rises without each feature"
        )
        if card.explanation
        else Markup(),
        "effects": [
            (one, effect_chart(one, f"how the answer moves with {one.feature}")) for one in card.explanation.effects
        ]
        if card.explanation
        else [],
        "requirements": [(verdict, words.evidence(verdict.evidence)) for verdict in card.requirements],
        "digest": hashlib.sha256(msgspec.json.encode(card, order="deterministic")).hexdigest(),
    }


def _overview(card: Card) -> list[tuple[str, str, str]]:
    """What a reader looks for first: label, value, what stands below it."""
    told: list[tuple[str, str, str]] = []
    evaluation = card.evaluation
    if evaluation is not None:
        for name in [evaluation.metric, *(name for name in evaluation.test if name != evaluation.metric)][:2]:
            found = evaluation.test.get(name)
            if found is not None:
                told.append((words.named(name), words.figure(found.value), words.ends(found)))
        rows = evaluation.test.get(evaluation.metric)
        if rows is not None:
            told.append(("tested on", f"{rows.rows:,}", "rows it had not seen"))
    if card.requirements:
        passed = sum(verdict.passed is True for verdict in card.requirements)
        apply = sum(verdict.passed is not None for verdict in card.requirements)
        told.append(("requirements", f"{passed} of {apply}", "hold"))
    learned = card.lineage.datasets[0] if card.lineage.datasets else None
    if learned is not None and learned.rows is not None:
        told.append(("learned from", f"{learned.rows:,}", f"rows of {learned.name}@{learned.version}"))
    return told


def _worth_a_look(card: Card) -> list[tuple[str, str]]:
    """What a reviewer must not miss, gravest first: (weight, sentence)."""
    told = [
        ("grave", f"{verdict.sentence}: {verdict.says}") for verdict in card.requirements if verdict.passed is False
    ]
    look = card.lineage.judged_by
    if look is not None and look.number > look.planned:
        used_up = f"Look {look.number} at a test set that is good for {look.planned}: its result may be luck."
        told.append(("grave", used_up))
    evaluation = card.evaluation
    if evaluation is not None:
        if evaluation.overfits and evaluation.overfits not in evaluation.says:
            told.append(("mild", f"It overfits: {evaluation.overfits}"))
        told += [("mild", sentence) for sentence in evaluation.says]
    if card.package is not None and card.package.runs_code:
        told.append(("light", f"Loading it can run code that is in it ({card.package.kind}, {card.package.saved_as})."))
    return told


def _metrics(evaluation: Evaluation) -> list[tuple[str, Estimate | None, Estimate | None]]:
    names = dict.fromkeys([evaluation.metric, *evaluation.test, *evaluation.train])
    return [(name, evaluation.test.get(name), evaluation.train.get(name)) for name in names]


def _baselines(evaluation: Evaluation) -> dict[str, dict[str, Estimate]]:
    if evaluation.baselines:
        return evaluation.baselines
    return {"constant": evaluation.baseline} if evaluation.baseline else {}


def _line(label: str, found: Estimate, kind: str = "now") -> Line:
    return Line(label, found.value, found.low, found.high, f"{words.figure(found.value)}", kind)


def _beside(evaluation: Evaluation) -> Markup:
    """The main metric of the model, on rows it saw, and of the trivial baselines."""
    metric = evaluation.metric
    lines: list[Line] = []
    if metric in evaluation.test:
        lines.append(_line("this model, unseen rows", evaluation.test[metric]))
    if metric in evaluation.train:
        lines.append(_line("this model, its training rows", evaluation.train[metric], "faint"))
    lines += [
        _line(f"baseline: {words.named(name)}", found[metric], "faint")
        for name, found in _baselines(evaluation).items()
        if metric in found
    ]
    return intervals(lines, f"{words.named(metric)} of the model and of trivial baselines")


def _curves(evaluation: Evaluation) -> list[tuple[str, Markup]]:
    kinds: dict[str, list[Curve]] = {}
    for curve in evaluation.curves:
        kinds.setdefault(curve.kind, []).append(curve)
    x_names = {"learning": "rows it learned from", "training": "iteration"}
    return [
        (
            {"learning": "With more rows", "training": "While it was trained"}.get(kind, kind),
            curves_chart(found, f"{kind} curves", x_name=x_names.get(kind, "")),
        )
        for kind, found in kinds.items()
    ]


def _slices(evaluation: Evaluation) -> list[tuple[str, Markup, int]]:
    """A chart for each column by whose values rows were grouped, and how many groups are not drawn."""
    by: dict[str, list[Slice]] = {}
    for one in evaluation.slices:
        if one.found_by == "column":
            by.setdefault(", ".join(one.where), []).append(one)
    overall = evaluation.test.get(evaluation.metric)
    drawn: list[tuple[str, Markup, int]] = []
    for column, found in by.items():
        lines = [
            Line(
                ", ".join(one.where.values()),
                one.value.value,
                one.value.low,
                one.value.high,
                f"{words.figure(one.value.value)}, {one.rows:,} rows",
                "bad" if one.is_confirmed else "now" if one.value.low is not None else "faint",
            )
            for one in found[:SLICES]
        ]
        middle = overall.value if overall is not None else None
        says = f"{words.named(evaluation.metric)} by {column}"
        chart = intervals(lines, says, middle=middle, middle_says=f"all rows: {words.figure(middle)}")
        drawn.append((column, chart, max(0, len(found) - SLICES)))
    return drawn


def _groups(evaluation: Evaluation, fairness: Any) -> Markup:
    lines = [
        Line(
            row.group,
            row.values[evaluation.metric].value,
            row.values[evaluation.metric].low,
            row.values[evaluation.metric].high,
            f"{words.figure(row.values[evaluation.metric].value)}, {row.rows:,} rows",
            "faint" if not row.is_judged else "bad" if row.group == fairness.worst else "now",
        )
        for row in fairness.groups
        if evaluation.metric in row.values
    ]
    return intervals(lines, f"{words.named(evaluation.metric)} by {fairness.column}")


def _robust(evaluation: Evaluation) -> Markup:
    lines = [
        Line(
            f"{words.named(one.disturbance)}, {words.figure(one.level)}",
            one.value.value,
            one.value.low,
            one.value.high,
            f"{words.figure(one.value.value)}, {words.percent(one.changed)} change",
        )
        for one in evaluation.robustness
    ]
    overall = evaluation.test.get(evaluation.metric)
    middle = overall.value if overall is not None else None
    return intervals(
        lines,
        f"{words.named(evaluation.metric)} with disturbed inputs",
        middle=middle,
        middle_says=f"undisturbed: {words.figure(middle)}",
    )


def _left_out(evaluation: Evaluation) -> list[tuple[str, Markup, list[LeftOut]]]:
    """For each column a chart of its groups and the groups themselves."""
    by: dict[str, list[LeftOut]] = {}
    for one in evaluation.left_out:
        by.setdefault(one.column, []).append(one)
    return [
        (column, intervals([_line(one.group, one.value) for one in found], f"left out by {column}"), found)
        for column, found in by.items()
    ]


def _verdict(verdict: Verdict) -> str:
    return {True: "holds", False: "fails", None: "does not apply"}[verdict.passed]


@cache
def _environment() -> Environment:
    pages = Environment(
        loader=PackageLoader("perennial.registry.card", "page_parts"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., str]] = {
        name: getattr(words, name)
        for name in ("day", "ends", "figure", "group", "moment", "named", "percent", "p_value", "short", "size", "told")
    }
    pages.filters.update(filters | {"verdict": _verdict, "joined": _joined, "begun": _begun})
    return pages


def _joined(values: Sequence[str], most: int = 8) -> str:
    cut = len(values) - most
    return ", ".join(values[:most]) + (f" and {cut} more" if cut > 0 else "")


def _begun(sentence: str) -> str:
    """With a capital letter first; `capitalize` would make the rest small."""
    return sentence[:1].upper() + sentence[1:]


@cache
def _style() -> str:
    return _environment().get_template("style.css").render()
