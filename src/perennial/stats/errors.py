"""What can go wrong in a statistical routine: the input cannot mean what the method needs.

    StatsError (ValueError)
    ├── BinMismatch     two sets of counts or shares do not describe the same bins
    ├── LengthMismatch  arrays that must describe the same rows differ in length
    ├── OutOfRange      a value or setting lies outside the range the method is valid on
    └── NothingToCount  no usable value is left

Too few rows is not an error: a routine then returns the decision "undecided" or "inconclusive" with a reason.
"""

from __future__ import annotations

__all__ = ["BinMismatch", "LengthMismatch", "NothingToCount", "OutOfRange", "StatsError"]


class StatsError(ValueError):
    """Root of this package's errors. `what` says what happened, `remedy` what to do next."""

    def __init__(self, what: str, remedy: str) -> None:
        self.what = what
        self.remedy = remedy
        super().__init__(f"{what}\n  to go on: {remedy}")


class BinMismatch(StatsError):
    """Two sets of counts or shares do not describe the same bins."""

    def __init__(self, reference_bins: int, current_bins: int) -> None:
        self.reference_bins = reference_bins
        self.current_bins = current_bins
        super().__init__(
            f"reference has {reference_bins} bins, current has {current_bins}",
            "count both windows with the same Bins value",
        )


class LengthMismatch(StatsError):
    """Arrays that must describe the same rows differ in length."""

    def __init__(self, name: str, expected: int, actual: int) -> None:
        self.name = name
        self.expected = expected
        self.actual = actual
        super().__init__(f"'{name}' has {actual} rows, expected {expected}", "pass arrays over the same rows")


class OutOfRange(StatsError):
    """A value or setting lies outside the range the method is valid on."""

    def __init__(self, name: str, value: object, allowed: str, *, remedy: str | None = None) -> None:
        self.name = name
        self.value = value
        self.allowed = allowed
        super().__init__(f"'{name}' is {value}, allowed: {allowed}", remedy or f"pass a '{name}' that is {allowed}")


class NothingToCount(StatsError):
    """No usable value is left."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"'{name}' holds no usable value", f"pass at least one finite value in '{name}'")
