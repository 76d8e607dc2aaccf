"""Settings: each with its default, its unit and where its value came from.

Read once at start from `[tool.perennial]` in the project's pyproject.toml and from PERENNIAL_* in the environment
(which wins); later reads are a bug. `doctor` prints them.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

from perennial.errors import ConfigError

__all__ = ["Settings", "read_settings", "without_password"]


def _setting(default: object, unit: str, says: str) -> Any:
    return field(default=default, metadata={"unit": unit, "says": says})


@dataclass(frozen=True)
class Settings:
    """Every setting of a workspace. `origin` names where each value that is not the default came from."""

    home: str = _setting("", "path or URL", "the workspace; empty means .perennial in the project")
    host: str = _setting("127.0.0.1", "address", "where `up` listens")
    port: int = _setting(5000, "port", "pages, API and tracking")
    serving_port: int = _setting(8080, "port", "predictions")
    grpc_port: int = _setting(0, "port", "predictions over gRPC; 0 is one above serving_port, -1 is none")
    fronts: int = _setting(0, "processes", "that answer predictions; 0 is one for each processor")
    max_predict_bytes: int = _setting(10 * 1024 * 1024, "bytes", "body of one prediction request")
    max_predict_rows: int = _setting(10_000, "rows", "rows in one prediction request")
    max_request_bytes: int = _setting(1024 * 1024, "bytes", "body of one request to the API")
    records: str = _setting("", "URL", "the database: postgresql://...; empty means SQLite in the workspace")
    artifacts: str = _setting("", "URL", "where logged files lie: s3://bucket/prefix; empty means in the workspace")
    max_artifact_bytes: int = _setting(5 * 1024**3, "bytes", "one logged file, or one part of it")
    require_token: bool = _setting(False, "true or false", "whether logging to runs needs a token, too")
    max_spool_bytes: int = _setting(1024**3, "bytes", "logged by one run and not sent yet; what is beyond is dropped")
    keep_predictions_days: int = _setting(730, "days", "predictions, their labels and answers; 0 keeps them for ever")
    predict_timeout_s: float = _setting(30.0, "seconds", "time one prediction may take")
    worker_memory_bytes: int = _setting(0, "bytes", "memory of one process that holds a model; 0 is no limit")
    worker_network: bool = _setting(False, "true or false", "whether models that answer may reach the network")
    trusted_types: str = _setting("", "names", "types (module.Class, separated by commas) that model files may name")
    max_model_bytes: int = _setting(5 * 1024**3, "bytes", "files of one model that is brought in")
    explain_s: float = _setting(30.0, "seconds", "time that explaining a new model may take")
    job_timeout_s: float = _setting(3600.0, "seconds", "time one training job may take")
    origin: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


def without_password(value: Any) -> Any:
    """A setting as it may be shown: the password in an address is not."""
    return re.sub(r"(://[^:/@]*):[^@/]*@", r"\1:***@", value) if isinstance(value, str) else value


def read_settings(project: Path, environment: Mapping[str, str]) -> Settings:
    """The settings for the project in this folder.

    Raises:
        ConfigError: An unknown setting, or a value of the wrong type; names the file or variable.
    """
    known = {item.name: item for item in fields(Settings) if item.name != "origin"}
    values: dict[str, Any] = {}  # each checked by `_typed` against its field
    origin: dict[str, str] = {}
    for name, value in _from_file(project / "pyproject.toml").items():
        if name not in known:
            raise ConfigError(
                f"unknown setting {name!r}",
                where="pyproject.toml [tool.perennial]",
                remedy=f"use one of {', '.join(sorted(known))}",
            )
        values[name], origin[name] = _typed(name, value, known[name].default, "pyproject.toml"), "pyproject.toml"
    for name, item in known.items():
        variable = f"PERENNIAL_{name.upper()}"
        if variable in environment:
            values[name] = _typed(name, environment[variable], item.default, variable)
            origin[name] = variable
    return Settings(**values, origin=MappingProxyType(origin))


def _from_file(path: Path) -> Mapping[str, object]:
    if not path.is_file():
        return {}
    try:
        return tomllib.loads(path.read_text()).get("tool", {}).get("perennial", {})
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"this is not TOML: {error}", where=str(path), remedy="mend the file") from error


def _typed(name: str, value: object, default: object, where: str) -> object:
    kind = type(default)
    try:
        if kind is bool and str(value).lower() in ("true", "false", "1", "0"):
            return str(value).lower() in ("true", "1")
        if kind is int and isinstance(value, str | int) and not isinstance(value, bool):
            return int(value)
        if kind is float and isinstance(value, str | int | float) and not isinstance(value, bool):
            return float(value)
        if kind is str and isinstance(value, str):
            return value
    except ValueError:
        pass
    raise ConfigError(
        f"{name} must be of type {kind.__name__}, not {value!r}", where=where, remedy=f"for example {default!r}"
    )
