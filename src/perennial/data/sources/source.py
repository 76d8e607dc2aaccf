"""What every source promises, and what a reading of it gives."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from perennial.errors import ConfigError, Invalid

if TYPE_CHECKING:
    import pyarrow as pa

    from perennial.data.scan import Scan

__all__ = ["After", "Overlap", "Reading", "Source", "filled", "needs"]

Overlap = str | int | float | None
_NAME = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True, kw_only=True)
class After:
    """Which rows are wanted: those whose value in `column` is above `value`, or at it when `inclusive`."""

    column: str
    value: Any
    inclusive: bool = False


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a source gives.

    Attributes:
        rows: A scan, or pieces of the same columns and types that can be read once.
        facts: Where they came from, to be stored with the version: never a secret.
        is_filtered: Whether `rows` are already those that `After` asks for.
        is_unchanged: The source says that nothing changed since the facts it was given; there are no rows then.
    """

    rows: Scan | Iterator[pa.Table]
    facts: dict[str, Any] = field(default_factory=dict)
    is_filtered: bool = False
    is_unchanged: bool = False


@runtime_checkable
class Source(Protocol):
    """Something that data come from. Immutable; each `read` starts anew, and its pieces are read at most once.

    `scratch` is an empty folder that lives as long as the pieces are read. `before` are the facts of the last accepted
    version, None when there is none or when everything is wanted again.
    """

    @property
    def cursor(self) -> str | None: ...
    @property
    def overlap(self) -> Overlap: ...
    def read(self, scratch: Path, after: After | None, before: Mapping[str, Any] | None) -> Reading: ...


def filled(text: str) -> tuple[str, list[str]]:
    """The text with environment variables for each ${NAME}, and their values, which must not be shown.

    Raises:
        ConfigError: The environment has no variable of this name.
    """
    secrets: list[str] = []

    def value(found: re.Match[str]) -> str:
        name = found[1]
        if name not in os.environ:
            raise ConfigError(f"the environment has no variable {name!r}", where=text, remedy=f"export {name}=...")
        secrets.append(os.environ[name])
        return os.environ[name]

    return _NAME.sub(value, text), secrets


def needs(package: str, extra: str) -> Invalid:
    """The error for an optional package that is not installed."""
    return Invalid(f"this needs the package {package!r}", remedy=f"pip install 'perennial[{extra}]'")
