"""MLflow's words for states, in its databases and its files, as ours; and what its registry may not bring along."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Literal

import msgspec

from perennial.store.hashing import digest_of
from perennial.tracking.importing.carried import CarriedVersion
from perennial.tracking.importing.found import Damaged, FoundModel, Told
from perennial.tracking.run import Lifecycle, RunStatus

__all__ = ["KEPT", "STATUS", "experiment_identity", "lifecycle", "logged_model_status", "skip_registry", "text"]

PROMPT_TAG = "mlflow.prompt.is_prompt"
RESERVED = frozenset({"live", "candidate"})
DELETED = "Deleted_Internal"  # the stage of a version that was deleted
KEPT = "perennial.imported"  # begins the key of a tag that keeps what could not be carried over

STATUS: Mapping[str, RunStatus] = MappingProxyType(
    {
        "running": "running",
        "scheduled": "scheduled",
        "finished": "finished",
        "failed": "failed",
        "killed": "killed",
        "1": "running",
        "2": "scheduled",
        "3": "finished",
        "4": "failed",
        "5": "killed",
    }
)
_MODEL_STATUS: Mapping[str, Literal["pending", "ready", "upload_failed"]] = MappingProxyType(
    {"0": "pending", "1": "pending", "2": "ready", "3": "upload_failed"}
)


def text(value: object) -> str:
    """A text that may be missing.

    Raises:
        Damaged: It is no text, or bytes that are no UTF-8.
    """
    if value is None:
        return ""
    if isinstance(value, bytes):
        raise Damaged("a text is stored as bytes")
    found = str(value)
    try:
        found.encode()
    except UnicodeEncodeError as error:
        raise Damaged(f"{found[:60]!r} is not Unicode") from error
    return found


def lifecycle(value: object) -> Lifecycle:
    """Whether it is deleted.

    Raises:
        Damaged: Neither active nor deleted.
    """
    match text(value) or "active":
        case "active":
            return "active"
        case "deleted":
            return "deleted"
        case other:
            raise Damaged(f"its lifecycle_stage is {other!r}")


def logged_model_status(value: object) -> Literal["pending", "ready", "upload_failed"]:
    """Raises:
    Damaged: There is no such state.
    """
    found = _MODEL_STATUS.get(text(value))
    if found is None:
        raise Damaged(f"its status is {value!r}")
    return found


def experiment_identity(key: str, created: int, location: str) -> str:
    """Tells an experiment apart, also when its store is moved or it is renamed."""
    return f"mlflow:{key}:{digest_of(f'{created} {location}'.encode())[:32]}"


def skip_registry(model: FoundModel, told: Told) -> FoundModel | None:
    """The model without what only a person may decide here, which is told and kept as tags; None for a prompt."""
    if model.tags.get(PROMPT_TAG, "").lower() == "true":
        told.skip("prompts", "Perennial keeps models", example=model.name)
        return None
    aliases: dict[str, int] = {}
    tags = dict(model.tags)
    for alias, version in model.aliases.items():
        if alias.lower() in RESERVED:
            told.skip(
                "aliases live and candidate",
                "they say what is served, and move only through approval and rollout; kept as a tag of the model",
                example=f"{model.name}@{alias}",
            )
            tags[f"{KEPT}.alias.{alias}"] = str(version)
        else:
            aliases[alias] = version
    return replace(model, aliases=aliases, tags=tags, versions=list(_versions(model, told)))


def _versions(model: FoundModel, told: Told) -> list[CarriedVersion]:
    kept: list[CarriedVersion] = []
    for version in sorted(model.versions, key=lambda one: one.version):
        if version.stage == DELETED:
            told.skip("deleted model versions", "they are gone there; their numbers are not used again")
        elif version.stage == "Production":
            told.skip(
                "stage Production",
                "a version reaches it only through approval and rollout; kept as a tag of the version",
                example=f"{model.name} version {version.version}",
            )
            tags = version.tags | {f"{KEPT}.stage": "Production"}
            kept.append(msgspec.structs.replace(version, stage="None", tags=tags))
        else:
            kept.append(version)
    return kept
