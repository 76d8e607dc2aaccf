"""Which columns determine which, learned from data that have errors.

A column that determines another is told from two that merely go together by three figures of its groups, the rows that
agree in it: how well the other rows of a group tell a row's value, corrected for chance (`groups.strength`); whether
nearly every group is clear about it; and whether what deviates looks like errors. Deviations that come again and again
in a group and are the rule in another one are no errors but what the columns do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from perennial.data.relations.groups import Groups, joined
from perennial.data.relations.texts import Ints, Texts

__all__ = ["Rule", "find_rules", "least_group"]

STRENGTH = 0.4  # least strength, corrected for chance
TRIED = 0.1  # what cannot be stronger than this alone is not even tried
CLEAR = 0.95  # least share of rows whose group has an absolute majority
LIKE_ERRORS = 0.5  # least share of the deviating rows that look like errors
GROUP = 2.0  # least rows in a group on average: what is nearly a key determines everything,
GROUP_MEASURED = 10.0  # and what is measured does so by chance, as a model's output does of what went into it
AGAIN, OFTEN = 3, 30  # rows of a group that deviate alike: again and again; so often that it is no accident
COMMON = 0.05  # a value that is the rule in this share of the groups may also deviate by right,
FIRM = 0.95  # unless the rule holds for this share of the rows
MIN_ROWS = 30  # least rows that have others in their group
PAIR_STRENGTH, PAIR_GAIN = 0.8, 0.2  # two columns together must be this strong, and stronger than each by this
PAIRS_OF = 8  # two columns together are tried among this many: the strongest alone, then those of fewest values


@dataclass(frozen=True)
class Rule:
    """`determinants` determine `dependent` (positions of columns).

    Attributes:
        strength: Corrected for chance, in [0, 1].
        holds: Share of rows that keep it.
    """

    determinants: tuple[int, ...]
    dependent: int
    strength: float
    holds: float


def find_rules(columns: Sequence[Texts], *, is_whole: bool = True, pairs: bool = True) -> list[Rule]:
    """The rules among these columns, by dependent and determinants; minimal: no part of the determinants is enough.

    The cost is that of sorting the rows once for each pair of columns.

    Args:
        columns: Of a table or a sample of one.
        is_whole: Whether this is the whole table; in a sample the size of groups says nothing.
        pairs: Whether to look for two columns that together determine a third.
    """
    found: list[Rule] = []
    codes = [column.present for column in columns]
    counts = [np.sort(column.counts[~column.is_missing])[::-1] for column in columns]
    usable = [index for index, each in enumerate(counts) if len(each) > 1]
    group = [least_group([column]) if is_whole else 0.0 for column in columns]
    sources = [index for index in usable if counts[index].sum() >= group[index] * len(counts[index])]
    sources = [index for index in sources if counts[index][counts[index] > 1].sum() >= MIN_ROWS]
    for dependent in usable:
        alone: dict[int, float] = {}
        rules: list[Rule] = []
        for source in sources:
            if source == dependent or _best_case(counts[dependent], len(counts[source])) < TRIED:
                continue
            groups = Groups.of(codes[source], codes[dependent])
            alone[source] = groups.strength(MIN_ROWS)
            if alone[source] >= STRENGTH and _is_rule(groups, group[source]):
                rules.append(Rule((source,), dependent, alone[source], groups.holds))
        if pairs and not rules:
            near = sorted(sources, key=lambda source: (-max(alone.get(source, 0.0), 0.0), len(counts[source])))
            rules = _of_two(codes, [source for source in near if source != dependent], alone, dependent, group)
        found += rules
    return found


def least_group(determinants: Sequence[Texts]) -> float:
    """How many rows a group of these must have on average."""
    return GROUP_MEASURED if any(column.is_measured for column in determinants) else GROUP


def _best_case(counts: Ints, groups: int) -> float:
    """The strength if each of so many groups told one value, and those were the most frequent of the dependent's."""
    rows = counts.sum()
    base = counts[0] / rows
    repeated = counts[:groups][counts[:groups] > 1]
    return float((repeated.sum() / rows - base) / (1 - base)) if base < 1 else 0.0


def _of_two(
    codes: list[Ints], near: Sequence[int], alone: dict[int, float], dependent: int, group: list[float]
) -> list[Rule]:
    found: list[Rule] = []
    for pair in combinations(sorted(near[:PAIRS_OF]), 2):
        both = joined([codes[index] for index in pair])
        groups = Groups.of(both, codes[dependent])
        strength = groups.strength(MIN_ROWS)
        needed = max(PAIR_STRENGTH, PAIR_GAIN + max(alone.get(index, 0.0) for index in pair))
        if strength >= needed and _is_rule(groups, max(group[index] for index in pair)):
            found.append(Rule(pair, dependent, strength, groups.holds))
    return found


def _is_rule(groups: Groups, group: float) -> bool:
    """Whether nearly all groups are clear and what deviates in them looks like errors."""
    if groups.sizes.mean() < group:
        return False
    clear = groups.first > groups.sizes / 2
    others = groups.sizes > 1
    if groups.sizes[clear & others].sum() < CLEAR * groups.sizes[others].sum():
        return False
    deviates = np.ones(len(groups.counts), dtype=bool)
    deviates[groups.top] = False
    wrong = int(groups.counts[deviates].sum())
    again = deviates & (groups.counts >= AGAIN)
    width = int(groups.values.max()) + 1
    rule_in = np.bincount(groups.values[groups.top[clear & (groups.first > 1)]], minlength=width)[groups.values]
    again_in = np.bincount(groups.values[again], minlength=width)[groups.values]
    usual = again & ((rule_in > 0) | (again_in >= AGAIN) | (groups.counts >= OFTEN))
    if groups.counts[usual].sum() > (1 - LIKE_ERRORS) * wrong:
        return False
    common = deviates & (rule_in >= COMMON * len(groups.sizes))
    return groups.holds >= FIRM or bool(groups.counts[common].sum() <= (1 - LIKE_ERRORS) * wrong)
