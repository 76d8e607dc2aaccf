"""A card as Markdown with YAML front matter, the form in which model hubs show cards.

The front matter is written as JSON values, which are YAML too, so no text can end its line or begin another key.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from perennial.models.facts.evaluation import Estimate, Evaluation
from perennial.models.facts.markdown import markdown_table, markdown_text
from perennial.registry.card.facts import Card
from perennial.registry.card.words import day, figure, group, moment, named, told

__all__ = ["markdown"]

_TASKS = {"classification": "tabular-classification", "regression": "tabular-regression"}


def markdown(card: Card) -> str:
    """The card as text."""
    return "\n".join([*_front(card), *_body(card)]) + "\n"


def _front(card: Card) -> Iterable[str]:
    yield "---"
    about: dict[str, Any] = {
        "model_name": card.name,
        "library_name": card.package.kind if card.package else None,
        "pipeline_tag": _TASKS.get(card.task or ""),
        "tags": list(card.tags) or None,
        "datasets": [f"{data.name}@{data.version}" for data in card.lineage.datasets if data.version is not None]
        or None,
        "metrics": list(card.evaluation.test) if card.evaluation else None,
    }
    for key, value in about.items():
        if value is not None:
            yield f"{key}: {_yaml(value)}"
    if card.evaluation is not None:
        results: list[Mapping[str, Any]] = [
            {"type": name, "name": named(name), "value": found.value} for name, found in card.evaluation.test.items()
        ]
        data = next(iter(card.lineage.datasets), None)
        yield "model-index:"
        yield f"- name: {_yaml(f'{card.name} version {card.version}')}"
        yield "  results:"
        yield f"  - task: {_yaml({'type': _TASKS.get(card.task or '', card.task or 'other')})}"
        name = data.name if data is not None else "not recorded"
        yield f"    dataset: {_yaml({'name': name, 'type': name, 'revision': data.logical if data else ''})}"
        yield f"    metrics: {_yaml(results)}"
    yield "---"


def _body(card: Card) -> Iterable[str]:
    yield f"\n# {markdown_text(card.name)} version {card.version}: {card.state}\n"
    for text in (card.said.description, card.description):
        if text:
            yield f"{markdown_text(text)}\n"
    if card.decided_by:
        comment = f": “{markdown_text(card.comment)}”" if card.comment else ""
        yield f"{card.state.capitalize()} by {markdown_text(card.decided_by)} on {day(card.decided_at)}{comment}.\n"
    yield "## What it is for\n"
    yield from markdown_table(
        ("", ""),
        [
            ("purpose", card.said.purpose or "nobody has said"),
            ("limits", card.said.limits or "nobody has said"),
            ("answers for it", card.said.owner or "nobody has said"),
            ("risk class", card.said.risk or "nobody has said"),
            ("data, and by which right", card.said.data or "nobody has said"),
            ("looked at again by", card.said.review_by or "nobody has said"),
        ],
    )
    yield "## Data\n"
    rows = [
        (f"{data.name}@{data.version}" if data.version is not None else data.name, figure(data.rows), data.logical)
        for data in card.lineage.datasets
    ]
    yield from (
        markdown_table(("data", "rows", "digest"), rows) if rows else ["No dataset is recorded that it learned from.\n"]
    )
    yield "## How good it is\n"
    evaluation = card.evaluation
    if evaluation is None:
        yield "It was never evaluated here.\n"
    else:
        yield f"Measured on unseen rows: {markdown_text(evaluation.split)}. Intervals are 95 %.\n"
        beside = evaluation.baselines or ({"constant": evaluation.baseline} if evaluation.baseline else {})
        yield from markdown_table(
            ("metric", "unseen rows", "its training rows", *(f"baseline: {named(name)}" for name in beside)),
            [
                (
                    named(name),
                    told(found),
                    told(evaluation.train.get(name)),
                    *(told(other.get(name)) for other in beside.values()),
                )
                for name, found in evaluation.test.items()
            ],
        )
        for sentence in evaluation.says:
            yield f"- {markdown_text(sentence)}"
        yield from _slices(card)
        yield from _left_out(evaluation)
    yield "## What is required of it\n"
    verdicts = {True: "holds", False: "**fails**", None: "does not apply"}
    required = [(one.sentence, verdicts[one.passed], one.says) for one in card.requirements]
    if required:
        yield "| requirement | verdict | what was found |\n| --- | --- | --- |"
        for sentence, verdict, says in required:
            yield f"| {markdown_text(sentence)} | {verdict} | {markdown_text(says)} |"
        yield ""
    else:
        yield "Nothing was required of it.\n"
    if card.explanation is not None and card.explanation.importance:
        yield "## What drives its answers\n"
        yield from markdown_table(
            ("features", "rise of the loss when shuffled"),
            [
                (", ".join(one.features), f"{figure(one.rise)} ({figure(one.low)} to {figure(one.high)})")
                for one in card.explanation.importance
            ],
        )
    yield "## Where it comes from\n"
    lineage = card.lineage
    where = {
        "package": lineage.package,
        "run": lineage.run.id if lineage.run else None,
        "code": lineage.bundle,
        "declaration": lineage.declaration,
        "evaluation": lineage.evaluation,
        "environment": card.environment.digest if card.environment else None,
        "python": card.environment.python if card.environment else None,
        "serves as": (card.compilation.form or "native") if card.compilation else None,
    }
    yield from markdown_table(("", ""), [(key, value) for key, value in where.items() if value])
    decided = [(moment(one.at), one.what, one.by, one.comment) for one in lineage.decisions]
    decided += [
        (moment(span.since), "live" + (f" until {moment(span.until)}" if span.until else ""), span.by, "")
        for span in lineage.live
    ]
    if decided:
        yield from markdown_table(("when", "what", "who", "comment"), decided)
    yield "## What is not known\n"
    for sentence in card.missing or ["Everything that this card asks for is recorded."]:
        yield f"- {markdown_text(sentence)}"


def _slices(card: Card) -> Iterable[str]:
    evaluation = card.evaluation
    if evaluation is None or not (evaluation.slices or evaluation.fairness):
        return
    yield "\n### Groups of rows\n"
    rows: list[tuple[str, str, str]] = [
        (
            group(one.where),
            figure(one.rows),
            told(one.value) + (" (weak, confirmed)" if one.is_confirmed else ""),
        )
        for one in evaluation.slices
    ]
    for fairness in evaluation.fairness:
        for row in fairness.groups:
            found: Estimate | None = row.values.get(evaluation.metric)
            rows.append((f"{fairness.column} {row.group}", figure(row.rows), told(found)))
    yield from markdown_table(("group", "rows", named(evaluation.metric)), rows)


def _left_out(evaluation: Evaluation) -> Iterable[str]:
    if not evaluation.left_out:
        return
    yield "\n### On groups that it never saw\n"
    yield from markdown_table(
        ("group", "rows", f"{named(evaluation.metric)}, trained without it", "trained with it", "worse by"),
        [
            (f"{one.column} {one.group}", figure(one.value.rows), told(one.value), figure(one.inside), told(one.lost))
            for one in evaluation.left_out
        ],
    )


def _yaml(value: Any) -> str:
    """JSON whose texts YAML reads the same way: what does not print is escaped, and no HTML can be hidden in it."""
    plain = json.dumps(value, ensure_ascii=False)
    return "".join(sign if sign.isprintable() and sign not in "<>&" else f"\\U{ord(sign):08x}" for sign in plain)
