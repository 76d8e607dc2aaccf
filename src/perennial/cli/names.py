"""NAME@VERSION, as models and datasets are named on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from perennial.data.names import dataset_at
from perennial.errors import Invalid

if TYPE_CHECKING:
    from perennial.api.connect import Calls

__all__ = ["dataset_at", "model_at", "model_or_alias", "model_version"]


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


def model_or_alias(text: str) -> dict[str, str | int]:
    """What `models.get` is asked for by NAME, NAME@VERSION or NAME@ALIAS.

    Raises:
        Invalid: None of these.

    >>> model_or_alias("salary@3"), model_or_alias("salary@live"), model_or_alias("salary")
    ({'name': 'salary', 'version': 3}, {'name': 'salary', 'alias': 'live'}, {'name': 'salary'})
    """
    name, at, rest = text.partition("@")
    if name and at and rest and not rest.isdecimal() and "@" not in rest:
        return {"name": name, "alias": rest}
    name, version = model_at(text)
    return {"name": name} if version is None else {"name": name, "version": version}


def model_version(owner: Calls, text: str) -> dict[str, Any]:
    """The version that NAME, NAME@VERSION or NAME@ALIAS names.

    Raises:
        NotFound: There is none.
    """
    return owner.call("models.get", **model_or_alias(text))
