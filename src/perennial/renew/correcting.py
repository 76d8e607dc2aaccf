"""Correct a version's answers for new shares of its classes: a new version at once, made without training.

What is needed is known when a window's diagnosis says so: how often each class occurs now, estimated from the answers
alone, and that nothing but the shares has moved (the gate of `stats.label_shift`). The version is then made as any
other, from the code and data of the one it corrects; every step of its training is found in the cache. It is judged on
held-out rows with the classes in their new shares, and goes through the same requirements, approval and stages.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, cast

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa
from msgspec import Struct
from numpy.typing import NDArray

from perennial.data.frames import native
from perennial.data.tables import read_table
from perennial.errors import DataError, Refused
from perennial.loop.declaration import Declaration
from perennial.loop.graph import Wiring
from perennial.models.facts.verdict import Verdict
from perennial.models.flavors.flavor import Label
from perennial.models.guards.calibrating import needs_calibration
from perennial.models.guards.spec import FailSafe
from perennial.models.package import PackageManifest, read_manifest
from perennial.models.priors import PRIOR, Priors, PriorStep
from perennial.models.signature import Signature
from perennial.monitor.sample import Sample
from perennial.pipeline.execute import Execution
from perennial.registry.versions import ModelVersion, package_of
from perennial.renew.collecting import Collected, dataset_name
from perennial.renew.rooms import Rooms
from perennial.stats.label_shift import LabelShift, estimate_priors
from perennial.store.decoding import ready
from perennial.types import JSON, Digest

__all__ = [
    "Corrected",
    "Correction",
    "corrected_of",
    "correction_of",
    "provenance_of",
    "recollected",
    "shares_now",
    "thinned",
]

LEAST = 100  # held-out rows that are left in the new shares, below which a correction could not be judged


class Correction(Struct, frozen=True, kw_only=True):
    """What a decision to correct rests on, kept as its evidence and with the version.

    Attributes:
        version: That is corrected.
        classes: Labels, in the order of all lists here.
        scale: Of the calibration that comes before the weights.
        bias: Of the same.
        weights: New share of each class over its former one.
        weights_low: Lower ends of their intervals.
        weights_high: Upper ends.
        priors: Shares when the version was tested.
        current_priors: Shares now, estimated from answers alone.
        reasons: Sentences of the gate.
        assumption: What all of it rests on.
        rows: Rows asked that it was learned from.
    """

    version: int
    classes: list[Label]
    scale: float
    bias: list[float]
    weights: list[float]
    weights_low: list[float]
    weights_high: list[float]
    priors: list[float]
    current_priors: list[float]
    reasons: list[str]
    assumption: str
    rows: int

    @property
    def step(self) -> PriorStep:
        """What is done to the answers."""
        return PriorStep(scale=self.scale, bias=self.bias, weights=self.weights)

    @property
    def by_class(self) -> dict[str, float]:
        """Weight of each class, named as text."""
        return dict(zip(map(str, self.classes), self.weights, strict=True))

    @property
    def says(self) -> str:
        """One sentence."""
        parts = [
            f"{label} {before:.1%} -> {now:.1%}"
            for label, before, now in zip(self.classes, self.priors, self.current_priors, strict=True)
        ]
        return f"version {self.version} corrected for new shares of the classes: {', '.join(parts)}"

    @property
    def verdict(self) -> Verdict:
        """The gate, as it stands with the version's requirements."""
        return Verdict(
            kind="label_shift",
            sentence="only the shares of the classes have moved",
            passed=True,
            says="; ".join(self.reasons),
            evidence=cast("dict[str, Any]", msgspec.to_builtins(self)),
        )


def shares_now(reference: Sample, current: Sample) -> LabelShift | None:
    """How often each class occurs in the current rows; None where a side has no probabilities, or other classes."""
    if reference.probs is None or current.probs is None or reference.classes != current.classes:
        return None
    usable = reference.is_labelled
    assert reference.labels is not None
    usable &= reference.labels.is_in(reference.classes).fill_null(value=False).to_numpy()
    known = reference.take(usable)
    if known.labels is None or known.probs is None:
        return None
    codes = known.labels.cast(pl.Enum(known.classes)).to_physical().to_numpy().astype(np.int64)
    return estimate_priors(known.probs, codes, current.probs)


