"""MLflow's calls about registered models and their versions."""

from __future__ import annotations

from typing import Any

import msgspec

from perennial.api.auth import Caller
from perennial.api.mlflow.endpoint import PREFIX, Endpoint, Pair, milliseconds, pairs
from perennial.api.statuses import NotSupported
from perennial.registry.names import PROMPT_TAG, version_number
from perennial.registry.reading import RegisteredModel, RegisteredVersion
from perennial.workspace import Services

__all__ = ["ENDPOINTS"]


class _Model(msgspec.Struct, frozen=True, kw_only=True):
    name: str


class _NewModel(_Model, frozen=True, kw_only=True):
    description: str = ""
    tags: list[Pair] = []


class _Description(_Model, frozen=True, kw_only=True):
    description: str = ""


class _Rename(_Model, frozen=True, kw_only=True):
    new_name: str


class _Stages(_Model, frozen=True, kw_only=True):
    stages: list[str] = []


class _Tag(_Model, frozen=True, kw_only=True):
    key: str
    value: str = ""


class _Alias(_Model, frozen=True, kw_only=True):
    alias: str


class _NewAlias(_Alias, frozen=True, kw_only=True):
    version: str | int


class _SearchModels(msgspec.Struct, frozen=True, kw_only=True):
    filter: str = ""
    max_results: int = 100
    order_by: list[str] = []
    page_token: str = ""


class _Version(_Model, frozen=True, kw_only=True):
    version: str | int

    @property
    def number(self) -> int:
        return version_number(self.version)


class _NewVersion(_Model, frozen=True, kw_only=True):
    source: str
    run_id: str = ""
    model_id: str = ""
    run_link: str = ""
    description: str = ""
    tags: list[Pair] = []


class _VersionDescription(_Version, frozen=True, kw_only=True):
    description: str = ""


class _VersionTag(_Version, frozen=True, kw_only=True):
    key: str
    value: str = ""


class _Move(_Version, frozen=True, kw_only=True):
    stage: str
    archive_existing_versions: bool = False


class _SearchVersions(msgspec.Struct, frozen=True, kw_only=True):
    filter: str = ""
    max_results: int = 200_000
    order_by: list[str] = []
    page_token: str = ""


def _create(ws: Services, asked: _NewModel, caller: Caller) -> Any:
    return _model(ws.registered.create(name=asked.name, description=asked.description, tags=_dictionary(asked.tags)))


def _get(ws: Services, asked: _Model, caller: Caller) -> Any:
    return _model(ws.registered.get(name=asked.name))


def _search(ws: Services, asked: _SearchModels, caller: Caller) -> Any:
    page = ws.registered.search(
        filter=asked.filter, order_by=asked.order_by, max_results=asked.max_results, page_token=asked.page_token
    )
    found = [_told(one) for one in page.models]
    return {"registered_models": found, "next_page_token": page.next_page_token or None}


def _describe(ws: Services, asked: _Description, caller: Caller) -> Any:
    return _model(ws.registered.describe(name=asked.name, description=asked.description))


def _rename(ws: Services, asked: _Rename, caller: Caller) -> Any:
    return _model(ws.registered.rename(name=asked.name, new_name=asked.new_name))


def _delete(ws: Services, asked: _Model, caller: Caller) -> Any:
    ws.registered.delete(name=asked.name)
    return {}


def _latest(ws: Services, asked: _Stages, caller: Caller) -> Any:
    found = ws.registered.latest(name=asked.name, stages=asked.stages)
    return {"model_versions": [_told_version(version) for version in found]}


def _set_tag(ws: Services, asked: _Tag, caller: Caller) -> Any:
    ws.registered.set_tag(name=asked.name, key=asked.key, value=asked.value)
    return {}


def _delete_tag(ws: Services, asked: _Tag, caller: Caller) -> Any:
    ws.registered.delete_tag(name=asked.name, key=asked.key)
    return {}


def _set_alias(ws: Services, asked: _NewAlias, caller: Caller) -> Any:
    ws.registered.set_alias(name=asked.name, alias=asked.alias, version=version_number(asked.version))
    return {}


def _delete_alias(ws: Services, asked: _Alias, caller: Caller) -> Any:
    ws.registered.delete_alias(name=asked.name, alias=asked.alias)
    return {}


def _at_alias(ws: Services, asked: _Alias, caller: Caller) -> Any:
    return _version(ws.registered.at_alias(name=asked.name, alias=asked.alias))


def _create_version(ws: Services, asked: _NewVersion, caller: Caller) -> Any:
    made = ws.model_versions.create(
        name=asked.name,
        source=asked.source,
        run_id=asked.run_id or None,
        model_id=asked.model_id or None,
        run_link=asked.run_link,
        description=asked.description,
        tags=_dictionary(asked.tags),
    )
    return _version(made)


def _get_version(ws: Services, asked: _Version, caller: Caller) -> Any:
    return _version(ws.model_versions.get(name=asked.name, version=asked.number))


def _download_uri(ws: Services, asked: _Version, caller: Caller) -> Any:
    return {"artifact_uri": ws.model_versions.get(name=asked.name, version=asked.number).storage}


def _search_versions(ws: Services, asked: _SearchVersions, caller: Caller) -> Any:
    page = ws.model_versions.search(
        filter=asked.filter, order_by=asked.order_by, max_results=asked.max_results, page_token=asked.page_token
    )
    found = [_told_version(version) for version in page.versions]
    return {"model_versions": found, "next_page_token": page.next_page_token or None}


