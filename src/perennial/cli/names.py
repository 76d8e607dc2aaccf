"""NAME@VERSION, as models and datasets are named on the command line."""

from __future__ import annotations

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
    if not name or (at and not _is_number(version)):
        raise Invalid(f"{text!r} does not name a model version", remedy="write NAME@VERSION, for example salary@3")
    return name, int(version) if at else None


def dataset_at(text: str) -> tuple[str, int | str]:
    """The name, and the version: a number, a tag, or "latest" when there is none.

    Raises:
        Invalid: Not NAME or NAME@VERSION.

    >>> dataset_at("wages@3"), dataset_at("wages@gold"), dataset_at("wages")
    (('wages', 3), ('wages', 'gold'), ('wages', 'latest'))
    """
    name, at, version = text.partition("@")
    if not name or (at and not version):
        raise Invalid(f"{text!r} does not name a dataset version", remedy="write NAME@VERSION, for example wages@3")
    return name, int(version) if _is_number(version) else version or "latest"


def _is_number(text: str) -> bool:
    return text.isdecimal() and len(text) < 10
