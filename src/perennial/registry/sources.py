"""Where a client says that the files of a new version come from, and whether it may.

An address within our artifacts must lie below the run or logged model that the request names, so that nobody registers
the files of others by their path. Local paths are those of the client's machine unless the run's own folder is local,
and no address may climb (`..`), however it is written. What lies elsewhere (s3, gs, http, ...) is the client's
business: this server never reads it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn
from urllib.parse import SplitResult, unquote, urlsplit

import sqlalchemy as sa

from perennial.errors import Invalid, NotFound
from perennial.registry.names import stage_name, version_number
from perennial.registry.reading import current_stage, find_version
from perennial.registry.records import aliases, versions
from perennial.tracking.experiments import location_of
from perennial.tracking.logged_models import LoggedModel, LoggedModels
from perennial.tracking.records import experiments, runs

__all__ = ["Source", "run_root", "settle"]

MAX_UNQUOTES = 8  # how often an address may be percent-encoded over itself
_PROXY = ("api", "2.0", "mlflow-artifacts", "artifacts")


@dataclass(frozen=True)
class Source:
    """A source that was let pass: as it is kept, where its files lie, and what made them."""

    source: str
    storage: str
    run_id: str | None
    model_id: str | None


def settle(
    connection: sa.Connection, logged_models: LoggedModels, source: str, run_id: str | None, model_id: str | None
) -> Source:
    """Find out where a source leads.

    Args:
        connection: Of the transaction that will keep it.
        logged_models: Logged models.
        source: The address as the client gave it.
        run_id: The run that the client names.
        model_id: The logged model that the client names.

    Raises:
        Invalid: It leads nowhere, or to where this request may not point.
    """
    _check_path(source)
    address = _split(source)
    if address.scheme == "models":
        return _from_models(connection, logged_models, source, run_id, model_id)
    model = _logged_model(logged_models, source, model_id) if model_id else None
    root = model.artifact_uri if model else run_root(connection, run_id) if run_id else None
    if _is_local(source):
        if root is None or not _is_local(root) or not _is_within(source, root):
            raise Invalid(
                f"Invalid model version source: '{source}'. To use a local path as a model version source, name the "
                "run (run_id) or logged model (model_id) whose own local folder contains it.",
                where="source",
            )
    elif address.scheme == "runs":
        if model or not run_id or address.netloc or _parts(source)[:1] != (run_id,):
            _refuse(source, "model_id" if model else "run_id")
    elif _is_ours(source) and (root is None or not _is_within(source, root)):
        _refuse(source, "model_id" if model else "run_id")
    return Source(source, source, run_id or (model.run if model else None), model_id)


def run_root(connection: sa.Connection, run_id: str) -> str | None:
    """Where the files of a run lie; None without such a run."""
    query = sa.select(experiments.c.id, experiments.c.artifact_location).join(runs).where(runs.c.id == run_id)
    row = connection.execute(query).first()
    if row is None:
        return None
    return f"{location_of(row.id, row.artifact_location).rstrip('/')}/{run_id}/artifacts"


def _from_models(
    connection: sa.Connection, logged_models: LoggedModels, source: str, run_id: str | None, model_id: str | None
) -> Source:
    """`models:/ID` is a logged model, anything longer a version of a registered one."""
    address = _split(source)
    path = unquote(address.path).removeprefix("/")
    name, _, suffix = path.partition("/")
    if address.netloc or not name.strip() or "/" in suffix:
        _refuse(source, "model_id")
    if not suffix and "@" not in name:
        if model_id not in (None, name):
            _refuse(source, "model_id")
        model = _logged_model(logged_models, source, name)
        return Source(source, model.artifact_uri, run_id or model.run, name)
    try:
        copied = _referred(connection, name, suffix)
    except NotFound as error:
        raise Invalid(f"Invalid model version source: '{source}'. There is no such version.", where="source") from error
    if (run_id or copied.run_id) != copied.run_id or (model_id or copied.model_id) != copied.model_id:
        raise Invalid(
            f"Invalid model version source: '{source}'. The run_id and model_id request parameters must be those of "
            "that version.",
            where="source",
        )
    storage = copied.storage or copied.source or f"mlflow-artifacts:/packages/{copied.name}/{copied.version}"
    return Source(f"models:/{copied.name}/{copied.version}", storage, copied.run_id, copied.model_id)


def _referred(connection: sa.Connection, name: str, suffix: str) -> sa.Row[Any]:
    """The version that NAME/VERSION, NAME/STAGE, NAME/latest or NAME@ALIAS refers to."""
    if suffix.isdecimal():
        return find_version(connection, name, version_number(suffix))
    if suffix:
        chosen = sa.select(sa.func.max(versions.c.version)).where(versions.c.name == name, versions.c.removed.is_(None))
        if suffix.lower() != "latest":
            chosen = chosen.where(current_stage() == stage_name(suffix))
    else:
        name, _, alias = name.rpartition("@")
        chosen = sa.select(aliases.c.version).where(aliases.c.name == name, aliases.c.alias == alias)
    return find_version(connection, name, connection.execute(chosen).scalar() or 0)


def _logged_model(logged_models: LoggedModels, source: str, model_id: str) -> LoggedModel:
    try:
        return logged_models.get(model_id=model_id)
    except NotFound:
        _refuse(source, "model_id")


def _refuse(source: str, parameter: str) -> NoReturn:
    raise Invalid(
        f"Invalid model version source: '{source}'. The request parameter {parameter} must name what holds the source.",
        where="source",
    )


def _check_path(source: str) -> None:
    plain = source
    for _ in range(MAX_UNQUOTES):
        if (once := unquote(plain)) == plain:
            break
        plain = once
    parts = plain.replace("\\", "/").split("/")
    may_be = not _is_local(source)
    path = _split(plain).path if may_be else "/"
    if (
        unquote(plain) != plain
        or ".." in parts
        or (may_be and "." in parts)
        or any(ord(sign) < 32 for sign in plain)
        or not path.startswith("/")
    ):
        raise Invalid(
            f"Invalid model version source: '{source}'. If supplying a source as an http, https, ftp, object store or "
            "mlflow-artifacts address or as a local path, its path must be absolute, without '..'.",
            where="source",
        )


def _is_local(address: str) -> bool:
    return len(_split(address).scheme) < 2 or _split(address).scheme == "file"  # one letter: a drive


def _is_ours(source: str) -> bool:
    """Whether the artifact proxy of this server, or of one like it, is meant."""
    parts = _parts(source)
    is_proxy = any(parts[start : start + len(_PROXY)] == _PROXY for start in range(len(parts)))
    scheme = _split(source).scheme
    return scheme == "mlflow-artifacts" or (scheme in ("http", "https") and is_proxy)


def _is_within(source: str, root: str) -> bool:
    inside, around = _split(source), _split(root)
    hosts = {"", "localhost"} if _is_local(root) else {around.netloc.lower()}
    same = (inside.scheme or "file", inside.netloc.lower() in hosts) == (around.scheme or "file", True)
    parts = _parts(root)
    return same and bool(parts) and _parts(source)[: len(parts)] == parts


def _parts(address: str) -> tuple[str, ...]:
    return tuple(unquote(part) for part in _split(address).path.split("/") if part not in ("", "."))


def _split(address: str) -> SplitResult:
    try:
        return urlsplit(address)
    except ValueError as error:  # brackets that hold no address
        raise Invalid(
            f"Invalid model version source: '{address}'. It is no address: {error}", where="source"
        ) from error
