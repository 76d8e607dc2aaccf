"""What users log, as what is stored: numbers of metrics, texts of parameters and tags."""

from __future__ import annotations

import json
import operator
from collections.abc import Iterator, Mapping
from typing import Any

from perennial.errors import Invalid
from perennial.tracking.names import MAX_PAIRS, checked_key, checked_pairs

__all__ = ["batches", "checked_name", "checked_step", "number", "texts"]

BATCH_BYTES = 256 << 10  # of names and values in one call, far below what a request may hold


def number(key: str, value: object) -> float:
    """A float of a number, a numpy scalar or an array or tensor that holds one.

    Raises:
        Invalid: It is none; names the metric.
    """
    item = getattr(value, "item", None)
    try:
        if callable(item) and not isinstance(value, float | int):
            value = item()
        if isinstance(value, float | int):
            return float(value)
    except (ValueError, TypeError, RuntimeError, OverflowError) as error:
        raise Invalid(f"the value of metric {key!r} is not one number: {error}") from error
    raise Invalid(f"the value of metric {key!r} is {_shown(value)}, not a number", remedy="log a float or an int")


def checked_name(what: str, key: object) -> str:
    """Raises:
    Invalid: It cannot be the name of a metric, parameter or tag; names it.
    """
    if not isinstance(key, str):
        raise Invalid(f"the name of a {what} is {_shown(key)}, not a text")
    try:
        return checked_key(key)
    except Invalid as error:
        raise Invalid(f"{key[:80]!r} cannot be the name of a {what}", where=error.what, remedy=error.remedy) from error


def checked_step(step: object) -> int:
    """Raises:
    Invalid: It is no whole number of 64 bits.
    """
    try:
        found = operator.index(step)  # pyright: ignore[reportArgumentType]  what it is not, it refuses
    except TypeError:
        raise Invalid(f"step is {_shown(step)}, not a whole number") from None
    if not -(2**63) <= found < 2**63:
        raise Invalid(f"step {found} does not fit into 64 bits")
    return found


def texts(given: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Texts as they are, all else as JSON, mappings one level deeper with a dot.

    >>> texts({"depth": 3, "optimizer": {"name": "adam", "nesterov": True}})
    {'depth': '3', 'optimizer.name': 'adam', 'optimizer.nesterov': 'true'}
    """
    found: dict[str, str] = {}
    for key, value in given.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            found |= texts(value, f"{name}.")  # pyright: ignore[reportUnknownArgumentType]  keys of any type become texts
        else:
            found[name] = value if isinstance(value, str) else _json(value)
    return found


def batches(what: str, given: Mapping[str, str], longest: int) -> Iterator[dict[str, str]]:
    """In pieces that one call takes.

    Raises:
        Invalid: A name or value cannot be stored; names it. Nothing was given back then.
    """
    pairs: list[tuple[str, str]] = []
    for key, value in given.items():
        name = checked_name(what, key)
        try:
            pairs += checked_pairs(what, {name: value}, longest)
        except Invalid as error:
            raise Invalid(f"{what} {key!r} cannot be stored: {error.what}", remedy=error.remedy) from error
    batch: dict[str, str] = {}
    size = 0
    for key, value in pairs:
        size += len(key.encode()) + len(value.encode())
        if batch and (len(batch) == MAX_PAIRS or size > BATCH_BYTES):
            yield batch
            batch, size = {}, len(key.encode()) + len(value.encode())
        batch[key] = value
    if batch:
        yield batch


def _json(value: object) -> str:
    item = getattr(value, "item", None)
    try:
        return json.dumps(item() if callable(item) else value)
    except (TypeError, ValueError, RuntimeError):
        return str(value)


def _shown(value: object) -> str:
    return f"{str(value)[:40]!r} of type {type(value).__name__}"
