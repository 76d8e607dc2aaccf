"""One axis of a chart: which numbers stand at it, where on it a value lies, linear or logarithmic. Arithmetic only.

Safe for every finite double: nothing here overflows at 1e308 or divides by a range that vanishes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

__all__ = ["Axis", "tick_label"]

TICKS = 5
_NICE = (1.0, 2.0, 5.0, 10.0)
_MAGNITUDES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


class Axis:
    """From the lowest to the highest of some finite values; of positive ones when it is logarithmic."""

    def __init__(self, low: float, high: float, *, is_log: bool = False, is_whole: bool = False) -> None:
        """`is_whole`: only whole numbers mean something on it, such as steps."""
        self.is_log = is_log
        self._least = 1.0 if is_whole else 0.0
        if is_log:
            self.low, self.high = math.log10(low), math.log10(high)
        else:
            self.low, self.high = low, high
        if self.low == self.high:
            pad = abs(self.low) * 0.1 or 1.0
            self.low, self.high = max(self.low - pad, -_MOST), min(self.high + pad, _MOST)
        self._span = self.high / 2 - self.low / 2

    def place(self, value: float) -> float:
        """Where a value lies, from 0 at the low end to 1."""
        at = math.log10(value) if self.is_log else value
        return (at / 2 - self.low / 2) / self._span if self._span else 0.5

    def ticks(self) -> list[tuple[float, str]]:
        """Places with their labels."""
        if self.is_log and self.high - self.low >= 1:
            first, last = math.ceil(self.low - 1e-9), math.floor(self.high + 1e-9)
            every = max(1, math.ceil((last - first) / TICKS))
            powers = range(first, last + 1, every)
            return [((power - self.low) / (self.high - self.low), _power(power)) for power in powers]
        if self.is_log:  # within a decade the numbers themselves are even enough
            plain = _even(10**self.low, 10**self.high, self._least)
            return [(self.place(value), tick_label(value, plain)) for value in plain if value > 0]
        plain = _even(self.low, self.high, self._least)
        return [(self.place(value), tick_label(value, plain)) for value in plain]


def tick_label(value: float, among: Sequence[float] = ()) -> str:
    """A number, short, with as many digits as tell it apart from its neighbours."""
    if value == 0:
        return "0"
    largest = max(map(abs, among), default=abs(value))
    if 1e3 <= largest < 1e12:
        for factor, sign in _MAGNITUDES:
            if largest >= factor and all(float(f"{one / factor:.4g}") * factor == one for one in among):
                return f"{value / factor:.4g}{sign}"
    gap = min((abs(b - a) for a, b in pairwise(among)), default=0.0)
    digits = 4 if not gap else min(17, max(1, math.ceil(math.log10(largest / gap) + 1.5)))
    return f"{value:.{digits}g}"


_MOST = 1.7976931348623157e308


def _even(low: float, high: float, least: float) -> list[float]:
    """About five round numbers between two, at least so far from each other."""
    rough = max(high / TICKS - low / TICKS, least)
    if rough <= 0 or not math.isfinite(rough):
        return [low, high]
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((nice * power for nice in _NICE if nice * power >= rough), rough)
    if step <= 0 or not math.isfinite(step) or not math.isfinite(low / step) or not math.isfinite(high / step):
        return [low, high]
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    if last - first > 4 * TICKS:  # too close together for a double to count between them
        return [low, high]
    found = {_round(number, step) for number in range(first, last + 1)}
    return sorted(value for value in found if math.isfinite(value)) or [low, high]


def _round(number: int, step: float) -> float:
    """`number` steps without what binary fractions leave behind: 0.3, not 0.30000000000000004."""
    return float(f"{number * step:.12g}") if number else 0.0


def _power(exponent: int) -> str:
    return tick_label(10.0**exponent) if -3 <= exponent <= 3 else f"1e{exponent}"
