"""What may be the key or value of what is logged: limits that MLflow's clients know, and what both databases keep."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from perennial.errors import Invalid, TooLarge

__all__ = [
    "MAX_ERROR",
    "MAX_EXPERIMENT_TAG",
    "MAX_KEY",
    "MAX_NAME",
    "MAX_PAIRS",
    "MAX_PARAM",
    "MAX_TAG",
    "checked_key",
    "checked_pairs",
    "checked_text",
    "is_unicode",
]

MAX_KEY = 250  # characters
MAX_FREE_KEY = 255
MAX_PARAM = 6_000
MAX_TAG = 8_000
MAX_EXPERIMENT_TAG = 20_000
MAX_NAME = 500
MAX_ERROR = 10_000
MAX_PAIRS = 100  # parameters or tags in one call
_KEY = re.compile(r"[\w./\- :]+")


@lru_cache(maxsize=65_536)  # the same keys come with every step
def checked_key(key: str, where: str = "key") -> str:
    """A key of a metric, parameter or tag that can be stored.

    Raises:
        Invalid: It cannot.
    """
    checked_text(where, key, MAX_KEY)
    if not _KEY.fullmatch(key) or key != "/".join(part for part in key.split("/") if part not in ("", ".", "..")):
        raise Invalid(
            f"Invalid value {key!r} for parameter '{where}' supplied: it cannot be a key",
            remedy="use letters, digits, spaces and _ - . : /, without .. and doubled slashes",
        )
    return key


def checked_pairs(
    what: str, given: Mapping[str, str], longest: int, *, most: int = MAX_PAIRS, free: bool = False
) -> list[tuple[str, str]]:
    """Keys and values that can be stored. Keys are free for what clients name after arguments of a library's.

    Raises:
        TooLarge: There are too many for one call.
        Invalid: A key or value cannot be stored; names it.
    """
    if len(given) > most:
        raise TooLarge(f"{len(given)} {what} in one call", remedy=f"send at most {most} at a time")
    return [
        (
            checked_text(f"{what}[{i}].key", key, MAX_FREE_KEY) if free else checked_key(key, f"{what}[{i}].key"),
            checked_text(f"{what}[{i}].value", value, longest, empty=True),
        )
        for i, (key, value) in enumerate(given.items())
    ]


def checked_text(where: str, text: str, longest: int, *, empty: bool = False) -> str:
    """Text that both databases keep as it is.

    Raises:
        Invalid: It is empty, too long, or holds a NUL or half a character.
    """
    if not text and not empty:
        raise Invalid(f"Missing value for required parameter '{where}': a text is empty")
    if len(text) > longest:
        raise Invalid(
            f"'{where}' exceeds the maximum length of {longest} characters", remedy=f"it has {len(text)}: shorten it"
        )
    if "\0" in text or not is_unicode(text):
        raise Invalid(
            f"Invalid value for parameter '{where}' supplied: it holds a NUL or half a character",
            remedy="send Unicode without them",
        )
    return text


def is_unicode(text: str) -> bool:
    """Whether a text holds whole characters only."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
