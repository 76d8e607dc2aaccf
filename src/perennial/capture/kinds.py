"""What kind of value a prediction or a label is, in words: a label must be of the kind that the model predicts."""

from __future__ import annotations

import msgspec

__all__ = ["kind_of", "kind_of_text", "kinds_agree"]


def kind_of(value: object) -> str | None:
    """The kind of a value; None for a prediction that failed, or that a person was asked for.

    >>> kind_of(1.5), kind_of("a"), kind_of(True), kind_of(None)
    ('a number', 'text', 'true or false', None)
    """
    if value is None:
        return None
    return "true or false" if isinstance(value, bool) else "text" if isinstance(value, str) else "a number"


def kind_of_text(value: str | None) -> str | None:
    """The kind of a value that is JSON text, as it lies in the tables."""
    return None if value is None else kind_of(msgspec.json.decode(value))


def kinds_agree(expected: str | None, value: object) -> bool:
    """Whether this may be the label of a prediction of this kind."""
    if isinstance(value, float) and value - value != 0.0:
        return False
    return expected is None or kind_of(value) == expected
