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
Bools = np.ndarray[Any, np.dtype[np.bool_]]


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
    present = [column.present >= 0 for column in columns]
    for determinants, dependent in rules:
        votes = _votes(columns, determinants, dependent)
        about[dependent].append(votes)
        agreed.setdefault(determinants, np.zeros(rows, dtype=np.int64))[:] += votes.margin < 0
        compared.setdefault(determinants, np.zeros(rows, dtype=np.int64))[:] += present[dependent] & (votes.margin != 0)
    weighed = {
        dependent: [
            votes.margin * _weight(votes, agreed[votes.determinants], compared[votes.determinants], present[dependent])
            for votes in heard
        ]
        for dependent, heard in about.items()
    }
    scores = {dependent: _scores(votes) for dependent, votes in weighed.items()}
    for dependent, heard in about.items():
        for votes, weight in zip(heard, weighed[dependent], strict=True):
            for index in votes.determinants:
                if index in scores:  # what looks more wrong than the cell has no say about it
                    weight *= np.where(scores[index] > scores[dependent], 1 - scores[index], 1)
    for dependent, heard in about.items():
        score = _scores(weighed[dependent])
        wrong = np.flatnonzero(score > LEAST)
        if len(wrong):
            winner = np.argmax([votes[wrong] for votes in weighed[dependent]], axis=0)
            yield _finding(columns, dependent, heard, wrong, winner, score[wrong])


def _weight(votes: _Votes, agreed: Ints, compared: Ints, present: Bools) -> Floats:
    """How often these determinants are right about the rest of the row, this cell left out."""
    own = present & (votes.margin != 0)
    return ((1 + agreed - (own & (votes.margin < 0))) / (1 + compared - own)).astype(np.float32)


def _scores(votes: Sequence[Floats]) -> Floats:
    """The strongest vote against each cell, times the share that all votes against it have."""
    against = np.sum([np.maximum(vote, 0) for vote in votes], axis=0)
    every = np.sum([np.abs(vote) for vote in votes], axis=0)
    return np.max(votes, axis=0).clip(0) * against / np.maximum(every, 1e-12)


def _votes(columns: Sequence[Texts], determinants: tuple[int, ...], dependent: int) -> _Votes:
    heard = told(joined([columns[index].present for index in determinants]), columns[dependent].present)
    margin = (heard.best - heard.own) / (heard.best + heard.own + 1)
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
