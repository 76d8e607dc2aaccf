"""A card as a bill of materials: CycloneDX 1.6, one component of type machine-learning-model with its model card.

What it was trained on and what was installed are components too. Two bills of the same facts are the same bytes: the
serial number is made of them.
"""

from __future__ import annotations

import hashlib
import uuid
from typing import Any

import msgspec

from perennial.clock import iso
from perennial.registry.card.facts import Card
from perennial.types import Micros

__all__ = ["SPEC", "cyclonedx"]

SPEC = "1.6"


def cyclonedx(card: Card) -> dict[str, Any]:
    """The bill, as JSON values."""
    digest = hashlib.sha256(msgspec.json.encode(card, order="deterministic")).digest()
    model = _model(card)
    data = [_data(card, place) for place in range(len(card.lineage.datasets))]
    libraries = _libraries(card)
    return {
        "$schema": f"http://cyclonedx.org/schema/bom-{SPEC}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": SPEC,
        "serialNumber": f"urn:uuid:{uuid.UUID(bytes=digest[:16], version=5)}",
        "version": 1,
        "metadata": {"timestamp": iso(Micros(card.registered)), "component": model},
        "components": [*data, *libraries],
        "dependencies": [
            {"ref": model["bom-ref"], "dependsOn": [part["bom-ref"] for part in (*data, *libraries)]},
            *({"ref": part["bom-ref"]} for part in (*data, *libraries)),
        ],
    }


def _model(card: Card) -> dict[str, Any]:
    component: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": f"model/{card.name}/{card.version}",
        "name": card.name,
        "version": str(card.version),
        "modelCard": _model_card(card),
        "properties": _properties(card),
    }
    if card.said.description or card.description:
        component["description"] = card.said.description or card.description
    if card.package is not None:
        component["hashes"] = [{"alg": "BLAKE3", "content": card.package.digest}]
    return component


def _model_card(card: Card) -> dict[str, Any]:
    parameters: dict[str, Any] = {
        "datasets": [{"ref": f"data/{place}"} for place in range(len(card.lineage.datasets))],
        "inputs": [{"format": f"{field.name}: {field.type}"} for field in card.inputs if field.is_used],
        "outputs": [{"format": card.target}] if card.target else [],
    }
    if card.task is not None:
        parameters["task"] = card.task
    if card.package is not None:
        parameters["modelArchitecture"] = f"{card.package.kind}, {card.package.saved_as}"
    told: dict[str, Any] = {"modelParameters": {key: value for key, value in parameters.items() if value}}
    if card.evaluation is not None:
        told["quantitativeAnalysis"] = {"performanceMetrics": _metrics(card)}
    considerations: dict[str, Any] = {
        "useCases": [card.said.purpose] if card.said.purpose else [],
        "technicalLimitations": [text for text in (card.said.limits, *_says(card)) if text],
        "fairnessAssessments": [
            {"groupAtRisk": f"{one.column}: {one.worst}", "harms": "the answers are worst for this group"}
            for one in (card.evaluation.fairness if card.evaluation else ())
            if one.worst
        ],
    }
    if any(considerations.values()):
        told["considerations"] = {key: value for key, value in considerations.items() if value}
    return told


def _says(card: Card) -> list[str]:
    return [*(card.evaluation.says if card.evaluation else ()), *card.missing]


def _metrics(card: Card) -> list[dict[str, Any]]:
    evaluation = card.evaluation
    assert evaluation is not None
    parts = [("", evaluation.test), ("training rows", evaluation.train)]
    parts += [(f"baseline {name}", found) for name, found in evaluation.baselines.items()]
    sliced = [
        (", ".join(f"{column}={value}" for column, value in one.where.items()), {evaluation.metric: one.value})
        for one in evaluation.slices
    ]
    told: list[dict[str, Any]] = []
    for of, found in [*parts, *sliced]:
        for name, estimate in found.items():
            metric: dict[str, Any] = {"type": name, "value": repr(estimate.value)}
            if of:
                metric["slice"] = of
            if estimate.low is not None and estimate.high is not None:
                metric["confidenceInterval"] = {
                    "lowerBound": repr(estimate.low),
                    "upperBound": repr(estimate.high),
                }
            told.append(metric)
    return told


def _data(card: Card, place: int) -> dict[str, Any]:
    data = card.lineage.datasets[place]
    return {
        "type": "data",
        "bom-ref": f"data/{place}",
        "name": data.name,
        "version": str(data.version) if data.version is not None else data.logical[:12],
        "data": [{"type": "dataset", "name": data.name}],
        "properties": [
            {"name": f"perennial:{key}", "value": str(value)}
            for key, value in (("logical", data.logical), ("rows", data.rows), ("columns", data.columns))
            if value is not None
        ],
    }


def _libraries(card: Card) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for line in card.environment.distributions if card.environment is not None else ():
        name, _, version = line.partition("==")
        if name and version:
            purl = f"pkg:pypi/{name}@{version}"
            found.append({"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl})
    return found


def _properties(card: Card) -> list[dict[str, str]]:
    about = {
        "state": card.state,
        "decided_by": card.decided_by,
        "comment": card.comment,
        "owner": card.said.owner,
        "risk": card.said.risk,
        "review_by": card.said.review_by,
        "retire_by": card.said.retire_by,
        "run": card.lineage.run.id if card.lineage.run else None,
        "code": card.lineage.bundle,
        "declaration": card.lineage.declaration,
        "evaluation": card.lineage.evaluation,
        "form": card.compilation.form if card.compilation else None,
    }
    told = [{"name": f"perennial:{key}", "value": value} for key, value in about.items() if value]
    verdicts = {True: "holds", False: "fails", None: "does not apply"}
    return told + [
        {"name": "perennial:requirement", "value": f"{verdicts[one.passed]}: {one.sentence}: {one.says}"}
        for one in card.requirements
    ]
