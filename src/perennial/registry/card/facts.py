"""What stands on a model card, gathered from what was recorded: nothing is measured, guessed or worded by a model.

The same facts give the same card, on any day and machine. What was not recorded is None or empty, and `missing` says
so in a sentence, so that every form of the card says it alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from perennial.errors import PerennialError
from perennial.models.facts.compilation import Compilation
from perennial.models.facts.evaluation import Evaluation
from perennial.models.facts.explanation import Explanation
from perennial.models.facts.verdict import Verdict
from perennial.models.package import COMPILED, read_manifest
from perennial.models.signature import Signature
from perennial.registry.describing import ModelFacts
from perennial.registry.lineage import Lineage
from perennial.registry.version import ModelVersion
from perennial.store.decoding import ready
from perennial.types import Digest

__all__ = ["FORMAT", "Card", "Environment", "Input", "Package", "Read", "card_of"]

FORMAT = 1  # of the card as JSON

Read = Callable[[Digest], bytes]
T = TypeVar("T")


class Input(Struct, frozen=True, kw_only=True):
    """One column of a request. `is_used`: the model or its features see it."""

    name: str
    type: str
    is_used: bool
    is_nullable: bool
    categories: list[str] | None


class Package(Struct, frozen=True, kw_only=True):
    """The files that answer: their digest, the toolkit and format of the model, and whether loading it may run code."""

    digest: str
    kind: str
    saved_as: str
    runs_code: bool
    files: int
    size_bytes: int
    trained_rows: int | None


class Environment(Struct, frozen=True, kw_only=True):
    """What was installed where it was trained, one distribution a line; `digest` is of that text."""

    digest: str
    python: str
    platform: str
    distributions: list[str]


class Card(Struct, frozen=True, kw_only=True):
    """Everything recorded about one model version. Moments are microseconds, digests name stored objects.

    Attributes:
        said: What people said of the model.
        missing: What a reader would look for and nobody has said or measured, one sentence each.
        requirements: The traceability table: what is required, whether it holds, by which evidence.
    """

    format: int = FORMAT
    name: str
    version: int
    state: str
    origin: str
    reason: str
    description: str
    registered: int
    trained_until: int | None
    decided_by: str | None
    decided_at: int | None
    comment: str | None
    tags: dict[str, str]
    aliases: list[str]
    said: ModelFacts
    task: str | None
    target: str | None
    classes: list[str]
    inputs: list[Input]
    package: Package | None
    evaluation: Evaluation | None
    requirements: list[Verdict]
    explanation: Explanation | None
    compilation: Compilation | None
    environment: Environment | None
    declaration: dict[str, Any] | None
    lineage: Lineage
    missing: list[str]


class _Profiled(Struct):
    rows: int


def card_of(version: ModelVersion, *, said: ModelFacts, aliases: list[str], lineage: Lineage, read: Read) -> Card:
    """The card of a version.

    Args:
        version: As the registry has it.
        said: What people said of the model.
        aliases: Names that point at this version now.
        lineage: Where it comes from and what became of it.
        read: Gives the bytes of a stored object.
    """
    missing = _unsaid(said, lineage)
    look = _Reader(read, missing)
    package, signature, compiled, environment = look.package(version.package)
    evaluation = look.object(version.evaluation, Evaluation, "evaluation")
    explanation = look.object(evaluation.explanation if evaluation else None, Explanation, "explanation")
    compilation = compiled
    if evaluation is not None and evaluation.compilation is not None:  # the same report, with what was timed
        compilation = look.converted(evaluation.compilation, Compilation, "compile report") or compiled
    declaration: dict[str, Any] | None = look.object(version.declaration, dict[str, Any], "declaration")
    missing += _unmeasured(version, evaluation, explanation)
    return Card(
        name=version.name,
        version=version.version,
        state=version.state,
        origin=version.origin,
        reason=version.reason,
        description=version.description,
        registered=version.at,
        trained_until=version.trained_until,
        decided_by=version.decided_by,
        decided_at=version.decided_at,
        comment=version.comment,
        tags=version.tags,
        aliases=sorted(aliases),
        said=said,
        task=signature.task if signature else evaluation.task if evaluation else None,
        target=signature.output.name if signature else None,
        classes=[str(label) for label in (signature.classes or ())] if signature else [],
        inputs=_inputs(signature),
        package=package,
        evaluation=evaluation,
        requirements=version.verdicts,
        explanation=explanation,
        compilation=compilation,
        environment=environment,
        declaration=declaration,
        lineage=lineage,
        missing=missing,
    )


class _Reader:
    """Reads stored objects; what cannot be read is told in `missing`, and the rest of the card is made."""

    def __init__(self, read: Read, missing: list[str]) -> None:
        self._read = read
        self._missing = missing

    def bytes(self, digest: str, what: str) -> bytes | None:
        try:
            return self._read(Digest(digest))
        except PerennialError as error:
            self._missing.append(f"The {what} cannot be read: {error.what}.")
            return None

    def object(self, digest: str | None, kind: type[T], what: str) -> T | None:
        data = self.bytes(digest, what) if digest else None
        if data is None:
            return None
        try:
            return msgspec.json.decode(data, type=ready(kind))
        except msgspec.MsgspecError as error:
            self._missing.append(f"The {what} cannot be read: {error}.")
            return None

    def converted(self, value: object, kind: type[T], what: str) -> T | None:
        try:
            return msgspec.convert(value, ready(kind))
        except msgspec.MsgspecError as error:
            self._missing.append(f"The {what} cannot be read: {error}.")
            return None

    def package(
        self, digest: str | None
    ) -> tuple[Package | None, Signature | None, Compilation | None, Environment | None]:
        data = self.bytes(digest, "package") if digest else None
        if digest is None or data is None:
            return None, None, None, None
        try:
            manifest = read_manifest(data)
        except PerennialError as error:
            self._missing.append(f"The package cannot be read: {error.what}.")
            return None, None, None, None

        def file(path: str) -> str | None:
            return manifest.files[path][0] if path in manifest.files else None

        profile = self.object(file("reference.json"), _Profiled, "reference profile")
        package = Package(
            digest=digest,
            kind=manifest.kind,
            saved_as=manifest.saved_as,
            runs_code=manifest.runs_code,
            files=len(manifest.files),
            size_bytes=sum(size for _, size in manifest.files.values()),
            trained_rows=profile.rows if profile is not None else None,
        )
        return (
            package,
            self.object(file("signature.json"), Signature, "signature"),
            self.object(file(COMPILED), Compilation, "compile report"),
            self._environment(file("environment.txt")),
        )

    def _environment(self, digest: str | None) -> Environment | None:
        data = self.bytes(digest, "list of what was installed") if digest else None
        if digest is None or data is None:
            return None
        lines = [line.strip() for line in data.decode(errors="replace").splitlines() if line.strip()]
        about = dict(line.split(" ", 1) for line in lines if line.startswith(("python ", "platform ")))
        return Environment(
            digest=digest,
            python=about.get("python", ""),
            platform=about.get("platform", ""),
            distributions=[line for line in lines if not line.startswith(("python ", "platform "))],
        )


def _inputs(signature: Signature | None) -> list[Input]:
    return [
        Input(
            name=field.name,
            type=field.type,
            is_used=field.required,
            is_nullable=field.nullable,
            categories=field.categories,
        )
        for field in (signature.inputs if signature is not None else ())
    ]


def _unsaid(said: ModelFacts, lineage: Lineage) -> list[str]:
    asked = {
        "purpose": "Nobody has said what it is for.",
        "owner": "Nobody has said who answers for it.",
        "risk": "Nobody has said which risk class it has.",
        "data": "Nobody has said by which right its data are used.",
        "limits": "Nobody has said where it must not be used.",
        "review_by": "Nobody has said by when it is looked at again.",
    }
    told = [sentence for key, sentence in asked.items() if not getattr(said, key)]
    if not lineage.datasets:
        told.append("No dataset is recorded that it learned from.")
    told += [
        f"The data {data.name} (digest {data.logical[:12]}) are not kept here."
        for data in lineage.datasets
        if data.version is None
    ]
    told += [
        f"The bytes of {data.name}@{data.version} were given up; its digest and schema are kept."
        for data in lineage.datasets
        if data.removed_at is not None
    ]
    return told


def _unmeasured(version: ModelVersion, evaluation: Evaluation | None, explanation: Explanation | None) -> list[str]:
    if evaluation is None:
        told = [] if version.evaluation else ["It was never evaluated here."]
    else:
        measured = {
            "slices": (evaluation.slices, "Groups of rows were not looked at."),
            "fairness": (evaluation.fairness, "No groups are declared whose treatment could be compared."),
            "calibration": (evaluation.calibration, "Calibration was not measured."),
            "robustness": (evaluation.robustness, "Robustness to noise and missing values was not measured."),
        }
        told = [sentence for found, sentence in measured.values() if not found]
    if not version.verdicts:
        told.append("Nothing was required of it.")
    if explanation is None and not (evaluation is not None and evaluation.explanation):
        told.append("It was not explained.")
    return told
