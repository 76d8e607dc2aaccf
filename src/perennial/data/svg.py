"""Pieces of charts that are drawn by hand: texts that a page can hold, round numbers for an axis, the frame.

Every text from outside goes through `legal`; colours and type come from the style of the page.
"""

from __future__ import annotations

import math

from markupsafe import Markup, escape

__all__ = ["cut", "legal", "svg", "text", "ticks"]

# Control characters, which XML forbids.
_FORBIDDEN = dict.fromkeys((*range(9), 11, 12, *range(14, 32), 0xFFFE, 0xFFFF), "\N{REPLACEMENT CHARACTER}")


def legal(words: str) -> str:
    """A text as a page can hold it, escaped.

    >>> legal("a<b\\x00")
    'a&lt;b\N{REPLACEMENT CHARACTER}'
    """
    return str(escape(words.translate(_FORBIDDEN).encode(errors="replace").decode()))


def cut(words: str, letters: int) -> str:
    """At most so many letters.

    >>> cut("abcdef", 4)
    'abc…'
    """
    return words if len(words) <= letters else words[: letters - 1] + "…"


def text(x: float, y: float, words: str, anchor: str, kind: str, *, title: str = "") -> str:
    """A text at a point, of the class `kind`; `title` shows when one points at it, where it says more."""
    inner = f"<title>{legal(title)}</title>" if title and title != words else ""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{inner}{legal(words)}</text>'


def svg(width: int, height: float, drawn: str, says: str) -> Markup:
    """A whole picture of what was drawn, in pixels; `says` is read out where it cannot be seen."""
    return Markup(  # noqa: S704  every text in it went through legal, and numbers are ours
        f'<svg role="img" aria-label="{legal(says)}" viewBox="0 0 {width} {height:.0f}" width="{width}" '
        f'height="{height:.0f}">{drawn}</svg>'
    )


def ticks(low: float, high: float, about: int) -> list[float]:
    """About so many round numbers between two; none where there is nothing between them.

    >>> ticks(0.0, 1.0, 4)
    [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    rough = (high - low) / about
    if not rough > 0 or not math.isfinite(rough):
        return []
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((nice * power for nice in (1.0, 2.0, 2.5, 5.0) if nice * power >= rough * 0.999), 10 * power)
    return [float(f"{k * step:.12g}") for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]
