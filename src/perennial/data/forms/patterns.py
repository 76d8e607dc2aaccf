"""Regular expressions that others search for in a text, as ones that match the whole text."""

from __future__ import annotations

__all__ = ["whole"]

_ANYTHING = "(?s:.*)"


def whole(pattern: str, *, at_start: bool = False) -> str:
    """The pattern that matches a whole text wherever `pattern` is found in it, or found at its start.

    >>> whole("^[0-9]{5}$"), whole("[0-9]{5}"), whole("[0-9]{5}", at_start=True)
    ('[0-9]{5}', '(?s:.*)(?:[0-9]{5})(?s:.*)', '(?:[0-9]{5})(?s:.*)')
    """
    inner = pattern[1:-1]
    is_whole = pattern.startswith("^") and pattern.endswith("$") and not inner.endswith("\\")
    if is_whole and ("|" not in inner or _is_one_group(inner)):
        return inner
    return f"{'' if at_start else _ANYTHING}(?:{pattern}){_ANYTHING}"


def _is_one_group(pattern: str) -> bool:
    """Whether the bracket that opens the pattern is closed by its last character; unsure is no."""
    if not pattern.startswith("(?:") or "[" in pattern:
        return False
    depth, at = 0, 0
    while at < len(pattern):
        depth += {"(": 1, ")": -1}.get(pattern[at], 0)
        at += 2 if pattern[at] == "\\" else 1
        if not depth:
            return at == len(pattern)
    return False
