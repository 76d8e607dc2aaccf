"""What changed in production, whether it hurts, why, and what would help."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["assert_no_shift", "compare"]

if TYPE_CHECKING:
    from perennial.monitor.reporting.comparing import compare as compare
    from perennial.monitor.reporting.testing import assert_no_shift as assert_no_shift

_HOME = {"compare": "perennial.monitor.reporting.comparing", "assert_no_shift": "perennial.monitor.reporting.testing"}


def __getattr__(name: str) -> Any:  # on first use, so that one part of the room does not load the others
    if name not in _HOME:
        raise AttributeError(f"module 'perennial.monitor' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)
