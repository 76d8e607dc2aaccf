"""A schema in the forms in which people and other programs write it: TOML, TFDV's text, pandera, JSON Schema.

One file per form. `sound` says what cannot be meant in any of them.
"""

from __future__ import annotations

from typing import NamedTuple

from perennial.data.schema import Schema

__all__ = ["Imported"]


class Imported(NamedTuple):
    """A schema that was written for another program, and what it said that ours cannot, one sentence each."""

    schema: Schema
    lost: list[str]
