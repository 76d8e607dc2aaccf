"""Facts as Markdown: text stays text, whatever a name or a comment holds."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["markdown_table", "markdown_text"]

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~])")


def markdown_table(headings: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterable[str]:
    """The lines of a table, and an empty one."""
    yield "| " + " | ".join(map(markdown_text, headings)) + " |"
    yield "| " + " | ".join("---" for _ in headings) + " |"
    for row in rows:
        yield "| " + " | ".join(map(markdown_text, row)) + " |"
    yield ""


def markdown_text(text: str) -> str:
    r"""Text that stays text: no markup, no HTML, no second line.

    >>> markdown_text("a <b>|\nc")
    'a &lt;b&gt;\\| c'
    """
    return (
        _SPECIAL.sub(r"\\\1", " ".join(text.split()))
        .replace("&", "&amp;")
        .replace("\\<", "&lt;")
        .replace("\\>", "&gt;")
    )