def correction_of(version: int, signature: Signature, shift: LabelShift) -> Correction:
    """The correction that a gate let pass.

    Raises:
        Refused: It did not.
    """
    if shift.decision != "correct":
        raise Refused(f"version {version} cannot be corrected: {'; '.join(shift.reasons)}", remedy="train anew")
    return Correction(
        version=version,
        classes=list(signature.classes or ()),
        scale=float(shift.calibration.scale),
        bias=shift.calibration.bias.tolist(),
        weights=shift.weights.tolist(),
        weights_low=shift.weights_low.tolist(),
        weights_high=shift.weights_high.tolist(),
        priors=shift.priors.tolist(),
        current_priors=shift.current_priors.tolist(),
        reasons=list(shift.reasons),
        assumption=shift.assumption,
        rows=shift.m,
    )


@dataclass(frozen=True, kw_only=True)
class Corrected:
    """How a version is made anew: all corrections of it, the newest last, and the rows as they come now."""

    correction: Correction
    priors: Priors

    def thinned(self, table: pa.Table, target: str) -> pa.Table:
        """Rows with the classes in their new shares, see `thinned`."""
        return thinned(table, target, self.priors.weights)


def corrected_of(rooms: Rooms, declaration: Declaration, correction: Correction) -> Corrected:
    """What the package of the corrected version is to hold.

    Raises:
        Refused: What the loop answers beside labels would not hold any more.
    """
    if declaration.failsafe is not None and needs_calibration(FailSafe.of(declaration.failsafe)):
        raise Refused(
            f"version {correction.version} answers with sets or refuses by risk, which a correction does not calibrate",
            where=declaration.where,
            remedy="train anew",
        )
    version = rooms.models.get(name=declaration.name, version=correction.version)
    before = _priors(rooms, package_of(version))
    empty = Priors(classes=correction.classes, steps=[])
    return Corrected(correction=correction, priors=(before or empty).then(correction.step))


def thinned(table: pa.Table, target: str, weights: dict[str, float]) -> pa.Table:
    """Rows with their classes in other shares: of each class so many that none is used twice, evenly from its rows.

    Args:
        table: Rows with the target.
        target: Its column.
        weights: New share over former share, by class as text.

    Raises:
        DataError: Fewer than 100 rows are left.
    """
    labels = cast(pl.Series, pl.from_arrow(table.column(target))).cast(pl.String()).to_list()
    highest = max(weights.values())
    carried = dict.fromkeys(weights, 0.5)
    kept: list[int] = []
    for row, label in enumerate(labels):
        if label not in weights:
            continue
        carried[label] += weights[label] / highest
        if carried[label] >= 1.0:
            carried[label] -= 1.0
            kept.append(row)
    if len(kept) < LEAST:
        raise DataError(
            f"{len(kept)} of {table.num_rows} rows are left with the classes in their new shares, {LEAST} are needed",
            remedy="train anew",
        )
    positions: NDArray[np.int64] = np.asarray(kept, dtype=np.int64)
    return table.take(pa.array(positions))


def recollected(rooms: Rooms, execution: Execution, wiring: Wiring, version: ModelVersion) -> Collected:
    """The data that a version learned from, as they were collected for it.

    Raises:
        NotFound: They are not kept any more.
    """
    manifest = _manifest(rooms, package_of(version))
    known: dict[str, int] = json.loads(rooms.objects.get(manifest.files["provenance.json"][0]))["datasets"]
    signature = msgspec.json.decode(rooms.objects.get(manifest.files["signature.json"][0]), type=ready(Signature))
    collected = Collected(values={}, versions={})
    for name in wiring.collects:
        dataset = dataset_name(execution.declaration.name, name)
        found = rooms.datasets.get(name=dataset, version=known[dataset])
        collected.versions[name] = found
        if execution.declaration.step(name).cursor is not None:  # what grows is read as a plan over its files
            collected.values[name] = execution.stored_table(found.stored, found.logical)
        else:
            collected.values[name] = execution.store(native(read_table(found.stored, rooms.objects), signature.frame))
    return collected


def provenance_of(corrected: Corrected) -> dict[str, JSON]:
    """What the package says of itself beside loop, code and data."""
    return {
        "corrects": corrected.correction.version,
        "new shares over former ones": {
            label: round(weight, 6) for label, weight in corrected.correction.by_class.items()
        },
    }


def _priors(rooms: Rooms, package: Digest) -> Priors | None:
    manifest = _manifest(rooms, package)
    if PRIOR not in manifest.files:
        return None
    return msgspec.json.decode(rooms.objects.get(manifest.files[PRIOR][0]), type=ready(Priors))


def _manifest(rooms: Rooms, package: Digest) -> PackageManifest:
    return read_manifest(rooms.objects.get(package))
