"""NAME@VERSION, as models and datasets are named on the command line."""

from __future__ import annotations

from perennial.data.names import dataset_at
from perennial.errors import Invalid

__all__ = ["dataset_at", "model_at"]


def model_at(text: str) -> tuple[str, int | None]:
    """The name, and the version if there is one.

    Raises:
        Invalid: Not NAME or NAME@VERSION.

    >>> model_at("salary@3")
    ('salary', 3)
    """
    name, at, version = text.partition("@")
    if not name or (at and not (version.isdecimal() and len(version) < 10)):
        raise Invalid(f"{text!r} does not name a model version", remedy="write NAME@VERSION, for example salary@3")
    return name, int(version) if at else None
