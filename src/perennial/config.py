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

__all__ = ["DEVICES", "Settings", "read_settings", "without_password"]

DEVICES = ("cpu", "cuda")


def _setting(default: object, unit: str, says: str, *, secret: bool = False, choices: tuple[str, ...] = ()) -> Any:
    """A secret comes from the environment alone, and is never shown."""
    told = {"unit": unit, "says": says, "secret": secret, "choices": choices}
    return field(default=default, metadata=told, repr=not secret)


@dataclass(frozen=True)
class Settings:
    """Every setting of a workspace. `origin` names where each value that is not the default came from."""

    home: str = _setting("", "path or URL", "the workspace; empty means .perennial in the project")
    host: str = _setting("127.0.0.1", "address", "where `up` listens")
    port: int = _setting(5000, "port", "pages, API and tracking")
    serving_port: int = _setting(8080, "port", "predictions")
    grpc_port: int = _setting(0, "port", "predictions over gRPC; 0 is one above serving_port, -1 is none")
    tls_certificate: str = _setting("", "path", "certificate (chain) of the prediction service, PEM; empty: no TLS")
    tls_key: str = _setting("", "path", "its key, PEM, without a password")
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
    access_log: bool = _setting(False, "true or false", "whether the prediction service writes an access log")
    access_log_share: float = _setting(0.01, "share", "of the answers that stand in it; what is refused or fails does")
    otlp_endpoint: str = _setting("", "URL", "where traces of predictions go (OTLP over HTTP); empty is nowhere")
    trace_share: float = _setting(0.01, "share", "of the requests without a trace of their own that are traced")
    worker_memory_bytes: int = _setting(0, "bytes", "memory of one process that holds a model; 0 is no limit")
    worker_network: bool = _setting(False, "true or false", "whether models that answer may reach the network")
    device: str = _setting("cpu", "cpu or cuda", "where models of toolkits with a choice answer", choices=DEVICES)
    device_fallback: bool = _setting(True, "true or false", "whether the CPU answers where an accelerator has failed")
    trusted_types: str = _setting("", "names", "types (module.Class, separated by commas) that model files may name")
    max_model_bytes: int = _setting(5 * 1024**3, "bytes", "files of one model that is brought in")
    explain_s: float = _setting(30.0, "seconds", "time that explaining a new model may take")
    job_timeout_s: float = _setting(3600.0, "seconds", "time one training job may take")
    incident_quiet_days: float = _setting(7.0, "days", "without a finding, after which an incident closes by itself")
    notify_severity: str = _setting(
        "warn", "severity", "incidents below it are told to nobody", choices=("warn", "critical")
    )
    notify_email: str = _setting("", "addresses", "who gets an e-mail about incidents, separated by commas")
    smtp_host: str = _setting("", "name", "the mail server")
    smtp_port: int = _setting(587, "port", "of the mail server")
    smtp_security: str = _setting(
        "starttls", "way", "how mail is protected on its way there", choices=("starttls", "tls", "none")
    )
    smtp_user: str = _setting("", "name", "who logs in at the mail server; empty: nobody")
    smtp_password: str = _setting("", "text", "of smtp_user", secret=True)
    smtp_from: str = _setting("", "address", "the sender of mail")
    webhook_url: str = _setting("", "URL", "where notices of incidents are posted to as JSON", secret=True)
    webhook_secret: str = _setting("", "text", "with which these are signed", secret=True)
    slack_webhook_url: str = _setting("", "URL", "an incoming webhook of Slack, or of a chat like it", secret=True)
    outbound_allow: str = _setting(
        "", "names", "names and networks that notices may reach although they are not public"
    )
    outbound_ca: str = _setting(
        "", "path", "certificates of authorities that notices trust besides those of the system"
    )
    origin: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def shown(self, name: str) -> Any:
        """A setting as it may be shown: a secret is not, nor is the password in an address."""
        value = getattr(self, name)
        return ("***" if value else "") if name in _SECRETS else without_password(value)


_SECRETS = frozenset(item.name for item in fields(Settings) if item.metadata.get("secret"))


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
        if name in _SECRETS:
            raise ConfigError(
                f"{name} is a secret and does not belong into a file of the project",
                where="pyproject.toml [tool.perennial]",
                remedy=f"set PERENNIAL_{name.upper()} in the environment",
            )
        values[name], origin[name] = _typed(name, value, known[name].default, "pyproject.toml"), "pyproject.toml"
    for name, item in known.items():
        variable = f"PERENNIAL_{name.upper()}"
        if variable in environment:
            values[name] = _typed(name, environment[variable], item.default, variable)
            origin[name] = variable
    settings = Settings(**values, origin=MappingProxyType(origin))
    _check(settings)
    return settings


def _check(settings: Settings) -> None:
    """What makes no sense is refused at start, not when the first notice is due."""
    for item in fields(Settings):
        choices: tuple[str, ...] = item.metadata.get("choices", ())
        if choices and getattr(settings, item.name) not in choices:
            raise ConfigError(
                f"{item.name} cannot be {getattr(settings, item.name)!r}",
                where=settings.origin.get(item.name, ""),
                remedy=f"one of {', '.join(choices)}",
            )
    if not settings.incident_quiet_days > 0:
        raise ConfigError(
            f"incident_quiet_days cannot be {settings.incident_quiet_days:g}",
            where=settings.origin.get("incident_quiet_days", ""),
            remedy="a positive number of days, for example 7",
        )
    for name, needed in _NEEDED.items():
        missing = [other for other in needed if not getattr(settings, other)]
        if getattr(settings, name) and missing:
            raise ConfigError(
                f"{name} needs {' and '.join(missing)}",
                where=settings.origin.get(name, ""),
                remedy=f"set {', '.join(f'PERENNIAL_{other.upper()}' for other in missing)}",
            )


_NEEDED = {
    "tls_certificate": ("tls_key",),
    "tls_key": ("tls_certificate",),
    "notify_email": ("smtp_host", "smtp_from"),
    "smtp_user": ("smtp_password",),
    "webhook_url": ("webhook_secret",),
}


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