def _describe_version(ws: Services, asked: _VersionDescription, caller: Caller) -> Any:
    return _version(ws.model_versions.describe(name=asked.name, version=asked.number, description=asked.description))


def _set_version_tag(ws: Services, asked: _VersionTag, caller: Caller) -> Any:
    ws.model_versions.set_tag(name=asked.name, version=asked.number, key=asked.key, value=asked.value)
    return {}


def _delete_version_tag(ws: Services, asked: _VersionTag, caller: Caller) -> Any:
    ws.model_versions.delete_tag(name=asked.name, version=asked.number, key=asked.key)
    return {}


def _move(ws: Services, asked: _Move, caller: Caller) -> Any:
    return _version(
        ws.model_versions.move(
            name=asked.name,
            version=asked.number,
            stage=asked.stage,
            archive_existing=asked.archive_existing_versions,
        )
    )


def _delete_version(ws: Services, asked: _Version, caller: Caller) -> Any:
    ws.model_versions.delete(name=asked.name, version=asked.number)
    return {}


def _model(model: RegisteredModel) -> Any:
    return {"registered_model": _told(model)}


def _version(version: RegisteredVersion) -> Any:
    return {"model_version": _told_version(version)}


def _told(model: RegisteredModel) -> dict[str, Any]:
    return {
        "name": model.name,
        "creation_timestamp": milliseconds(model.created),
        "last_updated_timestamp": milliseconds(model.updated),
        "description": model.description or None,
        "latest_versions": [_told_version(version) for version in model.latest],
        "tags": pairs(model.tags),
        "aliases": [{"alias": alias, "version": str(version)} for alias, version in model.aliases.items()],
    }


def _told_version(version: RegisteredVersion) -> dict[str, Any]:
    return {
        "name": version.name,
        "version": str(version.version),
        "creation_timestamp": milliseconds(version.created),
        "last_updated_timestamp": milliseconds(version.updated),
        "current_stage": version.stage,
        "description": version.description,  # this and others are told although they are empty, as MLflow does
        "source": version.source,
        "run_id": version.run_id or "",
        "status": "READY",
        "tags": pairs(version.tags),
        "run_link": version.run_link or "",
        "aliases": version.aliases,
    }


def _dictionary(tags: list[Pair]) -> dict[str, str]:
    given = {tag.key: tag.value for tag in tags}
    if given.get(PROMPT_TAG, "").lower() == "true":
        raise NotSupported("prompts are not supported: this server keeps models")
    return given


_MODELS, _VERSIONS = PREFIX + "registered-models/", PREFIX + "model-versions/"

ENDPOINTS = (
    Endpoint("POST", _MODELS + "create", "track", _NewModel, _create, "Make a registered model."),
    Endpoint("GET", _MODELS + "get", "read", _Model, _get, "One registered model."),
    Endpoint("GET", _MODELS + "search", "read", _SearchModels, _search, "Registered models by a filter."),
    Endpoint("PATCH", _MODELS + "update", "track", _Description, _describe, "Describe a registered model."),
    Endpoint("POST", _MODELS + "rename", "write", _Rename, _rename, "Rename a registered model."),
    Endpoint("DELETE", _MODELS + "delete", "write", _Model, _delete, "Delete a registered model."),
    Endpoint("GET", _MODELS + "get-latest-versions", "read", _Stages, _latest, "The newest version of each stage."),
    Endpoint("POST", _MODELS + "get-latest-versions", "read", _Stages, _latest, "The newest version of each stage."),
    Endpoint("POST", _MODELS + "set-tag", "track", _Tag, _set_tag, "Set a tag of a registered model."),
    Endpoint("DELETE", _MODELS + "delete-tag", "track", _Tag, _delete_tag, "Take a tag away."),
    Endpoint("POST", _MODELS + "alias", "track", _NewAlias, _set_alias, "Point an alias at a version."),
    Endpoint("GET", _MODELS + "alias", "read", _Alias, _at_alias, "The version that an alias points at."),
    Endpoint("DELETE", _MODELS + "alias", "track", _Alias, _delete_alias, "Take an alias away."),
    Endpoint("POST", _VERSIONS + "create", "track", _NewVersion, _create_version, "Register files as a version."),
    Endpoint("GET", _VERSIONS + "get", "read", _Version, _get_version, "One version."),
    Endpoint("GET", _VERSIONS + "get-download-uri", "read", _Version, _download_uri, "Where a version's files lie."),
    Endpoint("GET", _VERSIONS + "search", "read", _SearchVersions, _search_versions, "Versions by a filter."),
    Endpoint("PATCH", _VERSIONS + "update", "track", _VersionDescription, _describe_version, "Describe a version."),
    Endpoint("DELETE", _VERSIONS + "delete", "write", _Version, _delete_version, "Delete a version."),
    Endpoint("POST", _VERSIONS + "set-tag", "track", _VersionTag, _set_version_tag, "Set a tag of a version."),
    Endpoint("DELETE", _VERSIONS + "delete-tag", "track", _VersionTag, _delete_version_tag, "Take a tag away."),
    Endpoint("POST", _VERSIONS + "transition-stage", "track", _Move, _move, "Move a version to another stage."),
)
