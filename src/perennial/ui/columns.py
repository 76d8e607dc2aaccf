"""The columns of a table of runs: what a visitor chose, or what the shown runs have most often.

Keys come from the runs that are shown and from nowhere else, so that an experiment of many thousand metrics costs no
more than its page.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from perennial.ui.series import SYSTEM, natural
from perennial.ui.words import column_spelled, number

__all__ = ["MAX_COLUMNS", "Column", "chosen_columns", "matching_columns"]

MAX_COLUMNS = 12
MAX_FOUND = 60
OF_ITSELF = 5  # metrics, and as many parameters, when nobody chose
_ENTITIES = ("metrics", "params", "tags")
_HIDDEN = ("mlflow.",)  # tags that clients keep for themselves


class Column(NamedTuple):
    """A metric, parameter or tag as a column."""

    entity: str
    key: str

    @property
    def name(self) -> str:
        """As it stands in an address."""
        return f"{self.entity}.{self.key}"

    @property
    def order(self) -> str:
        """As the search language writes it."""
        return column_spelled(self.entity, self.key)

    def shown(self, run: Mapping[str, Any]) -> str:
        """The value of a run, empty where it has none."""
        held = run[self.entity].get(self.key)
        if held is None:
            return ""
        return number(held["value"]) if self.entity == "metrics" else str(held)


def chosen_columns(runs: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[Column]:
    """The columns that were asked for by name; without any, the most common metrics and parameters of these runs."""
    if names:
        asked = map(_column, dict.fromkeys(names))
        return [column for column in asked if column is not None][:MAX_COLUMNS]
    found: list[Column] = []
    for entity in ("metrics", "params"):
        keys = Counter(key for run in runs for key in run[entity] if not key.startswith(SYSTEM))
        ranked = sorted(keys, key=lambda key: (-keys[key], key))
        found += [Column(entity, key) for key in ranked[:OF_ITSELF]]
    return found


def matching_columns(runs: Sequence[Mapping[str, Any]], text: str, taken: Sequence[Column]) -> tuple[list[Column], int]:
    """Columns of these runs whose name holds a text, the first of them and how many there are; none for no text."""
    if not text:
        return [], 0
    sought = text.casefold()
    found = sorted(
        {
            Column(entity, key)
            for run in runs
            for entity in _ENTITIES
            for key in run[entity]
            if sought in key.casefold() and not (entity == "tags" and key.startswith(_HIDDEN))
        }
        - set(taken),
        key=lambda column: (column.entity, natural(column.key)),
    )
    return found[:MAX_FOUND], len(found)


def _column(name: str) -> Column | None:
    entity, dot, key = name.partition(".")
    return Column(entity, key) if dot and key and entity in _ENTITIES else None
