"""What people call data: NAME, NAME@VERSION, or the path of a file or folder. Imports next to nothing."""

from __future__ import annotations

import os

from perennial.data.formats import format_of
from perennial.errors import Invalid, NotFound

__all__ = ["dataset_at", "is_path", "missing"]


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
    is_number = version.isdecimal() and len(version) < 10
    return name, int(version) if is_number else version or "latest"


def is_path(text: str) -> bool:
    """Whether something lies at this path. All else names a dataset.

    >>> is_path("/"), is_path("wages@3")
    (True, False)
    """
    return os.path.exists(text)  # noqa: PTH110  Path.exists raises for a name that is too long for a path


def missing(text: str, error: NotFound) -> NotFound:
    """This error of a dataset, unless what was named looks like a path."""
    if "/" not in text and format_of(text) is None:
        return error
    return NotFound(
        "there is no such file or folder, and no dataset of this name", where=text, remedy="mend the path or the name"
    )
