"""Perennial: the whole life of a machine-learning model, from collecting data to retraining in production."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Loop", "__version__", "current_run", "fallback", "guard", "open", "rollout", "require", "retrain"]

if TYPE_CHECKING:
    from perennial.api.connect import open as open
    from perennial.loop import Loop as Loop
    from perennial.loop import fallback as fallback
    from perennial.loop import guard as guard
    from perennial.loop import require as require
    from perennial.loop import retrain as retrain
    from perennial.loop import rollout as rollout
    from perennial.tracking.current import current_run as current_run

_HOME = {
    "Loop": ("perennial.loop", "Loop"),
    "fallback": ("perennial.loop.fallback", ""),
    "guard": ("perennial.loop.guard", ""),
    "require": ("perennial.loop.require", ""),
    "retrain": ("perennial.loop.retrain", ""),
    "rollout": ("perennial.loop.rollout", ""),
    "current_run": ("perennial.tracking.current", "current_run"),
    "open": ("perennial.api.connect", "open"),
}


def __getattr__(name: str) -> Any:  # names resolve on first use, so that importing the package stays cheap
    if name not in _HOME:
        raise AttributeError(f"module 'perennial' has no attribute {name!r}")
    from importlib import import_module

    module, attribute = _HOME[name]
    value = import_module(module)
    return getattr(value, attribute) if attribute else value
