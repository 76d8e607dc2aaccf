"""Data: collected, versioned, checked and looked at, at any size.

The names here are for users; each is found when it is first used, so that importing one does not load the others.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perennial.data import sources as sources
    from perennial.data.asof import asof_join as asof_join
    from perennial.data.asof import asof_join_files as asof_join_files
    from perennial.data.diff.tables import diff_tables as diff_tables
    from perennial.data.inference import infer as infer
    from perennial.data.profile.drift import drift as drift
    from perennial.data.schema import Check as Check
    from perennial.data.schema import Column as Column
    from perennial.data.schema import Dependency as Dependency
    from perennial.data.schema import Order as Order
    from perennial.data.schema import Schema as Schema
    from perennial.data.validation import UserCheck as UserCheck
    from perennial.data.validation import validate as validate

__all__ = [
    "Check",
    "Column",
    "Dependency",
    "Order",
    "Schema",
    "UserCheck",
    "asof_join",
    "asof_join_files",
    "diff_tables",
    "drift",
    "infer",
    "sources",
    "validate",
]

_HOME = {
    "Check": "schema",
    "Column": "schema",
    "Dependency": "schema",
    "Order": "schema",
    "Schema": "schema",
    "UserCheck": "validation",
    "asof_join": "asof",
    "asof_join_files": "asof",
    "diff_tables": "diff.tables",
    "drift": "profile.drift",
    "infer": "inference",
    "validate": "validation",
}


def __getattr__(name: str) -> Any:
    if name == "sources":
        return import_module("perennial.data.sources")
    if name in _HOME:
        return getattr(import_module(f"perennial.data.{_HOME[name]}"), name)
    raise AttributeError(f"module 'perennial.data' has no attribute {name!r}; it has {', '.join(__all__)}")
