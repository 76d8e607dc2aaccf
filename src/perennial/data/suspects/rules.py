"""Cells that break a dependency, and which of the columns is to blame.

In each group of rows that agree in the determinants the others vote on a cell. A vote counts by how clear the group
is, and by how often the same determinants are right about the rest of the row: determinants that are wrong themselves
disagree with everything, so the blame falls on them and not on what they determine.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from perennial.data.relations.groups import joined, told
from perennial.data.relations.texts import Ints, Texts
from perennial.data.suspects.findings import Finding

__all__ = ["broken_rules"]

LEAST = 0.3  # a score below is not worth a word

Floats = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True)
class _Votes:
    determinants: tuple[int, ...]
    margin: Floats  # above 0: how clearly the others hold another value; below 0: how clearly they hold this one
    other: Ints
    counts: Ints


def broken_rules(columns: Sequence[Texts], rules: Sequence[tuple[tuple[int, ...], int]]) -> Iterator[Finding]:
    """Findings by dependencies, given as positions (determinants, dependent)."""
    about: dict[int, list[_Votes]] = defaultdict(list)
    agreed: dict[tuple[int, ...], Ints] = {}
    compared: dict[tuple[int, ...], Ints] = {}
    rows = len(columns[0].codes) if columns else 0
    for determinants, dependent in rules:
        votes = _votes(columns, determinants, dependent)
        about[dependent].append(votes)
        present = columns[dependent].present >= 0
        agreed.setdefault(determinants, np.zeros(rows, dtype=np.int64))[:] += votes.margin < 0
        compared.setdefault(determinants, np.zeros(rows, dtype=np.int64))[:] += present & (votes.margin != 0)
    for dependent, heard in about.items():
        present = columns[dependent].present >= 0
        against, support, strongest = (np.zeros(rows) for _ in range(3))
        winner = np.zeros(rows, dtype=np.int64)
        for at, votes in enumerate(heard):
            own = present & (votes.margin != 0)  # this cell is not asked about its own determinants
            right = agreed[votes.determinants] - (votes.margin < 0)
            weight = (1 + right) / (1 + compared[votes.determinants] - own)
            vote = weight * votes.margin
            against += np.maximum(vote, 0)
            support += np.maximum(-vote, 0)
            winner = np.where(vote > strongest, at, winner)
            strongest = np.maximum(strongest, vote)
        scores = strongest * against / np.maximum(against + support, 1e-12)
        wrong = np.flatnonzero(scores > LEAST)
        if len(wrong):
            yield _finding(columns, dependent, heard, wrong, winner[wrong], scores[wrong])


def _votes(columns: Sequence[Texts], determinants: tuple[int, ...], dependent: int) -> _Votes:
    heard = told(joined([columns[index].present for index in determinants]), columns[dependent].present)
    margin = (heard.best - heard.own) / (heard.others + 1)
    margin[(heard.others == 0) | ((heard.other < 0) & (margin > 0))] = 0
    return _Votes(determinants, margin.astype(np.float32), heard.other, heard.best)


def _finding(
    columns: Sequence[Texts], dependent: int, heard: list[_Votes], wrong: Ints, winner: Ints, scores: Any
) -> Finding:
    values = columns[dependent].values
    reasons: list[str] = []
    repairs: list[str | None] = []
    for row, at in zip(wrong.tolist(), winner.tolist(), strict=True):
        votes = heard[at]
        where = " and ".join(
            f"{columns[index].name} {columns[index].values[int(columns[index].codes[row])]!r}"
            for index in votes.determinants
        )
        repair = values[int(votes.other[row])]
        count = int(votes.counts[row])
        reasons.append(f"{count} other rows with {where} hold {repair!r}")
        repairs.append(repair)
    return Finding(dependent, wrong, scores, reasons, repairs)
